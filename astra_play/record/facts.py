"""What was chosen in the player -> the head of a session's logs, without what changes in play."""

from __future__ import annotations

from .. import __version__
from ..config import WorldConfig
from ..errors import WeightsError
from ..paths import find_world, weights_folder
from .format import Head
from .identity import config_sha256, machine_facts, weights_sha256


def make_head(config: WorldConfig, world: str, prompt: str = "", memory: str = "auto") -> Head:
    """Return the head of a session's logs; settings, threads and date are filled in when a log begins.

    `world`: as it was chosen, a name in weights/ or a path, with or without a scenario; one that is nowhere on the disk
    has no hashes. Reads all weights, so not for a thread that anybody waits for.
    """
    name = world.removesuffix(f"/{config.scenario}") if config.scenario else world
    files: dict[str, str] = {}
    device, precision = "cpu", "float32"
    try:
        folder = find_world(world)[0]
    except WeightsError:
        pass
    else:
        from ..model.loading import choose_device, precision_for  # torch: the world's own thread loads it anyway

        chosen = choose_device()
        device, precision = str(chosen), precision_for(config, chosen, "auto")
        files = weights_sha256(folder, config)
        if folder.parent != weights_folder():
            name = str(folder.absolute())  # a replay may be started in another folder
    stream = config.stream
    return Head(
        player_version=__version__, world=name, scenario=config.scenario, title=config.title, weights_sha256=files,
        config_sha256=config_sha256(config), fps=config.fps, width=config.shown_width, height=config.shown_height,
        frames_per_chunk=config.frames_per_chunk,
        latent_frames_per_chunk=stream.latent_frames_per_chunk, modality=config.controls.modality,
        guidance_scale=stream.guidance_scale, num_denoise_steps=len(stream.sigmas) - 1, num_threads=1,
        precision=precision, device=device, created="", prompt=prompt, memory=memory, machine=machine_facts(),
        draws_finely=config.codec.upscaler_width > 0)
