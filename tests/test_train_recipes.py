"""Optimizers, schedules and recipes of training: as their papers and files say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from fake_training import FakeData, parts, tiny_motion, tiny_recipe
from tiny_world import TINY_WORLD

from astra_play.errors import ConfigError
from astra_play.model.transformer import Transformer
from astra_play.train import codec_loop, world_loop, world_recipe
from astra_play.train.filter_recipe import FilterRecipe
from astra_play.train.job import JobRecipe
from astra_play.train.loop import (
    FlopCount,
    load_recipe,
    matmul_flop_s,
    schedule_position,
)
from astra_play.train.optim import EMA, Muon, learning_rate_factor, make_optimizers, orthogonalise

RECIPES = Path(world_loop.__file__).parent / "recipes"


def test_orthogonalise_nears_the_polar_factor() -> None:
    torch.manual_seed(0)
    for shape in ((24, 8), (8, 24), (16, 16)):
        matrix = torch.randn(shape)
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        ours = orthogonalise(matrix, torch.float32)
        assert torch.linalg.svdvals(ours).max() < 1.3
        assert torch.nn.functional.cosine_similarity(ours.flatten(), (u @ v).flatten(), dim=0) > 0.9


def test_muon_takes_the_matrices_inside_blocks_and_splits_fused_ones() -> None:
    model = Transformer(TINY_WORLD.model)
    muon, adam = make_optimizers(model, 1e-3, 1e-3, 0.0, torch.float32)
    names = {id(p): n for n, p in model.named_parameters()}
    taken = sorted(names[id(p)].split(".", 2)[2] for p in muon.param_groups[0]["params"])
    assert set(taken) == {"adapter.weight", "attention.out.weight", "attention.qkv.weight",
                          "mlp.down.weight", "mlp.up.weight"}
    assert len(muon.param_groups[0]["params"]) + len(adam.param_groups[0]["params"]) == len(names)
    weight = torch.nn.Parameter(torch.zeros(12, 4))
    optimizer = Muon([weight], lr=1.0, splits={id(weight): 3})
    weight.grad = torch.cat([torch.randn(4, 4) * s for s in (1e-3, 1.0, 1e3)])
    optimizer.step()
    sizes = [piece.norm().item() for piece in weight.detach().chunk(3)]
    assert max(sizes) < 1.5 * min(sizes)  # each matrix by itself, so the loud one does not drown the others


def test_ema_follows_fast_first_and_slowly_later() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    ema = EMA(model, 0.9)
    torch.nn.init.ones_(model.weight)
    ema.update(model, 0)
    assert ema.shadow["weight"].item() == pytest.approx(0.9)
    ema.update(model, 10_000)
    assert ema.shadow["weight"].item() == pytest.approx(0.91)


def test_learning_rate_rises_stays_and_falls_to_zero() -> None:
    factors = [learning_rate_factor(s, 100, 10, 20) for s in range(100)]
    assert factors[0] == 0.1 and factors[9:81] == [1.0] * 72 and factors[-1] == 0.05
    assert learning_rate_factor(100, 100, 10, 20) == 0.0


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    if path.stem in ("cpu", "h200"):
        assert load_recipe(JobRecipe, path).data
    elif path.stem.endswith("codec"):
        assert load_recipe(codec_loop.CodecRecipe, path).num_steps
    elif path.stem.endswith("filter"):
        recipe = load_recipe(FilterRecipe, path)
        assert recipe.num_steps > recipe.decay_steps and recipe.first_max_frames < recipe.max_frames
    else:
        recipe = load_recipe(world_recipe.WorldRecipe, path)
        assert Transformer(recipe.model) and recipe.num_steps > recipe.decay_steps


def test_a_recipe_takes_from_the_one_that_it_extends_what_it_does_not_say(tmp_path) -> None:
    (tmp_path / "base.toml").write_text("batch = 3\nlr = 0.5\n[codec]\ndecoder_width = 7\ndecoder_blocks = 5\n")
    (tmp_path / "middle.toml").write_text("extends = 'base.toml'\nlr = 0.25\n[codec]\ndecoder_blocks = 4\n")
    (tmp_path / "r.toml").write_text("extends = 'middle.toml'\nbatch = 9\n")
    recipe = load_recipe(codec_loop.CodecRecipe, tmp_path / "r.toml")
    assert (recipe.batch, recipe.lr, recipe.codec.decoder_width, recipe.codec.decoder_blocks) == (9, 0.25, 7, 4)
    (tmp_path / "r.toml").write_text("extends = 'r.toml'\n")
    with pytest.raises(ConfigError, match="must name another recipe"):
        load_recipe(codec_loop.CodecRecipe, tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text("extends = 'gone.toml'\n")
    with pytest.raises(ConfigError, match=r"gone\.toml does not exist"):
        load_recipe(codec_loop.CodecRecipe, tmp_path / "r.toml")


def test_recipes_that_cannot_be_read_are_named(tmp_path) -> None:
    (tmp_path / "a.toml").write_text("extends = 'b.toml'\n")
    (tmp_path / "b.toml").write_text("extends = 'a.toml'\n")
    with pytest.raises(ConfigError, match=r"a\.toml extends itself by way of b\.toml"):
        load_recipe(codec_loop.CodecRecipe, tmp_path / "a.toml")
    (tmp_path / "a.toml").write_bytes("# Süd\nbatch = 3\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"a\.toml is not valid TOML in UTF-8"):
        load_recipe(codec_loop.CodecRecipe, tmp_path / "a.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(codec_loop.CodecRecipe, tmp_path)


def test_an_ablation_changes_what_its_name_says_and_nothing_else() -> None:
    base = dataclasses.asdict(load_recipe(world_recipe.WorldRecipe, RECIPES / "ablation_base.toml"))
    changed = {}
    for path in RECIPES.glob("ablation_*.toml"):
        own = dataclasses.asdict(load_recipe(world_recipe.WorldRecipe, path))
        changed[path.stem.removeprefix("ablation_")] = {
            name if not isinstance(value, dict) else f"{name}.{inner}" for name, value in own.items()
            for inner in (value if isinstance(value, dict) else [""])
            if (value[inner] != base[name][inner] if isinstance(value, dict) else value != base[name])}
    assert changed == {"base": set(), "no_noise_memory": {"noise.history_sigma_max"},
                       "no_guidance": {"noise.action_dropout"}, "cross_attention": {"model.adapter"},
                       "no_experts": {"model.num_experts", "model.router_top_k"},
                       "fixed_router": {"model.router", "model.num_experts", "model.router_top_k"}}


def test_a_budget_of_minutes_stretches_the_schedule_to_the_time() -> None:
    assert [schedule_position(step, 100, 3.0, 0.0) for step in (0, 7, 100)] == [0, 7, 100]
    assert [schedule_position(5, 100, minutes, 10.0) for minutes in (0.0, 2.5, 9.99, 10.0)] == [0, 25, 99, 100]
    training = world_loop.WorldTraining(tiny_recipe(minutes=2.0), parts(FakeData(), tiny_motion()), TINY_WORLD)
    training.minutes = 1.0  # half of eight steps, though not one was made
    assert training.position == 4
    measured = training.step_once()
    assert "critic" in measured  # from step 1 on, by place in the schedule
    training.minutes = 2.0
    assert training.position == 8 and training.step == 1


def test_operations_are_counted_once_for_each_kind_of_step_and_the_backward_pass_too() -> None:
    weight, x = torch.randn(5, 7, requires_grad=True), torch.randn(3, 5)
    with FlopCount() as count:
        (x @ weight).sum().backward()
    assert count.total == 2 * (2 * 3 * 5 * 7)
    training = world_loop.WorldTraining(tiny_recipe(critic_from_step=99), parts(FakeData(), tiny_motion()), TINY_WORLD)
    done = []
    for _ in range(6):
        before = training.flop_done
        training.step_once()
        done.append(training.flop_done - before)
    assert len(training._flop) == len(set(done)) < 6  # true past, own past, one and two samples


def test_the_rate_of_products_is_that_of_this_machine() -> None:
    assert 1e8 < matmul_flop_s(torch.device("cpu"), torch.float32) < 1e14


def test_a_misspelt_recipe_name_is_an_error(tmp_path) -> None:
    (tmp_path / "r.toml").write_text("bacth = 3\n")
    with pytest.raises(ConfigError, match="'bacth'; did you mean 'batch'"):
        load_recipe(codec_loop.CodecRecipe, tmp_path / "r.toml")
