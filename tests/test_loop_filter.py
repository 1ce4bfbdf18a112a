"""The loop filter: what it is before it has learned, how it lies in the loop and in the codec's file."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from naive_filter import naive_filter
from tiny_filter import FILTERED, learned, load_tiny_codec, some_pictures
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.actions.rows import camera_row, vehicle_row
from astra_play.codec.loop_filter import LoopFilter
from astra_play.config import load_world_config
from astra_play.model.anchor import pace
from astra_play.model.carried import carried_picture, make_motion
from astra_play.model.carried_picture import CarriedPicture
from astra_play.model.checkpoint import load_codec
from astra_play.model.loading import load_world


def test_untrained_filter_changes_nothing() -> None:
    torch.manual_seed(0)
    loop_filter, pictures = LoopFilter(8), some_pictures(2)
    shown = loop_filter(pictures, some_pictures(2, 1), torch.ones(2, 1, 32, 32), loop_filter.style(pictures))
    assert torch.equal(shown, pictures)


def test_filter_is_its_naive_twin() -> None:
    loop_filter, pictures, moved = learned(), some_pictures(3), some_pictures(3, 1)
    seen = (torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    style = loop_filter.style(some_pictures(3, 3))
    shown = loop_filter(pictures, moved, seen, style)
    assert (shown - pictures).abs().max() > 0.05
    for i in range(3):
        assert torch.allclose(shown[i], naive_filter(loop_filter, pictures[i], moved[i], seen[i], style[i]), atol=1e-5)


def test_carried_picture_is_filtered_in_the_light_of_the_first_one() -> None:
    torch.manual_seed(0)
    codec = load_tiny_codec()
    loop_filter, motion = learned(), make_motion(TINY_WORLD, codec)
    bare, filtered = (CarriedPicture(motion, motion.paint, 0.1, own) for own in (None, loop_filter))
    start, row = some_pictures(2), torch.from_numpy(camera_row(0.2, 0.0, 0.1)).expand(2, 1, 12)
    style = loop_filter.style(start)
    shown = start
    for carried in (bare, filtered):
        carried.show(start)
    for step in range(3):
        bare.show(shown)  # goes on from the filtered picture, so that only this step's filter is missing
        for carried in (bare, filtered):
            anchors = carried.expect(row)
        latents = anchors[:, :, :4] + 0.1 * torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(step))
        painted = bare.paint_over(latents)[0][:, 0]
        moved, seen, _ = motion.expect(shown, row)
        shown = filtered.paint_over(latents)[0][:, 0]
        assert torch.allclose(shown, loop_filter(painted, moved[:, 0], seen[:, 0], style), atol=1e-5)
        assert (shown - painted).abs().max() > 0.05
        assert torch.equal(filtered.picture, shown)


def test_bonnet_stays_that_of_the_first_picture_and_nothing_else_does() -> None:
    torch.manual_seed(0)
    controls = dataclasses.replace(TINY_WORLD.controls, modality="vehicle", bonnet=(0.2, 0.7))
    motion = make_motion(dataclasses.replace(TINY_WORLD, controls=controls), load_tiny_codec())
    carried, start = CarriedPicture(motion, motion.paint, 0.0, learned()), some_pictures(1)
    carried.show(start)
    assert 0 < motion.on_bonnet.sum() < 200
    for _ in range(3):
        anchors = carried.expect(torch.from_numpy(vehicle_row(1.0, 0.0, 0.1)).expand(1, 1, 7))
        picture = carried.paint_over(anchors[:, :, :4] + 0.3)[0][0, 0]
        same = (picture == start[0]).all(dim=0)
        assert same[motion.on_bonnet].all() and same[~motion.on_bonnet].float().mean() < 0.05


@pytest.mark.parametrize(("row", "unknown", "known"), [
    (camera_row(), 0.0, 0.0), (camera_row(0.02), 0.4, 0.4), (camera_row(0.0, 0.01), 0.2, 0.2),
    (camera_row(0.5), 1.0, 1.0), (camera_row(0.0, 0.0, math.radians(0.6)), 0.4, 0.0),
    (camera_row(0.0, 0.0, 0.0, math.radians(-0.3)), 0.2, 0.0), (camera_row(0.01, 0.0, math.radians(0.3)), 0.4, 0.2),
    (vehicle_row(0.02, 0.0, 0.0), 0.4, 0.4), (vehicle_row(0.0, 0.0, math.radians(-0.75)), 0.5, 0.0)])
def test_the_filter_works_as_briskly_as_the_camera_moves(row: np.ndarray, unknown: float, known: float) -> None:
    """And on what is known only as far as it walks: a turn shows the same again."""
    given = torch.from_numpy(row).float()
    assert pace(given).item() == pytest.approx(unknown, abs=0.02)
    assert pace(given, turns=False).item() == pytest.approx(known, abs=0.02)
    controls = dataclasses.replace(TINY_WORLD.controls, modality="vehicle" if len(row) == 7 else "camera")
    motion = make_motion(dataclasses.replace(TINY_WORLD, controls=controls), load_tiny_codec())
    shown, seen = [], some_pictures(1)[:, None, :1] > 0
    for strength, forced in ((0.0, False), (1.0, False), (1.0, True)):
        carried = CarriedPicture(motion, motion.paint, 0.0, learned(), strength)
        carried.show(some_pictures(1))
        moved, _, anchors = motion.expect(carried.picture, given.expand(1, 1, -1))
        carried._offer(given.expand(1, 1, -1), moved, seen.float(), None, anchors)
        if forced:
            carried._gate = torch.ones_like(carried._gate)
        shown.append(carried.paint_over(anchors[:, :, :4])[0])
    unfiltered, now, whole = shown
    assert (whole - unfiltered).abs().mean() > 0.05
    expected = torch.where(seen, torch.tensor(known), torch.tensor(unknown))
    assert torch.allclose(now, unfiltered + expected * (whole - unfiltered), atol=0.02)


def test_a_place_does_not_fade_before_who_stands_in_it() -> None:
    """Whatever the network says, and with a leak; without a filter the codec's own idea takes over as ever."""
    torch.manual_seed(0)
    motion, start = make_motion(TINY_WORLD, load_tiny_codec()), some_pictures(1)
    filtered, bare = (CarriedPicture(motion, motion.paint, 0.1, own) for own in (learned(), None))
    for carried in (filtered, bare):
        carried.show(start)
        for _ in range(10):
            anchors = carried.expect(torch.from_numpy(camera_row()).float().expand(1, 1, 12))
            carried.paint_over(anchors[:, :, :4] + 0.3)
    assert torch.allclose(filtered.picture, start, atol=1e-3)
    assert (bare.picture - start).abs().mean() > 0.1


