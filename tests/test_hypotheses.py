"""Hypotheses beside the anchor: block by block against their dull twin, latents as pixels, played and trained."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from naive import naive_block_errors, naive_layers, naive_mix

from astra_play.actions.rows import arm_row, camera_row
from astra_play.codec.mini import MiniCodec, fit_linear
from astra_play.config import CodecConfig, ControlsConfig, ModelConfig, ScenarioConfig, StreamConfig, WorldConfig
from astra_play.errors import ConfigError
from astra_play.model.anchor import CameraMotion, blur_across, mix, mix_pictures
from astra_play.model.carried import carry
from astra_play.model.free_run import FreeRun
from astra_play.model.still_camera import COVER_PX, StillCamera, TablePicture, fill_in
from astra_play.model.surroundings import Surroundings
from astra_play.model.transformer import Transformer
from astra_play.model.two_stream import TwoStream
from astra_play.train.latents import Clips
from astra_play.train.losses import NoiseOptions, own_past, share_error, true_past, world_loss

CONTROLS = ControlsConfig(modality="arm", vertical_fov_deg=30.0, scene_depth_m=1.0, camera_lift_deg=30.0)
FOCAL_PX = 12 / math.tan(math.radians(15))
MODEL = ModelConfig(dim=32, ffn_dim=64, num_heads=2, num_layers=1, latent_channels=8, grid_height=3, grid_width=4,
                    patch_size=(1, 1, 2), prediction="clean", anchor="moved", anchor_coverage=True, hypotheses=2,
                    hypothesis_blocks=2,
                    modalities={"arm": 8, "camera": 13}, num_experts=2, router="learned", expert_hidden=8)


def small_codec() -> MiniCodec:
    torch.manual_seed(0)
    codec = MiniCodec(CodecConfig(latent_channels=8, spatial_compression=8, decoder_width=16, decoder_blocks=1))
    fit_linear(codec, torch.rand(50, 3, 24, 32) * 2 - 1)
    return codec


@pytest.fixture(scope="module")
def camera() -> StillCamera:
    return StillCamera(small_codec(), torch.linspace(2, 0.5, 8), 32, 24, CONTROLS, True, hypotheses=2, blocks=2)


WALKING = ControlsConfig(scene_depth_m=12.0, other_depths_m=(3.0, 0.0))


@pytest.fixture(scope="module")
def walker() -> CameraMotion:
    return CameraMotion(small_codec(), torch.linspace(2, 0.5, 8), 32, 24, WALKING, True, hypotheses=2, blocks=2)


def rows_of(*motions: tuple[float, float, float], batch: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.stack([arm_row(*motion) for motion in motions])).expand(batch, -1, -1)


def along(camera: StillCamera, pictures: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return camera.hand_pictures(pictures, rows, pictures[:, None])[:, :, 0]


def offered(motion: CameraMotion, pictures: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The anchor's pictures, those of the hypotheses, and the anchors with all that they offer."""
    carried = carry(motion, motion.paint, 0.0)
    carried.show(pictures)
    anchors = carried.expect(rows)
    return carried._moved, carried._others, anchors


@pytest.mark.parametrize(("motion", "columns", "rows", "ahead"), [
    ((0.03, 0.0, 0.0), 1.0, 0.0, 0.0), ((0.0, 0.03, 0.0), 0.0, -0.5, math.cos(math.radians(30))),
    ((0.0, 0.0, 0.03), 0.0, -math.cos(math.radians(30)), -0.5)])
def test_right_goes_right_and_away_and_up_go_up(camera: StillCamera, motion, columns: float, rows: float,
                                                ahead: float) -> None:
    spot = torch.zeros(1, 3, 24, 32)
    spot[..., 12, 16] = 1.0
    moved = along(camera, spot, rows_of(motion))[0, 0, 0]
    column = (moved.sum(0) * torch.arange(32)).sum() / moved.sum() - 16
    row = (moved.sum(1) * torch.arange(24)).sum() / moved.sum() - 12
    nearer = 1 / (1 + 0.03 * ahead)  # the spot is half a pixel right of and below the middle, about which things grow
    assert column.item() == pytest.approx((0.03 * FOCAL_PX * columns + 0.5) * nearer - 0.5, abs=0.05)
    assert row.item() == pytest.approx((0.03 * FOCAL_PX * rows + 0.5) * nearer - 0.5, abs=0.05)


