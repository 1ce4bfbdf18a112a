"""The anchor of a chunk: what the latent frame before it leads one to expect, given beside the noisy latents.

"previous" repeats the last clean latent frame. "moved" carries the last shown picture along, as motion compensation
does in a video codec: the picture is moved as the action row commands through the simplest scene there is (level
ground, and whatever stands on it at one distance), its latents are the anchor, and what the network then says of the
new frame is painted onto the moved picture. Rotation needs no depth and is exact; for walking the guess is crude, and
still a better start than a picture that does not move. What has been seen stays as sharp as it was, though latents
could not hold it; true parallax and what comes into view are left to the network.

An anchor is (B, T, C, h, w), or has one channel more where the network is told its coverage: the share of each latent
cell that was truly seen before, 0 where the anchor is but a stretched edge and something new has to be made up.

Things stand nearer or further than the anchor takes them to be, a wall stops the player, a hand takes a block along. So
other hypotheses lie beside the anchor, each a picture of its own: everything as near as a few metres, everything only
turned, everything gone along with the hand (model/still_camera.py). Which one holds where is for the network to say.
Each latent cell is cut into blocks, and the anchor holds C channels more per hypothesis and block: what the cell's
latents would gain if that block of the picture came from there. The network gives every block its shares
(`Transformer.shares`), and they mix pixels as well as latents: multihypothesis motion compensation (Girod, "Efficiency
analysis of multihypothesis motion-compensated prediction", 2000) with masks that are learned from the error of the
prediction, and in training also from how wrong each hypothesis is in each block (`CameraMotion.block_errors`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.mini import MiniCodec, paint_patches, project_patches
from ..config import ControlsConfig

NEVER_NEARER_M = 1e6
BRISK_M, BRISK_RAD = 0.05, math.radians(1.5)  # in a frame: a third of a walk, of a turn with the keys
AHEAD_BLUR = 32.0  # per share by which a step brings what stands ahead nearer: half at a walk, all in a fast car
AHEAD_PX, STAYS_PX = 3.0, 0.5  # how wide a strip is straight ahead, and how little a turn moves what stays in it
BANDS = 2  # that a picture is cut into to be resampled
CAMERA_WIDTH = 12  # numbers of a camera row, mask column not included


def repeat_last(last: Tensor, num_frames: int, coverage: bool = False) -> Tensor:
    """The last latent frame (B, 1, C, H, W) as the anchor of every frame of a chunk, whatever the action."""
    anchor = last.expand(-1, num_frames, -1, -1, -1)
    return torch.cat([anchor, torch.ones_like(anchor[:, :, :1])], dim=2) if coverage else anchor


def camera_poses(rows: Tensor) -> Tensor:
    """How each row (..., A) moves the camera, (..., 3, 4) of p_next = R p_now + t, whatever the modality.

    Told by the width: camera rows are that matrix; a vehicle row is a displacement (x ahead, y left) and a turn about
    the vertical, as a quaternion, of the car that carries the camera.
    """
    rows = rows.float()
    if rows.shape[-1] == CAMERA_WIDTH:
        return rows.unflatten(-1, (3, 4))
    ahead, left, w, z = rows[..., 0], rows[..., 1], rows[..., 3], rows[..., 6]
    cos, sin, zero, one = w * w - z * z, 2 * w * z, torch.zeros_like(w), torch.ones_like(w)
    rotation = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], dim=-1).unflatten(-1, (3, 3))
    step = torch.stack([-left, zero, ahead], dim=-1)
    return torch.cat([rotation, -(rotation @ step[..., None])], dim=-1)


def pace(rows: Tensor, turns: bool = True) -> Tensor:
    """How briskly each row (..., A) moves the camera, (...) in [0, 1]; 0 standing still, 1 from BRISK_M or BRISK_RAD
    on. Without `turns` only its way counts."""
    poses = camera_poses(rows)
    if not turns:
        return (poses[..., 3].norm(dim=-1) / BRISK_M).clamp(max=1)
    cos = (poses[..., :3].diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2
    turn_rad = torch.acos(cos.clamp(-1, 1))
    return (poses[..., 3].norm(dim=-1) / BRISK_M + turn_rad / BRISK_RAD).clamp(max=1)


class CameraMotion:
    """Moves pictures by camera rows, and encodes them as network latents.

    The filters of the mini codec's encoder are orthonormal, so their transpose paints the picture that a latent
    frame stands for, and encoding that picture gives the latent frame back.
    """

    def __init__(self, codec: MiniCodec, latent_scale: Tensor, width: int, height: int,
                 controls: ControlsConfig, coverage: bool = False, hypotheses: int = 0, blocks: int = 1) -> None:
        self.coverage = coverage
        self.blocks = blocks
        weight = codec.encoder.weight
        self._weight = weight.detach()
        self._bias = codec.encoder.bias.detach()
        self.scale = latent_scale.to(weight.device)[:, None, None]
        tangent = math.tan(math.radians(controls.vertical_fov_deg) / 2)
        # The largest x / z and y / z in view.
        self.limits = torch.tensor([tangent * width / height, tangent], device=weight.device)
        y, x = torch.meshgrid((torch.arange(height, device=weight.device) + 0.5) / height * 2 - 1,
                              (torch.arange(width, device=weight.device) + 0.5) / width * 2 - 1, indexing="ij")
        rays = torch.stack([x * self.limits[0], y * self.limits[1], torch.ones_like(x)], dim=-1)
        self._depth_m = controls.scene_depth_m or NEVER_NEARER_M
        self._controls = controls
        self._pixels = torch.stack([x, y], dim=-1)
        self.on_bonnet = self.hides(self._pixels)  # (H, W)
        ground_m = controls.eye_height_m / rays[..., 1].clamp_min(1e-6)  # y points down; above the horizon: far away
        self._points_m, *self._other_points_m = (
            rays * ground_m.clamp_max(depth_m)[..., None] if depth_m else rays * NEVER_NEARER_M
            for depth_m in (controls.scene_depth_m, *controls.other_depths_m[:hypotheses]))

    def expect(self, pictures: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Move (B, 3, H, W) pictures by every motion up to each of the rows (B, T, A).

        Returns the moved pictures (B, T, 3, H, W), which of their pixels were in view, (B, T, 1, H, W) in {0, 1}, and
        the anchors (B, T, C or C + 1, h, w).
        """
        batch, frames = rows.shape[:2]
        poses = self._accumulate(camera_poses(rows)).flatten(0, 1)
        grid = self.places_before(poses)
        moved = resample(pictures.repeat_interleave(frames, dim=0), self.around_bonnet(grid))
        seen = ((grid.abs() <= 1).all(dim=-1) & ~self.hides(grid) | self.on_bonnet).float()[:, None]
        moved, seen, anchors = (x.unflatten(0, (batch, frames)) for x in (moved, seen, self.anchor(moved, seen)))
        return moved, seen, anchors

    def other_pictures(self, pictures: Tensor, rows: Tensor) -> Tensor | None:
        """What each hypothesis makes of (B, 3, H, W) pictures up to each of the rows: (B, T, K, 3, H, W), or None.

        What a hypothesis would have to take from beyond the edge repeats it; the network knows better than to believe
        that.
        """
        if not self._other_points_m:
            return None
        poses = self._accumulate(camera_poses(rows)).flatten(0, 1)
        repeated = pictures.repeat_interleave(rows.shape[1], dim=0)
        others = [resample(repeated, self.around_bonnet(self.places_before(poses, points)))
                  for points in self._other_points_m]
        return torch.stack(others, dim=1).unflatten(0, rows.shape[:2])

    def straight_ahead(self, rows: Tensor) -> Tensor | None:
        """How much of each column (B, T, W), in [0, 1], `blur_across` blurs after the motions up to each of the rows
        (B, T, A); None: nothing. The strip about the place that a motion goes to (the focus of expansion)."""
        poses = self._accumulate(camera_poses(rows))
        rotation, step = poses[..., :3], poses[..., 3]
        nearer = (-step[..., 2] / self._depth_m).clamp(min=0)
        if not bool(nearer.any()):
            return None
        half_px = self._pixels.shape[1] / 2
        focus = step[..., 0] / step[..., 2].clamp(max=-1e-6) / self.limits[0]
        off_px = (self._pixels[0, :, 0] - focus[..., None]) * half_px
        turned_px = rotation[..., 0, 2] / self.limits[0] * half_px
        share = (AHEAD_BLUR * nearer).clamp(max=1) * torch.exp(-(turned_px / STAYS_PX).square())
        return share[..., None] * torch.exp(-off_px.square() / (2 * AHEAD_PX**2))

    def offer(self, anchors: Tensor, moved: Tensor, others: Tensor | None) -> Tensor:
        """Add what every block would gain from each hypothesis to anchors (B, T, C or C + 1, h, w).

        `moved` (B, T, 3, H, W), `others` (B, T, K, 3, H, W); returns (B, T, C or C + 1, and K blocks C, h, w).
        """
        if others is None:
            return anchors
        gains = self._by_blocks((others - moved[:, :, None]).flatten(0, 2))
        return torch.cat([anchors, gains.unflatten(0, others.shape[:3]).flatten(2, 3)], dim=2)

    def _by_blocks(self, changes: Tensor) -> Tensor:
        """Changes of pictures (N, 3, H, W) -> what each block of a cell adds to its latents, (N, blocks C, h, w)."""
        n, side = self.blocks, self._weight.shape[-1] // self.blocks
        cells = changes.unfold(2, n * side, n * side).unfold(3, n * side, n * side)  # (N, 3, h, w, P, P)
        blocks = cells.unflatten(-2, (n, side)).unflatten(-1, (n, side))
        with full_precision(changes.device):
            gains = torch.einsum("nihwasbt,ciasbt->nabchw", blocks,
                                 self._weight.unflatten(-2, (n, side)).unflatten(-1, (n, side)))
            return (gains / self.scale).flatten(1, 3)

    def block_errors(self, moved: Tensor, others: Tensor, truth: Tensor) -> Tensor:
        """How far from the truth (B, T, 3, H, W) each block would be if it came from the anchor or a hypothesis.

        Returns mean squares (B, T, 1 + K, blocks, h, w) in the picture's own units, [-1, 1], the anchor's first.
        """
        n, side = self.blocks, self._weight.shape[-1] // self.blocks
        candidates = torch.cat([moved[:, :, None], others], dim=2)
        wrong = (candidates - truth[:, :, None]).square().mean(dim=3)
        blocks = F.avg_pool2d(wrong.flatten(0, 2)[:, None], side)[:, 0]  # (N, h n, w n)
        cells = blocks.unflatten(-1, (-1, n)).unflatten(-3, (-1, n))  # (N, h, n, w, n)
        return cells.permute(0, 2, 4, 1, 3).flatten(1, 2).unflatten(0, candidates.shape[:3])

    def anchor(self, pictures: Tensor, seen: Tensor) -> Tensor:
        """(N, 3, H, W) moved pictures and which of their pixels were seen before, (N, 1, H, W) in [0, 1] -> anchors."""
        latents = self.encode(pictures)
        if not self.coverage:
            return latents
        return torch.cat([latents, F.adaptive_avg_pool2d(seen, latents.shape[-2:])], dim=1)

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
        with full_precision(latents.device):
            return paint_patches(latents.float() * self.scale - self._bias[:, None, None], self._weight)

    def encode(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) pictures -> (N, C, h, w) network latents."""
        with full_precision(pictures.device):
            return project_patches(pictures, self._weight, self._bias) / self.scale

    def move(self, pictures: Tensor, poses: Tensor) -> Tensor:
        """What (N, 3, H, W) pictures show after p_next = R p_now + t, (N, 3, 4); past the edge, the edge repeats."""
        return resample(pictures, self.around_bonnet(self.places_before(poses)))

    def hides(self, places: Tensor) -> Tensor:
        """Say which places (..., 2) of a picture the bonnet hides."""
        return self._controls.is_bonnet(*places.unbind(dim=-1))

    def past_bonnet(self, places: Tensor) -> Tensor:
        """Places (..., 2) of a picture, those that the bonnet hides lifted to a pixel above it."""
        if not self._controls.bonnet[0]:
            return places
        above = self._controls.bonnet_top(places[..., 0]) - 2 / len(self._pixels)
        return torch.stack([places[..., 0], torch.where(self.hides(places), above, places[..., 1])], dim=-1)

    def around_bonnet(self, places: Tensor) -> Tensor:
        """Where to look up each pixel of a picture (N, H, W, 2): past the bonnet, whose own pixels stay put."""
        return torch.where(self.on_bonnet[..., None], self._pixels, self.past_bonnet(places))

    def places_before(self, poses: Tensor, points_m: Tensor | None = None) -> Tensor:
        """Where each pixel's scene point was in the picture before motions (N, 3, 4): (N, H, W, 2), within [-1, 1] if
        it was in view. `points_m` (H, W, 3): those of a hypothesis; None: the anchor's."""
        rotation, translation = poses[..., :3], poses[..., 3]
        offset = (self._points_m if points_m is None else points_m) - translation[:, None, None, :]
        before = torch.einsum("nhwj,nji->nhwi", offset, rotation)  # R^T (p_next - t), R being orthonormal
        return self.project(before)

    def project(self, points: Tensor) -> Tensor:
        """Camera points (..., 3) -> places in the picture (..., 2), within [-1, 1] if in view."""
        return points[..., :2] / points[..., 2:].clamp_min(1e-3) / self.limits


