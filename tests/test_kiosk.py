"""The booth in the real window loop: posted events and an accelerated policy clock, with a test card for a world."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pygame
import pytest
from fakes_display import CardCatalogue
from hands import Player
from recordings import make_video, number_of

from astra_play.booth.policy import GRACE_S
from astra_play.booth.profile import Profile, parse_profile
from astra_play.booth.watch import Beat
from astra_play.display.booth_attract import HoldScreen, TourScreen, VideoScreen
from astra_play.display.booth_pages import ChooseScreen, ThanksScreen
from astra_play.display.booth_play import BoothPlay
from astra_play.display.kiosk import MAX_FAILURES, KioskApp
from astra_play.display.options import PlayOptions
from astra_play.errors import ConfigError, WeightsError

PROFILE = """
worlds = ["card", "card two"]
[times]
session_s = 60.0
last_s = 10.0
idle_s = 20.0
warning_s = 10.0
choose_s = 30.0
thanks_s = 12.0
tour_s = 40.0
load_s = 50.0
"""


class BoothClock:
    """A policy's time that tests push forward; between pushes it stands still."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def now(self) -> float:
        return self.now_s

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        raise AssertionError("a policy waits for nothing")


class ListLink:
    """A link that keeps what it is told."""

    def __init__(self) -> None:
        self.stop_asked = threading.Event()
        self.entries: list[dict[str, Any]] = []
        self.beats: list[Beat] = []
        self.closed = False

    def turned(self, beat: Beat) -> None:
        self.beats = [*self.beats[-20:], beat]

    def record(self, kind: str, **fields: Any) -> None:
        self.entries.append({"kind": kind, **fields})

    def close(self) -> None:
        self.closed = True

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["kind"] == kind]


class TwoCards(CardCatalogue):
    """Two worlds for a start page, and a name that no world has."""

    def entries(self):
        card, broken = super().entries()
        return [card, type(card)("card two", "Second card", "", card.starts), broken]

    def config(self, name: str):
        if name == "nowhere":
            raise WeightsError("there is no world 'nowhere'; known: card")
        return super().config(name)