def test_a_chunk_that_ends_at_rest_is_filtered_as_its_frames_one_by_one() -> None:
    torch.manual_seed(0)
    motion, rows = make_motion(TINY_WORLD, load_tiny_codec()), [camera_row(0.3), camera_row()]
    rows = torch.from_numpy(np.stack(rows)).float()[None]
    carried = CarriedPicture(motion, motion.paint, 0.0, learned())
    carried.show(some_pictures(1))
    pictures, _ = carried.paint_over(carried.expect(rows)[:, :, :4])
    assert torch.allclose(pictures[:, 0], pictures[:, 1], atol=1e-4)


@pytest.mark.parametrize("strength", [0.0, 0.25])
def test_strength_is_the_share_of_the_change_that_is_made(tmp_path: Path, strength: float) -> None:
    """Of strength 0 nothing of the filter is left: the decoder paints, as it does in a codec without one."""
    def played(changes: dict, loop_filter: LoopFilter | None) -> torch.Tensor:
        config = dataclasses.replace(TINY_WORLD, stream=dataclasses.replace(TINY_WORLD.stream, **changes))
        carried = carried_picture(config, codec, loop_filter)
        carried.show(some_pictures(1))
        anchors = carried.expect(torch.from_numpy(camera_row(0.2, 0.0, 0.1)).expand(1, 1, 12))
        return carried.paint_over(anchors[:, :, :4] + 0.2)[0]

    torch.manual_seed(0)
    codec = load_tiny_codec()
    torch.nn.init.normal_(codec.head.weight, std=0.1)
    whole, some = played({}, learned()), played({"filter_strength": strength}, learned())
    if strength == 0:
        assert torch.equal(some, played({}, None)) and not torch.allclose(some, whole, atol=0.05)
    else:
        unfiltered = played({}, LoopFilter(4))  # untrained
        assert torch.allclose(some, unfiltered + strength * (whole - unfiltered), atol=1e-5)


