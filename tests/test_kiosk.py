"""Which screen a booth shows: an accelerated policy clock leads through tours, clips, visits, failures and hours."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pygame
import pytest
from booth_visitor import PROFILE, ListLink, TwoCards, Visitor, booths
from recordings import make_video, number_of

from astra_play.booth.policy import GRACE_S
from astra_play.booth.profile import Profile
from astra_play.display.booth_attract import HoldScreen, TourScreen, VideoScreen
from astra_play.display.booth_pages import ChooseScreen, ThanksScreen
from astra_play.display.booth_play import BoothPlay
from astra_play.display.kiosk import MAX_FAILURES, KioskApp
from astra_play.display.options import PlayOptions
from astra_play.errors import ConfigError, WeightsError


@pytest.fixture
def make_visitor() -> Iterator[Callable[..., Visitor]]:
    with booths() as make:
        yield make


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


def test_start_page_calls_worlds_as_the_profile_does(make_visitor) -> None:
    visitor = make_visitor(f'{PROFILE}[titles]\n"card two" = "Zweite Karte"\n[descriptions]\ncard = "Eine Karte."\n')
    visitor.wake()
    assert [(entry.title, entry.description) for entry in visitor.top._worlds] == \
        [("Test card", "Eine Karte."), ("Zweite Karte", "")]


def test_a_single_world_needs_no_choice(make_visitor) -> None:
    visitor = make_visitor(PROFILE.replace('["card", "card two"]', '["card"]'))
    visitor.press(pygame.K_SPACE)
    visitor.until(lambda: isinstance(visitor.top, BoothPlay) and visitor.top.playing, "the only world")


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


# --- clips ----------------------------------------------------------------------------------------------------------

def test_clips_are_shown_between_the_tours_and_a_damaged_one_is_left_out(make_visitor, tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", num_frames=8)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    (tmp_path / "._a.mp4").write_bytes(b"of the stick's file system, no video")
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
