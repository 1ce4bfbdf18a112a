"""Slow, obvious twins of the clever parts: what each of them must equal, written so that it can be read at a glance."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from astra_play.config import ControlsConfig, ModelConfig, StreamConfig
from astra_play.model.anchor import AHEAD_BLUR, AHEAD_PX, STAYS_PX, repeat_last
from astra_play.model.history import with_mask
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
