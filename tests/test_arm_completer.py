"""The arm completer: it chooses from what it is offered, learns where the arm is, and lies in the codec's file."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from naive import naive_around
from test_tabletop import CONTROLS, PALM, cast, found, layered, play, row, rows_of, scene, share_of
from tiny_world import make_tiny_world

from astra_play.codec.arm_completer import NUM_COLOURS, NUM_DRAWN, ArmCompleter, Drawn
from astra_play.codec.mini import MiniCodec
from astra_play.config import WorldConfig, load_world_config
from astra_play.contradictions import first_contradiction
from astra_play.errors import ConfigError
from astra_play.model.carried import make_motion
from astra_play.model.checkpoint import load_codec, read_tensors, save_config, save_module
from astra_play.model.still_camera import StillCamera
from astra_play.paths import CODEC_FILE, weights_folder
from astra_play.train import arm_loop, arm_play, codec_loop, hand_loop, scenarios
from astra_play.train.arm_loop import Arms, Cuts, Sheets, draw_arms, fit, loss_of, scores, varied
from astra_play.train.dataset import HELD_OUT_SEED_BASE, Settings, make_episode, read_episode
from astra_play.train.scenarios.interface import Seen

WIDTH, HEIGHT = 64, 32


def arm_config(**codec: int) -> WorldConfig:
    """The shipped world's table, with small finders."""
    config = load_world_config(weights_folder() / "mini", "arm")
    small = dataclasses.replace(config.codec, decoder_width=16, decoder_blocks=1, hand_width=4, shadow_width=4,
                                tabletop_width=4, table_width=4, arm_width=0, loop_filter_width=0, upscaler_width=0)
    return dataclasses.replace(config, codec=dataclasses.replace(small, **codec))


def camera(width: int = WIDTH, height: int = HEIGHT) -> StillCamera:
    config = arm_config()
    return make_motion(dataclasses.replace(config, width=width, height=height), MiniCodec(config.codec))


def arms(num_worlds: int, seed: int, per_world: int = 6) -> Arms:
    """Dark tables with a hand of a bright colour, seen from one place: a block of it at the start; later that has gone
    down, as drawn, while in truth an arm of the same colour hangs above it."""
    rng, motion = np.random.default_rng(seed), camera()
    lift, eye_m = torch.tensor([0.6]), torch.tensor([0.7])
    starts, later, truths, tables = [], [], [], []
    for _ in range(num_worlds):
        dark, bright = rng.integers(0, 60, 3), rng.integers(150, 255, 3)
        table = np.broadcast_to(dark[:, None, None], (3, HEIGHT, WIDTH)).astype(np.uint8)
        tables.append(table)
        left = int(rng.integers(4, WIDTH - 12))
        for index in range(1 + per_world):
            down = int(rng.integers(4, 16)) if index else 0
            picture, hand = table.copy(), np.zeros((1, HEIGHT, WIDTH), np.uint8)
            hand[:, down:down + 8, left:left + 8] = 255
            picture = np.where(hand > 0, bright[:, None, None], picture).astype(np.uint8)
            (later if index else starts).append((picture, hand, np.zeros_like(hand), np.array([0, 0, -0.01 * down])))
            if index:
                true = picture.copy()
                true[:, :down, left + 2:left + 6] = bright[:, None, None]
                truths.append(true)
    sheets = [Sheets(*(torch.from_numpy(np.stack(part)) for part in zip(*each, strict=True)))
              for each in (starts, later)]
    sheets = [sheet._replace(ways_m=sheet.ways_m.float()) for sheet in sheets]
    table = torch.from_numpy(np.stack(tables))
    cuts = Cuts(table, table // 2, lift.expand(num_worlds), eye_m.expand(num_worlds),
                torch.tensor([[0.0, 0.8, 0.2]]).expand(num_worlds, -1), torch.zeros(num_worlds, 2))
    return Arms(motion, cuts, *sheets, torch.from_numpy(np.stack(truths)),
                torch.arange(num_worlds).repeat_interleave(per_world))


def test_completer_learns_the_arm_that_no_layer_holds() -> None:
    torch.manual_seed(0)
    completer, held_out = ArmCompleter(6), arms(8, seed=1)
    losses = fit(completer, arms(40, seed=0), num_steps=250)
    after = scores(completer.eval(), held_out)
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:10])
    assert after["completed_error"] < 0.5 * after["drawn_error"]
    assert after["completed_psnr_db"] > after["drawn_psnr_db"] + 3


