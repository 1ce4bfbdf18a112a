"""What a player has seen all around: a map of directions that outlives the view, so that a turn back finds the place.

Where nobody has looked yet, or not for long, the place goes on as in a mirror: who turns round finds a whole world of
the same trees and houses, and not what a small network makes up in an instant, stripe by stripe.

A network whose context is a second long cannot know what lay behind the player ten seconds ago. The map can: it is
centred on the eye and does not turn with it, so looking around resamples nothing but the view. Walking moves it as
`CameraMotion` moves a picture, over level ground and whatever stands at one distance, and lets what is out of view
fade: that guess is worth less with every metre. The network paints every picture of the view; the map only remembers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.loop_filter import LoopFilter
from ..config import ControlsConfig
from .anchor import CameraMotion, camera_poses, resample
from .carried_picture import CarriedPicture

MARGIN_RAD = math.radians(2)  # of the map around all that a view can show
KNOWN = 0.5  # what was seen counts as known while its share is above this
UNSURE = 0.7  # what is no better known is imagined anew along with what is not known at all: it would be next
IMAGINED = 0.8  # share to which what is imagined counts as known
SOFT, SOFT_PX = 0.2, 12  # how much of what is imagined is the mean about each place, within so many pixels
ROUGH_PX = 4  # about each place, over which shares are averaged to tell what is known
LEVEL_ROWS = 8  # above and below the horizon, where it is told how far around the place is known
EDGE_COLUMNS = 8  # copied over the seam behind the player: no single step moves a direction further


class Surroundings(CarriedPicture):
    """A `CarriedPicture` that also remembers what is out of view."""

    def __init__(self, motion: CameraMotion, paint: Callable[[Tensor], Tensor], leak: float, fade_m: float,
                 controls: ControlsConfig, height: int, width: int, loop_filter: LoopFilter | None = None,
                 strength: float = 1.0, chunk_frames: int = 1, imagines: bool = True) -> None:
        """`chunk_frames`: pictures of a chunk, all of which are looked up in the map before any is written into it.
        Without `imagines` the map holds what was seen alone, and all else is the network's to paint; to look into."""
        super().__init__(motion, paint, leak, loop_filter, strength)
        self._fade_m, self._imagines = fade_m, imagines
        tangent = math.tan(math.radians(controls.vertical_fov_deg) / 2)
        per_radian = height / 2 / tangent  # as fine as the middle of a picture
        # The map is as high as what a view can show. The part of it that is read and written is as wide as that and a
        # turn more: what comes into view has been given the colours of the view's border.
        elevation_rad, azimuth_rad = _farthest(tangent, width / height, controls.max_pitch_deg)
        self._max_elevation_rad = elevation_rad + MARGIN_RAD
        half_window_rad = azimuth_rad + chunk_frames * math.radians(controls.max_turn_deg_per_frame) + MARGIN_RAD
        self._columns = 2 * round(math.pi * per_radian)
        self._rows = 2 * round(self._max_elevation_rad * per_radian)
        self._window = 2 * round(min(half_window_rad, math.pi) * per_radian)
        device = motion.scale.device
        # Directions and points are kept as three planes (3, ...): atan2 of strided numbers takes four times as long.
        y, x = torch.meshgrid(_middles(height, device), _middles(width, device), indexing="ij")
        self._rays = torch.stack([x * tangent * width / height, y * tangent, torch.ones_like(x)])
        self._azimuth = _middles(self._columns, device)  # in [-1, 1], 0 ahead of where the player began
        elevation, azimuth = torch.meshgrid(_middles(self._rows, device) * self._max_elevation_rad,
                                            self._azimuth * math.pi, indexing="ij")  # down is positive
        # The direction of every place of the map, one metre away from the eye's vertical, and what stands there.
        self._directions = torch.stack([azimuth.sin(), elevation.tan(), azimuth.cos()])
        ground_m = controls.eye_height_m / self._directions[1].clamp_min(1e-6)
        self._points_m = self._directions * ground_m.clamp_max(controls.scene_depth_m)
        self._map: Tensor | None = None  # (B, 4, rows, columns): colours and how far they are known
        self._yaw_rad: Tensor | None = None  # of the view in the map, to the left, (B,)
        self._pitch_rad: Tensor | None = None  # up
        self._view: Tensor | None = None  # what the map shows in the present direction, (B, 3, H, W)

    def reset(self) -> None:
        super().reset()
        self._map = self._yaw_rad = self._pitch_rad = self._view = None

    def snapshot(self) -> dict[str, Any]:
        own_map = None if self._map is None else self._map.clone()  # the view is written into it
        return {**super().snapshot(), "map": own_map, "view": self._view, "yaw": self._yaw_rad,
                "pitch": self._pitch_rad}

    def restore(self, snapshot: dict[str, Any]) -> None:
        super().restore(snapshot)
        self._map = None if snapshot["map"] is None else snapshot["map"].clone()
        self._view, self._yaw_rad, self._pitch_rad = snapshot["view"], snapshot["yaw"], snapshot["pitch"]

    def show(self, pictures: Tensor) -> None:
        """Take the picture that the player sees now, (B, 3, H, W) in [-1, 1]; the first one looks level and ahead."""
        if self._map is None:
            self._map = pictures.new_zeros(len(pictures), 4, self._rows, self._columns)
            self._yaw_rad = self._pitch_rad = pictures.new_zeros(len(pictures))
            self._view = pictures
        self._remember(pictures)
        super().show(pictures)

    def expect(self, rows: Tensor) -> Tensor:
        """Return the anchors (B, T, C + 1, h, w) of the chunk that rows (B, T, 12) lead into."""
        views, seen = [], []
        for pose in camera_poses(rows).unbind(dim=1):
            self._walk(pose)
            view, known = self._look()
            # Whether a column is unknown for the most part; specks at the rims are not worth it.
            needy = (known.mean(dim=2) < 0.5).flatten(1).any(dim=1)
            if self._imagines and bool(needy.any()):
                self._imagine(needy)
                view, known = self._look()
            views.append(view)
            seen.append(known)
        self._view, moved = views[-1], torch.stack(views, dim=1)
        seen = torch.stack(seen, dim=1)
        anchors = self._motion.anchor(moved.flatten(0, 1), seen.flatten(0, 1)).unflatten(0, moved.shape[:2])
        return self._offer(rows, moved, seen, self._motion.other_pictures(self._picture, rows), anchors)

    def _walk(self, pose: Tensor) -> None:
        """Turn the head and move the map by one motion (B, 3, 4).

        A turn is one of the body, about the vertical, and a nod; feet stay on the ground wherever the eyes look. So a
        motion is read as the controls behind it (actions.rows.camera_motion), and not multiplied up: that would
        let the horizon tilt after turns with a lifted head.
        """
        rotation = pose[..., :3]
        step = -torch.einsum("bji,bj->bi", rotation, pose[..., 3])  # right, down and ahead of the body before it turns
        cos, sin = self._yaw_rad.cos(), self._yaw_rad.sin()
        step_m = torch.stack([cos * step[:, 0] - sin * step[:, 2], torch.zeros_like(cos),
                              sin * step[:, 0] + cos * step[:, 2]], dim=-1)
        self._yaw_rad = self._yaw_rad + torch.atan2(rotation[:, 0, 2], rotation[:, 0, 0])
        self._pitch_rad = self._pitch_rad + torch.atan2(-rotation[:, 2, 1], rotation[:, 1, 1])
        length_m = step_m.norm(dim=1)
        if not bool((length_m > 1e-6).any()):
            return
        x, y, z = (self._points_m + step_m[..., None, None]).unbind(dim=1)
        azimuth = torch.atan2(x, z) / math.pi  # in [-1, 1] of the map without its margins
        elevation = _elevation(x, y, z) / self._max_elevation_rad
        # The seam: a direction that left on one side is looked up in the margin of the side it came from.
        azimuth = azimuth - 2 * torch.round((azimuth - self._azimuth) / 2)
        margin = self._columns / (self._columns + 2 * EDGE_COLUMNS)
        around = torch.cat([self._map[..., -EDGE_COLUMNS:], self._map, self._map[..., :EDGE_COLUMNS]], dim=-1)
        self._map = resample(around, torch.stack([azimuth * margin, elevation], dim=-1))
        self._map[:, 3] *= torch.exp(-length_m / self._fade_m)[:, None, None]

    def _window_columns(self) -> tuple[Tensor, Tensor]:
        """Columns (B, window) of the map around each view's middle, and the azimuth in radians of their middle (B,)."""
        first = torch.floor((1 - self._yaw_rad / math.pi) / 2 * self._columns).long() - self._window // 2
        columns = (first[:, None] + torch.arange(self._window, device=first.device)) % self._columns
        middle = ((first + self._window / 2) / self._columns * 2 - 1) * math.pi
        return columns, middle

    def _rotation(self) -> Tensor:
        """From the map's axes (x right of where the player began, y down, z ahead) to the camera's, (B, 3, 3)."""
        cy, sy, cp, sp = self._yaw_rad.cos(), self._yaw_rad.sin(), self._pitch_rad.cos(), self._pitch_rad.sin()
        zero, one = torch.zeros_like(cy), torch.ones_like(cy)
        yaw = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], dim=-1).unflatten(-1, (3, 3))
        pitch = torch.stack([one, zero, zero, zero, cp, sp, zero, -sp, cp], dim=-1).unflatten(-1, (3, 3))
        return pitch @ yaw

    def _look(self) -> tuple[Tensor, Tensor]:
        """Return the picture (B, 3, H, W) in the present direction and which pixels of it are known, (B, 1, H, W)."""
        columns, middle = self._window_columns()
        window = torch.stack([m.index_select(-1, c) for m, c in zip(self._map, columns, strict=True)])
        x, y, z = torch.einsum("jhw,bji->ibhw", self._rays, self._rotation())
        azimuth = torch.atan2(x, z) - middle[:, None, None]
        azimuth = azimuth - 2 * math.pi * torch.round(azimuth / (2 * math.pi))
        elevation = _elevation(x, y, z)
        half_window_rad = math.pi * self._window / self._columns
        places = torch.stack([azimuth / half_window_rad, elevation / self._max_elevation_rad], dim=-1)
        view = resample(window, places)
        own = self._motion.on_bonnet
        colours = torch.where(own, self._picture, view[:, :3])
        return colours, ((view[:, 3:] > KNOWN) | own).float()

    def _remember(self, pictures: Tensor) -> None:
        """Write the picture of the present direction into the map.

        What was known takes the difference to what was expected, which leaves a place that did not change as sharp
        as it was; what was not known takes the picture; and beyond its edges, where nothing is known, lies its border.
        """
        columns, middle = self._window_columns()
        for own_map, own, rotation, picture, change in zip(
                self._map, columns, self._rotation(), pictures, pictures - self._view, strict=True):
            camera = torch.einsum("jrc,ij->irc", self._directions.index_select(2, own), rotation).movedim(0, -1)
            places = self._motion.project(camera)
            inside = (places.abs() <= 1).all(dim=-1) & (camera[..., 2] > 0) & ~self._motion.hides(places)
            places = self._motion.past_bonnet(places)
            colours, change = resample(torch.cat([picture, change])[None], places[None])[0].split(3)
            old, share = own_map[:, :, own].split([3, 1])
            own_map[:3].index_copy_(2, own, torch.where(share > KNOWN, old + change * inside, colours))
            own_map[3].index_copy_(1, own, torch.where(inside, torch.ones_like(share[0]), share[0]))

    def _imagine(self, needy: Tensor) -> None:
        """Fill what is not known well of some maps of the batch, `needy` (B,) bool, with what is, folded (`folded`)."""
        per_column_rad = 2 * math.pi / self._columns
        share = _smoothed(self._map[:, 3:])
        level = slice(self._rows // 2 - LEVEL_ROWS, self._rows // 2 + LEVEL_ROWS)
        offsets = torch.arange(self._columns, device=share.device) - self._columns // 2
        for index in needy.nonzero()[:, 0].tolist():
            is_known = share[index, 0, level].mean(dim=0) > KNOWN
            ahead = math.floor((1 - float(self._yaw_rad[index]) / math.pi) / 2 * self._columns)
            near = offsets[is_known[(ahead + offsets) % self._columns]]
            if not len(near):
                continue
            ahead = ahead + int(near[near.abs().argmin()])  # what is known, or the nearest to where one looks
            around = (ahead + offsets) % self._columns
            is_known = is_known[around]
            right, left = _run_of(is_known[self._columns // 2:]), _run_of(is_known[:self._columns // 2].flip(0))
            middle, half = (right - left - 1) / 2, (right + left) / 2
            source = folded((offsets - middle) * per_column_rad, half * per_column_rad) / per_column_rad + middle
            taken = self._map[index][..., (ahead + source.round().long()) % self._columns]
            beyond = (offsets >= right) | (offsets < -left)
            fill = beyond & (share[index, :, :, around] <= UNSURE) & (taken[3:] > KNOWN)
            colours = torch.lerp(taken[:3], _around_each(taken[:3]), SOFT)
            taken = torch.cat([colours, torch.full_like(taken[3:], IMAGINED)])
            self._map[index][..., around] = torch.where(fill, taken, self._map[index][..., around])


def _smoothed(share: Tensor) -> Tensor:
    """Shares (B, 1, rows, columns) all around, without the specks at the rims of what is known."""
    around = torch.cat([share[..., -ROUGH_PX:], share, share[..., :ROUGH_PX]], dim=-1)
    return F.avg_pool2d(F.pad(around, (0, 0, ROUGH_PX, ROUGH_PX), mode="replicate"), 2 * ROUGH_PX + 1, stride=1)


def _around_each(colours: Tensor) -> Tensor:
    """Means (3, rows, columns) about each place, which stray less far from a truth that nobody knows."""
    return F.avg_pool2d(colours[None], 2 * SOFT_PX + 1, stride=1, padding=SOFT_PX, count_include_pad=False)[0]


def _run_of(marks: Tensor) -> int:
    """How many of the marks (N,) bool come before the first that is not set."""
    return int((~marks).long().argmax()) if not bool(marks.all()) else len(marks)


def _middles(count: int, device: torch.device) -> Tensor:
    """The middles of `count` cells between -1 and 1."""
    return (torch.arange(count, device=device) + 0.5) / count * 2 - 1


def folded(azimuth_rad: Tensor, half_rad: float) -> Tensor:
    """Where within `half_rad` of straight ahead each direction takes what it looks like from, until it is seen.

    What is known goes on past both its edges as in a mirror, to and fro: everywhere as continuous as itself, also
    behind. With n ways to the right and n + 1 to the left the two ends meet, and for no way to leave what is known n
    must be so large that the ways to the left are the longer ones. Where half the horizon or more is known, each side
    has a mirror of its own, and the two meet as they may.
    """
    azimuth_rad = azimuth_rad - 2 * math.pi * torch.round(azimuth_rad / (2 * math.pi))
    beyond = 2 * (math.pi - half_rad)
    to_right = beyond / 2 - half_rad  # in all
    if to_right <= 1e-6 * half_rad:  # or a rounding error were a way of its own
        return azimuth_rad - 2 * (azimuth_rad - azimuth_rad.clamp(-half_rad, half_rad))
    count = math.ceil(to_right / (2 * half_rad) - 1e-6)  # or a rounding error were a way more
    right, left = to_right / count, (to_right + 2 * half_rad) / (count + 1)
    gone = (azimuth_rad - half_rad) % (2 * math.pi)  # past the right edge
    pair = torch.div(gone, left + right, rounding_mode="floor")
    rest = gone - pair * (left + right)
    off = torch.where(rest <= left, -rest, rest - 2 * left)
    return torch.where(azimuth_rad.abs() <= half_rad, azimuth_rad, half_rad - pair * (left - right) + off)


def _farthest(tangent: float, aspect: float, max_pitch_deg: float) -> tuple[float, float]:
    """How far from level, and from straight ahead, a view looks, in radians: of one that is lifted by `max_pitch_deg`
    the middle of the upper edge, and its corners; a view that holds the zenith looks every way.

    `tangent` is that of half the vertical field of view.
    """
    pitch = math.radians(max_pitch_deg)
    up = math.atan(tangent) + pitch
    ahead = math.cos(pitch) - tangent * math.sin(pitch)  # of a corner at distance 1
    return (min(up, math.pi / 2 - 2 * MARGIN_RAD),
            math.atan2(tangent * aspect, ahead) if up < math.pi / 2 else math.pi)


def _elevation(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """The angles in radians, down being positive, at which an eye at the origin sees points."""
    return torch.atan2(y, (x.square() + z.square()).sqrt())