def test_what_goes_away_shrinks_about_the_middle_and_comes_back_as_large(camera: StillCamera) -> None:
    disc = ((torch.arange(24)[:, None] - 11.5).square() + (torch.arange(32)[None] - 15.5).square() < 36).float()
    disc = disc.expand(1, 3, -1, -1)
    raised = (0.0, 0.3, -0.3 * math.tan(math.radians(30)))  # away and down: straight along the view
    smaller = along(camera, disc, rows_of(raised))[:, 0]
    ahead = 0.3 / math.cos(math.radians(30))
    assert smaller.sum().item() == pytest.approx(disc.sum().item() / (1 + ahead) ** 2, rel=0.05)
    row = (smaller[0, 0].sum(1) * torch.arange(24)).sum() / smaller[0, 0].sum()
    assert row.item() == pytest.approx(11.5, abs=0.05)


def layered(share: torch.Tensor) -> tuple[StillCamera, TablePicture]:
    """A still camera whose finder sees the hand as told, (B, 1, 24, 32), and what it carries."""
    motion = StillCamera(small_codec(), torch.linspace(2, 0.5, 8), 32, 24, CONTROLS, True, hypotheses=3, blocks=2)
    motion._find_hand = lambda pictures: share
    return motion, TablePicture(motion, motion.paint, leak=0.0)


def test_hand_goes_over_a_table_that_remembers_as_in_the_dull_twin() -> None:
    """By whole pixels, of which the twin copies one after the other; every picture shown has another table."""
    generator = np.random.default_rng(1)
    share = torch.zeros(1, 1, 24, 32)
    share[..., 8:14, 10:16] = 1.0
    motion, carried = layered(share)
    pictures = [torch.rand(1, 3, 24, 32) - 0.5]
    carried.show(pictures[0])
    steps_px = [int(generator.integers(-2, 3)) for _ in range(12)]
    made = []
    for step_px in steps_px:
        anchors = carried.expect(rows_of((step_px / FOCAL_PX, 0.0, 0.0)))
        made.append((carried._moved[0, 0], anchors[0, 0, 8]))
        along_, stays, table = carried._others[0, 0]
        assert torch.equal(stays, pictures[-1][0]) and torch.equal(table, carried._table[0])
        assert torch.allclose(along_[:, :, 4:-4], pictures[-1][0].roll(step_px, -1)[:, :, 4:-4], atol=1e-4)
        pictures.append(torch.rand(1, 3, 24, 32) - 0.5)
        carried.show(pictures[-1])
    twin = naive_layers([picture[0] for picture in pictures], share[0, 0], steps_px, COVER_PX, fill_in)
    assert {step for step in steps_px} >= {-2, 2}
    for (picture, coverage), (dull, known) in zip(made, twin, strict=True):
        assert torch.allclose(picture, dull, atol=1e-3)
        assert torch.allclose(coverage, known.view(3, 8, 4, 8).float().mean(dim=(1, 3)), atol=1e-5)
    assert made[-1][1].min() < 1.0  # something under the first place of the hand was never seen


def test_a_reset_forgets_hand_and_table() -> None:
    motion, carried = layered(torch.ones(1, 1, 24, 32))
    first, second = torch.rand(1, 3, 24, 32) - 0.5, torch.rand(1, 3, 24, 32) - 0.5
    for picture in (first, second):
        carried.reset()
        carried.show(picture)
        carried.expect(rows_of((0.0, 0.0, 0.0)))
        assert torch.allclose(carried._moved[:, 0], picture, atol=1e-5)


def test_what_no_picture_shows_is_filled_from_around_and_what_is_known_stays() -> None:
    picture = torch.zeros(1, 3, 24, 32)
    picture[..., 16:] = 1.0
    known = torch.ones(1, 1, 24, 32, dtype=torch.bool)
    known[..., 4:20, 6:10] = known[..., 4:20, 22:26] = False
    holes = torch.where(known, picture, torch.full_like(picture, 9.0))
    filled = fill_in(holes, known)
    assert torch.equal(filled[known.expand_as(filled)], picture[known.expand_as(filled)])
    assert filled[..., 6:10].max() < 0.3 and filled[..., 22:26].min() > 0.7
    assert torch.equal(fill_in(picture, torch.ones_like(known)), picture)


def test_errors_of_blocks_are_those_of_their_pixels() -> None:
    motion, carried = layered(torch.rand(2, 1, 24, 32))
    carried.show(torch.rand(2, 3, 24, 32) - 0.5)
    carried.expect(rows_of((0.02, 0.0, 0.01), (0.0, 0.01, 0.0), batch=2))
    truth = torch.rand(2, 2, 3, 24, 32) - 0.5
    errors = carried.block_errors(truth)
    assert errors.shape == (2, 2, 4, 4, 3, 4)
    assert torch.allclose(errors, naive_block_errors(carried._moved, carried._others, truth, 2, 8), atol=1e-6)


