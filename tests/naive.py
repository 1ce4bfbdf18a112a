"""Slow, obvious twins of the clever parts: what each of them must equal, written so that it can be read at a glance."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from astra_play.codec.distances import Distances
from astra_play.config import ControlsConfig, ModelConfig, StreamConfig
from astra_play.model.anchor import AHEAD_BLUR, AHEAD_PX, STAYS_PX, repeat_last
from astra_play.model.footing import KNEE_M, THIN_M
from astra_play.model.history import with_mask
from astra_play.model.panorama import UP
from astra_play.model.place import SMOOTH_M, Place
from astra_play.model.surroundings import folded
from astra_play.model.tiling import Tiling
from astra_play.model.transformer import Transformer


def naive_rotate(x: Tensor, time: int, config: ModelConfig) -> Tensor:
    """Turn x (B, heads, tokens of one latent frame, head_dim) pair by pair with cosines and sines in float64."""
    height, width = config.grid_height // config.patch_size[1], config.grid_width // config.patch_size[2]
    spatial = 2 * (config.head_dim // 6)
    parts = [config.head_dim - 2 * spatial, spatial, spatial]
    out = x.double().clone()
    for token in range(height * width):
        start = 0
        for position, size in zip((time, token // width, token % width), parts, strict=True):
            if position:  # an angle of zero turns nothing
                angle = position * 10000.0 ** (-torch.arange(0, size, 2).double() / size)
                a, b = (x[:, :, token, start + i:start + size:2].double() for i in (0, 1))
                out[:, :, token, start:start + size:2] = a * angle.cos() - b * angle.sin()
                out[:, :, token, start + 1:start + size:2] = a * angle.sin() + b * angle.cos()
            start += size
    return out.to(x.dtype)


def visible_chunks(chunk: int, stream: StreamConfig) -> list[int]:
    """The committed chunks that fill the window once `chunk` is the newest: the sink, then the last ring_chunks."""
    sink = [k for k in range(min(stream.sink_chunks, chunk + 1))]
    rest = [k for k in range(stream.sink_chunks, chunk + 1)]
    return sink + rest[-stream.ring_chunks:]


class NaiveWindow:
    """Attention over a list of clean chunks and one target: every key is turned anew for every query chunk."""

    def __init__(self, config: ModelConfig, stream: StreamConfig, num_clean: int) -> None:
        self.config, self.stream, self.num_clean = config, stream, num_clean

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query, key, value: (B, heads, (num_clean + 1) chunks of tokens, head_dim)."""
        frames, size = self.stream.latent_frames_per_chunk, self.config.tokens_per_latent_frame
        chunks = [[t.split(size, dim=2)[c * frames:(c + 1) * frames] for c in range(self.num_clean + 1)]
                  for t in (query, key, value)]
        outputs = []
        for chunk in range(self.num_clean + 1):
            target = chunk == self.num_clean
            seen = visible_chunks(chunk - 1 if target else chunk, self.stream) + ([chunk] if target else [])
            keys = [naive_rotate(k, place * frames + f, self.config)
                    for place, c in enumerate(seen) for f, k in enumerate(chunks[1][c])]
            values = [v for c in seen for v in chunks[2][c]]
            own = (len(seen) - 1) * frames
            queries = [naive_rotate(q, own + f, self.config) for f, q in enumerate(chunks[0][chunk])]
            q, k, v = (torch.cat(list(t), dim=2) for t in (queries, keys, values))
            outputs.append(torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1) @ v)
        return torch.cat(outputs, dim=2)


def naive_velocity(model: Transformer, stream: StreamConfig, modality: str, clean: list[Tensor],
                   clean_rows: list[Tensor],
                   noisy: Tensor, sigma: float, rows: Tensor, null: bool = False,
                   anchors: list[Tensor] | None = None) -> Tensor:
    """Velocity of a noisy chunk after the clean chunks since reset, by one full pass without any cache.

    `anchors`: one for every clean chunk and one for the noisy one; None: each is the latent frame before it.
    """
    if anchors is None:
        anchors = [repeat_last(c[:, -1:], rows.shape[1]) for c in [clean[0][:, :1], *clean]]
    if null:
        anchors = [*anchors[:-1], repeat_last(clean[-1][:, -1:], rows.shape[1])]
    x = torch.cat([model.embed(c, a) for c, a in zip(clean + [noisy], anchors, strict=True)], dim=1)
    all_rows = torch.cat([with_mask(r, 1.0) for r in clean_rows] + [with_mask(rows, 0.0)], dim=1)
    frames = noisy.shape[1]
    levels = torch.tensor([[stream.context_sigma] * frames * len(clean) + [sigma] * frames])
    nulls = torch.tensor([[False] * frames * len(clean) + [null] * frames])
    embedding, noise_level = model.embed_sigma(levels)
    x = model.trunk(x, noise_level, model.actions(all_rows, modality, nulls), None,
                    NaiveWindow(model.config, stream, len(clean)))
    return model.velocity(x[:, -frames:], embedding[:, -frames:], noisy, levels[:, -frames:], anchors[-1])


