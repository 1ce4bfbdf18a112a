"""Start pictures: whatever file a person drops, it works or one sentence says why not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from astra_play.codec import pixels
from astra_play.codec.pixels import load_start_image
from astra_play.config import load_world_config
from astra_play.errors import ImageError
from astra_play.paths import start_pictures, weights_folder


def save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def halves(width: int = 64, height: int = 48) -> Image.Image:
    """Left half red, right half blue."""
    array = np.zeros((height, width, 3), np.uint8)
    array[:, : width // 2] = (255, 0, 0)
    array[:, width // 2:] = (0, 0, 255)
    return Image.fromarray(array)


def test_a_picture_is_cropped_around_its_middle_and_keeps_its_proportions(tmp_path) -> None:
    wide = Image.fromarray(np.concatenate([np.full((40, 20, 3), 255, np.uint8), np.array(halves(60, 40)),
                                           np.full((40, 20, 3), 255, np.uint8)], axis=1))
    frame = load_start_image(save(tmp_path / "a.png", wide), 48, 32)
    assert frame.shape == (32, 48, 3) and frame.dtype == np.uint8
    assert frame[16, 4].tolist() == [255, 0, 0] and frame[16, -5].tolist() == [0, 0, 255]


def test_squeezing_keeps_all_of_the_picture_and_loses_its_proportions(tmp_path) -> None:
    wide = Image.fromarray(np.concatenate([np.full((40, 20, 3), 255, np.uint8), np.array(halves(60, 40)),
                                           np.full((40, 20, 3), 255, np.uint8)], axis=1))
    frame = load_start_image(save(tmp_path / "a.png", wide), 50, 40, fit="squeeze")
    assert frame.shape == (40, 50, 3) and frame.dtype == np.uint8
    assert [frame[20, x].tolist() for x in (3, 17, 32, 46)] == [[255] * 3, [255, 0, 0], [0, 0, 255], [255] * 3]
    see_through = Image.new("RGBA", (40, 30), (255, 255, 255, 0))
    assert load_start_image(save(tmp_path / "t.png", see_through), 32, 24, fit="squeeze").max() == 0


def test_a_squeezed_picture_is_what_antialiased_bilinear_scaling_makes_of_it(tmp_path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    frame = load_start_image(save(tmp_path / "r.png", Image.fromarray(picture)), 40, 32, fit="squeeze")
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(tensor, (32, 40), mode="bilinear", antialias=True, align_corners=False)
    assert np.abs(frame - expected[0].permute(1, 2, 0).numpy()).max() <= 1


def test_cmyk_grey_palette_and_sixteen_bit_pictures_are_read(tmp_path) -> None:
    for name, mode in (("c.jpg", "CMYK"), ("g.png", "L"), ("p.png", "P"), ("b.png", "1"), ("i.png", "I;16")):
        image = Image.new("I;16", (40, 30), 1000) if mode == "I;16" else halves().convert(mode)
        assert load_start_image(save(tmp_path / name, image), 32, 24).shape == (24, 32, 3), mode


def test_transparency_lies_on_black(tmp_path) -> None:
    image = Image.new("RGBA", (40, 30), (255, 255, 255, 0))
    assert load_start_image(save(tmp_path / "t.png", image), 32, 24).max() == 0


def test_exif_rotation_is_applied(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn by 90 degrees clockwise to show
    path = save(tmp_path / "e.jpg", halves(64, 64), exif=exif, quality=95)
    frame = load_start_image(path, 32, 32)
    assert frame[4, 16, 0] > 200 and frame[-4, 16, 2] > 200  # red was left and is now on top


def test_the_first_picture_of_an_animation_is_taken(tmp_path) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime")]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert load_start_image(path, 32, 24)[12, 16].tolist() == [255, 0, 0]


def test_bad_pictures_get_one_sentence(tmp_path, monkeypatch) -> None:
    (tmp_path / "text.png").write_text("this is no picture")
    buffer = io.BytesIO()
    halves().save(buffer, "PNG")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:60])
    (tmp_path / "empty.png").write_bytes(b"")
    cases = {"text.png": "not a picture that can be read", "cut.png": "cannot be read as a picture",
             "empty.png": "not a picture that can be read", "none.png": "does not exist", ".": "is a folder"}
    odd = bytearray(save(tmp_path / "odd.dds", halves()).read_bytes())
    odd[80:84] = (0x80000).to_bytes(4, "little")  # a pixel format that Pillow knows of and has no reader for
    (tmp_path / "odd.dds").write_bytes(odd)
    cases["odd.dds"] = "cannot be read as a picture .*; save it again as PNG"
    save(tmp_path / "one.png", Image.new("RGB", (1, 1)))
    cases["one.png"] = "1 x 1 pixels; a start picture needs at least 16"
    for name, sentence in cases.items():
        with pytest.raises(ImageError, match=sentence):
            load_start_image(tmp_path / name, 32, 24)
    monkeypatch.setattr("astra_play.codec.pixels.MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="has 64 x 48 pixels, more than"):
        load_start_image(save(tmp_path / "huge.png", halves()), 32, 24)


def test_a_decompression_bomb_is_refused_without_decoding(tmp_path) -> None:
    path = save(tmp_path / "bomb.png", Image.new("1", (30_000, 30_000)))
    with pytest.raises(ImageError, match="million"):
        load_start_image(path, 32, 24)


def test_start_picture_tells_where_its_hand_is(tmp_path: Path) -> None:
    told, wrong = PngInfo(), PngInfo()
    told.add_text(pixels.HAND_PLACE, "0.10 -0.05 0.123")
    wrong.add_text(pixels.HAND_PLACE, "0.10 left")
    for name, info in (("told.png", told), ("wrong.png", wrong), ("untold.png", PngInfo())):
        Image.new("RGB", (20, 20)).save(tmp_path / name, pnginfo=info)
    (tmp_path / "text.png").write_text("this is no picture")
    assert pixels.load_hand_place(tmp_path / "told.png") == (0.10, -0.05, 0.123)
    for name in ("wrong.png", "untold.png", "text.png", "missing.png"):
        assert pixels.load_hand_place(tmp_path / name) is None


def test_every_start_picture_of_the_arm_tells_where_its_hand_is() -> None:
    low_m, high_m = np.split(np.array(load_world_config(weights_folder() / "mini", "arm").controls.reach_m), 2)
    pictures = start_pictures("mini", "arm")
    assert len(pictures) == 8
    for picture in pictures:
        hand_m = np.array(pixels.load_hand_place(picture))
        assert np.all((low_m <= hand_m) & (hand_m <= high_m))