def blur_across(pictures: Tensor, share: Tensor) -> Tensor:
    """(N, C, H, W) pictures with each column blurred by its neighbours to its share (N, W).

    Who goes straight ahead sees what is there stretched out of the same two pixels for minutes, and an edge between
    them would split the picture from top to bottom. Blurred a little at every step, it is drawn apart as it spreads.
    """
    beside = F.pad(pictures, (1, 1, 0, 0), mode="replicate")
    return pictures + share[:, None, None] / 4 * (beside[..., 2:] + beside[..., :-2] - 2 * pictures)


def resample(pictures: Tensor, places: Tensor) -> Tensor:
    """Pictures (N, C, H, W) as seen at places (N, h, w, 2) of theirs; past the edge, the edge repeats.

    Bicubic: a turn of many chunks resamples its own output, and bilinear loses a third more of it over 16 of them.
    """
    # A processor shares out a batch among its threads, but no single picture, so one is cut into bands.
    in_bands = (pictures.device.type == "cpu" and torch.get_num_threads() > 1
                and len(pictures) == 1 and places.shape[1] % BANDS == 0)
    if in_bands:
        pictures, places = pictures.expand(BANDS, -1, -1, -1), places[0].unflatten(0, (BANDS, -1))
    taken = F.grid_sample(pictures, places, mode="bicubic", padding_mode="border", align_corners=False)
    return torch.cat(taken.unbind(), dim=1)[None] if in_bands else taken


