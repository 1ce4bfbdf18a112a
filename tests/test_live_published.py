"""A published world played live, in small: catalogue, loop, stream of frames, prompt; on the processor, headless."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from threading import current_thread
from time import monotonic, sleep

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_published import make_tiny_published

from astra_play import cli, paths
from astra_play.actions.keymap import default_keymap
from astra_play.actions.presets import PUBLISHED_CONTROLS, preset_rows
from astra_play.actions.row_makers import make_row_maker
from astra_play.actions.rows import camera_motion
from astra_play.actions.sources import LiveSource
from astra_play.actions.state import InputState
from astra_play.chunks import IDLE, ActionChunk, ActionSample
from astra_play.codec.pixels import load_start_image
from astra_play.config import WorldConfig
from astra_play.display.app import PlayOptions, run_play
from astra_play.display.catalogue import Catalogue
from astra_play.errors import AstraPlayError, ConfigError, ImageError
from astra_play.model import loading
from astra_play.model.loading import TEXT_FOLDER, LoadOptions, load_world
from astra_play.runtime.clock import MonotonicClock
from astra_play.runtime.generator import Settings
from astra_play.runtime.session import Session


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_published(tmp_path_factory.mktemp("published") / "astra")


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The world as the only one in a weights folder, and no start pictures."""
    shutil.copytree(made, tmp_path / "weights" / "astra")
    (tmp_path / "assets").mkdir()
    monkeypatch.setattr(paths, "weights_folder", lambda: tmp_path / "weights")
    monkeypatch.setattr(paths, "assets_folder", lambda: tmp_path / "assets")
    return tmp_path / "weights" / "astra"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    Image.fromarray(pixels).resize((320, 180)).save(tmp_path / "start.png")
    return tmp_path / "start.png"


@pytest.fixture
def config(folder: Path) -> WorldConfig:
    return Catalogue().config("astra")


# --- rows -----------------------------------------------------------------------------------------------------------

def sample(*buttons: str, mouse_px: tuple[float, float] = (0.0, 0.0)) -> ActionSample:
    return ActionSample(frozenset(buttons), mouse_px)


@pytest.mark.parametrize(("preset", "buttons"), [("forward", ("forward",)), ("left", ("turn_left",)),
                                                 ("right", ("turn_right",)),
                                                 ("forward-left", ("forward", "turn_left")),
                                                 ("forward-right", ("forward", "turn_right"))])
def test_held_keys_make_the_rows_of_the_presets(config: WorldConfig, preset: str, buttons: tuple[str, ...]) -> None:
    rows = make_row_maker(config).rows(sample(*buttons))
    assert rows.shape == (2, 12) and config.controls == PUBLISHED_CONTROLS
    assert rows == pytest.approx(preset_rows(preset, 1, 2)[1:], abs=1e-7)


def test_mouse_motion_is_spread_over_the_rows_of_a_chunk(config: WorldConfig) -> None:
    rows = make_row_maker(config).rows(sample(mouse_px=(-100.0, 50.0)))
    turned = np.degrees([camera_motion(row)[2:] for row in rows])
    assert turned == pytest.approx(np.array([[2.0, -1.0]] * 2), abs=1e-4)


def test_flick_turns_three_times_as_fast_as_a_key_and_is_over_a_fifth_of_a_second_later(config: WorldConfig) -> None:
    maker = make_row_maker(config)
    turned = [np.degrees(camera_motion(row)[2]) for flick in (sample(mouse_px=(-9000.0, 0.0)), IDLE, IDLE)
              for row in maker.rows(flick)]
    limit = np.degrees(0.09)
    assert turned == pytest.approx([limit, limit, limit / 2, limit / 2, 0.0, 0.0], abs=1e-3)
    assert maker.dropped_turn_deg == pytest.approx(9000 * 0.04 - 3 * limit)


# --- the stream of frames -------------------------------------------------------------------------------------------

