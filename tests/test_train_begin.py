"""Training that begins with earlier weights: what was learned is kept to the bit, what is new starts at random."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from fake_training import tiny_recipe
from test_train import FakePairs, folder_of
from tiny_world import TINY_WORLD, make_tiny_world

from astra_play.actions.row_makers import make_row_maker
from astra_play.chunks import ActionSample
from astra_play.config import load_world_config
from astra_play.errors import ConfigError, WeightsError
from astra_play.model.checkpoint import (
    CODEC_FILE,
    MODEL_FILE,
    load_codec,
    load_strict,
    read_tensors,
    save_config,
    save_module,
)
from astra_play.model.transformer import Transformer
from astra_play.train import codec_loop, scenarios, world_loop, world_recipe
from astra_play.train.loop import load_recipe

WIDER = dataclasses.replace(TINY_WORLD.model, modalities={"camera": 13, "vehicle": 8})
RECIPE = codec_loop.CodecRecipe(codec=TINY_WORLD.codec, batch=2, num_steps=3, warmup_steps=1, precision="fp32")


def test_a_codec_that_goes_on_keeps_its_encoder_and_the_scale_of_its_latents(tmp_path) -> None:
    folder = make_tiny_world(tmp_path / "world", provenance={"codec_recipe": "first"})
    codec, data = codec_loop.MiniCodec(TINY_WORLD.codec), FakePairs()
    scale = codec_loop.begin(RECIPE, codec, data, folder)
    assert tuple(scale.tolist()) == TINY_WORLD.latent_scale
    training = codec_loop.CodecTraining(RECIPE, codec, scale, data)
    for _ in range(3):
        training.step_once()
    before, after = read_tensors(folder / CODEC_FILE), training.averaged().state_dict()
    for name, tensor in before.items():
        assert torch.equal(tensor.float(), after[name]) == name.startswith("encoder"), name
    fitted = codec_loop.begin(RECIPE, codec_loop.MiniCodec(TINY_WORLD.codec), data, None)
    assert fitted.shape == scale.shape and not torch.equal(fitted, scale)


def test_a_codec_of_another_shape_is_refused(tmp_path) -> None:
    folder = make_tiny_world(tmp_path / "world")
    other = dataclasses.replace(RECIPE, codec=dataclasses.replace(TINY_WORLD.codec, decoder_width=32))
    with pytest.raises(ConfigError, match="has another shape than the recipe's"):
        codec_loop.begin(other, codec_loop.MiniCodec(other.codec), FakePairs(), folder)


def test_a_loop_filter_stays_with_its_world_and_cannot_be_asked_of_a_codec(tmp_path) -> None:
    filtered = dataclasses.replace(TINY_WORLD.codec, loop_filter_width=4)
    folder, data = make_tiny_world(tmp_path / "world", codec=filtered), FakePairs()
    codec = codec_loop.MiniCodec(TINY_WORLD.codec)
    codec_loop.begin(RECIPE, codec, data, folder)
    learned = load_codec(folder, load_world_config(folder))
    assert codec.loop_filter is None and torch.equal(codec.stem.weight, learned.stem.weight)
    with pytest.raises(ConfigError, match="after the world"):
        codec_loop.begin(dataclasses.replace(RECIPE, codec=filtered), codec_loop.MiniCodec(filtered), data, folder)


def test_hand_finder_is_taught_once_kept_by_who_goes_on_and_left_alone_by_the_decoder(tmp_path, monkeypatch) -> None:
    taught = []

    def teach(finder, num_worlds, num_steps, size) -> None:
        taught.append((num_worlds, num_steps, size))
        torch.nn.init.constant_(finder.head.bias, 2.0)

    monkeypatch.setattr(codec_loop, "teach", teach)
    shape = dataclasses.replace(TINY_WORLD.codec, hand_width=4)
    recipe, data = dataclasses.replace(RECIPE, codec=shape, hand_worlds=5, hand_steps=6), FakePairs()
    bare = make_tiny_world(tmp_path / "bare")
    for origin in (None, bare):
        codec = codec_loop.MiniCodec(shape)
        scale = codec_loop.begin(recipe, codec, data, origin)
        assert taught.pop() == (5, 6, (TINY_WORLD.width, TINY_WORLD.height)) and not taught
    training = codec_loop.CodecTraining(recipe, codec, scale, data)
    for _ in range(3):
        training.step_once()
    learned = training.averaged()
    assert all(torch.equal(a, b) for a, b in zip(learned.hand.parameters(), codec.hand.parameters(), strict=True))
    handy = tmp_path / "handy"
    save_config(dataclasses.replace(TINY_WORLD, codec=shape), handy)
    save_module(learned, handy / CODEC_FILE)
    again = codec_loop.MiniCodec(shape)
    codec_loop.begin(recipe, again, data, handy)
    assert not taught and again.hand.head.bias.item() == 2.0


def test_codec_training_by_command_remembers_what_it_began_with(tmp_path) -> None:
    world = make_tiny_world(tmp_path / "world", provenance={"codec_recipe": "first", "steps": 7})
    data = folder_of("explore", tmp_path / "data")
    codec_loop.train(RECIPE, [data], [data], tmp_path / "out", world)
    config = load_world_config(tmp_path / "out")
    assert config.latent_scale == TINY_WORLD.latent_scale
    assert config.provenance["codec_began_with"] == {"codec_recipe": "first"}


def test_a_world_that_learns_a_new_modality_keeps_everything_else(tmp_path) -> None:
    folder = make_tiny_world(tmp_path / "world")
    torch.manual_seed(3)
    model = Transformer(WIDER)
    fresh = {name: p.detach().clone() for name, p in model.named_parameters()}
    world_loop.begin_with(model, folder)
    learned = read_tensors(folder / MODEL_FILE)
    for name, parameter in model.named_parameters():
        expected = learned[name].float() if name in learned else fresh[name]
        assert torch.equal(parameter, expected), name
    assert set(fresh) - set(learned) == {"actions.projectors.vehicle.weight", "actions.projectors.vehicle.bias"}
    with pytest.raises(WeightsError, match="2 missing"):
        load_strict(Transformer(WIDER), learned, folder / MODEL_FILE)


def test_the_recipe_for_ones_own_clips_takes_the_weights_that_its_command_names(checkout) -> None:
    recipes = checkout / "astra_play" / "train" / "recipes"
    recipe, shipped = load_recipe(world_recipe.WorldRecipe, recipes / "fine_tune.toml"), checkout / "weights" / "mini"
    model = Transformer(recipe.model)
    world_loop.begin_with(model, shipped)
    assert all(torch.equal(p, tensor.float()) for name, tensor in read_tensors(shipped / MODEL_FILE).items()
               for p in [model.get_parameter(name)])
    assert recipe.clip_frames + recipe.rollout_extra_frames < 2.2 * load_world_config(shipped).fps  # as it says


def test_a_world_of_another_shape_is_refused(tmp_path) -> None:
    folder = make_tiny_world(tmp_path / "world")
    with pytest.raises(WeightsError, match="does not fit"):
        world_loop.begin_with(Transformer(dataclasses.replace(WIDER, num_layers=3)), folder)


def test_rows_mean_to_old_weights_what_they_meant(tmp_path, monkeypatch) -> None:
    """A whole run by command: statistics of known modalities are the old ones, and the origin is written down."""
    old = make_tiny_world(tmp_path / "old", provenance={"steps": 7}, model=dataclasses.replace(
        TINY_WORLD.model, action_mean={"camera": [0.5] * 13}, action_std={"camera": [2.0] * 13}))
    data = [folder_of(name, tmp_path / name, 2) for name in ("explore", "drive")]
    recipe = world_recipe.WorldRecipe(
        name="tiny", title="", description="", model=WIDER, stream=TINY_WORLD.stream, clip_frames=5, batch=2,
        num_steps=2, warmup_steps=1, decay_steps=1, rollout_extra_frames=1, sample_every=99, precision="fp32",
        scenarios={name: world_recipe.ScenarioRecipe(name, "") for name in ("explore", "drive")})
    monkeypatch.setattr(world_loop, "sample_strip", lambda *_: {})
    world_loop.train(recipe, data, old, tmp_path / "out", (), old)
    config = load_world_config(tmp_path / "out")
    assert config.model.action_mean["camera"] == [0.5] * 13 and config.model.action_std["camera"] == [2.0] * 13
    assert len(config.model.action_std["vehicle"]) == 8 and config.model.action_std["vehicle"][0] != 2.0
    assert config.provenance["began_with"] == {"steps": 7}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["scenarios"].keys() == {"explore", "drive"}


@pytest.mark.parametrize("scenario", ["explore", "drive"])
def test_a_recipe_without_scenarios_takes_the_controls_that_its_data_were_made_with(tmp_path, scenario) -> None:
    data, codec, out = folder_of(scenario, tmp_path / "data"), make_tiny_world(tmp_path / "codec"), tmp_path / "out"
    recipe = tiny_recipe(model=WIDER, num_steps=1, rollout_extra_frames=1, controls={"eye_height_m": 1.2})
    world_loop.train(recipe, [data], codec, out)
    controls = load_world_config(out).controls
    assert controls == dataclasses.replace(scenarios.controls(scenario), eye_height_m=1.2)
    maker = make_row_maker(load_world_config(out))
    held = frozenset({"forward", "accelerate"} & set(controls.buttons))
    assert not np.array_equal(maker.rows(ActionSample(buttons=held)), maker.rows(ActionSample()))


@pytest.mark.parametrize(("changes", "sentence"), [
    ({}, r"holds 'vehicle' actions of 7 numbers, but .* they must say vehicle = 8"),
    ({"model": WIDER, "controls": {"modality": "camera"}}, "holds drive, whose actions are 'vehicle'"),
    ({"model": WIDER, "controls": {"modaltiy": "camera"}}, "did you mean 'modality'"),
])
def test_controls_that_the_data_were_not_made_with_are_refused(tmp_path, changes, sentence) -> None:
    data, codec = folder_of("drive", tmp_path / "data"), make_tiny_world(tmp_path / "codec")
    with pytest.raises(ConfigError, match=sentence):
        world_loop.train(tiny_recipe(num_steps=1, rollout_extra_frames=1, **changes), [data], codec, tmp_path / "out")


def test_a_world_that_learns_another_hypothesis_keeps_those_it_has(tmp_path) -> None:
    one = dataclasses.replace(TINY_WORLD.model, hypotheses=1, hypothesis_blocks=2)
    folder = make_tiny_world(tmp_path / "world", model=one)
    torch.manual_seed(3)
    model = Transformer(dataclasses.replace(one, hypotheses=2))
    fresh = model.share_head.weight.detach().clone()
    world_loop.begin_with(model, folder)
    old = read_tensors(folder / MODEL_FILE)["share_head.weight"].float()
    patch, blocks = 4, 4
    for place in range(patch):
        for block in range(blocks):
            first, second = (place * 2 * blocks + k * blocks + block for k in (0, 1))
            assert torch.equal(model.share_head.weight[first], old[place * blocks + block])
            assert torch.equal(model.share_head.weight[second], fresh[second])
