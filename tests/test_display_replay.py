"""The replay screen under SDL's dummy driver: keys and clicks lead it, it ends on its last picture, hands take over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pygame
import pytest
from fakes_display import CardCatalogue, CardWorld, card_config
from hands import Player, seats
from tiny_recording import record_offline

from astra_play.chunks import ActionSample
from astra_play.display import present, timeline
from astra_play.display.canvas import Canvas
from astra_play.display.play import PlayScreen
from astra_play.display.replay import ReplayScreen
from astra_play.display.replay_keys import REPLAY_KEYS, ReplayKeysScreen
from astra_play.display.screens import FailureScreen, MenuScreen
from astra_play.errors import RecordingError, WeightsError
from astra_play.record.format import Chunk, Mark, Start
from astra_play.record.reader import read_recording
from astra_play.record.replay import Replay
from astra_play.record.replayed import ReplayControl
from astra_play.record.verify import verify

NUM_CHUNKS = 40
FORWARD, REST = ActionSample(frozenset({"forward"})), ActionSample()


def record_card(path: Path, fps: int = 50) -> Path:
    """Record ten steps ahead, ten at rest, and the same again in a world started anew."""
    walk = [FORWARD] * 10 + [REST] * 10
    frame = np.full((24, 32, 3), 90, np.uint8)
    plan = [Start(0, 7, (frame,)), *walk, Start(1, 8, (frame,)), *walk]
    return record_offline(path, CardWorld(card_config(fps)), plan, "card")


@pytest.fixture
def make_player(tmp_path: Path) -> Iterator[Callable[..., Player]]:
    with seats(settings_path=tmp_path / "config" / "settings.json", photo_folder=tmp_path / "photos") as make:
        yield make


@pytest.fixture
def replaying(make_player, tmp_path: Path) -> Player:
    player = make_player(replay=record_card(tmp_path / "card.astra"))
    player.until(lambda: player.top.index >= 0, "the first picture")
    return player


def column(player: Player) -> int:
    """The steps that the picture says were walked."""
    return int(player.top._presenter.frame[0, :, 0].argmax())


def seed(player: Player) -> int:
    return int(player.top._presenter.frame[2, 0, 0])


def stands_at(player: Player, index: int) -> bool:
    """Whether a chunk is shown and the replay is on the way to no other."""
    return player.top.index == index and player.top.timeline_state().going_to is None


def at_end(player: Player) -> bool:
    return player.top.index == NUM_CHUNKS - 1 and player.top.is_paused


def test_a_replay_shows_every_chunk_and_ends_holding_the_last_picture(make_player, tmp_path):
    player = make_player(replay=record_card(tmp_path / "card.astra"))
    seen: list[int] = []

    def is_over() -> bool:
        if player.top.index not in seen[-1:] and player.top.index >= 0:
            seen.append(player.top.index)
            assert seed(player) == (7 if player.top.index < 20 else 8)
            assert column(player) == min(player.top.index % 20 + 1, 10)
        return at_end(player)

    player.until(is_over, "the end")
    counts = player.top.session.playout.counts()
    assert len(seen) + counts.dropped.get("late", 0) >= NUM_CHUNKS and seen == sorted(seen)
    player.steps(20)
    assert at_end(player) and player.top.session.status == "paused" and player.top.session.error is None


def test_pause_stands_and_steps_go_one_picture_on_and_back(replaying):
    replaying.press(pygame.K_SPACE)
    here = replaying.top.index
    replaying.steps(10)
    assert replaying.top.index == here and replaying.top.is_paused
    for expected in (here + 1, here + 2):
        replaying.press(pygame.K_PERIOD)
        replaying.until(lambda wanted=expected: stands_at(replaying, wanted), "one picture on")
        replaying.steps(5)
        assert replaying.top.index == expected
    replaying.press(pygame.K_COMMA)
    replaying.until(lambda: stands_at(replaying, here + 1), "one picture back")
    assert column(replaying) == min((here + 1) % 20 + 1, 10)
    replaying.press(pygame.K_SPACE)
    replaying.until(lambda: replaying.top.index > here + 3, "going on")


def test_a_pause_on_the_way_to_a_chunk_arrives_there_and_stands(replaying):
    replaying.top.seek(30)
    replaying.top.pause(True)
    replaying.until(lambda: stands_at(replaying, 30), "the picture that was asked for")
    replaying.steps(10)
    assert replaying.top.index == 30 and replaying.top.is_paused and replaying.top.session.paused
    replaying.press(pygame.K_SPACE)
    replaying.until(lambda: at_end(replaying), "the end")


def test_keys_and_clicks_go_anywhere_and_show_what_was_there(replaying):
    replaying.press(pygame.K_SPACE)
    replaying.press(pygame.K_END)
    replaying.until(lambda: stands_at(replaying, NUM_CHUNKS - 1), "the last picture")
    assert (column(replaying), seed(replaying)) == (10, 8)
    replaying.press(pygame.K_HOME)
    replaying.until(lambda: stands_at(replaying, 0), "the first picture")
    assert (column(replaying), seed(replaying)) == (1, 7)
    canvas = replaying.app.canvas()
    bar = timeline.track(timeline.strip(canvas), canvas.unit_px)
    replaying.click((bar.left + bar.width * 25 // NUM_CHUNKS + 2, bar.centery))
    replaying.until(lambda: stands_at(replaying, 25), "the chunk that was clicked")
    assert (column(replaying), seed(replaying)) == (6, 8) and replaying.top.is_paused
    replaying.press(pygame.K_LEFT)  # 5 s are more than there is
    replaying.until(lambda: stands_at(replaying, 0), "the beginning")


def test_steps_that_come_faster_than_pictures_are_all_made(replaying):
    replaying.press(pygame.K_SPACE)
    replaying.press(pygame.K_HOME)
    for key in (pygame.K_PERIOD,) * 5 + (pygame.K_COMMA,):
        replaying.key(key, True)
    replaying.until(lambda: stands_at(replaying, 4), "five on and one back")
    for _ in range(3):
        replaying.key(pygame.K_PERIOD, True)
    replaying.until(lambda: stands_at(replaying, 7), "three more on")
    replaying.steps(20)
    assert stands_at(replaying, 7) and column(replaying) == 8


def test_dragging_along_the_bar_ends_where_it_ended(replaying):
    canvas = replaying.app.canvas()
    bar = timeline.track(timeline.strip(canvas), canvas.unit_px)
    replaying.press(pygame.K_SPACE)
    replaying.click((bar.left + 1, bar.centery))
    for place in (10, 30, 5, 33):
        at = bar.left + bar.width * place // NUM_CHUNKS + 2, bar.centery
        replaying.post(pygame.MOUSEMOTION, rel=(1, 0), pos=at, buttons=(1, 0, 0))
    replaying.post(pygame.MOUSEBUTTONUP, button=1, pos=(0, 0))
    replaying.until(lambda: stands_at(replaying, 33), "the end of the drag")
    replaying.steps(10)
    assert replaying.top.index == 33 and column(replaying) == 10


def test_going_on_from_the_end_begins_anew(replaying):
    replaying.until(lambda: at_end(replaying), "the end")
    replaying.press(pygame.K_SPACE)
    replaying.until(lambda: 0 <= replaying.top.index < 5, "the beginning")
    replaying.until(lambda: at_end(replaying), "the end again")


def test_speed_changes_the_rate_and_not_the_pictures(make_player, tmp_path):
    player = make_player(replay=record_card(tmp_path / "card.astra", fps=20), catalogue=CardCatalogue(fps=20))
    player.press(pygame.K_EQUALS)
    player.press(pygame.K_EQUALS)
    player.until(lambda: player.top.index >= 0, "the first picture")
    assert player.top.speed == 4.0
    began_s = player.app.clock.now()
    player.until(lambda: at_end(player), "the end")
    assert player.app.clock.now() - began_s < 0.8 * NUM_CHUNKS / 20 and column(player) == 10
    for _ in range(5):
        player.press(pygame.K_MINUS)
    assert player.top.speed == 0.25


def test_the_overlay_knows_when_keys_were_held(replaying):
    state = replaying.top.timeline_state()
    assert list(state.presses) == [(0, 9), (20, 29)] and list(state.starts) == [20]


def test_a_key_of_the_world_takes_over_where_the_picture_stands(replaying):
    replaying.press(pygame.K_SPACE)
    replaying.press(pygame.K_HOME)
    replaying.until(lambda: stands_at(replaying, 0), "the first picture")
    for index in range(1, 5):
        replaying.press(pygame.K_PERIOD)
        replaying.until(lambda wanted=index: stands_at(replaying, wanted), "one picture on")
    replaying.key(pygame.K_s, True)  # back
    replaying.until(lambda: isinstance(replaying.top, PlayScreen) and replaying.top.playing, "play")
    replaying.until(lambda: replaying.world.walked_steps <= 1, "steps back from the fifth")
    assert len(replaying.catalogue.loaded) == 1, "the replay's own world goes on"
    replaying.key(pygame.K_s, False)
    assert replaying.world.seed == 7 and replaying.top.choice.seed == 7
    replaying.press(pygame.K_BACKSPACE)
    replaying.until(lambda: replaying.world.chunk_index < 10 and replaying.world.walked_steps == 0, "a fresh start")
    assert replaying.world.prompt[0, 0, 0, 0] == 90, "from the recorded picture"


def test_taking_over_a_replay_that_has_just_failed_says_so_instead_of_waiting(tmp_path):
    control = ReplayControl(read_recording(record_card(tmp_path / "card.astra")))
    control.close_world(None, CardWorld(card_config()))  # the session failed before the window had noticed
    control.hand_over(3)
    failures: list[str] = []

    def wait() -> None:
        try:
            control.taken_over()
        except RecordingError as error:
            failures.append(str(error))

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(5.0)
    assert not waiting.is_alive() and "ended before it could be taken over" in failures[0]


def test_what_is_recorded_after_taking_over_replays_from_the_seed_and_names_its_parent(make_player, tmp_path):
    parent = record_card(tmp_path / "card.astra")
    player = make_player(replay=parent)
    player.until(lambda: player.top.index >= 23, "some of the replay")
    player.press(pygame.K_SPACE)
    index = player.top.index
    player.app.change_settings(recordings_folder=str(tmp_path / "out"))
    player.press(pygame.K_RETURN)
    player.until(lambda: isinstance(player.top, PlayScreen) and player.top.playing, "play")
    player.press(pygame.K_r)
    player.key(pygame.K_w, True)
    player.frames(10)
    player.key(pygame.K_w, False)
    player.press(pygame.K_r)
    player.app.close()
    branch = read_recording(next((tmp_path / "out").glob("*.astra")))
    assert branch.loss is None and branch.end is not None
    assert branch.head.branch_of.file == "card.astra" and branch.head.branch_of.chunk == index + 1
    assert branch.head.branch_of.sha256 == read_recording(parent).sha256
    assert any(isinstance(entry, Mark) and entry.text.startswith("taken over") for entry in branch.entries)
    first = next(entry for entry in branch.entries if isinstance(entry, Start))
    assert first.seed == 8 and len(branch.chunks) >= index + 1 - 20 + 10
    assert [chunk.number for chunk in branch.chunks] == list(range(len(branch.chunks)))
    times_s = [chunk.time_s for chunk in branch.chunks]
    assert times_s == sorted(times_s)
    assert verify(Replay(branch, CardWorld(card_config()))).is_same


def test_a_new_start_after_taking_over_is_no_branch(make_player, tmp_path):
    player = make_player(replay=record_card(tmp_path / "card.astra"))
    player.until(lambda: player.top.index >= 3, "some of the replay")
    player.app.change_settings(recordings_folder=str(tmp_path / "out"))
    player.press(pygame.K_RETURN)
    player.until(lambda: isinstance(player.top, PlayScreen) and player.top.playing, "play")
    player.press(pygame.K_BACKSPACE)
    player.frames(3)
    player.press(pygame.K_r)
    player.frames(5)
    player.press(pygame.K_r)
    player.app.close()
    assert read_recording(next((tmp_path / "out").glob("*.astra"))).head.branch_of is None


def test_figures_and_keys_lie_beside_the_picture_or_within_it(replaying, monkeypatch):
    written, write = [], Canvas.write
    monkeypatch.setattr(Canvas, "write", lambda canvas, *words, **how: written.append(write(canvas, *words, **how))
                        or written[-1])
    monkeypatch.setattr(timeline, "draw_timeline", lambda canvas, state: None)
    replaying.app.change_settings(hud=True)
    for size, is_beside in (((1280, 720), True), ((1000, 720), False)):
        replaying.app.window.resize(size)
        replaying.app.toasts.clear()
        written.clear()
        replaying.app.redraw()
        replaying.steps(1)
        picture = present.fit(4, 3, pygame.Rect(0, 0, *size))
        assert len(written) > 6 and {picture.colliderect(box) for box in written} == {not is_beside}
        assert is_beside or all(picture.contains(box) for box in written)


def test_the_keys_page_tells_the_replays_keys(replaying):
    replaying.press(pygame.K_k)
    assert isinstance(replaying.top, ReplayKeysScreen)
    (_, own), (_, world) = replaying.top._columns
    assert ("Enter", "take over and play on") in own == list(REPLAY_KEYS)
    assert ("W, Left stick up", "walk forward") in world and not any("Left" in keys.split(", ") for keys, _ in world)
    replaying.press(pygame.K_k)
    assert isinstance(replaying.top, ReplayScreen)


def test_the_menu_opens_a_replay_and_gets_the_player_back(make_player, tmp_path):
    player = make_player(world="card")
    player.app.to_menu()
    player.app.replay(record_card(tmp_path / "card.astra"))
    player.until(lambda: player.top.index >= 0, "the first picture")
    player.press(pygame.K_ESCAPE)
    assert isinstance(player.top, MenuScreen)
    player.app.replay(tmp_path / "none.astra")
    assert isinstance(player.top, MenuScreen) and "does not exist" in player.app.toasts.message


def test_a_world_that_breaks_on_the_way_is_said_over_the_menu(make_player, tmp_path):
    player = make_player(CardCatalogue(fail_at_chunk=5), world="card")
    player.app.to_menu()
    player.app.replay(record_card(tmp_path / "card.astra"))
    player.until(lambda: isinstance(player.top, MenuScreen), "the menu")
    assert "break at a chosen chunk" in player.app.toasts.message
    assert not any(isinstance(screen, FailureScreen) for screen in player.app.screens)


def test_a_replay_of_the_command_line_fails_with_its_sentence(make_player, tmp_path):
    with pytest.raises(RecordingError, match="does not exist"):
        make_player(replay=tmp_path / "none.astra")
    player = make_player(CardCatalogue(fail_at_chunk=5), replay=record_card(tmp_path / "card.astra"))
    player.app.run()
    with pytest.raises(WeightsError, match="chosen chunk"):
        player.app.finish()


def test_leaving_a_replay_of_the_command_line_ends_the_program(replaying):
    replaying.press(pygame.K_ESCAPE)
    assert replaying.app._finished and not replaying.app.screens
    replaying.app.finish()


def test_leaving_while_the_world_loads_is_quick(make_player, tmp_path):
    catalogue = CardCatalogue()
    catalogue.may_load.clear()
    player = make_player(catalogue, replay=record_card(tmp_path / "card.astra"))
    player.steps(3)
    for key in (pygame.K_RIGHT, pygame.K_RETURN, pygame.K_PERIOD):
        player.press(key)  # nothing is there yet to be moved
    player.press(pygame.K_ESCAPE)
    assert player.app._finished
    catalogue.may_load.set()


def test_every_chunk_given_to_the_world_was_the_recorded_one(make_player, tmp_path):
    path = record_card(tmp_path / "card.astra")
    player = make_player(replay=path)
    player.until(lambda: at_end(player), "the end")
    assert player.world.num_chunks == NUM_CHUNKS
    recorded = [entry for entry in read_recording(path).entries if isinstance(entry, Chunk)]
    assert player.world.walked_steps == sum("forward" in chunk.sample.buttons for chunk in recorded[20:])


def test_stretches_are_runs():
    assert timeline.stretches([]) == [] and timeline.stretches([True]) == [(0, 0)]
    assert timeline.stretches([False, True, True, False, True]) == [(1, 2), (4, 4)]


@pytest.mark.parametrize("size", [(1280, 720), (480, 320)])
@pytest.mark.parametrize("keys", [False, True])
def test_a_toast_lies_above_the_bar(replaying, size, keys):
    def picture() -> np.ndarray:
        replaying.app.redraw()
        replaying.steps(1)
        return pygame.surfarray.array3d(replaying.app.window.surface).swapaxes(0, 1)

    replaying.app.window.resize(size)
    replaying.until(lambda: at_end(replaying), "the end")
    if keys:  # a page that the bar is seen through
        replaying.press(pygame.K_k)
    replaying.app.toasts.clear()
    without = picture()
    replaying.app.toasts.show("a sentence that takes four lines " * 10, replaying.app.clock.now())
    covered = np.flatnonzero((picture() != without).any(axis=(1, 2)))
    bar = timeline.strip(replaying.app.canvas())
    assert covered.size and 0 < covered[0] and covered[-1] < bar.top


def test_every_column_of_the_bar_is_a_chunk():
    bar = pygame.Rect(10, 0, 100, 8)
    assert [timeline.chunk_at(bar, x, 4) for x in (-5, 10, 34, 35, 109, 500)] == [0, 0, 0, 1, 3, 3]