def test_every_pixel_is_a_mixture_of_what_is_offered() -> None:
    torch.manual_seed(0)
    completer, batch = ArmCompleter(4), arms(2, seed=2).batch(torch.tensor([0, 7]))
    style = completer.style(batch.starts)
    made, logits = completer(batch.moments, style).detach(), completer.logits(batch.moments, style).detach()
    for n, y, x in ((0, 3, 5), (1, 20, 40), (1, 31, 63)):
        offers = [drawn[n, :, y, x] for drawn in batch.moments[:NUM_DRAWN]] + list(style.colours[n].detach())
        shares = [math.exp(3 * float(logit)) for logit in logits[n, :, y, x]]
        assert len(offers) == len(shares) == NUM_DRAWN + NUM_COLOURS
        mixed = sum(share / sum(shares) * offer for share, offer in zip(shares, offers, strict=True))
        assert torch.allclose(made[n, :, y, x], mixed, atol=1e-5)


def test_colours_of_the_robot_are_those_of_its_hand() -> None:
    torch.manual_seed(0)
    batch = arms(3, seed=3).batch(torch.tensor([0, 6, 12]))
    colours = ArmCompleter(4).style(batch.starts).colours
    hand = [batch.starts.pictures[n][:, batch.starts.hand[n, 0] > 0].mean(dim=1) for n in range(3)]
    assert torch.allclose(colours, torch.stack(hand)[:, None].expand_as(colours), atol=0.02)


@pytest.mark.parametrize(("place_m", "slant"), [((0.0, 0.8, 0.1), (0.0, 0.0)), ((0.12, 0.7, 0.15), (-0.5, 0.3))])
def test_places_are_told_from_the_hand_and_from_its_shadow(place_m: tuple, slant: tuple) -> None:
    motion = camera(16, 8)
    lift, eye_m = torch.tensor([0.63]), torch.tensor([0.68])
    around_hand, around_shadow = motion.around(motion.sight(lift, eye_m), eye_m, torch.tensor([place_m]),
                                               torch.tensor([slant]))
    beside, on_table = naive_around(float(lift), float(eye_m), place_m, slant, CONTROLS.vertical_fov_deg, 16, 8)
    assert torch.allclose(around_hand[0], beside, atol=1e-5)
    assert torch.allclose(around_shadow[0], on_table, atol=1e-4)


def test_a_mirrored_batch_is_what_a_mirrored_world_would_give() -> None:
    motion = camera()
    own = arms(1, seed=4)
    place, slant = torch.tensor([[0.1, 0.8, 0.2]]), torch.tensor([[0.4, 0.3]])
    mirror = torch.tensor([-1.0, 1.0, 1.0])

    def world(sign: torch.Tensor, flip: bool) -> Arms:
        maybe = (lambda x: x.flip(-1)) if flip else (lambda x: x)
        cuts = own.cuts._replace(tables=maybe(own.cuts.tables), shaded=maybe(own.cuts.shaded), place_m=place * sign,
                                 slant=slant * sign[:2])
        starts, later = (Sheets(maybe(s.pictures), maybe(s.hand), maybe(s.thrown), s.ways_m * sign)
                         for s in (own.starts, own.later))
        return Arms(motion, cuts, starts, later, maybe(own.truth), own.start_of)

    index = torch.zeros(24, dtype=torch.long)
    plain, mirrored = (world(sign, flip).batch(index) for sign, flip in ((torch.ones(3), False), (mirror, True)))
    batch = varied(plain, torch.Generator().manual_seed(0))
    strip_of = {plain.moments.facts[0, 0].item(): plain, mirrored.moments.facts[0, 0].item(): mirrored}
    kinds = [strip_of[fact] for fact in batch.moments.facts[:, 0].tolist()]
    assert 4 < sum(kind is mirrored for kind in kinds) < 20
    left = next(left for left in range(0, WIDTH, 8)
                if torch.allclose(batch.moments.around_hand[0], kinds[0].moments.around_hand[0, ..., left:left + 64],
                                  atol=1e-5))
    strip = slice(left, left + arm_loop.CROP_PX)
    for n, kind in enumerate(kinds):
        assert torch.allclose(batch.moments.facts[n], kind.moments.facts[n])
        for name in ("hand", "around_hand", "around_shadow"):
            ours, theirs = (getattr(each.moments, name)[n] for each in (batch, kind))
            assert torch.allclose(ours, theirs[..., strip], atol=1e-5)
            assert torch.allclose(getattr(batch.starts, name)[n], getattr(kind.starts, name)[n], atol=1e-5)


