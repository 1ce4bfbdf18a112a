"""What a world and a machine are known by in a recording: hashes of weights and config, versions, processor."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path

from ..config import WorldConfig, to_dict
from ..paths import CODEC_FILE, INDEX_SUFFIX, MODEL_FILE, PREVIEW_FILE

NOT_THE_WORLD = ("title", "description", "provenance")  # what a config says about itself and no chunk depends on


def weights_sha256(folder: Path, config: WorldConfig) -> dict[str, str]:
    """Return {file name: 64 hex digits} of a world's weights, shards and their lists included.

    Reads all of them: a fifth of a second for the default world, seconds for a published one.
    """
    stems = [MODEL_FILE, CODEC_FILE, *([PREVIEW_FILE] if config.preview_codec else [])]
    found: dict[str, str] = {}
    for name in stems:
        stem = name.removesuffix(".safetensors")
        shards = sorted(folder.glob(f"{stem}-*.safetensors"))
        for path in (folder / name, folder / (name + INDEX_SUFFIX), *shards):
            if path.is_file():
                with path.open("rb") as file:
                    found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def config_sha256(config: WorldConfig) -> str:
    """Return the hash of a world's config as it is played (scenario chosen, live stream taken), names left out."""
    facts = {name: value for name, value in to_dict(config).items() if name not in NOT_THE_WORLD}
    facts["scenarios"] = sorted(facts["scenarios"])  # the chosen one's settings are the config's own already
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("utf-8")).hexdigest()


def machine_facts() -> dict[str, str]:
    """Return what decides how sums are rounded, as far as it can be known: platform, python, torch, cpu."""
    return {"platform": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
            "torch": _version("torch"), "cpu": _processor()}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)  # the package itself takes seconds to load
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
