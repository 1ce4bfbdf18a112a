"""`weights import`: published files -> a world folder, part by part, each finished part written once.

A part is a file of the world folder and the function that makes it from a published one. Beside the parts lies
import.json, the manifest: what each file weighs, its hash, and of which source it was made; a part whose file, hash
and source agree with it is not written again. config.json comes last, so that a folder without it is no world yet.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..actions.presets import PUBLISHED_CONTROLS
from ..config import (
    CodecConfig,
    ControlsConfig,
    ModelConfig,
    ScenarioConfig,
    StreamConfig,
    WorldConfig,
    from_dict,
    load_world_config,
    to_dict,
)
from ..contradictions import first_contradiction
from ..errors import WeightsError
from ..paths import CODEC_FILE, MODEL_FILE, PREVIEW_FILE, TEXT_FOLDER, incomplete_sentence
from .checkpoint import save_config
from .import_astra import PublishedNetwork, convert_network, read_network
from .import_codecs import TAEHV_FILES, VAE_FILES, find_file, import_taehv, import_wan_vae
from .sampler import sigma_schedule
from .streamed_file import PART_SUFFIX
from .text_files import EncoderFiles, import_text_encoder, read_facts

log = logging.getLogger(__name__)

MANIFEST_FILE = "import.json"
SIZE = (832, 480)  # width and height of the pictures that the published weights were trained on
FPS = 20
COMPRESSION = 8  # of the Wan 2.1 VAE: pixels per latent cell
FRAMES_PER_LATENT = 4
STEPS, SHIFT = 50, 5.0  # of the reference's schedule
# Of live play. With the reference's shift the last of few steps, which no solver can help, is half of the way. On a
# flow that can be solved by hand six UniPC steps are off by 22 % at shift 5 (Euler: 26) and by 11 at shift 3 (19).
LIVE_STEPS, LIVE_SHIFT = 6, 3.0
FINGERPRINT_BYTES = 1 << 20  # of the beginning and of the end of a source; a zip's end lists the checksums of all of it

SCENARIOS = {
    "walk": ScenarioConfig("Astra: walk", "Walk or fly through the start picture.", PUBLISHED_CONTROLS),
    "drive": ScenarioConfig("Astra: drive", "Drive on from the start picture.", ControlsConfig(
        modality="vehicle", buttons=("accelerate", "brake", "steer_left", "steer_right"))),
    "arm": ScenarioConfig("Astra: robot arm", "Move the robot's hand of the start picture.", ControlsConfig(
        modality="arm", buttons=("forward", "back", "left", "right", "up", "down", "grip", "release"))),
}

# The shapes of the published checkpoint.
PUBLISHED_MODEL = ModelConfig(
    dim=1536, ffn_dim=8960, num_heads=12, num_layers=30, latent_channels=16, grid_height=60, grid_width=104,
    text_dim=4096, history="framepack", modalities={"camera": 13, "vehicle": 8, "arm": 13})


@dataclass(frozen=True)
class Part:
    """One file of a world folder; `convert(source, output)` writes it by temp name and rename, and returns the config
    of an autoencoder."""

    file: str
    source: Path
    convert: Callable[[Path, Path], object]


def import_world(checkpoint: Path, out: Path, parts: Sequence[Part] = (), width: int = SIZE[0],
                 height: int = SIZE[1]) -> list[str]:
    """Make the world folder `out` from Astra's checkpoint and further parts; returns a line about each file.

    WeightsError or ConfigError says what is wrong with a source, before anything is written.
    """
    network = read_network(checkpoint, height // COMPRESSION, width // COMPRESSION)
    config = _world_of(network, checkpoint, width, height)
    del network  # the mapped file is opened anew by the part that reads it
    out.mkdir(parents=True, exist_ok=True)
    lines = [_import_part(part, out) for part in (Part(MODEL_FILE, checkpoint, convert_network), *parts)]
    config = dataclasses.replace(config, **_codecs_there(out, config))
    save_config(config, out)
    return [*lines, f"config.json: {config.title}, {config.width}x{config.height} at {config.fps} fps"]


def import_published(checkpoint: Path, out: Path, wan: Path | None = None, taehv: Path | None = None,
                     width: int = SIZE[0], height: int = SIZE[1]) -> list[str]:
    """Make the world folder `out` of the published files; returns a line about each, and one about what is missing.

    wan: the folder of Wan 2.1 T2V 1.3B in either layout, for the autoencoder and the reader of text; taehv: TAEHV's
    file, or its folder. Without them the world is not whole, and another call goes on from there.
    """
    parts = []
    if wan is not None:
        _check_text_width(wan, checkpoint)  # before gigabytes are written
        parts.append(Part(CODEC_FILE, find_file(wan, VAE_FILES), import_wan_vae))
    if taehv is not None:
        parts.append(Part(PREVIEW_FILE, find_file(taehv, TAEHV_FILES), import_taehv))
    lines = import_world(checkpoint, out, parts, width, height)
    if wan is not None:
        lines.append(_import_text(wan, out))
    sentence = incomplete_sentence(out, load_world_config(out))
    return [*lines, sentence or f"the world {out} is complete"]


def _check_text_width(wan: Path, checkpoint: Path) -> None:
    width, wanted = EncoderFiles(wan).size.width, read_network(checkpoint).config.text_dim
    if width != wanted:
        raise WeightsError(f"the text encoder in {wan} makes text states {width} wide, but {checkpoint.name} reads "
                           f"{wanted}; give the folder of Wan 2.1 T2V 1.3B")


def _import_text(wan: Path, out: Path) -> str:
    folder = out / TEXT_FOLDER
    before = read_facts(folder)
    import_text_encoder(wan, folder)
    megabytes = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e6
    is_old = bool(before) and before == read_facts(folder)
    return f"{TEXT_FOLDER}/: {megabytes:.1f} MB" + (", finished by an earlier run" if is_old else f" from {wan.name}")


def _codecs_there(out: Path, config: WorldConfig) -> dict[str, CodecConfig]:
    """Return the configs of the autoencoders that lie in a folder, by their field of WorldConfig."""
    found = {}
    for field, file in (("codec", CODEC_FILE), ("preview_codec", PREVIEW_FILE)):
        config = _read_manifest(out).get(file, {}).get("config")
        if config and (out / file).is_file():
            found[field] = from_dict(CodecConfig, config, f"{out / MANIFEST_FILE}: {file}")
    return found


def _world_of(network: PublishedNetwork, checkpoint: Path, width: int, height: int) -> WorldConfig:
    config = world_config(network.config, width, height, {
        "source": checkpoint.name, "experts_in_source": network.num_experts_found})
    sentence = first_contradiction(config)
    if sentence:
        raise WeightsError(f"{checkpoint} cannot be played at {width}x{height}: {sentence}; give another --width and "
                           "--height")
    return config


def world_config(model: ModelConfig, width: int = SIZE[0], height: int = SIZE[1],
                 provenance: dict[str, object] | None = None) -> WorldConfig:
    """Return the config of the world that a published network makes: rendered as the reference renders it, and played
    live in short chunks of few steps."""
    walk = SCENARIOS["walk"]
    return WorldConfig(
        name="astra", title="Astra", description=walk.description, width=width, height=height, fps=FPS, model=model,
        codec=CodecConfig(kind="wan_vae", latent_channels=model.latent_channels, spatial_compression=COMPRESSION,
                          frames_per_latent=FRAMES_PER_LATENT),
        stream=StreamConfig(latent_frames_per_chunk=8, sigmas=sigma_schedule(STEPS, SHIFT), shift=SHIFT),
        live=StreamConfig(latent_frames_per_chunk=2, sigmas=sigma_schedule(LIVE_STEPS, LIVE_SHIFT), shift=LIVE_SHIFT,
                          solver="unipc", framepack_cache_sigma=1.0),
        controls=walk.controls, scenarios=SCENARIOS, scenario="walk", provenance=provenance or {})


def published_config() -> WorldConfig:
    """Return the config of the published checkpoint with both autoencoders, for whoever has no weights yet."""
    preview = CodecConfig(kind="taehv", latent_channels=PUBLISHED_MODEL.latent_channels,
                          spatial_compression=COMPRESSION, frames_per_latent=FRAMES_PER_LATENT)
    return dataclasses.replace(world_config(PUBLISHED_MODEL), preview_codec=preview)


def _import_part(part: Part, out: Path) -> str:
    output = out / part.file
    source = fingerprint(part.source)
    entry = _read_manifest(out).get(part.file)
    if entry and output.is_file() and entry == entry | _entry(output, source):
        return f"{part.file}: {entry['bytes'] / 1e6:.1f} MB, finished by an earlier run"
    made = part.convert(part.source, output)
    entry = _entry(output, source) | ({"config": to_dict(made)} if isinstance(made, CodecConfig) else {})
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