def test_what_does_not_move_is_no_loss_and_teaches_nothing() -> None:
    torch.manual_seed(0)
    completer, batch = ArmCompleter(4), arms(1, seed=5).batch(torch.tensor([0]))
    loss_of(completer, batch._replace(kept=torch.ones(1, 1, 1, 1))).backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in completer.parameters())


def played_with(completer: ArmCompleter | None) -> torch.Tensor:
    """The picture of a hand that went down 5 cm."""
    carried = layered(found(), cast(share_of(PALM)))
    carried._motion.completer = completer
    carried.show(scene())
    assert torch.allclose(play(carried, row()), scene()[0], atol=0.02)  # until it moves nothing is added
    return play(carried, *[row(up_m=-0.01)] * 5)


def test_a_tabletop_is_shown_completed() -> None:
    torch.manual_seed(0)
    completer = ArmCompleter(4).requires_grad_(False)
    with torch.no_grad():
        for parameter in completer.choose.parameters():
            parameter.zero_()
        for parameter in completer.refine.parameters():
            parameter.zero_()
        completer.choose.bias[0] = 20.0
        drawn = played_with(None)
        assert torch.allclose(played_with(completer), drawn, atol=1e-4)  # the picture as it is
        completer.choose.bias[1] = 40.0
        table = played_with(completer)
    assert not torch.allclose(table, drawn, atol=0.2)
    assert torch.allclose(table, scene()[:, :, :1, :1].expand(1, 3, 96, 128)[0], atol=0.05)  # grey all over


def test_a_snapshot_keeps_the_style() -> None:
    torch.manual_seed(0)
    carried = layered(found())
    carried._motion.completer = ArmCompleter(4).requires_grad_(False)
    carried.show(scene())
    play(carried, *[row(away_m=0.01)] * 3)
    kept = carried.snapshot()
    later = carried.expect(rows_of(row(up_m=0.02)))
    carried.reset()
    carried.restore(kept)
    assert torch.equal(carried.expect(rows_of(row(up_m=0.02))), later)


def test_codec_keeps_its_completer_on_disk_and_old_ones_have_none(tmp_path: Path) -> None:
    config = arm_config(arm_width=4)
    codec = MiniCodec(config.codec)
    save_module(codec, tmp_path / CODEC_FILE)
    save_config(load_world_config(weights_folder() / "mini"), tmp_path)
    save_config(dataclasses.replace(load_world_config(tmp_path), codec=config.codec), tmp_path)
    batch = arms(1, seed=6).batch(torch.tensor([0]))
    kept, again = (own.arm(batch.moments, own.arm.style(batch.starts)) for own in (
        codec, load_codec(tmp_path, load_world_config(tmp_path))))
    assert torch.allclose(kept, again, atol=2e-2)
    assert MiniCodec(arm_config().codec).arm is None
    assert first_contradiction(config) == ""
    assert "table_width too" in first_contradiction(arm_config(arm_width=4, table_width=0))
    assert "cannot be negative" in first_contradiction(arm_config(arm_width=-4))
    alone = arm_config(arm_width=4, hand_width=0, shadow_width=0, tabletop_width=0, table_width=0).codec
    with pytest.raises(ConfigError, match="--find arm`"):
        codec_loop.begin(codec_loop.CodecRecipe(codec=alone, minutes=1.0), MiniCodec(alone), None, None)