def test_errors_of_shares_are_least_where_the_right_hypothesis_has_all() -> None:
    errors = torch.tensor([0.4, 0.1, 0.2]).view(1, 1, 3, 1, 1, 1).expand(2, 5, 3, 4, 3, 4)
    for given, expected in (((0.0, 0.0), 0.4), ((1.0, 0.0), 0.1), ((0.0, 1.0), 0.2), ((0.5, 0.5), 0.15)):
        shares = torch.tensor(given).view(1, 1, 1, 2, 1, 1, 1).expand(2, 1, 5, 2, 4, 3, 4)
        assert torch.allclose(share_error(shares, errors), torch.full((2, 5), expected))


def test_motions_of_a_chunk_add_up(camera: StillCamera) -> None:
    picture = torch.rand(1, 3, 24, 32)
    two = along(camera, picture, rows_of((0.01, 0.02, 0.0), (0.02, -0.01, 0.01)))
    one = along(camera, picture, rows_of((0.03, 0.01, 0.01)))
    assert torch.allclose(two[:, 1], one[:, 0], atol=1e-4)


def steps(batch: int) -> torch.Tensor:
    rows = np.stack([camera_row(0.3, 0.1, 0.05, 0.02), camera_row(0.4, 0.0, -0.1)])
    return torch.from_numpy(rows).expand(batch, -1, -1)


def test_near_things_move_more_and_what_never_comes_nearer_only_turns(walker: CameraMotion) -> None:
    pictures = torch.rand(1, 3, 24, 32)
    near, turned = walker.other_pictures(pictures, steps(1))[0].unbind(dim=1)
    closer = CameraMotion(small_codec(), torch.linspace(2, 0.5, 8), 32, 24,
                          dataclasses.replace(WALKING, scene_depth_m=3.0))
    assert torch.allclose(near, closer.expect(pictures, steps(1))[0][0], atol=1e-5)
    only = torch.from_numpy(np.stack([camera_row(0, 0, 0.05, 0.02), camera_row(0, 0, -0.1)]))[None]
    assert torch.allclose(turned, walker.expect(pictures, only)[0][0], atol=1e-3)
    assert (near - turned).abs().mean() > 0.02


@pytest.mark.parametrize(("name", "count"), [("camera", 1), ("walker", 2)])
def test_every_block_takes_its_own_shares_in_pixels_and_in_latents(name: str, count: int, request) -> None:
    motion = request.getfixturevalue(name)
    pictures = torch.rand(2, 3, 24, 32) - 0.5
    rows = rows_of((0.02, 0.0, 0.01), (0.0, 0.03, 0.0), batch=2) if name == "camera" else steps(2)
    shares = torch.rand(2, 2, count + 1, 4, 3, 4).softmax(dim=2)[:, :, 1:]
    moved, others, anchors = offered(motion, pictures, rows)
    assert others.shape == (2, 2, count, 3, 24, 32) and anchors.shape == (2, 2, 8 + 1 + count * 4 * 8, 3, 4)
    pixels = mix_pictures(moved, others, shares)
    assert torch.allclose(pixels, naive_mix(moved, others, shares, 2, 8), atol=1e-5)
    latents = motion.encode(pixels.flatten(0, 1)).unflatten(0, (2, 2))
    assert torch.allclose(mix(anchors, shares, 8), latents, atol=1e-4)
    assert torch.equal(mix(anchors, None, 8), anchors[:, :, :8])


def test_shares_add_up_to_one_with_the_anchors_own_and_one_hypothesis_takes_the_first() -> None:
    torch.manual_seed(4)
    model = Transformer(MODEL)
    torch.nn.init.normal_(model.share_head.weight, std=0.2)
    tokens, embedding = torch.randn(1, 2, 6, 32), torch.randn(1, 2, 32)
    both = model.shares(tokens, embedding, torch.randn(1, 2, 8 + 1 + 2 * 4 * 8, 3, 4))
    one = model.shares(tokens, embedding, torch.randn(1, 2, 8 + 1 + 4 * 8, 3, 4))
    assert both.shape == (1, 2, 2, 4, 3, 4) and one.shape == (1, 2, 1, 4, 3, 4)
    own = 1 - both.sum(dim=2)
    assert (own > 0).all() and (both > 0).all()
    assert torch.allclose(torch.log(both[:, :, 0] / own), torch.logit(one[:, :, 0]), atol=1e-3)
    assert model.shares(tokens, embedding, torch.randn(1, 2, 9, 3, 4)) is None


