"""The booth's policy: phases by the clock alone, the same however often it is asked, and eight hours of visitors."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from naive_booth import STEP, walk

from astra_play.booth.policy import FAILED_TURN_S, GRACE_S, Policy, Visit
from astra_play.booth.profile import Times

TIMES = Times(session_s=60.0, last_s=10.0, idle_s=20.0, warning_s=5.0, choose_s=15.0, thanks_s=8.0, tour_s=30.0,
              load_s=12.0)
DEEDS = ("touch", "choose", "began", "over", "failed", "done", "skip")


def playing(times: Times = TIMES, at_s: float = 0.0) -> Policy:
    """A visitor whose world has just appeared."""
    policy = Policy(times, at_s)
    policy.touched(at_s)
    policy.chosen("card", at_s)
    policy.began(at_s)
    return policy


def deed(policy: Policy, name: str, now_s: float) -> None:
    {"touch": policy.touched, "began": policy.began, "over": policy.turn_over, "failed": policy.failed,
     "done": policy.done, "skip": policy.skip, "choose": lambda at_s: policy.chosen("card", at_s)}[name](now_s)


def test_a_touch_leads_from_the_attract_loop_to_the_start_page_and_a_choice_into_the_world() -> None:
    policy = Policy(TIMES, 0.0)
    policy.tick(5.0)
    assert policy.phase == "attract"
    policy.touched(6.0)
    assert policy.phase == "choose"
    policy.chosen("card", 7.0)
    assert (policy.phase, policy.world, policy.is_waiting) == ("play", "card", True)
    assert policy.view(7.0).left_s is None  # the time runs from the first picture on
    policy.began(10.0)
    assert policy.view(12.0).left_s == pytest.approx(58.0)


def test_session_ends_at_its_limit_however_busy_the_visitor_is() -> None:
    policy = playing()
    for second in range(1, 61):
        policy.touched(second - 0.5)
    policy.tick(59.9)
    assert policy.phase == "play" and policy.view(59.9).is_last
    policy.tick(60.0)
    assert policy.phase == "thanks"
    assert policy.take_visits() == [Visit("card", 0.0, 60.0, 60.0, "time up")]
    policy.tick(68.0)
    assert policy.phase == "attract"


def test_nobody_touching_brings_a_warning_and_then_the_attract_loop() -> None:
    policy = playing()
    assert policy.view(19.9).warning_s is None
    assert policy.view(21.0).warning_s == pytest.approx(4.0)
    policy.touched(24.0)
    assert policy.view(24.0).warning_s is None
    policy.tick(48.99)
    assert policy.phase == "play"
    policy.tick(49.0)
    assert policy.phase == "attract"
    assert [(visit.reason, visit.played_s) for visit in policy.take_visits()] == [("idle", 49.0)]


def test_no_idle_warning_runs_beside_a_session_that_ends_sooner() -> None:
    policy = playing()
    for second in (20.0, 39.0):
        policy.touched(second)
    assert policy.view(59.5).warning_s is None and policy.view(59.5).is_last


def test_a_session_without_a_limit_shows_no_countdown_and_ends_by_idleness_alone() -> None:
    policy = playing(Times(session_s=0.0, last_s=0.0, idle_s=20.0, warning_s=5.0))
    for minute in range(1, 200):
        policy.touched(minute * 19.0)
    assert policy.phase == "play" and policy.view(199 * 19.0).left_s is None
    policy.tick(199 * 19.0 + 25.0)
    assert policy.phase == "attract"


def test_a_world_that_does_not_come_leads_back_to_the_start_page_and_is_named() -> None:
    policy = Policy(TIMES, 0.0)
    policy.touched(0.0)
    policy.chosen("card", 1.0)
    policy.tick(13.0)
    assert (policy.phase, policy.failed_world) == ("choose", "card")
    assert policy.take_visits() == [Visit("card", 1.0, 13.0, 0.0, "failed")]
    policy.chosen("other", 14.0)
    assert policy.failed_world == ""


def test_hands_that_still_hammer_do_not_skip_the_thanks_page() -> None:
    policy = playing()
    policy.done(20.0)
    policy.touched(20.0 + GRACE_S - 0.1)
    assert policy.phase == "thanks"
    policy.touched(20.0 + GRACE_S)
    assert policy.phase == "choose"


def test_attract_loop_goes_on_by_itself_and_leaves_out_what_does_not_come() -> None:
    policy = Policy(TIMES, 0.0)
    policy.began(2.0)
    policy.tick(31.9)
    assert policy.turn == 0
    policy.tick(32.0)
    assert policy.turn == 1 and policy.is_waiting
    policy.tick(44.0)  # its first picture never came
    assert policy.turn == 2
    policy.began(45.0, length_s=3.0)
    policy.tick(48.0)
    assert policy.turn == 3
    policy.turn_over(49.0)
    assert policy.turn == 4


def test_a_turn_that_fails_at_once_does_not_spin() -> None:
    policy = Policy(TIMES, 0.0)
    for tick in range(1001):
        if policy.is_waiting:
            policy.failed(tick / 100)
        policy.tick(tick / 100)
    assert policy.turn == 10.0 // FAILED_TURN_S


def test_operator_skips_a_visit_and_a_turn() -> None:
    policy = playing()
    policy.skip(5.0)
    assert policy.phase == "attract" and policy.take_visits()[0].reason == "skipped"
    turn = policy.turn
    policy.skip(6.0)
    assert policy.turn == turn + 1


def test_stopping_ends_the_visit_under_way() -> None:
    policy = playing()
    policy.stop(5.0)
    assert [visit.reason for visit in policy.take_visits()] == ["stopped"]


@pytest.mark.parametrize("seed", range(40))
def test_policy_walks_as_its_slow_twin(seed: int) -> None:
    """Events at random quarters of a second; the policy is asked only at its events and at a few other times."""
    random_ = random.Random(seed)
    end = Fraction(400)
    events = {STEP * random_.randrange(1, int(end / STEP)): random_.choice(DEEDS) for _ in range(60)}
    phases, visits = walk(TIMES, events, end)
    policy = Policy(TIMES, 0.0)
    seen = []
    for index in range(int(end / STEP) + 1):
        time = index * STEP
        if time in events:
            deed(policy, events[time], float(time))
        if time in events or random_.random() < 0.3:
            policy.tick(float(time))
            seen.append((index, policy.phase))
    assert seen == [(index, phases[index]) for index, _ in seen]
    assert [(visit.reason, visit.played_s) for visit in policy.take_visits()] == visits


def test_eight_hours_of_visitors_leave_no_visit_longer_than_its_limits() -> None:
    """Visitors come at random, play, wander off, mash buttons; the booth is asked ten times a second."""
    random_ = random.Random(1)
    policy = Policy(TIMES, 0.0)
    hours_s = 8 * 3600.0
    visits: list[Visit] = []
    leaves_s, comes_s = 0.0, 5.0
    phases: dict[str, float] = {}
    for tick in range(int(hours_s * 10)):
        now_s = tick / 10
        if now_s >= comes_s:
            leaves_s, comes_s = now_s + random_.expovariate(1 / 40), now_s + random_.expovariate(1 / 120)
        if now_s < leaves_s:
            if policy.phase == "choose" and random_.random() < 0.05:
                policy.chosen(random_.choice("abc"), now_s)
            elif random_.random() < 0.2:
                policy.touched(now_s)
        if policy.is_waiting and policy.phase in ("play", "attract") and random_.random() < 0.1:
            policy.failed(now_s) if random_.random() < 0.05 else policy.began(now_s)
        policy.tick(now_s)
        phases[policy.phase] = phases.get(policy.phase, 0.0) + 0.1
        visits += policy.take_visits()
    assert len(visits) > 100 and {visit.reason for visit in visits} == {"time up", "idle", "failed"}
    assert max(visit.played_s for visit in visits) <= TIMES.session_s + 1e-6
    assert all(visit.ended_s - visit.began_s <= TIMES.load_s + TIMES.session_s + 1e-6 for visit in visits)
    assert all(later.began_s >= earlier.ended_s for earlier, later in zip(visits, visits[1:], strict=False))
    assert set(phases) == {"attract", "choose", "play", "thanks"} and sum(phases.values()) == pytest.approx(hours_s)
