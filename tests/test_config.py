"""Configs are complete, strict and say what is wrong with which name."""

from __future__ import annotations

import dataclasses
import json

import pytest
from tiny_world import TINY_WORLD

from astra_play import paths
from astra_play.config import (
    CodecConfig,
    ControlsConfig,
    ScenarioConfig,
    StreamConfig,
    WorldConfig,
    from_dict,
    load_world_config,
    to_dict,
)
from astra_play.display.catalogue import Catalogue
from astra_play.errors import ConfigError, WeightsError


def test_config_survives_the_round_trip_through_json(tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(to_dict(TINY_WORLD)))
    assert load_world_config(tmp_path) == TINY_WORLD


@pytest.mark.parametrize(("change", "sentence"), [
    ({"tilte": "x"}, "has no setting 'tilte'; did you mean 'title'?"),
    ({"width": "wide"}, "width must be of type int, but is 'wide'"),
    ({"fps": True}, "fps must be of type int, but is True"),
    ({"latent_scale": 3}, "latent_scale must be a list, but is 3"),
    ({"stream": {"sigma": []}}, "config.stream has no setting 'sigma'; did you mean 'sigmas'?"),
    ({"stream": {"sigmas": [1.0, "x"]}}, r"sigmas\[1\] must be of type float"),
    ({"codec": {"kind": "mimi"}}, "config.codec.kind is 'mimi'; did you mean 'mini'?"),
    ({"model": 7}, "config.model must be a table"),
])
def test_every_fault_is_one_sentence_with_name_and_value(change: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        from_dict(WorldConfig, {**to_dict(TINY_WORLD), **change})


def test_missing_settings_are_listed() -> None:
    with pytest.raises(ConfigError, match="lacks name, title"):
        from_dict(WorldConfig, {})


def test_integers_are_read_as_floats_where_floats_are_meant() -> None:
    assert from_dict(StreamConfig, {"sigmas": [1, 0]}).sigmas == (1.0, 0.0)


def test_a_config_that_is_not_json_names_the_file(tmp_path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="config.json is not valid JSON"):
        load_world_config(tmp_path)
    with pytest.raises(ConfigError, match="nowhere.config.json does not exist"):
        load_world_config(tmp_path / "nowhere")


@pytest.mark.parametrize(("part", "change", "sentence"), [
    (None, {"width": 30}, "do not make the latent grid 4 x 4"),
    (None, {"fps": 0}, "fps is 0, but must be at least 1"),
    (None, {"latent_scale": [1.0, 1.0, 1.0]}, "latent_scale must hold 4 positive numbers"),
    (None, {"latent_scale": [1.0, 1.0, 1.0, 0.0]}, "latent_scale must hold 4 positive numbers"),
    ("stream", {"ring_chunks": 0}, "stream.ring_chunks is 0"),
    ("stream", {"sigmas": []}, r"stream.sigmas must descend from at most 1 to 0, but is \[\]"),
    ("stream", {"sigmas": [0.0, 1.0]}, "must descend"),
    ("stream", {"sigmas": [1.0, 0.5]}, "must descend"),
    ("stream", {"step_sigmas": {"3": [1.0, 0.5, 0.0]}}, "step_sigmas.3 holds 2 steps"),
    ("stream", {"context_sigma": 1.5}, "context_sigma"),
    ("stream", {"max_guidance": 0.5}, "max_guidance is 0.5, but must be 0 or at least 1"),
    ("stream", {"guidance_scale": 3.0, "max_guidance": 2.0}, "and the world's own guidance_scale"),
    ("stream", {"painter": "brush"}, "painter is 'brush'"),
    ("stream", {"detail_leak": 1.5}, r"detail_leak must be in \[0, 1\]"),
    ("stream", {"filter_strength": -0.5}, r"filter_strength must be in \[0, 1\], but is -0.5"),
    ("model", {"anchor": "previous"}, "loop_filter_width is 4"),
    ("codec", {"loop_filter_width": -4}, "loop_filter_width is -4"),
    ("codec", {"hand_width": -1}, "hand_width is -1, but cannot be negative"),
    ("codec", {"shadow_width": -8}, "shadow_width is -8"),
    (None, {"scenarios": {"drive": {"title": "", "description": "", "controls": {"modality": "vehicle"}}}},
     "knows no 'vehicle' actions"),
    (None, {"scenarios": {"walk": {"title": "", "description": "", "controls": {}}}},
     "scenario is '', but must be one"),
    ("model", {"num_heads": 5}, "48 cannot be split into 5 even heads"),
    ("model", {"patch_size": [1, 3, 3]}, "cannot be cut into patches 3 x 3"),
    ("model", {"router_top_k": 9}, "router_top_k is 9, but there are 3 experts"),
    ("model", {"latent_channels": 5}, "reads 5 latent channels, but the codec makes 4"),
    ("model", {"modalities": {"arm": 13}}, "knows no 'camera' actions"),
    ("model", {"action_std": {"camera": [1.0]}, "action_mean": {"camera": [0.0]}}, "as many numbers as its rows"),
    ("codec", {"frames_per_latent": 2}, "frames_per_latent is 2"),
])
def test_settings_that_contradict_each_other_are_refused(tmp_path, part, change: dict, sentence: str) -> None:
    data = to_dict(TINY_WORLD)
    data["codec"]["loop_filter_width"] = 4
    (data[part] if part else data).update(change)
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=sentence):
        load_world_config(tmp_path)


