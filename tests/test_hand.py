"""The hand that takes pixels along: block by block against its dull twin, latents as pixels, played and trained."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from naive import naive_with_hand

from astra_play.actions.rows import arm_row
from astra_play.codec.mini import MiniCodec, fit_linear
from astra_play.config import CodecConfig, ControlsConfig, ModelConfig, StreamConfig
from astra_play.model.anchor import CarriedPicture, StillCamera, gone_along
from astra_play.model.free_run import FreeRun
from astra_play.model.transformer import Transformer
from astra_play.model.two_stream import TwoStream
from astra_play.train.latents import Clips
from astra_play.train.losses import NoiseOptions, true_past, world_loss

CONTROLS = ControlsConfig(modality="arm", vertical_fov_deg=30.0, scene_depth_m=1.0, camera_lift_deg=30.0)
FOCAL_PX = 12 / math.tan(math.radians(15))
MODEL = ModelConfig(dim=32, ffn_dim=64, num_heads=2, num_layers=1, latent_channels=8, grid_height=3, grid_width=4,
                    patch_size=(1, 1, 2), prediction="clean", anchor="moved", anchor_coverage=True, hand_blocks=2,
                    modalities={"arm": 8}, num_experts=2, router="learned", expert_hidden=8)


@pytest.fixture(scope="module")
def camera() -> StillCamera:
    torch.manual_seed(0)
    codec = MiniCodec(CodecConfig(latent_channels=8, spatial_compression=8, decoder_width=16, decoder_blocks=1))
    fit_linear(codec, torch.rand(50, 3, 24, 32) * 2 - 1)
    return StillCamera(codec, torch.linspace(2, 0.5, 8), 32, 24, CONTROLS, coverage=True, hand_blocks=2)


def rows_of(*motions: tuple[float, float, float], batch: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.stack([arm_row(*motion) for motion in motions])).expand(batch, -1, -1)


@pytest.mark.parametrize(("motion", "columns", "rows"), [
    ((0.03, 0.0, 0.0), 1.0, 0.0), ((0.0, 0.03, 0.0), 0.0, -math.sin(math.radians(30))),
    ((0.0, 0.0, 0.03), 0.0, -math.cos(math.radians(30)))])
def test_right_goes_right_and_away_and_up_go_up(camera: StillCamera, motion, columns: float, rows: float) -> None:
    spot = torch.zeros(1, 3, 24, 32)
    spot[..., 12, 16] = 1.0
    moved = camera.along(spot, rows_of(motion))[0, 0, 0]
    column = (moved.sum(0) * torch.arange(32)).sum() / moved.sum() - 16
    row = (moved.sum(1) * torch.arange(24)).sum() / moved.sum() - 12
    assert column.item() == pytest.approx(0.03 * FOCAL_PX * columns, abs=0.05)
    assert row.item() == pytest.approx(0.03 * FOCAL_PX * rows, abs=0.05)


def test_motions_of_a_chunk_add_up(camera: StillCamera) -> None:
    picture = torch.rand(1, 3, 24, 32)
    two = camera.along(picture, rows_of((0.01, 0.02, 0.0), (0.02, -0.01, 0.01)))
    one = camera.along(picture, rows_of((0.03, 0.01, 0.01)))
    assert torch.allclose(two[:, 1], one[:, 0], atol=1e-4)


def test_every_block_takes_its_own_share(camera: StillCamera) -> None:
    pictures, rows = torch.rand(2, 3, 24, 32) - 0.5, rows_of((0.02, 0.0, 0.01), (0.0, 0.03, 0.0), batch=2)
    share = torch.rand(2, 2, 4, 3, 4)
    still, _ = camera.expect(pictures, rows)
    along = camera.along(pictures, rows)
    assert torch.allclose(camera.with_hand(still, rows, share), naive_with_hand(still, along, share, 2, 8), atol=1e-5)


def test_latents_go_along_as_the_pixels_do(camera: StillCamera) -> None:
    pictures, rows = torch.rand(2, 3, 24, 32) - 0.5, rows_of((0.02, 0.01, 0.01), (0.01, 0.0, -0.02), batch=2)
    share = torch.rand(2, 2, 4, 3, 4)
    still, anchors = camera.expect(pictures, rows)
    pixels = camera.with_hand(still, rows, share)
    assert anchors.shape == (2, 2, 8 + 1 + 4 * 8, 3, 4)
    latents = camera.encode(pixels.flatten(0, 1)).unflatten(0, (2, 2))
    assert torch.allclose(gone_along(anchors, share, 8), latents, atol=1e-4)
    assert torch.equal(gone_along(anchors, None, 8), anchors[:, :, :8])


def test_a_world_played_with_a_full_share_moves_the_whole_picture(camera: StillCamera) -> None:
    torch.manual_seed(1)
    model = Transformer(MODEL).eval()
    stream = StreamConfig(sink_chunks=1, ring_chunks=3, correction_gate=0.05)
    run = FreeRun(model, stream, "arm", carried=CarriedPicture(camera, camera.paint, leak=0.05))
    picture = torch.rand(1, 3, 24, 32) - 0.5
    row = rows_of((0.03, 0.0, 0.0))
    for bias, taken in ((-30.0, 0.0), (30.0, 1.0)):
        torch.nn.init.constant_(model.hand_head.bias, bias)
        run.reset()
        with torch.no_grad():
            run.show(camera.encode(picture)[:, None], rows_of((0.0, 0.0, 0.0)), picture)
            run.generate(torch.randn(1, 1, 8, 3, 4), row, (1.0, 0.0))
            shown, latents = run.paint()
        expected = torch.lerp(picture, camera.along(picture, row)[:, 0], taken).clamp(-1, 1)
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
            moved = camera.along(frames[-1], rows)[:, 0]
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
