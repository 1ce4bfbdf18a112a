"""One line of an action log <-> its entry: the checksum tells a whole line from a damaged one."""

from __future__ import annotations

import json
import zlib
from typing import Any

CRC_DIGITS = 8


def read_line(line: bytes) -> dict[str, Any] | None:
    """Return the entry of a whole line, None of one that is cut off or changed."""
    crc, space, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or len(crc) != CRC_DIGITS or not space or crc != b"%08x" % zlib.crc32(text):
        return None
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def write_line(entry: dict[str, Any]) -> bytes:
    text = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)