def naive_mix(moved: Tensor, others: Tensor, shares: Tensor, blocks: int, cell: int) -> Tensor:
    """Pictures (B, T, 3, H, W), each pixel mixed by hand from the anchor's and those of the hypotheses."""
    mixed, side = moved.clone(), cell // blocks
    for y in range(moved.shape[-2]):
        for x in range(moved.shape[-1]):
            block = (y % cell // side) * blocks + x % cell // side
            own = shares[:, :, :, block, y // cell, x // cell]
            mixed[..., y, x] = (1 - own.sum(dim=2))[..., None] * moved[..., y, x]
            for k in range(own.shape[2]):
                mixed[..., y, x] += own[:, :, k, None] * others[:, :, k, :, y, x]
    return mixed


def naive_block_errors(moved: Tensor, others: Tensor, truth: Tensor, blocks: int, cell_px: int) -> Tensor:
    """Twin of `CameraMotion.block_errors`: pixel by pixel into the block that it lies in."""
    batch, frames, _, height, width = moved.shape
    side = cell_px // blocks
    errors = torch.zeros(batch, frames, 1 + others.shape[2], blocks**2, height // cell_px, width // cell_px)
    for k, candidate in enumerate([moved, *others.unbind(dim=2)]):
        wrong = (candidate - truth).square().mean(dim=2)
        for y in range(height):
            for x in range(width):
                block = (y % cell_px) // side * blocks + (x % cell_px) // side
                errors[:, :, k, block, y // cell_px, x // cell_px] += wrong[:, :, y, x] / side**2
    return errors


def naive_layers(pictures: list[Tensor], share: Tensor, steps_px: list[int], cover_px: int,
                 fill_in: Callable[[Tensor, Tensor], Tensor]) -> list[tuple[Tensor, Tensor]]:
    """A hand over a table, pixel by pixel: what is expected after each step to the right by whole pixels, (3, H, W),
    and which of its pixels were ever seen, (H, W).

    `pictures` are those shown before each step; `share` (H, W) of the hand is 0 or 1.
    """
    _, height, width = pictures[0].shape

    def hidden(y: int, x: int, gone_px: int) -> bool:
        return any(share[v, u] > 0 for v in range(max(0, y - cover_px), min(height, y + cover_px + 1))
                   for u in range(max(0, x - gone_px - cover_px), min(width, x - gone_px + cover_px + 1)))

    table = fill_in(pictures[0][None], (share == 0)[None, None])[0].clone()
    known = torch.tensor([[not hidden(y, x, 0) for x in range(width)] for y in range(height)])
    gone_px, expected = 0, []
    for index, step_px in enumerate(steps_px):
        if index:
            for y in range(height):
                for x in range(width):
                    if not hidden(y, x, gone_px):
                        table[:, y, x], known[y, x] = pictures[index][:, y, x], True
        gone_px += step_px
        picture, seen = table.clone(), known.clone()
        for y in range(height):
            for x in range(width):
                if 0 <= x - gone_px < width and share[y, x - gone_px] > 0:
                    picture[:, y, x], seen[y, x] = pictures[0][:, y, x - gone_px], True
        expected.append((picture, seen))
    return expected


def naive_throw(share: Callable[[float, float], float], way_m: tuple[float, float, float], slant: tuple[float, float],
                controls: ControlsConfig, width: int, height: int) -> Tensor:
    """The shadow on a table, pixel by pixel, after its hand went a way (right, away, up): (H, W).

    `share` tells of the first picture, at a column and row in pixels (0.5, 0.5 is the middle of the first one). Each
    pixel's ray is followed down to the table, the place there back to where its shadow lay at first, and that place up
    to the camera again, all in the room's own axes: right, away, up, the camera over their origin.
    """
    lift, tangent = math.radians(controls.camera_lift_deg), math.tan(math.radians(controls.vertical_fov_deg) / 2)
    focal_px, eye_m = height / 2 / tangent, controls.eye_height_m
    ahead, over = (math.cos(lift), -math.sin(lift)), (math.sin(lift), math.cos(lift))  # away and up, of the picture
    thrown = torch.zeros(height, width)
    for row in range(height):
        for column in range(width):
            x, y = (column + 0.5 - width / 2) / focal_px, (row + 0.5 - height / 2) / focal_px
            ray = x, ahead[0] - y * over[0], ahead[1] - y * over[1]
            far = eye_m / -ray[2]
            right = far * ray[0] - way_m[0] - way_m[2] * slant[0]
            away = far * ray[1] - way_m[1] - way_m[2] * slant[1]
            depth = away * ahead[0] - eye_m * ahead[1]
            across, up = right / depth, (away * over[0] - eye_m * over[1]) / depth
            thrown[row, column] = share(width / 2 + focal_px * across, height / 2 - focal_px * up)
    return thrown


def naive_around(lift_rad: float, eye_m: float, place_m: tuple[float, float, float], slant: tuple[float, float],
                 vertical_fov_deg: float, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Twin of `StillCamera.around`, pixel by pixel in the room's own axes: where each pixel's ray is beside a hand,
    right and down of it in the plane that is as far ahead as it, and on the table, right and away of its shadow."""
    tangent = math.tan(math.radians(vertical_fov_deg) / 2)
    ahead, down = (math.cos(lift_rad), -math.sin(lift_rad)), (-math.sin(lift_rad), -math.cos(lift_rad))  # away and up
    right, away, up = place_m[0], place_m[1], place_m[2] - eye_m
    depth, below = away * ahead[0] + up * ahead[1], away * down[0] + up * down[1]
    foot = place_m[0] + place_m[2] * slant[0], place_m[1] + place_m[2] * slant[1]
    beside, on_table = torch.zeros(2, height, width), torch.zeros(2, height, width)
    for row in range(height):
        for column in range(width):
            x = ((column + 0.5) / width * 2 - 1) * tangent * width / height
            y = ((row + 0.5) / height * 2 - 1) * tangent
            beside[:, row, column] = torch.tensor([x * depth - right, y * depth - below])
            ray = x, ahead[0] + y * down[0], ahead[1] + y * down[1]
            far = eye_m / -ray[2]
            on_table[:, row, column] = torch.tensor([far * ray[0] - foot[0], far * ray[1] - foot[1]])
    return beside, on_table


def naive_table_step(blocks: list[dict[str, float]], hand: dict[str, float], way: tuple[float, float, float],
                     opening: float) -> None:
    """table_blocks.step for one hand, in place: blocks have x, y, z, held, fall; the hand x, y, z, opening."""
    half, finger_across, finger_away, touch, slack = 0.03, 0.007, 0.0135, 0.002, 0.004

    def beside(block: dict[str, float]) -> bool:
        return block["z"] + half > hand["z"] - 0.0185 + touch and block["z"] - half < hand["z"] + 0.058

    before = hand["opening"]
    for axis, step in zip("xyz", way, strict=True):
        hand[axis] += step
        for block in blocks:
            if block["held"]:
                block[axis] += step
    inside = [block for block in blocks if abs(block["x"] - hand["x"]) + half <= before + slack
              and abs(block["y"] - hand["y"]) <= half and beside(block)]
    hand["opening"] = max(opening, half) if inside or any(block["held"] for block in blocks) else opening
    room = max(hand["opening"] - half, 0.0)
    for block in blocks:
        taken = any(block is one for one in inside)
        block["held"] = (taken or block["held"]) and room <= touch
        if taken or block["held"]:
            block["x"] = hand["x"] + min(max(block["x"] - hand["x"], -room), room)
        if block["held"]:
            block["fall"] = 0.0
        else:
            block["fall"] += 9.81 / 256
            block["z"] -= block["fall"]
            if block["z"] <= half:
                block["fall"] = 0.0
        block["z"] = max(block["z"], half)
    for side in (-1, 1):
        finger_x = hand["x"] + side * (hand["opening"] + finger_across)
        for block in blocks:
            in_x = finger_across + half - abs(block["x"] - finger_x)
            in_y = finger_away + half - abs(block["y"] - hand["y"])
            if block["held"] or in_x <= 0 or in_y <= 0 or not beside(block):
                continue
            if in_x <= in_y:
                block["x"] += in_x if block["x"] >= finger_x else -in_x
            if in_y <= in_x:
                block["y"] += in_y if block["y"] >= hand["y"] else -in_y


def naive_blur_ahead(picture: Tensor, row: Tensor, controls: ControlsConfig) -> Tensor:
    """A picture (3, H, W) that a camera row (12,) has moved, blurred column by column about where the row leads."""
    pose, (height, width) = row.reshape(3, 4), picture.shape[1:]
    focal_px = height / 2 / math.tan(math.radians(controls.vertical_fov_deg) / 2)
    aside, ahead = -float(pose[0, 3]), -float(pose[2, 3])
    if ahead <= 0:
        return picture
    blurred = picture.clone()
    for x in range(width):
        off_px = x + 0.5 - width / 2 - focal_px * aside / ahead
        share = min(1.0, AHEAD_BLUR * ahead / controls.scene_depth_m) * math.exp(-off_px**2 / (2 * AHEAD_PX**2))
        share *= math.exp(-(focal_px * float(pose[0, 2]) / STAYS_PX) ** 2)
        left, right = picture[:, :, max(x - 1, 0)], picture[:, :, min(x + 1, width - 1)]
        blurred[:, :, x] += share * ((left + right) / 4 - picture[:, :, x] / 2)
    return blurred


def naive_components(front_m: torch.Tensor, alike: float) -> torch.Tensor:
    """What hangs together in one (rows, columns): every thing is flooded from its first cell, numbered from 0."""
    labels, count = torch.full(front_m.shape, -1, dtype=torch.int64), 0
    for start in front_m.isfinite().nonzero().tolist():
        if labels[tuple(start)] >= 0:
            continue
        ahead, labels[tuple(start)] = [tuple(start)], count
        while ahead:
            row, column = ahead.pop()
            for beside in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= beside[0] < front_m.shape[0] and 0 <= beside[1] < front_m.shape[1] and labels[beside] < 0 and (
                        abs(math.log(front_m[beside]) - math.log(front_m[row, column])) < alike):
                    labels[beside] = count
                    ahead.append(beside)
        count += 1
    return labels


def naive_ways(place: Place, yaw_rad: float) -> list[tuple[float, float]]:
    """Where the columns of a level view turned `yaw_rad` to the left go to the right and ahead of the start for every
    metre."""
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    return [(across * cos - sin, across * sin + cos) for across in place._across.tolist()]


def naive_billboards(place: Place, eye: tuple[float, float, float], things: list[tuple[float, float, float]],
                     batch_index: int, first_thing: int, solid: bool) -> list[list[float]]:
    """How far ahead each pixel of a level view from `eye` meets a billboard, rows of columns, inf for none.

    `things`: azimuth, width and distance of all narrow things of the panorama. All around the start and in all tiles
    nearby each stands wherever the panorama shows its middle, as a wall at right angles to the line of sight.
    """
    right_m, ahead_m, yaw_rad = eye
    panorama, reach = place.panorama, place._reach_m
    around = torch.linspace(-math.pi, math.pi, 7201)
    shown = [naive_shown(place_rad, place.tiling) for place_rad in around.tolist()]
    walls = []
    for number, (azimuth, width, away) in enumerate(things):
        for place_rad, own, next_to in zip(around.tolist(), shown[:-1], shown[1:], strict=False):
            if not min(own, next_to) <= azimuth < max(own, next_to) or abs(next_to - own) > 2e-3:
                continue
            side = 1 if next_to > own else -1
            middle = place_rad + side * (azimuth - own)
            for i in range(-3, 4):
                for j in range(-3, 4):
                    x, z = away * math.sin(middle), away * math.cos(middle)
                    walls.append((number, 2 * reach * i + (-x if i % 2 else x), 2 * reach * j + (-z if j % 2 else z),
                                  side * (-1) ** (i + j), azimuth, width, away))
    walls = [wall for wall in walls if math.hypot(wall[1] - right_m, wall[2] - ahead_m) < 1.5 * reach]
    met = []
    for down in place._down.tolist():
        met.append([])
        for step_x, step_z in naive_ways(place, yaw_rad):
            nearest = math.inf
            for number, x, z, side, azimuth, width, away in walls:
                off_m = math.hypot(x - right_m, z - ahead_m)
                towards = (step_x * (x - right_m) + step_z * (z - ahead_m)) / off_m
                if towards <= 1e-6 or off_m <= 0.5:
                    continue
                along = off_m / towards
                aside = along * (step_x * (z - ahead_m) - step_z * (x - right_m)) / off_m
                if abs(aside) > width / 2 or along * math.hypot(step_x, step_z) >= reach or along >= nearest:
                    continue
                turned = math.atan(side * aside / away)
                row = int(panorama.row_of(torch.tensor(down * along * math.cos(turned) / away)))
                column = int(panorama.column_of(torch.tensor(azimuth + turned)))
                if place.billboards.labels[batch_index, row, column] == first_thing + number and (
                        not solid or panorama.things[batch_index, 3, row, column] > 0.5):
                    nearest = along
            met[-1].append(nearest)
    return met


def naive_clearance_m(place: Place, point: tuple[float, float], batch_index: int) -> float:
    """How far a point (metres right and ahead of the start, in the first tile) is from what stands between knee and
    eye: every place of every direction is laid out, from its front to its back, mirrored as the panorama goes on."""
    panorama, nearest = place.panorama, math.inf
    down = panorama.down.tolist()
    spans = []
    for column in range(panorama.columns):
        spans.append([])
        for row in range(panorama.rows):
            front = float(panorama.solid_front_m[batch_index, row, column])
            if KNEE_M < place._eye_m - down[row] * front < place._eye_m:
                thin = place.billboards.labels[batch_index, row, column] >= 0
                spans[-1].append((front, front + THIN_M if thin else float(panorama.back_m[batch_index, row, column])))
    for half_degrees in range(720):
        azimuth = math.radians(half_degrees / 2 - 180)
        shown, beside = (naive_shown(own, place.tiling) for own in (azimuth, azimuth + 1e-3))
        column = int(panorama.column_of(torch.tensor(shown)))
        azimuth += math.copysign(1.0, beside - shown) * (float(panorama.azimuth[column]) - shown)
        along = point[0] * math.sin(azimuth) + point[1] * math.cos(azimuth)
        for front, back in spans[column]:
            away = min(max(along, front), back)
            nearest = min(nearest, math.hypot(away * math.sin(azimuth) - point[0], away * math.cos(azimuth) - point[1]))
    return nearest


def naive_first_met(place: Place, eye: tuple[float, float, float], batch_index: int) -> list[list[float]]:
    """How far ahead each pixel of a level view from `eye` (metres right and ahead of the start, radians to the left)
    meets something that stands, rows of columns: every sample of every ray is looked at, the nearest first."""
    right_m, ahead_m, yaw_rad = eye
    panorama, samples, reach = place.rest, place._samples_m.tolist(), place._reach_m

    def from_start(x: float, z: float) -> tuple[float, float]:
        """Azimuth in the panorama and distance of a point."""
        x, z = naive_tiled(x, reach), naive_tiled(z, reach)
        return naive_shown(math.atan2(x, z), place.tiling), math.hypot(x, z)

    met = []
    for down in place._down.tolist():
        met.append([])
        for step_x, step_z in naive_ways(place, yaw_rad):
            found, before = math.inf, None
            for sample in samples:
                if sample * math.hypot(step_x, step_z) >= reach:
                    break
                azimuth, away = from_start(right_m + sample * step_x, ahead_m + sample * step_z)
                soon, soon_away = before or (sample, away)
                before = sample, away
                if down * sample / away <= -UP:
                    continue
                row = int(panorama.row_of(torch.tensor(down * sample / away)))
                column = int(panorama.column_of(torch.tensor(azimuth)))
                front, back = (float(own[batch_index, row, column]) for own in (panorama.front_m, panorama.back_m))
                if math.hypot(right_m, ahead_m) >= SMOOTH_M / 2 and panorama.things[batch_index, 3, row, column] <= 0.5:
                    front = math.inf
                if front <= max(away, soon_away) and min(away, soon_away) < back:
                    face = back if soon_away >= back else front
                    share = (face - soon_away) / (away - soon_away) if abs(away - soon_away) > 1e-6 else 0.0
                    from_aside = front <= soon_away < back
                    found = sample if from_aside else soon + min(max(share, 0.0), 1.0) * (sample - soon)
                    break
            met[-1].append(found)
    return met


def naive_without_kerbs(distances: Distances, controls: ControlsConfig, low_m: float, alike: float, index: int
                        ) -> list[list[bool]]:
    """What is left standing, rows of columns: what is low, and does not go on up to `low_m`, is not."""
    height, width = distances.stands.shape[2:]
    tangent, pitch = math.tan(math.radians(controls.vertical_fov_deg) / 2), float(distances.pitch_rad[index])
    stands, metres = ((own[index, 0].tolist()) for own in (distances.stands, distances.distance_m))
    left = []
    for row in range(height):
        left.append([])
        for column in range(width):
            y, x = ((row + 0.5) / height * 2 - 1) * tangent, ((column + 0.5) / width * 2 - 1) * tangent * width / height
            ahead = math.cos(pitch) + y * math.sin(pitch)
            down = (y * math.cos(pitch) - math.sin(pitch)) / math.hypot(ahead, x)
            missing_m = low_m - (controls.eye_height_m - down * metres[row][column])
            higher = row - min(max(math.ceil(missing_m * height / 2 / tangent / metres[row][column]), 1), height)
            goes_on = higher < 0 or (stands[higher][column] > 0.5 and abs(
                math.log(metres[higher][column] / metres[row][column])) < alike)
            left[-1].append(stands[row][column] > 0.5 and (goes_on or missing_m <= 0))
    return left


def naive_shown(azimuth: float, tiling: Tiling) -> float:
    """Where a direction's likeness is seen within `half_rad` of straight ahead: on a road in a mirror across, then in
    mirrors at both edges."""
    if not tiling.is_road:
        return float(folded(torch.tensor([azimuth]), tiling.half_rad))  # whose twin is in test_surroundings.py
    return naive_tiled(math.atan2(math.sin(azimuth), abs(math.cos(azimuth))), tiling.half_rad)


def naive_ground(point: tuple[float, float], tiling: Tiling) -> tuple[float, float]:
    """Which ground of the start picture is laid at a point (metres right and ahead, in the first tile and not behind):
    azimuth and distance. Step by step ahead to the picture's edge, and as far again."""
    x, z = point
    edge = z
    while edge < 2 * tiling.reach_m and abs(math.atan2(x, edge)) > tiling.half_rad:
        edge += 0.001
    if edge + (edge - z) < tiling.reach_m:
        return math.atan2(x, edge + (edge - z)), math.hypot(x, edge + (edge - z))
    return naive_shown(math.atan2(x, z), tiling), math.hypot(x, z)


def naive_tiled(metres: float, half_m: float) -> float:
    """Go back from mirror to mirror until within the first tile."""
    while abs(metres) > half_m:
        metres = math.copysign(2 * half_m, metres) - metres
    return metres


def naive_upright(stands: Tensor, guess: Tensor, foot: Tensor, limits: dict[str, float]) -> Tensor:
    """Logarithms of distances (H, W) that agree best with a guess, their neighbours and the feet: every equation of the
    least squares problem is written down in a matrix, which is solved. `foot` (H, W) is inf where there is no ground
    to be seen."""
    height, width = guess.shape
    index = torch.arange(height * width).view(height, width)
    matrix, right = torch.zeros(height * width, height * width).double(), torch.zeros(height * width).double()

    def add(i: int, strength: float, wanted: float) -> None:
        matrix[i, i] += strength
        right[i] += strength * wanted

    for row in range(height):
        for column in range(width):
            i, own = int(index[row, column]), float(guess[row, column])
            if not stands[row, column]:
                add(i, 1.0, own)
                continue
            on_ground = row + 1 < height and not stands[row + 1, column]
            if on_ground and abs(float(foot[row, column]) - own) < limits["believed"]:
                add(i, limits["guess"] + limits["foot"], float(foot[row, column]))
            else:
                add(i, limits["guess"], own)
            for down, across, alike, strength in ((1, 0, limits["alike_down"], limits["down"]),
                                                  (0, 1, limits["alike_across"], limits["across"])):
                if row + down >= height or column + across >= width or not stands[row + down, column + across]:
                    continue
                if abs(float(guess[row + down, column + across]) - own) < alike:
                    j = int(index[row + down, column + across])
                    matrix[i, i] += strength
                    matrix[j, j] += strength
                    matrix[i, j] -= strength
                    matrix[j, i] -= strength
    return torch.linalg.solve(matrix, right).view(height, width)
