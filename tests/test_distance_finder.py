"""The distance finder: it learns what it is shown, knows a mirrored picture, and lies in the codec's file."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_world import make_tiny_world

from astra_play.codec.distances import FARTHEST_M, NEAREST_M, DistanceFinder, Distances, in_metres, in_spreads
from astra_play.codec.mini import MiniCodec
from astra_play.config import load_world_config
from astra_play.contradictions import first_contradiction
from astra_play.errors import ConfigError
from astra_play.model.carried import carried_picture
from astra_play.model.checkpoint import load_codec, read_tensors
from astra_play.model.place_picture import PlacePicture
from astra_play.paths import CODEC_FILE, weights_folder
from astra_play.train import codec_loop, distance_loop, hand_loop, scenarios
from astra_play.train.dataset import HELD_OUT_SEED_BASE
from astra_play.train.distance_loop import SLENDER_PX, Views, draw_views, fit, scores, slender, varied

HEIGHT, WIDTH = 32, 48


def views(count: int, seed: int) -> Views:
    """Grey boxes on a green field; the lower their feet, the nearer and the larger they are."""
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.zeros(count, 3, HEIGHT, WIDTH)
    pictures[:, 2, :HEIGHT // 2], pictures[:, 1, HEIGHT // 2:] = 0.6, 0.4
    stands, metres = torch.zeros(count, 1, HEIGHT, WIDTH), torch.full((count, 1, HEIGHT, WIDTH), FARTHEST_M)
    pitch = torch.zeros(count)
    for index in range(count):
        foot = int(torch.randint(HEIGHT // 2 + 2, HEIGHT - 2, (), generator=generator))
        left = int(torch.randint(2, WIDTH - 12, (), generator=generator))
        box = (index, slice(None), slice(foot - 12, foot), slice(left, left + 8))
        pictures[box], stands[box], metres[box] = -0.5, 1.0, 40.0 / (foot - HEIGHT // 2)
    return Views(pictures, Distances(stands, metres, pitch))


def test_metres_and_spreads_undo_each_other_within_what_is_told_apart() -> None:
    metres = torch.tensor([0.2, 1.0, 3.0, 12.0, 34.0, 80.0])
    assert in_metres(in_spreads(metres)).tolist() == pytest.approx(metres.clamp(NEAREST_M, FARTHEST_M).tolist())


def test_slender_is_what_no_square_fits_into() -> None:
    generator = torch.Generator().manual_seed(3)
    marks = (torch.nn.functional.interpolate(torch.rand(3, 1, 6, 8, generator=generator), (24, 32)) > 0.4).float()
    marks[0, 0, 2:20, 5:8] = 1
    fits, size = torch.zeros_like(marks, dtype=torch.bool), SLENDER_PX
    around = torch.nn.functional.pad(marks, (size,) * 4, value=1.0)  # what goes on beyond the picture may be wide
    for index in range(3):
        for row in range(-size + 1, 24):
            for column in range(-size + 1, 32):
                if around[index, 0, row + size:row + 2 * size, column + size:column + 2 * size].all():
                    fits[index, 0, max(row, 0):row + size, max(column, 0):column + size] = True
    ours = slender(marks)
    assert torch.equal(ours, (marks.bool() & ~fits).float()) and 0 < ours.mean() < marks.mean()


def test_finder_learns_what_stands_and_how_far_away() -> None:
    torch.manual_seed(0)
    finder, before = DistanceFinder(8), None
    held_out = views(24, seed=1)
    before = scores(finder.eval(), held_out)
    losses = fit(finder.train(), views(200, seed=2), 250)
    after = scores(finder.eval(), held_out)
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    assert after["overlap"] > 0.8 > before["overlap"] + 0.3
    assert after["distance_off"] < 0.15 < before["distance_off"]
    assert after["pitch_error_rad"] < 0.05


def test_answers_are_shares_metres_and_radians() -> None:
    found = DistanceFinder(4)(torch.rand(2, 3, HEIGHT, WIDTH) * 2 - 1)
    assert found.stands.shape == found.distance_m.shape == (2, 1, HEIGHT, WIDTH) and found.pitch_rad.shape == (2,)
    assert found.stands.min() >= 0 and found.stands.max() <= 1
    assert found.distance_m.min() >= NEAREST_M and found.distance_m.max() <= FARTHEST_M


def test_a_mirrored_picture_has_the_same_things_on_the_other_side() -> None:
    some = views(6, seed=3)
    batch = varied(some, torch.arange(6).repeat(8), torch.Generator().manual_seed(0))
    seen = set()
    for own, stands, metres, picture in zip(torch.arange(6).repeat(8).tolist(), batch.truth.stands,
                                            batch.truth.distance_m, batch.pictures, strict=True):
        mirrored = not torch.equal(stands, some.truth.stands[own])
        seen.add(mirrored)
        for ours, theirs in ((stands, some.truth.stands[own]), (metres, some.truth.distance_m[own])):
            assert torch.equal(ours.flip(-1) if mirrored else ours, theirs)
        darker = picture.mean(dim=0)[stands[0] > 0].mean() < picture.mean(dim=0)[stands[0] == 0].mean()
        assert darker  # the box is where its outline says
    assert seen == {True, False}


@pytest.mark.parametrize("kind", ["explore", "drive"])
def test_views_are_drawn_along_walks_and_drives(monkeypatch, kind: str) -> None:
    pytest.importorskip("mujoco")
    monkeypatch.setattr(distance_loop, "PICTURES_PER_WORLD", 2)
    monkeypatch.setattr(distance_loop, "FRAMES_BETWEEN", 3)
    drawn = draw_views(11, 2, 64, 48, [kind])
    assert len(drawn) == 4 and drawn.pictures.shape == (4, 3, 48, 64)
    simulator = scenarios.make(kind, 64, 48)
    steps = list(scenarios.play(kind, simulator, 11, 4))
    assert torch.equal(drawn.pictures[1], torch.from_numpy(steps[3].frame).movedim(-1, 0) / 127.5 - 1)
    stands, metres, pitch = simulator.distances()
    simulator.close()
    assert torch.equal(drawn.truth.stands[1, 0], torch.from_numpy(stands).float())
    assert torch.allclose(drawn.truth.distance_m[1, 0], torch.from_numpy(metres).float())
    assert float(drawn.truth.pitch_rad[1]) == pytest.approx(pitch)
    both = draw_views(11, 1, 64, 48, ["explore", "drive"])
    assert len(both) == 4 and not torch.equal(both.pictures[0], both.pictures[2])


def test_a_driver_sees_the_ground_where_it_is_and_no_bonnet_stands() -> None:
    pytest.importorskip("mujoco")
    simulator = scenarios.make("drive", 128, 96)
    controls, stood = simulator.CONTROLS, 0
    try:
        for seed in (3, 4, 5):
            simulator.reset(seed)
            stands, metres, pitch = simulator.distances()
            x = (np.arange(128) + 0.5) / 64 - 1
            y = ((np.arange(96) + 0.5) / 48 - 1)[:, None]
            tangent = math.tan(math.radians(controls.vertical_fov_deg) / 2)
            on_bonnet = y > 1 - 2 * 0.085 * (1 - (x / 0.79)**2)
            ground_m = controls.eye_height_m / (y * tangent) * np.hypot(1, x * tangent * 128 / 96)
            low = (y > 0.2) & ~stands & ~on_bonnet
            assert pitch == 0 and low.mean() > 0.1 and 0.02 < on_bonnet.mean() < 0.1
            assert np.median(np.abs(metres / ground_m - 1)[low]) < 0.03  # roads lie three centimetres higher
            assert not stands[on_bonnet].any() and (metres[on_bonnet] < 2).mean() > 0.5
            stood += stands.mean()
    finally:
        simulator.close()
    assert stood > 0.05


def test_command_adds_the_finder_and_the_lens_and_leaves_the_rest_alone(tmp_path: Path, monkeypatch) -> None:
    folder, out = make_tiny_world(tmp_path / "world", provenance={"steps": 7}), tmp_path / "out"
    drawn = []

    def draw(first_seed: int, num_worlds: int, width: int, height: int, kinds: Sequence[str]) -> Views:
        drawn.append((first_seed, num_worlds, *kinds))
        return views(20, seed=first_seed)

    monkeypatch.setattr(distance_loop, "draw_views", draw)
    parser = argparse.ArgumentParser()
    hand_loop.add_arguments(parser)
    assert hand_loop.main(parser.parse_args(["--codec", str(folder), "--out", str(out), "--find", "distances",
                                             "--worlds", "5", "--steps", "3"])) == 0
    assert drawn == [(0, 5, "explore"), (HELD_OUT_SEED_BASE, hand_loop.NUM_HELD_OUT_WORLDS, "explore")]
    before, after = (read_tensors(path / CODEC_FILE) for path in (folder, out))
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"distances"}
    made = load_world_config(out)
    assert made.codec.distances_width == distance_loop.WIDTH and first_contradiction(made) == ""
    assert made.controls.vertical_fov_deg == scenarios.controls("explore").vertical_fov_deg
    assert set(made.provenance["distances_finder"]) >= {"command", "overlap", "distance_off", "pitch_error_rad"}
    codec = load_codec(out, made)
    assert isinstance(carried_picture(made, codec), PlacePicture)
    driven = dataclasses.replace(made, controls=dataclasses.replace(made.controls, modality="vehicle"))
    assert isinstance(carried_picture(driven, codec), PlacePicture)
    more = tmp_path / "more"
    assert hand_loop.main(parser.parse_args(["--codec", str(out), "--out", str(more), "--find", "distances", "--more",
                                             "--worlds", "5", "--steps", "0"])) == 0
    begun = read_tensors(more / CODEC_FILE)
    assert all(torch.allclose(begun[name], own, atol=1e-6) for name, own in read_tensors(out / CODEC_FILE).items())
    assert load_world_config(more).provenance["distances_finder"]["began_with"] == made.provenance["distances_finder"]
    for asked, sentence in ((["--codec", str(folder), "--find", "distances"], "finds distances and is 24 wide"),
                            (["--codec", str(out), "--find", "hand"], "finds hand and is 12 wide")):
        with pytest.raises(ConfigError, match=sentence):
            hand_loop.main(parser.parse_args([*asked, "--out", str(tmp_path / "no"), "--more"]))
    without = dataclasses.replace(made, stream=dataclasses.replace(made.stream, place_reach_m=0.0))
    assert not isinstance(carried_picture(without, codec), PlacePicture)


def test_a_codec_that_learns_on_leaves_it_behind_and_widths_are_checked(tmp_path: Path) -> None:
    config = load_world_config(make_tiny_world(tmp_path / "world"))
    with_it = dataclasses.replace(config.codec, distances_width=4)
    with pytest.raises(ConfigError, match="--find distances"):
        codec_loop.begin(codec_loop.CodecRecipe(codec=with_it, minutes=1.0), MiniCodec(with_it), None, None)
    for codec, stream, sentence in (({"distances_width": -1}, {}, "distances_width is -1"),
                                    ({}, {"place_reach_m": 30.0}, "place_reach_m is 30"),
                                    ({"distances_width": 4}, {"place_reach_m": 1.0}, "place_reach_m is 1.0")):
        wrong = dataclasses.replace(config, codec=dataclasses.replace(config.codec, **codec),
                                    stream=dataclasses.replace(config.stream, **stream))
        assert sentence in first_contradiction(wrong)
    anchorless = dataclasses.replace(config, codec=with_it, model=dataclasses.replace(config.model, anchor="none"))
    assert "distances_width is 4" in first_contradiction(anchorless)


def test_park_and_road_are_set_up_in_depth_and_nothing_else() -> None:
    config = load_world_config(weights_folder() / "mini")
    made, before = hand_loop.with_place(config), config.scenarios
    assert hand_loop.places_of(config) == ("explore", "drive") and made.scenarios["arm"] == before["arm"]
    for name in ("explore", "drive"):
        assert made.playing(name).stream.place_reach_m > 0 and made.playing(name).stream.filter_strength == 0
        assert made.playing(name).controls.vertical_fov_deg == scenarios.controls(name).vertical_fov_deg
    road = dataclasses.replace(config, scenarios={name: before[name] for name in ("arm", "drive")}, scenario="drive")
    assert hand_loop.places_of(road) == ("drive",) and hand_loop.with_place(road).scenarios["arm"] == before["arm"]
    mine = dataclasses.replace(config, scenarios={}, scenario="", controls=before["drive"].controls)
    assert hand_loop.places_of(mine) == ("drive",) and hand_loop.with_place(mine).stream.place_reach_m > 0
    others = dataclasses.replace(config, scenarios={"arm": before["arm"]}, scenario="arm")
    with pytest.raises(ConfigError, match="neither park nor road"):
        hand_loop.with_place(others)
