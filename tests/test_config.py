"""Configs are complete, strict and say what is wrong with which name."""

from __future__ import annotations

import json

import pytest
from tiny_world import TINY_WORLD

from astra_play.config import StreamConfig, WorldConfig, from_dict, load_world_config, to_dict
from astra_play.errors import ConfigError


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
