"""Hands at a booth: fingers, mouse, gamepads and keys, those that are locked, and the operator's chord."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pygame
import pytest
from booth_visitor import PROFILE, Visitor, booths

from astra_play.display.booth_pages import ChooseScreen, ThanksScreen
from astra_play.display.booth_play import BoothPlay


@pytest.fixture
def make_visitor() -> Iterator[Callable[..., Visitor]]:
    with booths() as make:
        yield make


@pytest.fixture
def visitor(make_visitor) -> Visitor:
    return make_visitor()


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


def test_minimising_brings_the_window_back(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    restored = []
    monkeypatch.setattr(visitor.app.window, "restore", lambda: restored.append(True))
    visitor.post(pygame.WINDOWMINIMIZED)
    assert restored


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


def test_a_gamepad_that_goes_leaves_the_other_one_in_the_visitors_hands(visitor: Visitor) -> None:
    visitor.app._pads._open[3] = SimpleNamespace(id=3, name="Booth pad")
    visitor.enter()
    visitor.post(pygame.CONTROLLERAXISMOTION, axis=pygame.CONTROLLER_AXIS_LEFTY, value=-32768, instance_id=4)
    visitor.post(pygame.CONTROLLERDEVICEREMOVED, instance_id=3)
    assert "forward" in visitor.top.input.held()


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
