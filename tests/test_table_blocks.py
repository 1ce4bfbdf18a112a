"""A hand among blocks: grasped, carried, dropped, pushed; and never a step otherwise than the dull twin's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from naive import naive_table_step

from astra_play.model.table_blocks import (
    AWAY_M,
    BLOCK_HALF_M,
    FINGER_HALF_M,
    ROUGH_M,
    TIP_M,
    Blocks,
    Grip,
    above_table,
    laid_out,
    seen_around,
    step,
)

OPEN_M, STEP_M = 0.05, 0.0125
STILL = (0.0, 0.0, 0.0)
LOW_M = 0.03


class Table:
    """One hand and its blocks, played by rows of (way, close)."""

    def __init__(self, *blocks: tuple[float, float], hand: tuple[float, float, float] = (0.0, 0.0, LOW_M),
                 opening_m: float = OPEN_M) -> None:
        self.grip = Grip(torch.tensor([hand]), torch.tensor([opening_m]))
        places = torch.tensor([[(x, y, BLOCK_HALF_M) for x, y in blocks]]).reshape(1, len(blocks), 3)
        self.blocks = laid_out(places, self.grip)

    def play(self, way: tuple[float, float, float] = STILL, close: float = 0.0, frames: int = 1) -> None:
        for _ in range(frames):
            goal_m = OPEN_M * (1 - close)
            opening_m = self.grip.opening_m + (goal_m - self.grip.opening_m).clamp(-STEP_M, STEP_M)
            self.blocks, self.grip = step(self.blocks, self.grip, torch.tensor([way]), opening_m)

    def block(self, index: int = 0) -> list[float]:
        return [round(value, 6) for value in self.blocks.places_m[0, index].tolist()]


def test_a_block_between_the_fingers_is_carried_where_the_hand_goes_and_dropped_there() -> None:
    table = Table((0.01, -0.01))
    table.play(close=1.0, frames=6)
    assert table.blocks.held.tolist() == [[True]]
    assert table.grip.opening_m.item() == pytest.approx(BLOCK_HALF_M)
    assert table.block() == pytest.approx([0.0, -0.01, BLOCK_HALF_M], abs=1e-3)  # drawn to the middle, not along
    table.play((0.0, 0.0, 0.02), close=1.0, frames=4)
    table.play((0.02, 0.01, 0.0), close=1.0, frames=3)
    assert table.block() == pytest.approx([0.06, 0.02, BLOCK_HALF_M + 0.08], abs=1e-3)
    heights = []
    for _ in range(6):
        table.play(close=0.0)
        heights.append(table.block()[2])
    assert heights == sorted(heights, reverse=True) and heights[0] < BLOCK_HALF_M + 0.08
    assert heights[-1] == pytest.approx(BLOCK_HALF_M) and not table.blocks.held.any()
    table.play((0.0, 0.0, 0.02), close=1.0, frames=4)
    assert table.block() == pytest.approx([0.06, 0.02, BLOCK_HALF_M], abs=1e-3)


@pytest.mark.parametrize("block, hand", [((0.07, 0.0), (0.0, 0.0, LOW_M)), ((0.0, 0.05), (0.0, 0.0, LOW_M)),
                                         ((0.0, 0.0), (0.0, 0.0, 0.09))])
def test_what_is_beside_or_under_the_fingers_is_not_taken(block, hand) -> None:
    table = Table(block, hand=hand)
    table.play(close=1.0, frames=6)
    table.play((0.0, 0.0, 0.02), close=1.0, frames=4)
    assert not table.blocks.held.any() and table.block()[2] == pytest.approx(BLOCK_HALF_M)
    assert table.grip.opening_m.item() == pytest.approx(0.0)


def test_a_finger_pushes_a_block_before_it() -> None:
    table = Table((0.12, 0.005))
    table.play((0.01, 0.0, 0.0), close=1.0, frames=14)
    finger_m = table.grip.place_m[0, 0].item() + table.grip.opening_m.item() + 2 * FINGER_HALF_M[0]
    assert table.block()[:2] == pytest.approx([finger_m + BLOCK_HALF_M, 0.005], abs=1e-4)
    table.play((-0.01, 0.0, 0.0), close=1.0, frames=3)
    assert table.block()[0] == pytest.approx(finger_m + BLOCK_HALF_M, abs=1e-4)  # and leaves it where it is


def test_open_fingers_sweep_a_block_along() -> None:
    table = Table((0.0, 0.0))
    table.play((0.0, 0.02, 0.0), frames=2)
    assert table.block()[:2] == pytest.approx([0.0, 0.0])  # gone out between them
    table = Table((0.0, 0.0))
    table.play((0.01, 0.0, 0.0), frames=5)
    assert table.block()[0] == pytest.approx(0.05 - (OPEN_M - BLOCK_HALF_M), abs=1e-4)  # the left finger takes it


def test_half_shut_fingers_of_a_first_picture_hold_what_is_between_them() -> None:
    table = Table((0.0, 0.0), opening_m=0.033)
    assert table.blocks.held.tolist() == [[True]]
    table.play((0.0, 0.0, 0.02), close=1.0, frames=3)
    assert table.block()[2] == pytest.approx(BLOCK_HALF_M + 0.06)
    assert not Table((0.0, 0.0), opening_m=0.05).blocks.held.any()
    assert not Table((0.1, 0.0), opening_m=0.033).blocks.held.any()


EYE_M = 0.7


def seen_at(place_m: list[float]) -> tuple[float, float]:
    """Where a camera over the origin sees a place: sideways and up for each metre away."""
    return place_m[0] / place_m[1], (place_m[2] - EYE_M) / place_m[1]


def test_fingers_are_taken_to_be_around_what_is_seen_between_them() -> None:
    block = torch.tensor([[[0.01, 0.9, BLOCK_HALF_M], [0.01, 1.3, BLOCK_HALF_M]]])
    for slid_m, moves in ((0.04, True), (-0.04, True), (0.08, False)):
        true_m = torch.tensor([[0.0, 0.9, 0.03]])
        to_eye_m = torch.tensor([[0.0, 0.0, EYE_M]]) - true_m
        grip = Grip(true_m + slid_m * to_eye_m / to_eye_m.norm(), torch.tensor([OPEN_M]))
        around = seen_around(laid_out(block, grip), grip, torch.tensor([EYE_M]))
        before, after = grip.place_m[0].tolist(), around.place_m[0].tolist()
        assert seen_at(after) == pytest.approx(seen_at(before), abs=1e-5)  # as a player sees it nothing happens
        assert after[1] == pytest.approx(0.9 if moves else before[1], abs=1e-5)
    assert abs(slid_m) > ROUGH_M


def test_a_hand_beside_all_blocks_stays_where_it_was_found() -> None:
    for places in (torch.zeros(1, 0, 3), torch.tensor([[[0.2, 0.9, BLOCK_HALF_M]]])):
        grip = Grip(torch.tensor([[0.0, 0.9, 0.03]]), torch.tensor([OPEN_M]))
        assert torch.equal(seen_around(laid_out(places, grip), grip, torch.tensor([EYE_M])).place_m, grip.place_m)


def test_fingertips_do_not_go_into_the_table() -> None:
    grip = Grip(torch.tensor([[0.1, 0.9, -0.02], [0.1, 0.9, 0.05]]), torch.full((2,), OPEN_M))
    held = Blocks(grip.place_m[:, None].clone(), torch.tensor([[True], [True]]), torch.zeros(2, 1))
    blocks, lifted = above_table(held, grip, torch.full((2,), EYE_M))
    assert torch.allclose(blocks.places_m[:, 0], lifted.place_m)  # what is held goes along
    free, _ = above_table(held._replace(held=~held.held), grip, torch.full((2,), EYE_M))
    assert torch.equal(free.places_m, held.places_m)
    assert lifted.place_m[0, 2].item() == pytest.approx(-TIP_M)
    assert seen_at(lifted.place_m[0].tolist()) == pytest.approx(seen_at(grip.place_m[0].tolist()), abs=1e-5)
    assert torch.equal(lifted.place_m[1], grip.place_m[1])


def test_fingers_do_not_close_through_what_they_hold() -> None:
    table = Table((0.0, 0.0))
    table.play(close=1.0, frames=4)
    # Held, but off the hand by more than its fingers reach around: as after a slide along the line of sight.
    table.blocks = table.blocks._replace(places_m=table.blocks.places_m + torch.tensor([0.0, 0.04, 0.0]))
    table.play(close=1.0, frames=4)
    assert table.blocks.held.all() and table.grip.opening_m.item() == pytest.approx(BLOCK_HALF_M)
    table.play(close=0.0, frames=2)
    assert not table.blocks.held.any() and table.grip.opening_m.item() == pytest.approx(OPEN_M)


def test_two_blocks_and_none() -> None:
    table = Table((0.0, 0.0), (0.1, 0.05))
    table.play(close=1.0, frames=6)
    table.play((-0.01, 0.0, 0.02), close=1.0, frames=4)
    assert table.blocks.held.tolist() == [[True, False]]
    assert table.block(1) == pytest.approx([0.1, 0.05, BLOCK_HALF_M])
    empty = Table()
    empty.play(close=1.0, frames=6)
    assert empty.grip.opening_m.item() == 0.0 and empty.blocks.places_m.shape == (1, 0, 3)


@pytest.mark.parametrize("seed", range(6))
def test_steps_are_those_of_the_dull_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = np.concatenate([rng.uniform(-0.1, 0.1, (5, 3, 2)), np.full((5, 3, 1), BLOCK_HALF_M)], axis=-1)
    places[0, 2] = AWAY_M  # a block that is not there
    places[1:3, 0, :2] = 0.01  # two that are taken at once
    grip = Grip(torch.zeros(5, 3, dtype=torch.float64) + torch.tensor([0, 0, LOW_M]),
                torch.full((5,), OPEN_M, dtype=torch.float64))
    blocks = laid_out(torch.from_numpy(places), grip)
    twins = [([dict(x=x, y=y, z=z, held=False, fall=0.0) for x, y, z in row],
              dict(x=0.0, y=0.0, z=LOW_M, opening=OPEN_M)) for row in places]
    held = 0
    close = np.array([0.0, 1.0, 1.0, 0.0, 0.0])
    for _ in range(60):
        close = np.where(rng.random(5) < 0.15, 1 - close, close)
        ways = rng.normal(0, 0.008, (5, 3))
        ways[:, 2] += 0.3 * (LOW_M - grip.place_m[:, 2].numpy())  # mostly among them
        goal_m = OPEN_M * (1 - torch.from_numpy(close))
        opening_m = grip.opening_m + (goal_m - grip.opening_m).clamp(-STEP_M, STEP_M)
        for (own, hand), way, wanted in zip(twins, ways, opening_m.tolist(), strict=True):
            naive_table_step(own, hand, tuple(way), wanted)
        blocks, grip = step(blocks, grip, torch.from_numpy(ways), opening_m)
        held += int(blocks.held.sum())
        assert isinstance(blocks, Blocks)
        for index, (own, hand) in enumerate(twins):
            assert blocks.places_m[index].tolist() == [pytest.approx([b["x"], b["y"], b["z"]]) for b in own]
            assert blocks.held[index].tolist() == [b["held"] for b in own]
            assert grip.opening_m[index].item() == pytest.approx(hand["opening"])
    assert held > 5  # the walk did take blocks