WAN_WORLD = dataclasses.replace(
    TINY_WORLD, model=dataclasses.replace(TINY_WORLD.model, latent_channels=16, anchor="none", prediction="velocity"),
    codec=CodecConfig(kind="wan_vae", latent_channels=16, spatial_compression=8, frames_per_latent=4, base_width=8),
    preview_codec=CodecConfig(kind="taehv", latent_channels=16, spatial_compression=8, frames_per_latent=4),
    latent_scale=())


def test_a_world_of_wan_latents_may_have_a_codec_for_previews(tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(to_dict(WAN_WORLD)))
    assert load_world_config(tmp_path) == WAN_WORLD and WAN_WORLD.frames_per_chunk == 4


@pytest.mark.parametrize(("part", "change", "sentence"), [
    ("codec", {"frames_per_latent": 1}, "are 16, 8, 1, but the latents of wan_vae have 16, 8, 4"),
    ("preview_codec", {"latent_channels": 12}, "preview_codec.latent_channels, .* are 12, 8, 4, but .* taehv have 16"),
    ("preview_codec", {"kind": "mini"}, "preview_codec is for worlds of Wan latents"),
    ("codec", {"base_width": -1}, "codec.base_width is -1, but must be positive, or 0"),
    ("model", {"anchor": "moved"}, "needs the mini codec's patches, but the codec is 'wan_vae'"),
    (None, {"latent_scale": [1.0] * 16}, "latent_scale must be empty, since the latents of wan_vae are normalised"),
])
def test_codecs_that_do_not_fit_wan_latents_are_refused(tmp_path, part, change: dict, sentence: str) -> None:
    data = to_dict(WAN_WORLD)
    (data[part] if part else data).update(change)
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=sentence):
        load_world_config(tmp_path)


def test_weights_of_several_scenarios_are_played_one_at_a_time(tmp_path, monkeypatch) -> None:
    walk, fly = (ScenarioConfig(title, "", ControlsConfig(move_m_s=speed))
                 for title, speed in (("Walk", 3.0), ("Fly", 9.0)))
    config = dataclasses.replace(TINY_WORLD, scenarios={"walk": walk, "fly": fly}, scenario="walk", title="Walk",
                                 controls=walk.controls)
    (tmp_path / "weights" / "both").mkdir(parents=True)
    (tmp_path / "weights" / "both" / "config.json").write_text(json.dumps(to_dict(config)))
    monkeypatch.setattr(paths, "checkout_folder", lambda: tmp_path)
    for name, title in (("both", "Walk"), ("both/fly", "Fly"), (tmp_path / "weights" / "both" / "fly", "Fly")):
        loaded = load_world_config(*paths.find_world(name))
        assert loaded.title == title and loaded.model == config.model
    assert loaded.controls.move_m_s == 9.0 and loaded.scenario == "fly" and loaded.scenarios == config.scenarios
    with pytest.raises(ConfigError, match="has no scenario 'flu'; did you mean 'fly'"):
        load_world_config(*paths.find_world("both/flu"))
    with pytest.raises(WeightsError, match="there is no world 'booth'; did you mean 'both'"):
        paths.find_world("booth")
    with pytest.raises(WeightsError, match="there is no world '~unheard-of/flat'"):  # and no user of that name
        paths.find_world("~unheard-of/flat")


def test_each_scenario_is_an_entry_of_the_menu_with_its_own_start_pictures(tmp_path, monkeypatch) -> None:
    scenarios = {name: ScenarioConfig(name.title(), "", ControlsConfig()) for name in ("walk", "fly")}
    config = dataclasses.replace(TINY_WORLD, name="both", scenarios=scenarios, scenario="walk")
    (tmp_path / "weights" / "both").mkdir(parents=True)
    (tmp_path / "weights" / "both" / "config.json").write_text(json.dumps(to_dict(config)))
    (tmp_path / "assets" / "starts" / "both" / "fly").mkdir(parents=True)
    (tmp_path / "assets" / "starts" / "both" / "fly" / "01_clouds.png").touch()
    monkeypatch.setattr(paths, "checkout_folder", lambda: tmp_path)
    walk, fly = Catalogue().entries()
    assert (walk.name, walk.title, fly.name, fly.title) == ("both/walk", "Walk", "both/fly", "Fly")
    assert [start.title for start in fly.starts] == ["Clouds"] and walk.starts[0].picture is None