def test_surroundings_offer_the_same_hypotheses_and_remember_what_was_mixed(walker: CameraMotion) -> None:
    carried = Surroundings(walker, walker.paint, 0.0, 8.0, WALKING, 24, 32)
    picture = torch.rand(1, 3, 24, 32) - 0.5
    carried.show(picture)
    row = steps(1)[:, :1]
    anchors = carried.expect(row)
    others = walker.other_pictures(picture, row)
    shares = torch.zeros(1, 1, 2, 4, 3, 4)
    shares[:, :, 0] = 1.0
    pictures, _ = carried.paint_over(mix(anchors, shares, 8), shares)
    nearer = blur_across(others[:, 0, 0], walker.straight_ahead(row)[:, 0])
    assert torch.allclose(pictures[:, 0], nearer.clamp(-1, 1), atol=1e-3)


def test_a_world_played_with_a_full_share_moves_the_whole_picture(camera: StillCamera) -> None:
    torch.manual_seed(1)
    model = Transformer(MODEL).eval()
    stream = StreamConfig(sink_chunks=1, ring_chunks=3, correction_gate=0.05)
    run = FreeRun(model, stream, "arm", carried=TablePicture(camera, camera.paint, leak=0.05))
    picture = torch.rand(1, 3, 24, 32) - 0.5
    row = rows_of((0.03, 0.0, 0.0))
    for bias, taken in ((-30.0, 0.0), (30.0, 1.0)):
        torch.nn.init.constant_(model.share_head.bias, bias)
        run.reset()
        with torch.no_grad():
            run.show(camera.encode(picture)[:, None], rows_of((0.0, 0.0, 0.0)), picture)
            run.generate(torch.randn(1, 1, 8, 3, 4), row, (1.0, 0.0))
            shown, latents = run.paint()
        expected = torch.lerp(picture, along(camera, picture, row)[:, 0], taken).clamp(-1, 1)
        # What leaks is the detail that no latent holds.
        leaked = 0.05 * (expected - camera.paint(camera.encode(expected)))
        assert torch.allclose(shown[:, 0], (expected - leaked).clamp(-1, 1), atol=1e-3)
        assert torch.allclose(latents[:, 0], camera.encode(shown[:, 0]), atol=1e-3)


