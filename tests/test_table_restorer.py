"""The table restorer: it learns what is behind a hand, lies in the codec's file, and rooms without an arm teach it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from test_tabletop_finder import hands
from tiny_world import make_tiny_world

from astra_play.codec.bare_table import TableRestorer, fill_in, hidden_and_dark
from astra_play.codec.mini import MiniCodec
from astra_play.codec.shadow import CastShadow
from astra_play.config import load_world_config
from astra_play.contradictions import first_contradiction
from astra_play.errors import ConfigError
from astra_play.model.checkpoint import load_codec, read_tensors, save_config, save_module
from astra_play.paths import CODEC_FILE, weights_folder
from astra_play.train import codec_loop, hand_loop, table_loop
from astra_play.train.dataset import HELD_OUT_SEED_BASE
from astra_play.train.table_loop import Tables, draw_tables, fit, scores, varied


def tables(count: int, seed: int) -> Tables:
    """Rooms of a bright wall over a dark table; a bar before both, and a shadow on the wall that nobody finds."""
    rng = np.random.default_rng(seed)
    alone = np.zeros((count, 3, 32, 48))
    hidden, pictures = np.zeros((count, 1, 32, 48)), np.zeros((count, 3, 32, 48))
    for index in range(count):
        edge, left, top = rng.integers(10, 22), rng.integers(4, 36), rng.integers(0, 6)
        alone[index, :, :edge], alone[index, :, edge:] = rng.uniform(0.3, 0.9), rng.uniform(-0.9, -0.3)
        pictures[index] = alone[index]
        pictures[index, :, 2:6, (left + 12) % 40:(left + 12) % 40 + 6] -= 0.6
        hidden[index, 0, top:top + 22, left:left + 6] = 1
        pictures[index] = np.where(hidden[index] > 0, rng.uniform(-1, 1, (3, 1, 1)), pictures[index])
    fields = (torch.from_numpy(each).float() for each in (pictures, hidden, np.zeros_like(hidden), alone))
    return Tables(*fields)


def test_restorer_learns_what_is_behind_and_what_else_does_not_belong() -> None:
    torch.manual_seed(1)
    restorer, held_out = TableRestorer(6), tables(20, seed=1)
    before = scores(restorer, held_out)
    losses = fit(restorer, tables(200, seed=0), num_steps=250)
    after = scores(restorer, held_out)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    assert after["table_psnr_db"] > before["table_psnr_db"] + 4
    assert after["others_overlap"] > 0.85


def test_where_nothing_hides_the_table_the_picture_stays_to_the_bit() -> None:
    restorer, given = TableRestorer(4), tables(3, seed=2)
    table, differs = restorer(given.pictures, given.hidden, given.dark)
    assert differs.dtype == torch.bool and (differs | (given.hidden == 0)).all()
    assert torch.equal(table.where(~differs, given.pictures), given.pictures)
    assert table.abs().max() <= 1
    assert not torch.equal(table, given.pictures)


def test_hidden_is_hand_fingers_and_wide_blocks_and_dark_all_shadows() -> None:
    tabletop = hands(1, seed=3).truth
    hand, share = torch.zeros(1, 1, 32, 48), torch.zeros(1, 1, 32, 48)
    hand[..., 0:2, 0:2], share[..., 30:, 40:] = 0.4, 0.7
    shadow = CastShadow(share, torch.ones_like(share), torch.ones(1, 3), torch.zeros(1, 2))
    hidden, dark = hidden_and_dark(hand, tabletop, shadow)
    fingers, blocks = tabletop.fingers.amax(dim=1, keepdim=True), tabletop.blocks
    for y in range(32):
        for x in range(48):
            near = blocks[..., max(0, y - 1):y + 2, max(0, x - 1):x + 2].max()
            assert hidden[0, 0, y, x] == max(hand[0, 0, y, x], fingers[0, 0, y, x], near)
            assert dark[0, 0, y, x] == max(share[0, 0, y, x], tabletop.shadows[0, 0, y, x])


def test_both_pictures_of_a_batch_are_mirrored_and_painted_alike() -> None:
    one = tables(1, seed=4)
    batch = varied(one, torch.zeros(32, dtype=torch.long), torch.Generator().manual_seed(0))
    mirrored = (batch.hidden != one.hidden).flatten(1).any(dim=1)
    assert 4 < mirrored.sum() < 28
    same = (one.pictures == one.tables).all(dim=1, keepdim=True)
    for index in range(32):
        here = same.flip(-1) if mirrored[index] else same
        assert torch.equal(batch.pictures[index:index + 1].where(here, torch.zeros(())),
                           batch.tables[index:index + 1].where(here, torch.zeros(())))


def test_fill_in_takes_the_mean_of_what_is_known_nearby() -> None:
    picture = torch.zeros(1, 3, 32, 48)
    picture[..., 24:] = 1.0
    known = torch.ones(1, 1, 32, 48, dtype=torch.bool)
    known[..., 8:16, 4:10] = known[..., 8:16, 36:42] = False
    picture = torch.where(known, picture, torch.full_like(picture, -5.0))
    filled = fill_in(picture, known)
    assert torch.equal(filled.where(known, picture), picture)
    assert filled[..., 8:16, 4:10].abs().max() < 1e-6 and (filled[..., 8:16, 36:42] - 1).abs().max() < 1e-6
    assert fill_in(picture, torch.ones_like(known)) is picture


def test_codec_keeps_its_restorer_on_disk_and_old_ones_have_none(tmp_path: Path) -> None:
    config = load_world_config(weights_folder() / "mini")
    small = dataclasses.replace(config.codec, decoder_width=16, decoder_blocks=1, hand_width=4, shadow_width=4,
                                tabletop_width=4, table_width=4, arm_width=0, loop_filter_width=0, upscaler_width=0)
    codec = MiniCodec(small)
    save_module(codec, tmp_path / CODEC_FILE)
    save_config(dataclasses.replace(config, codec=small), tmp_path)
    given = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    kept, again = codec.table(*given)[0], load_codec(tmp_path, load_world_config(tmp_path)).table(*given)[0]
    assert torch.allclose(kept, again, atol=1e-2)
    assert MiniCodec(dataclasses.replace(small, table_width=0)).table is None
    assert first_contradiction(dataclasses.replace(config, codec=small)) == ""
    lacking = dataclasses.replace(config, codec=dataclasses.replace(small, shadow_width=0))
    assert "shadow_width and tabletop_width" in first_contradiction(lacking)
    alone = dataclasses.replace(small, hand_width=0, shadow_width=0, tabletop_width=0)
    with pytest.raises(ConfigError, match="--find table`"):
        codec_loop.begin(codec_loop.CodecRecipe(codec=alone, minutes=1.0), MiniCodec(alone), None, None)


def test_command_adds_the_restorer_and_needs_the_finders(tmp_path: Path, monkeypatch) -> None:
    folder, out = make_tiny_world(tmp_path / "world"), tmp_path / "out"
    parser = argparse.ArgumentParser()
    hand_loop.add_arguments(parser)

    def run(world: Path) -> int:
        return hand_loop.main(parser.parse_args(["--codec", str(world), "--out", str(out), "--find", "table",
                                                 "--worlds", "5", "--steps", "3"]))

    with pytest.raises(ConfigError, match="--find shadow"):
        run(folder)
    config = load_world_config(folder)
    found = dataclasses.replace(config.codec, hand_width=4, shadow_width=4, tabletop_width=4)
    save_module(MiniCodec(found), folder / CODEC_FILE)
    save_config(dataclasses.replace(config, codec=found), folder)
    drawn = []

    def draw(codec: MiniCodec, first_seed: int, num_worlds: int, width: int, height: int) -> Tables:
        drawn.append((first_seed, num_worlds, codec.hand is not None))
        return tables(20, seed=first_seed)

    monkeypatch.setattr(table_loop, "draw_tables", draw)
    assert run(folder) == 0
    assert drawn == [(0, 5, True), (HELD_OUT_SEED_BASE, hand_loop.NUM_HELD_OUT_WORLDS, True)]
    before, after = (read_tensors(path / CODEC_FILE) for path in (folder, out))
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"table"}
    assert load_world_config(out).codec.table_width == table_loop.WIDTH
    assert set(load_world_config(out).provenance["table_finder"]) >= {"command", "table_psnr_db", "others_overlap"}


def test_rooms_are_drawn_without_what_hides_them(monkeypatch) -> None:
    pytest.importorskip("gymnasium_robotics")
    config = load_world_config(weights_folder() / "mini", "arm")
    codec = MiniCodec(dataclasses.replace(config.codec, decoder_width=16, decoder_blocks=1, hand_width=4,
                                          shadow_width=4, tabletop_width=4, loop_filter_width=0, upscaler_width=0))
    drawn = draw_tables(codec, 3, 1, 128, 96)
    assert drawn.pictures.shape == drawn.tables.shape == (4, 3, 96, 128)
    assert all(torch.equal(drawn.tables[0], table) for table in drawn.tables[1:])  # the hand moved, the room did not
    assert not torch.equal(drawn.pictures[0], drawn.pictures[1])
    assert 0.01 < (drawn.pictures != drawn.tables).any(dim=1).float().mean() < 0.5