def test_command_adds_the_completer_and_needs_the_restorer(tmp_path: Path, monkeypatch) -> None:
    folder, out = make_tiny_world(tmp_path / "world"), tmp_path / "out"
    parser = argparse.ArgumentParser()
    hand_loop.add_arguments(parser)

    def run(world: Path) -> int:
        return hand_loop.main(parser.parse_args(["--codec", str(world), "--out", str(out), "--find", "arm", "--worlds",
                                                 "5", "--steps", "3"]))

    with pytest.raises(ConfigError, match="--find table`"):
        run(folder)
    config = arm_config(arm_width=8)  # which is learned anew
    save_module(MiniCodec(config.codec), folder / CODEC_FILE)
    save_config(dataclasses.replace(load_world_config(weights_folder() / "mini"), codec=config.codec), folder)
    drawn = []

    def draw(motion: StillCamera, first_seed: int, num_worlds: int, width: int, height: int) -> Arms:
        drawn.append((first_seed, num_worlds, motion.completer, motion.stroke_m > 0))
        return arms(3, seed=first_seed)

    monkeypatch.setattr(arm_loop, "draw_arms", draw)
    assert run(folder) == 0
    assert drawn == [(0, 5, None, True), (HELD_OUT_SEED_BASE, hand_loop.NUM_HELD_OUT_WORLDS, None, True)]
    before, after = (read_tensors(path / CODEC_FILE) for path in (folder, out))
    assert all(torch.equal(after[name], own) for name, own in before.items() if not name.startswith("arm."))
    made = load_world_config(out)
    assert made.codec.arm_width == arm_loop.WIDTH and load_codec(out, made).arm is not None
    assert set(made.provenance["arm_finder"]) >= {"command", "drawn_psnr_db", "completed_psnr_db"}


def test_tables_are_drawn_where_the_hand_has_gone(monkeypatch) -> None:
    """Rows of a world that is played tell where the hand is, and the truth is the frame that they lead into."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (40, HEIGHT, WIDTH, 3), dtype=np.uint8)
    rows = np.stack([row(*(0.01 * rng.standard_normal(3))) for _ in range(40)]).astype(np.float32)
    asked = []
    monkeypatch.setattr(arm_loop, "plays", lambda *args: asked.append(args) or iter([(frames, rows)] * 2))
    torch.manual_seed(0)
    drawn = draw_arms(camera(), 7, 2, WIDTH, HEIGHT)
    assert asked == [(7, 2, WIDTH, HEIGHT, arm_loop.NUM_FRAMES)]
    per_start = arm_loop.MOMENTS_PER_START
    assert len(drawn) == 4 * per_start and drawn.start_of.tolist() == sorted([0, 1, 2, 3] * per_start)
    for start, first in enumerate([*arm_loop.STARTS] * 2):
        own = (drawn.start_of == start).nonzero()[:, 0]
        picked = np.linspace(first + 1, 39, per_start).round().astype(int)
        for at, index in zip(picked, own, strict=True):
            assert torch.equal(drawn.truth[index], torch.from_numpy(frames[at]).movedim(-1, 0))
            way = torch.from_numpy(rows[first + 1:at + 1, :3].sum(axis=0))
            assert torch.allclose(drawn.later.ways_m[index], way, atol=1e-5)
    batch = drawn.batch(torch.arange(len(drawn)))
    places = drawn.cuts.place_m[drawn.start_of] + drawn.later.ways_m
    assert torch.allclose(batch.moments.facts[:, :3], places, atol=1e-6)
    assert isinstance(batch.moments, Drawn) and batch.starts.pictures.shape == batch.truth.shape


def test_worlds_are_played_as_data_sets_are_made(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium_robotics")
    simulator = scenarios.make("arm", 64, 48)
    player = scenarios.player("arm", np.random.default_rng([5, 1]), simulator)
    naive_frames, naive_rows, seen = [simulator.reset(5)], [simulator.IDLE.row()], None
    for _ in range(11):
        control = player.send(seen)
        naive_rows.append(simulator.row(control))
        naive_frames.append(simulator.step(control))
        seen = Seen(simulator.blocked, simulator.pose)
    simulator.close()
    (frames, rows), = arm_play.plays(5, 1, 64, 48, 12)
    make_episode(tmp_path, Settings("arm", 16, 64, 48, 12), 5)
    episode = read_episode(next(tmp_path.glob("*.npz")))
    for ours in (frames, episode.frames):
        assert np.array_equal(ours, np.stack(naive_frames))
    for ours in (rows, episode.rows):
        assert np.array_equal(ours, np.stack(naive_rows))
