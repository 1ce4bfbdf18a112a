"""What a log's head says about world and machine: hashes of the weights, versions, the processor."""

from __future__ import annotations

import hashlib
import platform
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .. import __version__
from ..config import WorldConfig
from ..errors import WeightsError
from ..paths import CODEC_FILE, CONFIG_FILE, INDEX_SUFFIX, MODEL_FILE, PREVIEW_FILE, find_world
from .format import Head

BLOCK_BYTES = 4_000_000  # hashed between two looks at whether anybody still wants to know


def make_head(config: WorldConfig, world: str, prompt: str, memory: str, stop: threading.Event) -> Head:
    """Return the head of a log without what changes in play (settings, threads, date).

    `world`: as it was chosen, a name in weights/ or a path, with or without a scenario; one that is nowhere on the disk
    has no hashes. Hashing the largest weights takes seconds; `stop` cuts it short.
    """
    try:
        folder = find_world(world)[0]
    except WeightsError:
        files, config_sha256, device, precision = {}, "", "cpu", "float32"
    else:
        from ..model.loading import choose_device, precision_for  # the world's own thread loads torch anyway

        device = choose_device()
        device, precision = str(device), precision_for(config, device, "auto")
        files = weights_sha256(folder, stop)
        config_sha256 = _sha256(folder / CONFIG_FILE, stop)
    stream = config.stream
    return Head(
        player_version=__version__, world=world.removesuffix(f"/{config.scenario}") if config.scenario else world,
        scenario=config.scenario, title=config.title, weights_sha256=files, config_sha256=config_sha256,
        fps=config.fps, width=config.width, height=config.height, frames_per_chunk=config.frames_per_chunk,
        latent_frames_per_chunk=stream.latent_frames_per_chunk, modality=config.controls.modality,
        guidance_scale=stream.guidance_scale, num_denoise_steps=len(stream.sigmas) - 1, num_threads=1,
        precision=precision, device=device, created="",
        prompt=prompt, memory=memory, machine=machine())


def weights_sha256(folder: Path, stop: threading.Event | None = None) -> dict[str, str]:
    """Return the sha256 of each weights file of a world folder by its name, shards included."""
    stop = stop or threading.Event()
    found: dict[str, str] = {}
    for name in (MODEL_FILE, CODEC_FILE, PREVIEW_FILE):
        stem, suffix = Path(name).stem, Path(name).suffix
        shards = sorted(folder.glob(f"{stem}-*{suffix}")) if (folder / (name + INDEX_SUFFIX)).is_file() else []
        for path in [folder / name, *shards]:
            if path.is_file():
                found[path.name] = _sha256(path, stop)
    return found


def machine() -> dict[str, str]:
    """Return what the world ran on: other machines and versions may round sums the other way."""
    return {"platform": platform.platform(), "python": platform.python_version(), "torch": _version("torch"),
            "cpu": _processor()}


def _sha256(path: Path, stop: threading.Event) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while not stop.is_set() and (block := file.read(BLOCK_BYTES)):
            digest.update(block)
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    """Return the name of the processor's model."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