def test_start_picture_is_the_streams_first_frame_and_no_generated_one(folder: Path, config: WorldConfig,
                                                                       picture: Path) -> None:
    world = load_world("astra", device="cpu", options=LoadOptions(live=True))
    assert world.config == config and config.frames_per_chunk == 8 and config.chunk_s == pytest.approx(0.4)
    frame = load_start_image(picture, config.width, config.height)
    world.reset(3)
    world.prefill(frame[None])
    rows = make_row_maker(config).rows(sample("forward"))
    latents, frames = [], []
    for index in range(3):
        made = world.generate(ActionChunk(sample("forward"), rows, "camera", index))
        frames.append(world.decode(made))
        world.commit()
        latents.append(made.latents)
        assert frames[-1].shape == (8, config.height, config.width, 3)
    codec = world._decoder.codec
    first = world._codec.encode(torch.tensor(frame).permute(2, 0, 1)[None, None].float() / 127.5 - 1)
    whole = codec.decode(torch.cat([first[0], *latents])[None])[0]
    whole = ((whole + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    assert len(whole) == 1 + 3 * 8
    assert np.abs(np.concatenate(frames).astype(int) - whole[1:]).max() <= 1


def test_passes_count_guidance_and_text_guidance_is_off(folder: Path) -> None:
    world = load_world("astra", device="cpu", options=LoadOptions(live=True))
    assert world.passes_per_chunk() == 6.0 and world.text_guidance_scale == 1.0
    world.guidance_scale = 2.0
    assert world.passes_per_chunk() == 12.0
    world.num_denoise_steps = 3
    before = world.num_passes
    world.prefill(np.zeros((1, world.config.height, world.config.width, 3), np.uint8))
    world.step(ActionChunk(IDLE, make_row_maker(world.config).rows(IDLE), "camera"))
    assert world.num_passes - before == world.passes_per_chunk() == 6.0


def test_threads_are_not_probed_where_passes_are_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probed = []
    monkeypatch.setattr("astra_play.display.catalogue.choose_num_threads", lambda *_: probed.append(1) or 1)
    world = Catalogue().load("astra", None)
    assert not probed and not world.probes_threads
    threads = world.num_threads
    try:
        assert Catalogue().load("astra", 3).num_threads == 3
    finally:
        torch.set_num_threads(threads)


# --- the whole loop -------------------------------------------------------------------------------------------------

def test_whole_loop_plays_headless_from_the_command_line(folder: Path, picture: Path, tmp_path: Path) -> None:
    script, stats_json, frames_dir = tmp_path / "script.jsonl", tmp_path / "stats.json", tmp_path / "frames"
    events = [{"t": 0.05, "key": "w", "down": True}, {"t": 0.3, "mouse": [20, 4]}, {"t": 0.5, "press": "]"},
              {"t": 0.6, "press": "="}, {"t": 1.0, "key": "w", "down": False}]
    script.write_text("\n".join(json.dumps(event) for event in events))
    assert cli.main(["play", "--world", "astra", "--image", str(picture), "--prompt", "the garden", "--headless",
                     "--script", str(script), "--seconds", "2", "--stats-json", str(stats_json), "--frames-dir",
                     str(frames_dir)]) == 0
    stats = json.loads(stats_json.read_text())
    assert stats["published"] == stats["frames"] + stats["dropped"] + stats["waiting"]
    assert stats["published"] == 8 * stats["chunks"] and stats["frames_per_chunk"] == 8
    assert stats["prompt"] == "the garden" and stats["target_fps"] == 20 and stats["frame_size"] == [96, 64]
    assert stats["guidance_scale"] == 1.25 and stats["num_denoise_steps"] == 7 and stats["passes_per_chunk"] == 14.0
    assert stats["input_to_flip_ms"]["count"] == 3  # key down, mouse, key up
    shown = np.asarray(Image.open(frames_dir / "frame_000000.png"))
    assert shown.shape == (64, 96, 3) and stats["frames_written"] == stats["frames"] > 0
    assert not np.array_equal(shown, load_start_image(picture, 96, 64))


def test_same_seed_and_actions_make_the_same_frames_after_a_reset(folder: Path, picture: Path) -> None:
    world = load_world("astra", device="cpu", options=LoadOptions(live=True, prompt="garden"))
    frame = load_start_image(picture, world.config.width, world.config.height)[None]
    rows, runs = make_row_maker(world.config).rows(IDLE), []
    for _ in range(2):
        world.reset(5)
        world.prefill(frame)
        chunks = []
        for index in range(2):
            chunks.append(world.step(ActionChunk(IDLE, rows, "camera", index)))
            world.commit()
        runs.append(np.concatenate(chunks))
    assert np.array_equal(*runs)


# --- the prompt -----------------------------------------------------------------------------------------------------

def one_chunk(world, frame: np.ndarray) -> np.ndarray:
    world.reset(5)
    world.prefill(frame)
    return world.step(ActionChunk(IDLE, make_row_maker(world.config).rows(IDLE), "camera"))


def test_prompt_set_while_playing_is_the_prompt_it_would_have_been_loaded_with(folder: Path, picture: Path) -> None:
    world = load_world("astra", device="cpu", options=LoadOptions(live=True, prompt="garden"))
    frame = load_start_image(picture, world.config.width, world.config.height)[None]
    garden = one_chunk(world, frame)
    world.set_prompt("the sun walking through a path")
    path = one_chunk(world, frame)
    loaded = load_world("astra", device="cpu", options=LoadOptions(live=True, prompt="the sun walking through a path"))
    assert not np.array_equal(garden, path)
    assert np.array_equal(path, one_chunk(loaded, frame))


def test_prompt_that_cannot_be_read_leaves_the_one_before(folder: Path, picture: Path) -> None:
    world = load_world("astra", device="cpu", options=LoadOptions(live=True, prompt="garden"))
    frame = load_start_image(picture, world.config.width, world.config.height)[None]
    garden = one_chunk(world, frame)
    shutil.rmtree(folder / TEXT_FOLDER)
    with pytest.raises(AstraPlayError):
        world.set_prompt("never read before")
    assert np.array_equal(one_chunk(world, frame), garden)


def test_prompt_read_before_needs_no_encoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = load_world("astra", device="cpu", options=LoadOptions(live=True, prompt="garden"))
    world.set_prompt("path")

    def no_encoder(*_: object) -> None:
        raise AssertionError("the encoder was loaded")

    monkeypatch.setattr("astra_play.model.text.TextEncoder.__enter__", no_encoder)
    world.set_prompt("garden")
    world.set_prompt(" path ")


def test_world_without_text_refuses_a_prompt() -> None:
    world = load_world("mini", device="cpu")
    with pytest.raises(ConfigError, match="reads no text"):
        world.set_prompt("garden")


def test_session_reads_prompts_on_the_generator_thread(folder: Path, picture: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    read, original = [], loading.read_prompts
    monkeypatch.setattr(loading, "read_prompts", lambda *asked: (
        read.append((asked[2].prompt, current_thread().name)), original(*asked))[1])
    frame = load_start_image(picture, 96, 64)[None]
    session = Session(lambda: Catalogue().load("astra", 1, "garden"), LiveSource(InputState(default_keymap())),
                      MonotonicClock(), Settings(prompt_frames=frame))
    session.start()
    session.set_prompt("path")
    end_s, outcome = monotonic() + 30.0, None
    while outcome is None:
        assert session.error is None and monotonic() < end_s
        outcome = session.prompt_outcome()
        sleep(0.005)
    session.stop()
    assert (outcome.text, outcome.error) == ("path", None)
    assert read == [("garden", "astra-generator"), ("path", "astra-generator")]


# --- what cannot be played ------------------------------------------------------------------------------------------

def test_menu_offers_the_scenarios_that_keys_can_play(folder: Path) -> None:
    entries = Catalogue().entries()
    assert [(entry.name, entry.error, entry.reads_text) for entry in entries] == [("astra/walk", "", True)]
    assert [start.needs_picture for start in entries[0].starts] == [True]


def test_world_that_lacks_a_file_is_a_card_that_says_so(folder: Path) -> None:
    shutil.rmtree(folder / TEXT_FOLDER)
    entry, = Catalogue().entries()
    assert "is not complete: it lacks text/" in entry.error and entry.starts[0].title == "Not playable"


def test_own_start_pictures_of_a_published_world_are_cards(folder: Path, picture: Path) -> None:
    starts = paths.assets_folder() / "starts" / "astra" / "walk"
    starts.mkdir(parents=True)
    shutil.copy(picture, starts / "01_garden.png")
    assert [(start.title, start.needs_picture) for start in Catalogue().entries()[0].starts] == [("Garden", False)]


@pytest.mark.parametrize("scenario", ["drive", "arm"])
def test_scenario_of_poses_is_refused_with_the_way_to_render_it(folder: Path, picture: Path, scenario: str) -> None:
    with pytest.raises(ConfigError, match=f"'{scenario}'.*cannot be played live.*astra-play render --world astra/"
                                          f"{scenario}"):
        run_play(PlayOptions(world=f"astra/{scenario}", image=picture, headless=True))


def test_world_without_any_picture_says_how_to_give_one(folder: Path) -> None:
    with pytest.raises(ImageError, match="has no start picture of its own; give one with --image FILE.*drop"):
        run_play(PlayOptions(world="astra", headless=True))
