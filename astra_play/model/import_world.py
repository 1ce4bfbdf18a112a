"""`weights import`: published files -> a world folder, part by part, each finished part written once.

A part is a file of the world folder and the function that makes it from a published one. Beside the parts lies
import.json, the manifest: what each file weighs, its hash, and of which source it was made; a part whose file, hash
and source agree with it is not written again. config.json comes last, so that a folder without it is no world yet.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import CodecConfig, ControlsConfig, ScenarioConfig, StreamConfig, WorldConfig, first_contradiction
from ..errors import WeightsError
from .checkpoint import MODEL_FILE, save_config
from .import_astra import PublishedNetwork, convert_network, read_network
from .sampler import sigma_schedule
from .streamed_file import PART_SUFFIX

log = logging.getLogger(__name__)

MANIFEST_FILE = "import.json"
SIZE = (832, 480)  # width and height of the pictures that the published weights were trained on
FPS = 20
COMPRESSION = 8  # of the Wan 2.1 VAE: pixels per latent cell
FRAMES_PER_LATENT = 4
STEPS, SHIFT = 50, 5.0  # of the reference's schedule
# The published presets move 0.03 a latent frame, of which a second has five, and turn as many radians.
MOVE_M_S, TURN_DEG_S = 0.15, 8.6
FINGERPRINT_BYTES = 1 << 20  # of the beginning and of the end of a source; a zip's end lists the checksums of all of it

SCENARIOS = {
    "walk": ScenarioConfig("Walk", "Walk or fly through the start picture.", ControlsConfig(
        move_m_s=MOVE_M_S, turn_deg_s=TURN_DEG_S)),
    "drive": ScenarioConfig("Drive", "Drive on from the start picture.", ControlsConfig(
        modality="vehicle", buttons=("accelerate", "brake", "steer_left", "steer_right"))),
    "arm": ScenarioConfig("Robot arm", "Move the robot's hand of the start picture.", ControlsConfig(
        modality="arm", buttons=("forward", "back", "left", "right", "up", "down", "grip", "release"))),
}


@dataclass(frozen=True)
class Part:
    """One file of a world folder; `convert(source, output)` writes it by temp name and rename."""

    file: str
    source: Path
    convert: Callable[[Path, Path], object]


def import_world(checkpoint: Path, out: Path, parts: Sequence[Part] = (), width: int = SIZE[0],
                 height: int = SIZE[1]) -> list[str]:
    """Make the world folder `out` from Astra's checkpoint and further parts; returns a line about each file.

    WeightsError or ConfigError says what is wrong with a source, before anything is written.
    """
    network = read_network(checkpoint, height // COMPRESSION, width // COMPRESSION)
    config = world_config(network, checkpoint, width, height)
    del network  # the mapped file is opened anew by the part that reads it
    out.mkdir(parents=True, exist_ok=True)
    lines = [_import_part(part, out) for part in (Part(MODEL_FILE, checkpoint, convert_network), *parts)]
    save_config(config, out)
    return [*lines, f"config.json: {config.title}, {config.width}x{config.height} at {config.fps} fps"]


def world_config(network: PublishedNetwork, checkpoint: Path, width: int, height: int) -> WorldConfig:
    """Return the config of the world that a published network makes, played as the reference plays it."""
    walk = SCENARIOS["walk"]
    config = WorldConfig(
        name="astra", title="Astra", description=walk.description, width=width, height=height, fps=FPS,
        model=network.config,
        codec=CodecConfig(kind="wan_vae", latent_channels=network.config.latent_channels,
                          spatial_compression=COMPRESSION, frames_per_latent=FRAMES_PER_LATENT),
        stream=StreamConfig(latent_frames_per_chunk=8, sigmas=sigma_schedule(STEPS, SHIFT), shift=SHIFT),
        controls=walk.controls, scenarios=SCENARIOS, scenario="walk",
        provenance={"source": checkpoint.name, "experts_in_source": network.num_experts_found})
    sentence = first_contradiction(config)
    if sentence:
        raise WeightsError(f"{checkpoint} cannot be played at {width}x{height}: {sentence}; give another --width and "
                           "--height")
    return config


def _import_part(part: Part, out: Path) -> str:
    output = out / part.file
    source = fingerprint(part.source)
    entry = _read_manifest(out).get(part.file)
    if entry and output.is_file() and entry == _entry(output, source):
        return f"{part.file}: {entry['bytes'] / 1e6:.1f} MB, finished by an earlier run"
    part.convert(part.source, output)
    entry = _entry(output, source)
    # read again, not before: another part's function may take minutes
    _write_manifest(out, _read_manifest(out) | {part.file: entry})
    return f"{part.file}: {entry['bytes'] / 1e6:.1f} MB from {part.source.name}"


def _entry(output: Path, source: str) -> dict[str, object]:
    with output.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": output.stat().st_size, "sha256": digest, "source": source}


def fingerprint(source: Path) -> str:
    """Return a hash that tells one published file (or folder of them) from another without reading all of it."""
    files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(FINGERPRINT_BYTES))
            file.seek(max(0, size - FINGERPRINT_BYTES))
            digest.update(file.read())
    return digest.hexdigest()


def _read_manifest(out: Path) -> dict[str, dict[str, object]]:
    try:
        manifest = json.loads((out / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or one that a crash cut short: every part is written anew
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _write_manifest(out: Path, manifest: dict[str, dict[str, object]]) -> None:
    temporary = out / (MANIFEST_FILE + PART_SUFFIX)
    temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, out / MANIFEST_FILE)