def full_precision(device: torch.device) -> torch.autocast:
    """A picture that is carried for minutes is encoded and painted each frame: bfloat16's rounding would add up."""
    return torch.autocast(device.type, enabled=False)


def mix(anchor: Tensor, shares: Tensor | None, channels: int) -> Tensor:
    """What is expected of latents (B, T, C, h, w) and its shares (B, T, K, blocks, h, w) of K hypotheses or none."""
    expected = anchor[:, :, :channels]
    if shares is None:
        return expected
    shares = shares.flatten(2, 3)
    gains = anchor[:, :, -shares.shape[2] * channels:].unflatten(2, (shares.shape[2], channels))
    return expected + (shares[:, :, :, None] * gains).sum(dim=2)


def mix_pictures(moved: Tensor, others: Tensor, shares: Tensor) -> Tensor:
    """The same in pixels: `moved` (B, T, 3, H, W) and the hypotheses' pictures (B, T, K, 3, H, W)."""
    n = math.isqrt(shares.shape[3])
    cells = shares.unflatten(3, (n, n)).permute(0, 1, 2, 5, 3, 6, 4).flatten(5).flatten(3, 4)  # (B, T, K, h n, w n)
    side = moved.shape[-1] // cells.shape[-1]
    masks = cells.repeat_interleave(side, dim=-2).repeat_interleave(side, dim=-1)[:, :, :, None]
    return moved + (masks.to(moved.dtype) * (others - moved[:, :, None])).sum(dim=2)
