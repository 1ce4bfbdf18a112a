"""Multistep solvers against their twins from the papers, and their errors on a flow whose ends are known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from naive_solvers import GaussianFlow, naive_dpmpp, naive_unipc
from torch import Tensor

from astra_play.config import StreamConfig, from_dict
from astra_play.errors import ConfigError
from astra_play.model.free_run import FreeRun
from astra_play.model.sampler import euler, sigma_schedule
from astra_play.model.solvers import SOLVERS, Solver, dpmpp, unipc
from astra_play.model.transformer import Transformer

SCHEDULES = [sigma_schedule(1), sigma_schedule(2), sigma_schedule(8), sigma_schedule(50, 5.0), (1.0, 0.9, 0.05, 0.0),
             (0.8, 0.4, 0.3, 0.0)]


def in_torch(flow: GaussianFlow) -> Callable[[Tensor, float], Tensor]:
    return lambda noisy, sigma: torch.from_numpy(flow.velocity(noisy.numpy(), sigma))


def error(solver: Solver, num_steps: int, shift: float = 1.0, deviation: float = 1.0) -> float:
    flow = GaussianFlow(deviation=deviation)
    found = solver(in_torch(flow), torch.from_numpy(flow.noise), sigma_schedule(num_steps, shift))
    return flow.error(found.numpy())


@pytest.mark.parametrize(("solver", "twin"), [(dpmpp, naive_dpmpp), (unipc, naive_unipc)])
@pytest.mark.parametrize("sigmas", SCHEDULES)
def test_solver_equals_its_twin_from_the_paper(solver: Solver, twin: Callable, sigmas: Sequence[float]) -> None:
    flow = GaussianFlow(deviation=0.7)

    def bent(noisy: np.ndarray, sigma: float) -> np.ndarray:  # so that errors of one step change the next ones
        return flow.velocity(noisy, sigma) + np.sin(3 * noisy)

    found = solver(lambda x, s: torch.from_numpy(bent(x.numpy(), s)), torch.from_numpy(flow.noise), sigmas)
    np.testing.assert_allclose(found.numpy(), twin(bent, flow.noise, sigmas), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("sigmas", SCHEDULES)
def test_network_is_asked_once_per_interval(name: str, sigmas: Sequence[float]) -> None:
    flow = GaussianFlow()
    SOLVERS[name](in_torch(flow), torch.from_numpy(flow.noise), sigmas)
    assert flow.num_calls == len(sigmas) - 1


@pytest.mark.parametrize(("name", "order"), [("euler", 1.0), ("dpmpp", 2.0), ("unipc", 2.0)])
def test_halving_the_steps_divides_the_error_by_the_order(name: str, order: float) -> None:
    measured = math.log2(error(SOLVERS[name], 48) / error(SOLVERS[name], 96))
    assert measured == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("solver", [dpmpp, unipc])
@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("deviation", [0.5, 1.0, 1.5])
def test_few_steps_are_better_than_eulers(solver: Solver, shift: float, deviation: float) -> None:
    for num_steps in (4, 6, 8):
        assert error(solver, num_steps, shift, deviation) < error(euler, num_steps, shift, deviation)


@pytest.mark.parametrize("solver", [dpmpp, unipc])
def test_eight_steps_beat_32_of_eulers_on_an_even_schedule(solver: Solver) -> None:
    assert error(solver, 8) < error(euler, 32)


@pytest.mark.parametrize("solver", [dpmpp, unipc])
def test_one_step_is_eulers(solver: Solver) -> None:
    flow = GaussianFlow()
    noise = torch.from_numpy(flow.noise)
    torch.testing.assert_close(solver(in_torch(flow), noise, (1.0, 0.0)), euler(in_torch(flow), noise, (1.0, 0.0)))


def test_shifted_schedule_of_50_steps_is_the_published_one() -> None:
    sigmas = sigma_schedule(50, 5.0)
    assert sigmas[:5] == pytest.approx((1.0, 0.995935, 0.991735, 0.987395, 0.982906), abs=1e-6)
    assert sigmas[-3:] == pytest.approx((0.172414, 0.092593, 0.0), abs=1e-6) and len(sigmas) == 51


def test_stream_names_the_solver_that_the_rollout_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny_world import TINY_WORLD

    model = Transformer(dataclasses.replace(TINY_WORLD.model, anchor="none")).eval()
    used: list[str] = []
    for name, solver in SOLVERS.items():
        def noted(*args: object, name: str = name, solver: Solver = solver) -> Tensor:
            used.append(name)
            return solver(*args)

        monkeypatch.setitem(SOLVERS, name, noted)
    for name in ("unipc", "euler", "dpmpp"):
        run = FreeRun(model, StreamConfig(solver=name), "camera")
        run.show(torch.zeros(1, 1, 4, 4, 4), torch.zeros(1, 1, 12))
        run.generate(torch.randn(1, 1, 4, 4, 4), torch.zeros(1, 1, 12), sigma_schedule(3))
    assert used == ["unipc", "euler", "dpmpp"]


def test_unknown_solver_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'unipc'"):
        from_dict(StreamConfig, {"solver": "unipcc"})