def test_world_with_a_filter_goes_on_exactly_from_a_snapshot(tmp_path: Path) -> None:
    from astra_play.actions.state import ActionSample
    from astra_play.chunks import ActionChunk

    world = load_world(make_tiny_world(tmp_path, codec=FILTERED), "cpu")
    world.reset(3)
    world.prefill(np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8))
    action = ActionChunk(ActionSample(), camera_row(0.1, 0.0, 0.1)[None].astype(np.float32), "camera")
    for _ in range(3):
        world.step(action)
    kept = world.snapshot()
    first = [world.step(action) for _ in range(3)]
    world.restore(kept)
    assert all(np.array_equal(a, world.step(action)) for a in first)
    world.reset(4)  # another place: its style is its own
    world.prefill(np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8))
    style = world._run.carried._style
    assert not torch.equal(style, kept.run["carried"]["style"])
    world.step(action)
    world.restore(kept)
    assert all(np.array_equal(a, world.step(action)) for a in first)


def test_codec_file_keeps_the_filter_and_a_filter_paints_without_the_decoder(tmp_path: Path) -> None:
    folder = make_tiny_world(tmp_path, codec=FILTERED)
    config = load_world_config(folder)
    codec = load_codec(folder, config)
    motion = make_motion(config, codec)
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    assert codec.loop_filter is not None
    filtered = carried_picture(config, codec)
    codec.loop_filter = None
    bare = carried_picture(config, codec)
    assert torch.equal(filtered._paint(latents), motion.paint(latents))
    assert torch.equal(bare._paint(latents), codec.decode((latents * motion.scale)[:, None])[:, 0])
    assert not torch.allclose(bare._paint(latents), filtered._paint(latents), atol=0.01)


@pytest.mark.parametrize(("painter", "filtered", "with_patches"), [
    ("auto", True, True), ("auto", False, False), ("decoder", True, False), ("patches", False, True)])
def test_painter_says_what_draws_new_latents(painter: str, filtered: bool, with_patches: bool) -> None:
    config = dataclasses.replace(TINY_WORLD, stream=dataclasses.replace(TINY_WORLD.stream, painter=painter))
    codec = load_tiny_codec()
    torch.nn.init.normal_(codec.head.weight, std=0.1)
    codec.loop_filter = learned() if filtered else None
    motion = make_motion(config, codec)
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    decoded = codec.decode((latents * motion.scale)[:, None])[:, 0]
    expected = motion.paint(latents) if with_patches else decoded
    assert not torch.allclose(motion.paint(latents), decoded, atol=0.01)
    assert torch.equal(carried_picture(config, codec)._paint(latents), expected)


def test_a_filter_is_not_asked_at_rest_except_by_those_who_watch_it() -> None:
    asked = []

    class Counting(LoopFilter):
        def forward(self, *args: torch.Tensor) -> torch.Tensor:
            asked.append(1)
            return super().forward(*args)

    codec = load_tiny_codec()
    carried = carried_picture(TINY_WORLD, codec, Counting(4).eval())
    carried.show(some_pictures(1))
    for row, watched, times in ((camera_row(), False, 0), (camera_row(), True, 1), (camera_row(0.2), False, 2)):
        carried.filters_at_rest = watched
        anchors = carried.expect(torch.from_numpy(row).expand(1, 1, 12))
        carried.paint_over(anchors[:, :, :4])
        assert len(asked) == times
