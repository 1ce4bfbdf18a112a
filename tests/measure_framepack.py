"""Not a test: prints how far the approximations of a "framepack" network are from the exact float32 pass, on random
weights. Run as `python tests/measure_framepack.py [golden folder]`; the first table uses the golden folder's weights.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from pathlib import Path

import torch

from astra_play.config import ModelConfig, StreamConfig, load_world_config
from astra_play.model.checkpoint import load_model
from astra_play.model.framepack_history import FramePackHistory
from astra_play.model.import_world import import_world
from astra_play.model.precision import set_precision
from astra_play.model.sampler import euler, sigma_schedule
from astra_play.model.transformer import Transformer

GOLDEN = Path(__file__).parent / "golden" / "astra_dit"
LARGER = ModelConfig(dim=512, ffn_dim=2048, num_heads=4, num_layers=8, latent_channels=16, grid_height=16,
                     grid_width=24, text_dim=64, history="framepack",
                     modalities={"camera": 13, "vehicle": 8, "arm": 13})


def golden_model(folder: Path) -> Transformer:
    with tempfile.TemporaryDirectory() as world:
        import_world(folder, Path(world), width=96, height=64)
        return load_model(Path(world), load_world_config(Path(world)))


def random_model(config: ModelConfig) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(config).eval().requires_grad_(False)
    model.head.weight.normal_(0, config.dim**-0.5)
    for block in model.blocks:
        block.modulation.normal_(0, 0.3)  # gates that let every block count
    return model


def chunk(model: Transformer, num_targets: int, num_steps: int, cache_sigma: float, grid: tuple[int, int],
          guidance_scale: float = 1.0) -> torch.Tensor:
    """One chunk after 20 latent frames, on the reference's schedule of `num_steps`."""
    torch.manual_seed(1)
    channels, width = model.config.latent_channels, model.config.modalities["camera"] - 1
    history = FramePackHistory(model, StreamConfig(framepack_cache_sigma=cache_sigma), "camera")
    history.set_text(torch.randn(1, 16, model.config.text_dim))
    history.push(torch.randn(1, 20, channels, *grid), torch.randn(1, 20, width) * 0.3)
    noise, rows = torch.randn(1, num_targets, channels, *grid), torch.randn(1, num_targets, width) * 0.3
    return euler(lambda noisy, sigma: history.velocity(noisy, sigma, rows, guidance_scale), noise,
                 sigma_schedule(num_steps, 5.0))


def relative_error(ours: torch.Tensor, exact: torch.Tensor) -> float:
    return ((ours.double() - exact.double()).norm() / exact.double().norm()).item()


def measure_kept_history(name: str, model: Transformer, grid: tuple[int, int]) -> None:
    print(f"\n{name}: latents of a chunk with the past's keys kept, against the exact ones")
    print(f"{'latents':>8} {'steps':>6} {'guidance':>9} {'sigma <= 1':>11} {'<= 0.95':>11} {'<= 0.85':>11}")
    for num_targets in (1, 2, 4, 8):
        for num_steps, scale in ((4, 1.0), (8, 1.0), (8, 3.0)):
            exact = chunk(model, num_targets, num_steps, 0.0, grid, scale)
            errors = [relative_error(chunk(model, num_targets, num_steps, sigma, grid, scale), exact)
                      for sigma in (1.0, 0.95, 0.85)]
            told = " ".join(f"{error:>11.1e}" for error in errors)
            print(f"{num_targets:>8} {num_steps:>6} {scale:>9} {told}", flush=True)


def measure_precision(name: str, model: Transformer, grid: tuple[int, int]) -> None:
    torch.manual_seed(2)
    noisy, rows = torch.randn(1, 4, model.config.latent_channels, *grid), torch.randn(1, 4, 12) * 0.3
    past, past_rows, text = torch.randn(1, 20, *noisy.shape[2:]), torch.randn(1, 20, 12), torch.randn(
        1, 16, model.config.text_dim)

    def velocity(model: Transformer, timestep: float) -> torch.Tensor:
        history = FramePackHistory(model, StreamConfig(), "camera")
        history.set_text(text)
        history.push(past, past_rows)
        return history.velocity(noisy, timestep / 1000, rows)

    print(f"\n{name}: velocity in half precision against float32, at timesteps 732 (a bfloat16 number) and 731.5")
    for precision in ("reference_bf16", "bfloat16"):
        half = set_precision(copy.deepcopy(model), precision)
        print(f"{precision:>15} {relative_error(velocity(half, 732.0), velocity(model, 732.0)):.1e} "
              f"{relative_error(velocity(half, 731.5), velocity(model, 731.5)):.1e}")


@torch.inference_mode()
def main() -> None:
    golden = golden_model(Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN)
    larger = random_model(LARGER)
    for name, model, grid in (("golden size", golden, (8, 12)), ("512 wide, 8 layers", larger, (16, 24))):
        measure_precision(name, model, grid)
        measure_kept_history(name, model, grid)


if __name__ == "__main__":
    main()
