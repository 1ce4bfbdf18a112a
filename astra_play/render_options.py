"""The options of `render`: what the command line offers, and which of them mean something to which world.

Published worlds (history "framepack") are rendered from a table of action rows and a prompt, our own from a script. An
option that would be ignored is refused.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .argument_types import guidance_scale, positive_int
from .errors import ConfigError
from .paths import DEFAULT_WORLD

if TYPE_CHECKING:
    from .config import WorldConfig

PRECISIONS = ("float32", "bfloat16", "reference_bf16")
MEMORY_MODES = ("auto", "8", "16", "24", "full")
SOLVERS = ("euler", "unipc", "dpmpp")
NUM_LATENTS = 24  # of the reference's run: 97 frames with the start picture's


@dataclass(frozen=True)
class RenderOptions:
    """What to render and where to. `image` None is the world's first start picture; guidance, steps and solver are the
    world's own where they are None.

    Our own worlds: `num_frames` of them, idle without a `script`. Published ones: `num_latents` latent frames after the
    start picture (or as many as `num_frames` needs), moved by a preset, a script or a file of poses.
    """

    out: Path
    world: str = DEFAULT_WORLD
    image: Path | None = None
    fit: Literal["crop", "squeeze"] = "crop"
    seed: int = 0
    guidance_scale: float | None = None
    num_denoise_steps: int | None = None
    num_frames: int | None = None
    script: Path | None = None
    num_latents: int | None = None
    preset: str | None = None
    poses: Path | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    text_guidance_scale: float | None = None
    overlay: bool = False
    solver: Literal["euler", "unipc", "dpmpp"] | None = None
    precision: Literal["float32", "bfloat16", "reference_bf16"] | None = None
    decoder: Literal["exact", "preview"] | None = None
    memory: Literal["auto", "8", "16", "24", "full"] | None = None


# option -> the field that it sets; of published worlds only
PUBLISHED_ONLY = {
    "--preset": "preset", "--poses": "poses", "--latents": "num_latents", "--prompt": "prompt",
    "--negative-prompt": "negative_prompt", "--text-guidance": "text_guidance_scale", "--overlay": "overlay",
    "--solver": "solver", "--precision": "precision", "--decoder": "decoder", "--memory": "memory"}


def add_render_options(parser: argparse.ArgumentParser) -> None:
    """Add what `render` has beside the options of every world."""
    parser.add_argument("--script", type=Path, metavar="FILE", help="input events, one JSON object a line; none: idle")
    parser.add_argument("--frames", type=positive_int, metavar="N", help="number of frames")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT",
                        help="a file X.mp4 or X.webp, or a folder for PNGs")
    parser.add_argument("--fit", choices=("crop", "squeeze"), default="crop",
                        help="how a picture of another shape becomes a frame (%(default)s)")
    group = parser.add_argument_group("worlds of published weights")
    group.add_argument("--prompt", metavar="TEXT", help="what is seen (nothing is said)")
    group.add_argument("--preset", metavar="N", help="camera path 1 to 7, or its name (forward)")
    group.add_argument("--poses", type=Path, metavar="FILE", help="JSON of poses to follow instead")
    group.add_argument("--latents", type=positive_int, metavar="N",
                       help=f"latent frames, of four frames each, after the start picture ({NUM_LATENTS})")
    group.add_argument("--negative-prompt", metavar="TEXT", help="what text guidance steers away from (nothing)")
    group.add_argument("--text-guidance", type=guidance_scale, metavar="SCALE",
                       help="of the prompt; 1, off, is cheapest")
    group.add_argument("--overlay", action="store_true", help="draw the keys that are held")
    group.add_argument("--solver", choices=SOLVERS, help="how the denoise steps are walked (euler)")
    group.add_argument("--precision", choices=PRECISIONS, help="of the network (bfloat16 on a GPU, else float32)")
    group.add_argument("--decoder", choices=("exact", "preview"), help="which autoencoder makes the frames (exact)")
    group.add_argument("--memory", choices=MEMORY_MODES, help="gigabytes of GPU memory to make do with (auto)")


def render_options(args: argparse.Namespace) -> RenderOptions:
    """Return the options of a parsed command line."""
    return RenderOptions(
        out=args.out, world=args.world or DEFAULT_WORLD, image=args.image, fit=args.fit, seed=args.seed or 0,
        guidance_scale=args.guidance, num_denoise_steps=args.steps, num_frames=args.frames, script=args.script,
        num_latents=args.latents, preset=args.preset, poses=args.poses, prompt=args.prompt,
        negative_prompt=args.negative_prompt, text_guidance_scale=args.text_guidance, overlay=args.overlay,
        solver=args.solver, precision=args.precision, decoder=args.decoder, memory=args.memory)


def refuse_meaningless(options: RenderOptions, config: WorldConfig) -> None:
    """Raise the ConfigError about the first option that this world would ignore or that contradicts another."""
    if config.model.history != "framepack":
        _refuse_for_own_world(options, config)
        return
    moves = [name for name, value in (("--preset", options.preset), ("--script", options.script),
                                      ("--poses", options.poses)) if value is not None]
    modality = config.controls.modality
    if len(moves) > 1:
        raise ConfigError(f"{' and '.join(moves)} each say how to move; give one of them")
    if modality != "camera" and moves and moves[0] != "--poses":
        raise ConfigError(f"{moves[0]} moves a camera, but {config.scenario!r} follows poses that no key makes; give "
                          "--poses FILE, or nothing for the motion of the published demo")
    if options.overlay and modality != "camera":
        raise ConfigError(f"--overlay draws the keys of a walk, and {config.scenario!r} has none; leave it out")
    if options.num_latents is not None and options.num_frames is not None:
        raise ConfigError("--latents and --frames both give a length; give one of them")
    if options.negative_prompt is not None and (options.text_guidance_scale or 1.0) == 1.0:
        raise ConfigError("--negative-prompt is read only with text guidance; add --text-guidance above 1")
    if options.decoder == "preview" and config.preview_codec is None:
        raise ConfigError(f"the world {config.name!r} has no preview decoder; run weights import again with --taehv "
                          "FILE, or leave --decoder preview out")


def _refuse_for_own_world(options: RenderOptions, config: WorldConfig) -> None:
    given = [name for name, field in PUBLISHED_ONLY.items() if getattr(options, field) not in (None, False)]
    if given:
        raise ConfigError(f"the world {config.name!r} does not take {', '.join(given)}, since only worlds of published "
                          "weights do; leave that out")
    if options.num_frames is None:
        raise ConfigError(f"the world {config.name!r} has no length of its own, so this is required: --frames N")
