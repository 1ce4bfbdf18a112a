"""The anchor of a chunk: what the latent frame before it leads one to expect, given beside the noisy latents.

"previous" repeats the last clean latent frame. "moved" also moves the camera as the action row commands, through the
simplest scene there is: level ground, and whatever stands on it at one distance. Rotation needs no depth and is
exact; for walking the guess is crude, and still a better start than a picture that does not move. True parallax, what
comes into view and what the resampling blurred are left to the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.mini import MiniCodec, paint_patches, project_patches
from ..config import ControlsConfig, WorldConfig

# (last clean latent frame (B, 1, C, H, W), rows (B, T, width - 1)) -> anchors (B, T, C, H, W)
Anchor = Callable[[Tensor, Tensor], Tensor]


def repeat_last(last: Tensor, rows: Tensor) -> Tensor:
    """The last latent frame for every frame of the chunk, whatever the action."""
    return last.expand(-1, rows.shape[1], -1, -1, -1)


class MovedAnchor:
    """Moves network latents by camera rows, through the encoder's own linear map.

    The filters of the mini codec's encoder are orthonormal, so their transpose paints the picture that a latent
    frame stands for, and encoding that picture gives the latent frame back: a row that does not move changes nothing.
    """

    def __init__(self, codec: MiniCodec, latent_scale: Tensor, width: int, height: int,
                 controls: ControlsConfig) -> None:
        weight = codec.encoder.weight
        self._weight = weight.detach()
        self._bias = codec.encoder.bias.detach()
        self._scale = latent_scale.to(weight.device)[:, None, None]
        tangent = math.tan(math.radians(controls.vertical_fov_deg) / 2)
        # The largest x / z and y / z in view.
        self._limits = torch.tensor([tangent * width / height, tangent], device=weight.device)
        y, x = torch.meshgrid((torch.arange(height, device=weight.device) + 0.5) / height * 2 - 1,
                              (torch.arange(width, device=weight.device) + 0.5) / width * 2 - 1, indexing="ij")
        rays = torch.stack([x * self._limits[0], y * self._limits[1], torch.ones_like(x)], dim=-1)
        ground_m = controls.eye_height_m / rays[..., 1].clamp_min(1e-6)  # y points down; above the horizon: far away
        self._points_m = rays * ground_m.clamp_max(controls.scene_depth_m)[..., None]

    def __call__(self, last: Tensor, rows: Tensor) -> Tensor:
        """Return one anchor per row: the last frame after all motions up to it."""
        batch, frames = rows.shape[:2]
        poses = self._accumulate(rows.float().unflatten(-1, (3, 4))).flatten(0, 1)
        pictures = self.paint(last.expand(-1, frames, -1, -1, -1).flatten(0, 1).float())
        return self.encode(self.move(pictures, poses)).unflatten(0, (batch, frames)).to(last.dtype)

    @staticmethod
    def _accumulate(steps: Tensor) -> Tensor:
        """(B, T, 3, 4) motions of one frame each -> motions since before the first."""
        poses = [steps[:, 0]]
        for t in range(1, steps.shape[1]):
            moved = steps[:, t, :, :3] @ poses[-1]
            poses.append(torch.cat([moved[..., :3], moved[..., 3:] + steps[:, t, :, 3:]], dim=-1))
        return torch.stack(poses, dim=1)

    def paint(self, latents: Tensor) -> Tensor:
        """(N, C, h, w) network latents -> (N, 3, H, W) pictures."""
        return paint_patches(latents * self._scale - self._bias[:, None, None], self._weight)

    def encode(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) pictures -> (N, C, h, w) network latents."""
        return project_patches(pictures, self._weight, self._bias) / self._scale

    def move(self, pictures: Tensor, poses: Tensor) -> Tensor:
        """What (N, 3, H, W) pictures show after p_next = R p_now + t, (N, 3, 4); past the edge, the edge repeats.

        Bicubic: a turn of many chunks resamples its own output, and bilinear loses a third more of it over 16 of them.
        """
        rotation, translation = poses[..., :3], poses[..., 3]
        offset = self._points_m - translation[:, None, None, :]
        before = torch.einsum("nhwj,nji->nhwi", offset, rotation)  # R^T (p_next - t), R being orthonormal
        grid = before[..., :2] / before[..., 2:].clamp_min(1e-3) / self._limits
        return F.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)


def make_anchor(config: WorldConfig, codec: MiniCodec) -> Anchor:
    """Return the anchor function that a world's config asks for."""
    if config.model.anchor != "moved":
        return repeat_last
    scale = torch.tensor(config.latent_scale or (1.0,) * config.codec.latent_channels)
    return MovedAnchor(codec, scale, config.width, config.height, config.controls)