def test_training_finds_what_goes_along(camera: StillCamera) -> None:
    """A square in the left half goes with the hand, the right half never: the shares learn it from the error alone."""
    torch.manual_seed(2)
    rng = np.random.default_rng(0)
    model = Transformer(MODEL)
    two_stream = TwoStream(model, 3, 1, torch.device("cpu"))
    options = dataclasses.replace(NoiseOptions(), action_dropout=0.0, full_noise_prob=1.0, history_clean_prob=1.0)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    background = torch.rand(3, 24, 32) - 0.5
    losses = []
    for _ in range(60):
        motions = rng.uniform(-0.03, 0.03, (4, 3, 3)) * [[1.0, 0.0, 0.0]]
        frames = [background + 0.2 * torch.randn(4, 3, 1, 1)]
        for t in range(1, 3):
            rows = torch.stack([rows_of(tuple(motions[b, t]))[0] for b in range(4)])
            moved = along(camera, frames[-1], rows)[:, 0]
            frames.append(torch.cat([moved[..., :16], frames[-1][..., 16:]], dim=-1))
        pictures = torch.stack(frames, dim=1)
        before = torch.stack([frames[0], *frames[:-1]], dim=1).permute(0, 1, 3, 4, 2)
        before = ((before + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        all_rows = torch.stack([rows_of(*(tuple(m) for m in motions[b]))[0] for b in range(4)])
        latents = camera.encode(pictures.flatten(0, 1)).unflatten(0, (4, 3))
        clips = Clips(latents, all_rows, torch.zeros(4, dtype=torch.bool), before)
        loss, parts, _ = world_loss(two_stream, clips, true_past(clips, 1, camera), options, "arm",
                                    torch.Generator().manual_seed(len(losses)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(parts["mse"])
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


@pytest.mark.parametrize("own", [False, True])
def test_training_knows_how_wrong_each_block_of_each_hypothesis_is(own: bool) -> None:
    """Where the truth is all hand and has moved since the first picture, the anchor is (nearly) right."""
    motion, _ = layered(torch.ones(2, 1, 24, 32))
    torch.manual_seed(3)
    first = torch.nn.functional.avg_pool2d(torch.rand(2, 3, 34, 42), 11, 1) * 4 - 2
    rows = rows_of((0.0, 0.0, 0.0), *[(0.02, 0.0, 0.0)] * 4, batch=2)
    frames = [first] + [along(motion, first, rows_of((0.02 * t, 0.0, 0.0), batch=2))[:, 0] for t in range(1, 5)]
    before = torch.stack([frames[0], *frames[:-1]], dim=1).permute(0, 1, 3, 4, 2)
    before = ((before + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    latents = torch.stack([motion.encode(frame) for frame in frames], dim=1)
    clips = Clips(latents, rows, torch.zeros(2, dtype=torch.bool), before)
    model = Transformer(dataclasses.replace(MODEL, hypotheses=3))
    past = own_past(model, StreamConfig(sink_chunks=1, ring_chunks=3), clips, 2, "arm", torch.Generator(), motion) \
        if own else true_past(clips, 1, motion)
    errors = past.block_errors
    assert errors.shape == (2, 5, 4, 4, 3, 4)
    assert (errors[:, [0, 4]] == 0).all()  # nothing precedes the first, and the last one's own picture is not in a clip
    since, _, stays, _ = errors[:, 1:4].mean(dim=(0, 3, 4, 5)).unbind(dim=-1)
    assert (since < 1e-4).all() and (stays > 20 * since).all()
    options = dataclasses.replace(NoiseOptions(), action_dropout=0.0, full_noise_prob=1.0, history_clean_prob=1.0)
    two_stream = TwoStream(model, 5, 1, torch.device("cpu"))
    parts = []
    for weight in (0.0, 2.0):
        weighted = dataclasses.replace(options, share_weight=weight)
        parts.append(world_loss(two_stream, clips, past, weighted, "arm", torch.Generator().manual_seed(0)))
    assert "share_error" not in parts[0][1]
    assert (parts[1][0] - parts[0][0]).item() == pytest.approx(2.0 * parts[1][1]["share_error"], abs=1e-5)
    assert parts[1][1]["share_error"] > 0


def test_a_power_makes_shares_decide_and_a_scenario_may_have_its_own() -> None:
    torch.manual_seed(4)
    model = Transformer(MODEL)
    torch.nn.init.normal_(model.share_head.weight, std=0.2)
    tokens, embedding, anchor = torch.randn(1, 2, 6, 32), torch.randn(1, 2, 32), torch.randn(1, 2, 8 + 1 + 64, 3, 4)
    soft, hard = (model.shares(tokens, embedding, anchor, power) for power in (1.0, 3.0))
    whole = torch.cat([1 - soft.sum(2, keepdim=True), soft], dim=2)
    expected = whole**3 / (whole**3).sum(2, keepdim=True)
    assert torch.allclose(hard, expected[:, :, 1:], atol=1e-5)
    scenarios = {"a": ScenarioConfig("A", "", CONTROLS, {"share_power": 3.0}), "b": ScenarioConfig("B", "", CONTROLS)}
    config = WorldConfig("w", "", "", 32, 24, 16, MODEL, scenarios=scenarios, controls=CONTROLS)
    assert config.playing("a").stream.share_power == 3.0 and config.playing("b").stream.share_power == 1.0
    wrong = dataclasses.replace(config, scenarios={"a": ScenarioConfig("A", "", CONTROLS, {"share_pwer": 3.0})})
    with pytest.raises(ConfigError, match="did you mean 'share_power'"):
        wrong.playing("a")


def test_a_world_is_played_with_the_power_of_its_stream(camera: StillCamera) -> None:
    """A share of 0.12 (the untrained bias) raised to a high power is nothing: the picture stays where it was."""
    model, picture, row = Transformer(MODEL).eval(), torch.rand(1, 3, 24, 32) - 0.5, rows_of((0.03, 0.0, 0.0))
    shown = []
    for power in (1.0, 20.0):
        stream = StreamConfig(sink_chunks=1, ring_chunks=3, share_power=power, detail_leak=0.0)
        run = FreeRun(model, stream, "arm", carried=TablePicture(camera, camera.paint, leak=0.0))
        with torch.no_grad():
            run.show(camera.encode(picture)[:, None], rows_of((0.0, 0.0, 0.0)), picture)
            run.generate(torch.randn(1, 1, 8, 3, 4), row, (1.0, 0.0))
            shown.append(run.paint()[0][:, 0])
    assert torch.allclose(shown[1], picture, atol=1e-3) and (shown[0] - picture).abs().mean() > 0.005