class Visitor(Player):
    """Hands at a booth whose hours a test pushes forward."""

    def __init__(self, app: KioskApp, catalogue: CardCatalogue, clock: BoothClock) -> None:
        super().__init__(app, catalogue)
        self.clock = clock

    @property
    def phase(self) -> str:
        return self.app.policy.phase

    @property
    def link(self) -> ListLink:
        return self.app.link

    def pass_time(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.steps(2)

    def finger(self, kind: int, at: tuple[float, float], finger_id: int = 1) -> None:
        width, height = self.app.window.surface.get_size()
        self.post(kind, touch_id=7, finger_id=finger_id, x=at[0] / width, y=at[1] / height, dx=0.0, dy=0.0)

    def tap(self, at: tuple[float, float]) -> None:
        self.finger(pygame.FINGERDOWN, at)
        self.finger(pygame.FINGERUP, at)

    def wake(self) -> None:
        self.press(pygame.K_SPACE)
        self.until(lambda: isinstance(self.top, ChooseScreen), "the start page")
        self.top._opened_s -= 10.0

    def enter(self) -> None:
        """Walk from the attract loop into the first world."""
        self.wake()
        self.press(pygame.K_RETURN)
        self.until(lambda: isinstance(self.top, BoothPlay) and self.top.playing, "the first frame of a visit")


@pytest.fixture
def make_visitor() -> Iterator[Callable[..., Visitor]]:
    apps: list[KioskApp] = []

    def make(profile: str = PROFILE, catalogue: CardCatalogue | None = None, base: Path = Path(),
             **options: Any) -> Visitor:
        catalogue, clock = catalogue or TwoCards(), BoothClock()
        app = KioskApp(parse_profile(profile, "a test's profile", base), ListLink(),
                       PlayOptions(headless=True, catalogue=catalogue), policy_clock=clock, **options)
        apps.append(app)
        app.open()
        return Visitor(app, catalogue, clock)

    yield make
    for app in apps:
        app.close()


@pytest.fixture
def visitor(make_visitor) -> Visitor:
    return make_visitor()


def test_attract_play_idle_reset_attract(visitor: Visitor) -> None:
    assert isinstance(visitor.top, TourScreen)
    visitor.until(lambda: visitor.top.playing and visitor.world.walked_steps > 0, "the autopilot walks")
    visitor.enter()
    visitor.key(pygame.K_w, True)
    visitor.until(lambda: visitor.world.walked_steps >= 3, "the visitor walks")
    visitor.key(pygame.K_w, False)
    visitor.frames(2)
    visitor.pass_time(21.0)
    assert visitor.app.view().warning_s == pytest.approx(9.0, abs=0.5) and isinstance(visitor.top, BoothPlay)
    visitor.pass_time(9.5)
    assert isinstance(visitor.top, TourScreen) and visitor.phase == "attract"
    (visit,) = visitor.link.of("visit")
    assert (visit["world"], visit["reason"]) == ("card", "idle") and visit["fps"] > 0.0
    assert {"latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "underruns"} <= visit.keys()


def test_a_touch_during_the_warning_keeps_the_visitor_in_the_world(visitor: Visitor) -> None:
    visitor.enter()
    visitor.pass_time(25.0)
    visitor.press(pygame.K_a)
    visitor.pass_time(15.0)
    assert isinstance(visitor.top, BoothPlay) and not visitor.link.of("visit")


def test_a_key_that_is_held_is_a_visitor_who_is_there(visitor: Visitor) -> None:
    visitor.enter()
    visitor.key(pygame.K_w, True)
    for _ in range(5):
        visitor.pass_time(11.0)
    assert isinstance(visitor.top, BoothPlay)


def test_session_ends_at_its_time_with_thanks_and_the_loop_goes_on(visitor: Visitor) -> None:
    visitor.enter()
    for _ in range(5):
        visitor.pass_time(11.0)
        visitor.press(pygame.K_d)
    assert visitor.app.view().is_last
    visitor.pass_time(6.0)
    assert isinstance(visitor.top, ThanksScreen)
    visitor.pass_time(12.5)
    assert isinstance(visitor.top, TourScreen)
    assert [visit["reason"] for visit in visitor.link.of("visit")] == ["time up"]


def test_a_touch_on_the_thanks_page_leads_to_another_turn(visitor: Visitor) -> None:
    visitor.enter()
    visitor.app.visitor_done()
    visitor.steps(2)
    assert isinstance(visitor.top, ThanksScreen)
    visitor.pass_time(GRACE_S)
    visitor.tap((10, 10))
    visitor.steps(1)
    assert isinstance(visitor.top, ChooseScreen)


def test_start_page_is_walked_with_arrows_and_chosen_with_a_finger_or_the_mouse(visitor: Visitor) -> None:
    visitor.wake()
    visitor.press(pygame.K_RIGHT)
    assert visitor.top.focus_index == 1
    visitor.tap(visitor.top._boxes[1].center)
    visitor.until(lambda: isinstance(visitor.top, BoothPlay), "the second world")
    assert visitor.app.policy.world == "card two"
    visitor.app.policy.skip(visitor.clock.now())
    visitor.steps(1)
    visitor.wake()
    visitor.post(pygame.MOUSEBUTTONDOWN, button=1, pos=visitor.top._boxes[0].center)
    visitor.until(lambda: isinstance(visitor.top, BoothPlay), "the first world")
    assert visitor.app.policy.world == "card"


def test_the_touch_that_woke_the_booth_chooses_nothing_when_it_comes_twice(visitor: Visitor) -> None:
    visitor.press(pygame.K_SPACE)
    visitor.until(lambda: isinstance(visitor.top, ChooseScreen), "the start page")
    visitor.press(pygame.K_RETURN)
    assert visitor.phase == "choose"


def test_start_page_calls_worlds_as_the_profile_does(make_visitor) -> None:
    visitor = make_visitor(f'{PROFILE}[titles]\n"card two" = "Zweite Karte"\n[descriptions]\ncard = "Eine Karte."\n')
    visitor.wake()
    assert [(entry.title, entry.description) for entry in visitor.top._worlds] == \
        [("Test card", "Eine Karte."), ("Zweite Karte", "")]


def test_a_single_world_needs_no_choice(make_visitor) -> None:
    visitor = make_visitor(PROFILE.replace('["card", "card two"]', '["card"]'))
    visitor.press(pygame.K_SPACE)
    visitor.until(lambda: isinstance(visitor.top, BoothPlay) and visitor.top.playing, "the only world")


@pytest.mark.parametrize("where", ["attract", "choose", "play"])
def test_keys_that_leave_are_locked_everywhere(visitor: Visitor, where: str) -> None:
    if where != "attract":
        visitor.wake() if where == "choose" else visitor.enter()
    screens = list(visitor.app.screens)
    for event in (pygame.Event(pygame.QUIT), pygame.Event(pygame.WINDOWCLOSE)):
        pygame.event.post(event)
        visitor.steps(1)
    for key, mod in ((pygame.K_ESCAPE, 0), (pygame.K_F4, pygame.KMOD_LALT), (pygame.K_F11, 0), (pygame.K_F12, 0),
                     (pygame.K_RETURN, pygame.KMOD_LALT), (pygame.K_p, 0), (pygame.K_n, 0), (pygame.K_o, 0),
                     (pygame.K_r, 0), (pygame.K_F9, 0), (pygame.K_BACKSPACE, 0), (pygame.K_F1, 0)):
        if where == "attract" and key not in (pygame.K_ESCAPE, pygame.K_F11):
            continue
        visitor.press(key, mod)
    visitor.post(pygame.CONTROLLERBUTTONDOWN, button=pygame.CONTROLLER_BUTTON_BACK, instance_id=0)
    assert not visitor.app._finished and not visitor.app.window.fullscreen
    if where != "attract":
        assert visitor.app.screens == screens and not visitor.app.settings.hud
    assert not visitor.app.photo_folder.exists()
    assert not pygame.mouse.get_visible()


def test_a_locked_key_still_wakes_the_booth(visitor: Visitor) -> None:
    visitor.press(pygame.K_ESCAPE)
    assert visitor.phase == "choose"


def chord(visitor: Visitor, key: int) -> None:
    visitor.press(key, pygame.KMOD_LCTRL | pygame.KMOD_LALT | pygame.KMOD_LSHIFT)
    visitor.steps(1)


def test_the_operators_chord_skips_shows_the_status_and_stops(visitor: Visitor) -> None:
    visitor.enter()
    chord(visitor, pygame.K_i)
    assert visitor.app._status_on and isinstance(visitor.top, BoothPlay)
    chord(visitor, pygame.K_m)
    assert "nothing to mute" in visitor.app.toasts.message
    chord(visitor, pygame.K_k)
    assert visitor.phase == "attract" and visitor.link.of("visit")[0]["reason"] == "skipped"
    turn = visitor.app.policy.turn
    visitor.app._operator._last.clear()
    chord(visitor, pygame.K_k)
    assert visitor.app.policy.turn == turn + 1
    chord(visitor, pygame.K_q)
    assert visitor.app._finished


def test_a_letter_of_the_chord_alone_commands_nothing(visitor: Visitor) -> None:
    visitor.enter()
    visitor.press(pygame.K_q)
    visitor.press(pygame.K_q, pygame.KMOD_LCTRL | pygame.KMOD_LSHIFT)
    assert not visitor.app._finished and not visitor.link.of("operator")


def test_supervisors_wish_ends_the_booth_and_the_visit_is_written_down(visitor: Visitor) -> None:
    visitor.enter()
    visitor.link.stop_asked.set()
    visitor.app.run()
    visitor.app.close()
    assert [visit["reason"] for visit in visitor.link.of("visit")] == ["stopped"] and visitor.link.closed


def test_heartbeat_knows_loading_from_playing_and_a_world_that_stands_still(make_visitor) -> None:
    catalogue = TwoCards()
    catalogue.may_load.clear()
    visitor = make_visitor(catalogue=catalogue)
    visitor.steps(3)
    assert not visitor.link.beats[-1].ready and visitor.link.beats[-1].loading_s is not None
    catalogue.may_load.set()
    visitor.until(lambda: visitor.top.playing, "the first frame")
    visitor.steps(2)
    beat = visitor.link.beats[-1]
    assert beat.ready and beat.loading_s is None and beat.chunk_age_s < 5.0 and beat.phase == "attract"


def test_a_world_that_breaks_is_left_out_of_the_loop_and_several_in_a_row_end_the_player(make_visitor) -> None:
    visitor = make_visitor(catalogue=TwoCards(fail_at_chunk=0))
    for failure in range(1, MAX_FAILURES):
        visitor.until(lambda n=failure: len(visitor.link.of("failure")) == n, f"failure {failure}")
        assert isinstance(visitor.top, HoldScreen)
        visitor.pass_time(2.5)
    visitor.until(lambda: visitor.app._finished, "the player gives up")
    with pytest.raises(WeightsError):
        visitor.app.finish()


def test_a_visitors_world_that_breaks_leads_back_to_the_choices(make_visitor) -> None:
    catalogue = TwoCards()
    visitor = make_visitor(catalogue=catalogue)
    visitor.wake()
    catalogue.fail_at_chunk = 0
    visitor.press(pygame.K_RETURN)
    visitor.until(lambda: visitor.app.policy.failed_world == "card", "the failure")
    visitor.steps(1)
    assert isinstance(visitor.top, ChooseScreen)
    assert [visit["reason"] for visit in visitor.link.of("visit")] == ["failed"]


def test_worlds_that_cannot_be_offered_are_refused_before_a_window_opens() -> None:
    for name, words in (("nowhere", "no world"), ("broken", "cannot be offered")):
        profile = Profile(worlds=(name,))
        with pytest.raises((ConfigError, WeightsError), match=words):
            KioskApp(profile, ListLink(), PlayOptions(headless=True, catalogue=TwoCards()))


def test_minimising_brings_the_window_back(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    restored = []
    monkeypatch.setattr(visitor.app.window, "restore", lambda: restored.append(True))
    visitor.post(pygame.WINDOWMINIMIZED)
    assert restored


# --- touch ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("where", ["tour", "visit"])
def test_a_gamepad_that_goes_lets_go_and_opens_no_menu(visitor: Visitor, where: str) -> None:
    pad = SimpleNamespace(id=3, name="Booth pad")
    visitor.app._pads._open[pad.id] = pad
    if where == "visit":
        visitor.enter()
        visitor.key(pygame.K_w, True)
        visitor.until(lambda: bool(visitor.top.input.held()), "a key is held")
    screen = visitor.top
    visitor.post(pygame.CONTROLLERDEVICEREMOVED, instance_id=pad.id)
    visitor.steps(2)
    assert visitor.top is screen and not screen.input.held() and not screen.session.paused
    assert "Booth pad was unplugged" in visitor.app.toasts.message


def test_controls_appear_with_the_first_finger_and_two_fingers_walk_and_turn_at_once(visitor: Visitor) -> None:
    visitor.enter()
    assert not visitor.top.shows_touch
    move, look = (control.box(visitor.app.window.surface.get_size(), 1.0) for control in visitor.top._controls)
    visitor.finger(pygame.FINGERDOWN, move.center, 1)
    assert visitor.top.shows_touch
    visitor.finger(pygame.FINGERMOTION, (move.centerx, move.top), 1)
    visitor.finger(pygame.FINGERDOWN, (look.right - 5, look.centery), 2)
    assert visitor.play.input.held() == {"forward", "turn_right"}
    visitor.until(lambda: visitor.world.walked_steps >= 2 and visitor.world.yaw_deg < -5.0, "walking and turning")
    visitor.finger(pygame.FINGERUP, (move.centerx, move.top), 1)
    assert visitor.play.input.held() == {"turn_right"}
    visitor.finger(pygame.FINGERUP, look.center, 2)
    assert not visitor.play.input.held()


def test_the_mouse_is_one_finger_and_drags_the_view(visitor: Visitor) -> None:
    visitor.enter()
    yaw_deg = visitor.world.yaw_deg
    assert not visitor.app.window.grabbed
    visitor.post(pygame.MOUSEMOTION, pos=(600, 200), rel=(50, 0), buttons=(0, 0, 0))
    visitor.post(pygame.MOUSEBUTTONDOWN, button=1, pos=(600, 200))
    visitor.frames(3)
    assert visitor.world.yaw_deg == yaw_deg  # without a button a mouse is no finger
    visitor.post(pygame.MOUSEMOTION, pos=(650, 200), rel=(50, 0), buttons=(1, 0, 0))
    visitor.until(lambda: visitor.world.yaw_deg < yaw_deg - 1.0, "a turn to the right")
    visitor.post(pygame.MOUSEBUTTONUP, button=1, pos=(650, 200))
    assert not visitor.app.window.grabbed


def test_a_touch_that_the_system_repeats_as_a_mouse_counts_once(visitor: Visitor) -> None:
    visitor.wake()
    visitor.post(pygame.MOUSEBUTTONDOWN, button=1, pos=visitor.top._boxes[1].center, touch=True)
    assert visitor.phase == "choose"


def test_the_done_button_ends_the_visit(visitor: Visitor) -> None:
    visitor.enter()
    visitor.tap((600, 300))
    visitor.frames(1)
    visitor.tap(visitor.top._done_box.center)
    visitor.steps(1)
    assert isinstance(visitor.top, ThanksScreen) and visitor.link.of("visit")[0]["reason"] == "done"


@pytest.mark.parametrize(("controls", "shown"), [("always", True), ("never", False)])
def test_profile_says_whether_controls_are_shown(make_visitor, controls: str, shown: bool) -> None:
    visitor = make_visitor(f'{PROFILE}[touch]\ncontrols = "{controls}"\n')
    visitor.enter()
    if not shown:
        visitor.tap((156, visitor.app.window.surface.get_height() - 156))
    assert visitor.top.shows_touch is shown


def test_a_mouse_that_looks_is_taken_with_the_first_frame(make_visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = make_visitor(f'{PROFILE}[touch]\nmouse = "look"\n')
    visitor.enter()
    if not visitor.app.window.grabbed:  # the dummy driver's window may not have the focus
        visitor.post(pygame.MOUSEBUTTONDOWN, button=1, pos=(5, 5))
    yaw_deg = visitor.world.yaw_deg
    visitor.move_mouse(50)
    visitor.until(lambda: visitor.world.yaw_deg < yaw_deg - 1.0, "a turn")


# --- clips ----------------------------------------------------------------------------------------------------------

def test_clips_are_shown_between_the_tours_and_a_damaged_one_is_left_out(make_visitor, tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", num_frames=8)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    visitor = make_visitor(f'{PROFILE}[attract]\nclips = "{tmp_path.as_posix()}"\n')
    visitor.until(lambda: visitor.top.playing, "the first tour")
    visitor.pass_time(41.0)
    assert isinstance(visitor.top, VideoScreen)
    visitor.until(lambda: isinstance(visitor.top, VideoScreen) and (frame := visitor.top._player.frame) is not None
                  and number_of(frame) > 5, "the clip's later frames")
    visitor.until(lambda: isinstance(visitor.top, TourScreen), "the tour after the clip's end")
    visitor.until(lambda: visitor.top.playing, "that tour")
    visitor.pass_time(41.0)
    assert isinstance(visitor.top, HoldScreen) and visitor.link.of("failure")[0]["what"] == "clip"
    visitor.pass_time(2.5)
    assert isinstance(visitor.top, TourScreen)


# --- hours ----------------------------------------------------------------------------------------------------------

def test_eight_hours_of_visitors_leave_nothing_behind(make_visitor) -> None:
    # the real loop, each turn of it eight seconds of the policy: idle times, sessions and tours pass in milliseconds
    visitor = make_visitor(PROFILE.replace("load_s = 50.0", "load_s = 3000.0"), TwoCards(fps=1000))
    visitor.app.window.resize((480, 320))
    random_, num_threads, comes_s = random.Random(5), threading.active_count(), 0.0
    begins_s = visitor.clock.now()
    while visitor.clock.now() - begins_s < 8 * 3600.0:
        now_s = visitor.clock.now()
        if visitor.phase == "choose":
            visitor.top._opened_s = 0.0
            visitor.press(pygame.K_RETURN)
        elif now_s - begins_s >= comes_s:  # somebody comes, and goes when they like
            leaves_s, comes_s = now_s + random_.expovariate(1 / 60), now_s - begins_s + random_.expovariate(1 / 200)
            visitor.press(pygame.K_SPACE)
        elif visitor.phase == "play" and now_s < leaves_s:
            visitor.press(pygame.K_d)
        visitor.clock.now_s += 8.0
        visitor.steps(1)
    visits, app = visitor.link.of("visit"), visitor.app
    assert len(visits) > 50 and {visit["reason"] for visit in visits} == {"time up", "idle"}
    assert all(visit["played_s"] <= 76.0 for visit in visits) and app.policy.turn > 100
    assert len(app.screens) == 1 and not visitor.link.of("failure")
    assert threading.active_count() <= num_threads + 2
