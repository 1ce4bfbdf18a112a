"""On-screen controls: where they lie, what fingers make of them, and what they make of several fingers at once."""

from __future__ import annotations

import random

import pygame
import pytest
from naive_touch import held_buttons

from astra_play.actions.buttons import meanings
from astra_play.actions.keymap import Keymap, default_keymap
from astra_play.actions.state import InputState
from astra_play.display.pointer import Finger
from astra_play.display.theme import unit_px
from astra_play.display.touch import CONTROLS, TouchControls, touch_controls, with_touch

SIZE = (1280, 720)
KNOWN = {"camera": ("forward", "back", "left", "right", "turn_left", "turn_right", "look_up", "look_down"),
         "vehicle": ("accelerate", "brake", "steer_left", "steer_right"),
         "arm": ("forward", "back", "left", "right", "up", "down", "grip", "release")}


class Hands:
    """Fingers on the controls of a modality, and the state they make."""

    def __init__(self, modality: str, known: tuple[str, ...] = ()) -> None:
        self.known = known or KNOWN[modality]
        self.controls = touch_controls(modality, self.known)
        self.touch = TouchControls(self.controls)
        self.keymap = with_touch(default_keymap().limited_to(self.known, modality), self.controls, self.known)
        self.state = InputState(self.keymap)
        self.motion_px = (0.0, 0.0)

    def do(self, finger: Finger) -> None:
        for event in self.touch.handle(finger, SIZE, 1.0, 0.0):
            if event.kind == "motion":
                self.motion_px = tuple(old + new for old, new in zip(self.motion_px, event.motion_px, strict=True))
            self.state.handle(event)

    def at(self, name: str) -> pygame.Rect:
        return next(control for control in self.controls if control.name == name).box(SIZE, 1.0)


def finger(what: str, at: tuple[int, int], number: int = 1) -> Finger:
    return Finger(("screen", number), what, at)


@pytest.mark.parametrize("modality", CONTROLS)
@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080), (1080, 1920), (3840, 2160), (1024, 768)])
def test_controls_lie_in_the_window_and_apart(modality: str, size: tuple[int, int]) -> None:
    boxes = [control.box(size, unit_px(*size)) for control in CONTROLS[modality]]
    assert all(pygame.Rect(0, 0, *size).contains(box) for box in boxes)
    assert not any(one.colliderect(other) for index, one in enumerate(boxes) for other in boxes[:index]
                   if modality != "arm")  # the four round buttons overlap in their corners alone


@pytest.mark.parametrize("modality", CONTROLS)
def test_every_button_of_a_world_can_be_reached_by_fingers(modality: str) -> None:
    reached = {button for control in CONTROLS[modality] for button in control.buttons if button}
    assert reached == set(KNOWN[modality]) and reached <= meanings(modality).keys()


def test_controls_of_buttons_that_a_world_does_not_know_are_left_out() -> None:
    hands = Hands("camera", ("forward", "back"))
    assert [control.name for control in hands.controls] == ["touch move"]
    assert hands.keymap.sticks["touch move x"] == ((), ())


def test_touch_names_leave_the_keys_and_pads_as_they_are() -> None:
    hands, plain = Hands("camera"), default_keymap().limited_to(KNOWN["camera"])
    assert hands.keymap.keys.items() >= plain.keys.items() and hands.keymap.sticks.items() >= plain.sticks.items()
    assert isinstance(hands.keymap, Keymap) and hands.keymap.modality == plain.modality


def test_a_stick_pushed_half_way_has_half_its_strength_and_none_after_letting_go() -> None:
    hands = Hands("camera")
    box = hands.at("touch move")
    hands.do(finger("down", box.center))
    assert not hands.state.held()
    hands.do(finger("move", (box.centerx, box.centery - box.height // 4)))
    dead_zone = hands.keymap.dead_zone
    assert dict(hands.state.take(0.0).axes) == pytest.approx({"forward": (0.5 - dead_zone) / (1 - dead_zone)})
    hands.do(finger("move", (box.centerx, box.top - 200)))
    assert dict(hands.state.take(0.0).axes) == {"forward": 1.0}
    hands.do(finger("up", (box.centerx, box.top - 200)))
    hands.state.take(0.0)
    assert not hands.state.take(0.0).axes


def test_a_tap_shorter_than_a_chunk_reaches_the_world() -> None:
    hands = Hands("arm")
    hands.do(finger("down", hands.at("touch grip").center))
    hands.do(finger("up", hands.at("touch grip").center))
    assert hands.state.take(0.0).buttons == {"grip"} and not hands.state.take(0.0).buttons


def test_a_finger_beside_the_controls_drags_the_view_like_a_mouse() -> None:
    hands = Hands("camera")
    for what, at in (("down", (640, 200)), ("move", (700, 190)), ("up", (700, 190))):
        hands.do(finger(what, at))
    assert hands.motion_px == (60.0, -10.0) and not hands.state.held()


def test_a_thumb_that_slides_off_its_stick_still_holds_it() -> None:
    hands = Hands("vehicle")
    hands.do(finger("down", hands.at("touch steer").center))
    hands.do(finger("move", (900, 300)))
    assert hands.state.held() == {"steer_right"}


def test_fingers_that_vanish_with_the_focus_are_forgotten() -> None:
    hands = Hands("vehicle")
    hands.do(finger("down", hands.at("touch gas").center))
    hands.touch.let_go()
    assert not hands.touch.is_touched
    hands.do(finger("move", hands.at("touch brake").center))  # its end went to another window
    assert hands.state.held() == {"accelerate"}  # the state was released by the focus itself, not here


@pytest.mark.parametrize("modality", CONTROLS)
@pytest.mark.parametrize("seed", range(8))
def test_many_fingers_hold_what_the_slow_twin_says(modality: str, seed: int) -> None:
    random_, hands, story = random.Random(seed), Hands(modality), []
    down: set[int] = set()
    centres = [control.box(SIZE, 1.0).center for control in hands.controls]
    for _ in range(200):
        number = random_.randrange(5)
        near = random_.choice([*centres, (640, 200)])
        at = near[0] + random_.randrange(-90, 90), near[1] + random_.randrange(-90, 90)
        what = "down" if number not in down else random_.choice(("move", "move", "up"))
        down = down | {number} if what == "down" else down - {number} if what == "up" else down
        story.append(finger(what, at, number))
        hands.do(story[-1])
        hands.state.take(0.0)
        wanted = held_buttons(story, hands.controls, SIZE, hands.keymap.dead_zone)
        assert hands.state.held() == wanted
    for number in down:
        hands.do(finger("up", (0, 0), number))
    assert not hands.state.held() and not hands.touch.is_touched
