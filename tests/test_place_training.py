"""The world learns in places as it is played in them: what it is told to expect are views of what a clip begins in."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from fake_training import FakeData, parts, tiny_recipe
from test_place_picture import Finder
from tiny_world import TINY_WORLD

from astra_play.codec.mini import MiniCodec, fit_linear
from astra_play.config import WorldConfig
from astra_play.model.anchor import camera_poses
from astra_play.model.carried import carried_picture, make_motion
from astra_play.model.eyes import Eyes
from astra_play.model.place_picture import FADE_M, PlaceMotion, PlacePicture
from astra_play.model.transformer import Transformer
from astra_play.train import world_loop
from astra_play.train.latents import Clips
from astra_play.train.losses import own_past, true_past

FRAMES = 6


@pytest.fixture
def config() -> WorldConfig:
    return dataclasses.replace(
        TINY_WORLD, model=dataclasses.replace(TINY_WORLD.model, anchor_coverage=True),
        stream=dataclasses.replace(TINY_WORLD.stream, place_reach_m=20.0, detail_leak=0.0, memory_fade_m=0.0))


@pytest.fixture
def motion(config: WorldConfig) -> PlaceMotion:
    codec = MiniCodec(config.codec)
    fit_linear(codec, torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    torch.manual_seed(1)
    codec.distances = Finder(4).eval()
    motion = make_motion(config, codec)
    assert isinstance(motion, PlaceMotion) and isinstance(carried_picture(config, codec), PlacePicture)
    return motion


@pytest.fixture
def clips() -> Clips:
    return FakeData().sample(3, FRAMES, 0.0, torch.Generator().manual_seed(3))


def seen_from(motion: PlaceMotion, clips: Clips) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Walk by hand: one place, set up in what was before frame 1, and a view and what is known after every row."""
    given = clips.pictures_before(1)
    place, pitch_rad = motion.set_up(given)
    zero = torch.zeros_like(pitch_rad)
    eyes = start = Eyes(zero, zero, zero, pitch_rad)
    unexplained, views = given - place.view(eyes)[0], []
    for t in range(1, clips.latents.shape[1]):
        eyes = eyes.moved(camera_poses(clips.rows[:, t]))
        picture, known = place.view(eyes)
        kept = torch.exp(-(torch.hypot(eyes.right_m, eyes.ahead_m) / FADE_M)**2)[:, None, None, None]
        views.append((picture + kept * motion.turned(unexplained, eyes.turned_from(start)), known))
    return views


def test_a_true_past_is_expected_to_look_like_the_place_that_it_begins_in(motion: PlaceMotion, clips: Clips) -> None:
    past, finder = true_past(clips, 1, motion), motion._find
    assert finder.looked == 1 and past.block_errors is None
    assert torch.equal(past.latents, clips.latents)
    views = seen_from(motion, clips)
    for t, (picture, known) in enumerate(views, start=1):
        assert torch.allclose(past.anchors[:, t], motion.anchor(picture, known), atol=1e-5)
    assert (views[-1][0] - views[0][0]).abs().mean() > 0.05  # one does get somewhere


@pytest.mark.parametrize("num_true", [1, 2, 4])
def test_an_own_past_stays_in_the_place_however_much_of_it_is_true(config: WorldConfig, motion: PlaceMotion,
                                                                 clips: Clips, num_true: int) -> None:
    torch.manual_seed(2)
    model = Transformer(config.model).eval()
    past = own_past(model, config.stream, clips, num_true, "camera", torch.Generator().manual_seed(7), motion)
    assert motion._find.looked == 1
    assert torch.allclose(past.anchors[:, 1:], true_past(clips, 1, motion).anchors[:, 1:], atol=1e-5)
    assert torch.equal(past.latents[:, :num_true], clips.latents[:, :num_true])
    assert not torch.allclose(past.latents[:, num_true:], clips.latents[:, num_true:], atol=0.1)


def test_half_precision_changes_no_view(motion: PlaceMotion, clips: Clips) -> None:
    whole = true_past(clips, 1, motion)
    with torch.autocast("cpu", torch.bfloat16):
        half = true_past(clips, 1, motion)
    assert torch.equal(whole.anchors, half.anchors)


def test_a_world_trains_in_places(config: WorldConfig, motion: PlaceMotion) -> None:
    recipe = tiny_recipe(model=config.model, stream=config.stream)
    training = world_loop.WorldTraining(recipe, parts(FakeData(), motion), config)
    measured = [training.step_once() for _ in range(6)]
    assert {"mse", "mse_own"} <= set().union(*measured)
    assert all(torch.isfinite(torch.tensor(own["gradient_norm"])) for own in measured)
