"""The one place for picture ranges and colour order: uint8 HWC RGB outside, float [-1, 1] CHW inside the codec."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import ImageError

if TYPE_CHECKING:
    import torch

MAX_IMAGE_PIXELS = 150_000_000  # 450 MB decoded; larger files are panoramas or bombs, and none need that to start
HAND_PLACE = "Hand place"
MIN_IMAGE_SIDE_PX = 16  # less than one latent cell holds no scene to start from


def to_float(frames: torch.Tensor) -> torch.Tensor:
    """(..., H, W, 3) uint8 -> (..., 3, H, W) float32 in [-1, 1]."""
    return frames.movedim(-1, -3).float().div_(127.5).sub_(1.0)


def to_uint8(pictures: torch.Tensor) -> torch.Tensor:
    """(..., 3, H, W) float -> (..., H, W, 3) uint8, clamped and rounded to nearest."""
    return pictures.float().add(1.0).mul_(127.5).round_().clamp_(0, 255).byte().movedim(-3, -1).contiguous()


def load_start_image(path: Path, width: int, height: int, fit: Literal["crop", "squeeze"] = "crop") -> np.ndarray:
    """Read a picture file as a (height, width, 3) uint8 start frame.

    EXIF rotation is applied, transparency is laid on black, the first picture of an animation is taken, and the
    largest centred part of the right shape is scaled. With `fit` "squeeze" all of the picture is scaled, its
    proportions lost, as the published model's own script does it. ImageError says what is wrong with a file that cannot
    be used.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise ImageError(f"{path} has {image.width} x {image.height} pixels, more than the "
                                 f"{MAX_IMAGE_PIXELS // 10**6} million that a start picture may have; "
                                 "scale it down first")
            image.seek(0)
            picture = ImageOps.exif_transpose(image)
            if min(picture.size) < MIN_IMAGE_SIDE_PX:
                raise ImageError(f"{path} is {picture.width} x {picture.height} pixels; a start picture needs at least "
                                 f"{MIN_IMAGE_SIDE_PX} on each side")
            picture = _on_black(picture)
            if fit == "squeeze":
                return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), dtype=np.uint8)
            return np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS), dtype=np.uint8)
    except FileNotFoundError:
        raise ImageError(f"start picture {path} does not exist; check the path") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder; give one picture file (PNG, JPEG, WebP, ...)") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path} decodes to more than {2 * Image.MAX_IMAGE_PIXELS // 10**6} million pixels; "
                         "scale it down first") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path} is not a picture that can be read; use PNG, JPEG or WebP") from None
    except ImageError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them trip over
        raise ImageError(f"{path} cannot be read as a picture ({error}); save it again as PNG") from None


def load_hand_place(path: Path) -> tuple[float, float, float] | None:
    """Return where a start picture shows the hand of an arm, (right, away, up) in metres, or None if it does not say.

    It stands in the picture file's own text, under HAND_PLACE, as three numbers.
    """
    try:
        with Image.open(path) as image:
            right_m, away_m, up_m = (float(word) for word in str(image.info[HAND_PLACE]).split())
    except (OSError, KeyError, ValueError):  # a picture from anywhere; one that cannot be read is refused elsewhere
        return None
    return right_m, away_m, up_m


def _on_black(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        background = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(background, picture)
    return picture.convert("RGB")
