"""The prompt while playing: written over the paused picture, read while the world waits, kept, and told about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pygame
import pytest
from fakes_display import CardCatalogue
from hands import Player, seats
from PIL import Image

from astra_play.display.prompt import PromptScreen
from astra_play.display.screens import PauseScreen
from astra_play.display.window import Window
from astra_play.errors import ConfigError


@pytest.fixture
def make_player(tmp_path: Path) -> Iterator[Callable[..., Player]]:
    with seats(photo_folder=tmp_path / "photos", world="card", prompt="a garden") as seat:
        yield lambda catalogue=None, **options: seat(catalogue or CardCatalogue(reads_text=True), **options)


@pytest.fixture
def playing(make_player) -> Player:
    player = make_player(seed=7)
    player.until(lambda: player.play.playing, "the first frame")
    return player


def open_line(player: Player) -> PromptScreen:
    player.press(pygame.K_t)
    assert isinstance(player.top, PromptScreen)
    return player.top


def test_what_is_written_reaches_the_world_and_reset_keeps_it(playing):
    assert playing.world.text == "a garden"
    open_line(playing)
    playing.write(" at dusk")
    playing.press(pygame.K_RETURN)
    playing.until(lambda: playing.world.text == "a garden at dusk", "the prompt")
    playing.until(lambda: "a garden at dusk" in playing.app.toasts.message, "a word about it")
    playing.press(pygame.K_BACKSPACE)
    playing.press(pygame.K_n)
    assert playing.play.choice.prompt == "a garden at dusk" == playing.play.figures_json()["prompt"]
    playing.frames(2)
    assert playing.world.text == "a garden at dusk"


def test_world_is_paused_under_the_line_and_escape_leaves_the_prompt(playing):
    open_line(playing)
    assert playing.play.session.paused and not playing.app.window.grabbed
    playing.write("w")  # a walking key is a letter here
    assert not playing.play.input.held()
    playing.press(pygame.K_ESCAPE)
    assert playing.top is playing.play and not playing.play.session.paused
    playing.frames(3)
    assert playing.world.text == "a garden" == playing.play.choice.prompt


def test_letter_of_the_key_that_opened_the_line_is_not_written(playing):
    playing.key(pygame.K_t, True)
    pygame.event.post(pygame.Event(pygame.TEXTINPUT, text="t"))
    playing.steps(1)
    assert playing.top.line.text == "a garden"
    playing.key(pygame.K_t, False)
    playing.steps(1)
    playing.write("t")
    assert playing.top.line.text == "a gardent"


def test_input_method_composes_before_it_writes_and_its_keys_are_not_ours(playing):
    line = open_line(playing).line
    playing.post(pygame.TEXTEDITING, text="zh", start=0, length=2)
    playing.press(pygame.K_BACKSPACE)
    playing.press(pygame.K_RETURN)
    assert (line.text, line.composition) == ("a garden", "zh") and isinstance(playing.top, PromptScreen)
    playing.write("中")
    assert (line.text, line.composition) == ("a garden中", "")


def test_keys_edit_and_the_clipboard_is_pasted(playing, monkeypatch):
    monkeypatch.setattr(Window, "clipboard", lambda window: "old\nwalled ")
    line = open_line(playing).line
    playing.press(pygame.K_BACKSPACE, mod=pygame.KMOD_LCTRL)
    playing.press(pygame.K_v, mod=pygame.KMOD_LCTRL)
    playing.press(pygame.K_HOME)
    playing.press(pygame.K_RIGHT)
    playing.press(pygame.K_DELETE)
    playing.press(pygame.K_END)
    playing.press(pygame.K_LEFT)
    assert (line.text, line.cursor) == ("aold walled ", 11)


def test_pasted_book_is_cut_with_a_sentence(playing, monkeypatch):
    monkeypatch.setattr(Window, "clipboard", lambda window: "word " * 2000)
    line = open_line(playing).line
    playing.press(pygame.K_v, mod=pygame.KMOD_LCTRL)
    assert len(line.text) == 4000 and "4000 letters" in playing.app.toasts.message
    playing.app.window.resize((480, 320))
    playing.steps(2)  # drawn at the smallest size, cursor and all


def test_window_stays_alive_while_a_prompt_is_read_and_the_world_waits(playing):
    playing.catalogue.may_read.clear()
    open_line(playing)
    playing.write("!")
    playing.press(pygame.K_RETURN)
    playing.until(lambda: playing.play.session.status == "reading the prompt", "the reading")
    playing.steps(100)  # what was waiting is shown
    shown, drawn = playing.play.num_shown, playing.app.present_ms.count
    underruns = playing.play.session.playout.counts().underruns
    playing.until(lambda: playing.app.present_ms.count > drawn + 3, "a moving bar")
    assert playing.play.num_shown == shown
    playing.press(pygame.K_ESCAPE)  # the menu answers meanwhile
    assert isinstance(playing.top, PauseScreen)
    playing.press(pygame.K_ESCAPE)
    playing.catalogue.may_read.set()
    playing.until(lambda: playing.play.choice.prompt == "a garden!", "the end of it")
    playing.frames(3)
    assert playing.play.session.playout.counts().underruns <= underruns + 2  # of a busy machine, not of the wait


def test_going_back_to_the_old_prompt_while_a_new_one_is_read_counts(playing):
    playing.catalogue.may_read.clear()
    for text in ("a desert", "a garden"):
        line = open_line(playing).line
        line.text, line.cursor = "", 0
        playing.write(text)
        playing.press(pygame.K_RETURN)
        playing.until(lambda: playing.play.session.status == "reading the prompt", "the reading")
    playing.catalogue.may_read.set()
    playing.until(lambda: "a garden" in playing.app.toasts.message, "a word about the second")
    assert playing.world.text == "a garden" == playing.play.choice.prompt


def test_prompt_that_could_not_be_read_is_tried_again_when_it_is_written_again(playing):
    for _ in range(2):
        playing.app.toasts.clear()
        line = open_line(playing).line
        line.text, line.cursor = "", 0
        playing.write("unreadable")
        playing.press(pygame.K_RETURN)
        playing.until(lambda: "stays as it was" in playing.app.toasts.message, "the toast")


@pytest.mark.parametrize(("prompt", "told"), [
    ("森の中の静かな湖" * 20, ("森の中の静かな湖" * 10) + " ..."), ("a " + "森" * 200, "a " + "森" * 78 + " ..."),
    ("word " * 30, ("word " * 16)[:-1] + " ...")])
def test_long_prompt_is_told_by_its_beginning_in_every_language(playing, prompt, told):
    playing.play.session.set_prompt(prompt)
    playing.until(lambda: "The prompt is" in playing.app.toasts.message, "a word about it")
    assert playing.app.toasts.message == f"The prompt is: {told}"


def test_prompt_that_cannot_be_read_is_a_toast_and_play_goes_on_with_the_old_one(playing):
    open_line(playing)
    playing.write(" unreadable")
    playing.press(pygame.K_RETURN)
    playing.until(lambda: "stays as it was: this text cannot be read" in playing.app.toasts.message, "the toast")
    playing.frames(3)
    assert playing.world.text == "a garden" == playing.play.choice.prompt
    assert playing.play.session.error is None


def test_leaving_while_a_prompt_is_read_is_quick(playing):
    playing.catalogue.may_read.clear()
    playing.play.session.set_prompt("another")
    playing.until(lambda: playing.play.session.status == "reading the prompt", "the reading")
    begin_s = playing.app.clock.now()
    playing.app.close()
    assert playing.app.clock.now() - begin_s < 1.5


def test_same_prompt_is_not_read_again(playing):
    playing.catalogue.may_read.clear()
    open_line(playing)
    playing.press(pygame.K_RETURN)
    playing.frames(3)
    assert playing.play.session.status == "playing"


def test_world_without_text_says_so(make_player):
    player = make_player(CardCatalogue(), prompt="")
    player.until(lambda: player.play.playing, "the first frame")
    player.press(pygame.K_t)
    assert player.top is player.play and "Test card reads no text" in player.app.toasts.message
    assert player.play.figures_json()["prompt"] is None
    player.press(pygame.K_ESCAPE)
    assert not any(line.label == "Prompt" for line in player.top.panel.lines)


def test_prompt_for_a_world_without_text_is_refused_before_anything_is_loaded(make_player):
    with pytest.raises(ConfigError, match="'card' reads no text; leave the prompt out"):
        make_player(CardCatalogue())


@pytest.mark.parametrize(("reads_text", "told"), [(True, "a garden"), (False, "")])
def test_prompt_of_the_command_line_is_for_worlds_of_the_menu_that_read_it(make_player, reads_text, told):
    player = make_player()
    player.catalogue.reads_text = reads_text
    player.app.to_menu()
    player.press(pygame.K_RETURN)
    player.until(lambda: player.play is not None and player.play.playing, "the first frame")
    assert player.world.text == told


def test_pause_menu_opens_the_line_too(playing):
    playing.press(pygame.K_ESCAPE)
    for _ in range(3):
        playing.press(pygame.K_DOWN)
    playing.press(pygame.K_RETURN)
    assert isinstance(playing.top, PromptScreen) and playing.play.session.paused


def test_photo_says_its_prompt(playing, tmp_path):
    playing.frames(1)
    playing.press(pygame.K_p)
    with Image.open(next((tmp_path / "photos").glob("*.png"))) as photo:
        assert photo.text["Description"] == "a garden"


def test_stats_of_a_run_say_the_prompt(make_player, tmp_path):
    player = make_player(stats_json=tmp_path / "stats.json")
    player.until(lambda: player.play.playing, "the first frame")
    player.frames(2)
    player.app.finish()
    assert json.loads((tmp_path / "stats.json").read_text())["prompt"] == "a garden"
