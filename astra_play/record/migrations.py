"""Lines of older formats -> lines of this one: a named step per version, on the plain fields of a line."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np

FORMAT_VERSION = 1


def packed_rows(rows: np.ndarray) -> str:
    """Return action rows as they are written: base64 of little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(rows, "<f4").tobytes()).decode("ascii")


def name_v0_files_and_steps(fields: dict[str, Any]) -> dict[str, Any]:
    """Version 0 hashed the network alone, called the settings as the command line does, and wrote rows as lists."""
    renamed = dict(fields)
    if fields["kind"] == "head":
        renamed["weights_sha256"] = {"model.safetensors": renamed.pop("weights")}
        renamed["guidance_scale"], renamed["num_denoise_steps"] = renamed.pop("guidance"), renamed.pop("steps")
    elif fields["kind"] == "setting":
        renamed["name"] = {"guidance": "guidance_scale", "steps": "num_denoise_steps"}.get(fields["name"],
                                                                                           fields["name"])
    elif fields["kind"] == "chunk":
        rows = np.asarray(renamed["rows"], "<f4")
        renamed["rows"], renamed["rows_shape"] = packed_rows(rows), list(rows.shape)
    return renamed


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {0: name_v0_files_and_steps}  # from each version


def migrated(fields: dict[str, Any], version: int) -> dict[str, Any]:
    """Return a line's fields, written in format `version`, as this one writes them.

    KeyError, TypeError or ValueError for fields that the version never wrote.
    """
    fields = dict(fields)
    for step in range(version, FORMAT_VERSION):
        fields = MIGRATIONS[step](fields)
    if fields["kind"] == "head":
        fields["format_version"] = FORMAT_VERSION
    return fields
