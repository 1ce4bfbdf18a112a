"""WAD bytes <-> lumps and tables of a Doom map: read before the engine starts, written as the copy that it plays.

A WAD is a header, the lumps' bytes and a directory of (offset, size, name). A map is an empty lump with the map's name
and the ten lumps behind it; the tables among them are arrays of little-endian records. Lengths are map units.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astra_play.errors import DataError

MAP_LUMPS = ("THINGS", "LINEDEFS", "SIDEDEFS", "VERTEXES", "SEGS", "SSECTORS", "NODES", "SECTORS", "REJECT", "BLOCKMAP")
NO_SIDE = 0xFFFF  # in the place of a sidedef's number: there is none
_MAP_NAME = re.compile(r"E\dM\d|MAP\d\d")
_HEADER = struct.Struct("<4sii")
_ENTRY = struct.Struct("<ii8s")

THING = np.dtype([("x", "<i2"), ("y", "<i2"), ("angle_deg", "<i2"), ("type", "<i2"), ("flags", "<i2")])
LINEDEF = np.dtype([("start", "<u2"), ("end", "<u2"), ("flags", "<i2"), ("special", "<i2"), ("tag", "<i2"),
                    ("right", "<u2"), ("left", "<u2")])
SIDEDEF = np.dtype([("x_offset", "<i2"), ("y_offset", "<i2"), ("upper", "S8"), ("lower", "S8"), ("middle", "S8"),
                    ("sector", "<u2")])
VERTEX = np.dtype([("x", "<i2"), ("y", "<i2")])
SECTOR = np.dtype([("floor", "<i2"), ("ceiling", "<i2"), ("floor_flat", "S8"), ("ceiling_flat", "S8"),
                   ("light", "<i2"), ("special", "<i2"), ("tag", "<i2")])
_TABLES = {"THINGS": THING, "LINEDEFS": LINEDEF, "SIDEDEFS": SIDEDEF, "VERTEXES": VERTEX, "SECTORS": SECTOR}


@dataclass(frozen=True)
class Lump:
    """A named piece of a WAD; `name` is at most eight ASCII characters."""

    name: str
    content: bytes


@dataclass(frozen=True)
class MapTables:
    """The tables of a map that this project reads, as structured arrays that can be written to."""

    things: np.ndarray
    linedefs: np.ndarray
    sidedefs: np.ndarray
    vertexes: np.ndarray
    sectors: np.ndarray


class Wad:
    """A WAD file in memory: `kind` is IWAD (a whole game) or PWAD (a patch), `lumps` are in the file's order."""

    def __init__(self, lumps: Iterable[Lump], kind: str = "PWAD") -> None:
        self.kind, self.lumps = kind, list(lumps)

    @classmethod
    def parse(cls, content: bytes, name: str = "the file") -> Wad:
        """Read the bytes of a WAD; DataError says where they stop being one."""
        if len(content) < _HEADER.size or content[:4] not in (b"IWAD", b"PWAD"):
            raise DataError(f"{name} is not a WAD: it begins with {content[:4]!r} instead of b'IWAD' or b'PWAD'")
        kind, num_lumps, directory = _HEADER.unpack_from(content)
        if num_lumps < 0 or directory < _HEADER.size or directory + num_lumps * _ENTRY.size > len(content):
            raise DataError(f"{name} is cut off: {num_lumps} lumps should be listed from byte {directory} on, but it "
                            f"has {len(content)} bytes; get the file again")
        lumps = []
        for index in range(num_lumps):
            offset, size, padded = _ENTRY.unpack_from(content, directory + index * _ENTRY.size)
            if size < 0 or (size and not 0 <= offset <= len(content) - size):
                raise DataError(f"{name} is damaged: lump {index} claims bytes {offset} to {offset + size} of "
                                f"{len(content)}; get the file again")
            lumps.append(Lump(padded.split(b"\0")[0].decode("ascii", "replace"), content[offset:offset + size]))
        return cls(lumps, kind.decode())

    @classmethod
    def read(cls, path: Path | str) -> Wad:
        """Read a WAD file."""
        return cls.parse(Path(path).read_bytes(), str(path))

    def to_bytes(self) -> bytes:
        """Return the bytes of the file."""
        entries, offset = [], _HEADER.size
        for lump in self.lumps:
            entries.append(_ENTRY.pack(offset, len(lump.content), lump.name.encode("ascii")))
            offset += len(lump.content)
        header = _HEADER.pack(self.kind.encode(), len(self.lumps), offset)
        return b"".join([header, *(lump.content for lump in self.lumps), *entries])

    def map_names(self) -> list[str]:
        """Return the names of the maps (E1M1, MAP01), in the file's order."""
        return [lump.name for lump, after in zip(self.lumps, self.lumps[1:], strict=False)
                if _MAP_NAME.fullmatch(lump.name) and after.name == MAP_LUMPS[0]]

    def map_lumps(self, name: str) -> dict[str, bytes]:
        """Return the lumps of a map by name; DataError when the WAD has no such map or a table is missing."""
        if name not in self.map_names():
            raise DataError(f"there is no map {name!r}; the maps are {', '.join(self.map_names()) or 'none'}")
        start = next(index for index, lump in enumerate(self.lumps) if lump.name == name) + 1
        lumps = {}
        for lump in self.lumps[start:start + len(MAP_LUMPS)]:
            if lump.name not in MAP_LUMPS:
                break
            lumps[lump.name] = lump.content
        missing = [table for table in _TABLES if table not in lumps]
        if missing:
            raise DataError(f"the map {name} lacks {', '.join(missing)}; get the file again")
        return lumps


def read_tables(lumps: dict[str, bytes]) -> MapTables:
    """Return the tables of the lumps of a map; DataError when one is not a whole number of records."""
    arrays = {}
    for name, dtype in _TABLES.items():
        if len(lumps[name]) % dtype.itemsize:
            raise DataError(f"{name} has {len(lumps[name])} bytes, which is no multiple of {dtype.itemsize}; "
                            "get the file again")
        arrays[name.lower()] = np.frombuffer(lumps[name], dtype).copy()
    return MapTables(**arrays)


def map_wad(name: str, lumps: dict[str, bytes], tables: MapTables) -> Wad:
    """Return a PWAD with one map: the given lumps, with the tables in place of what they were read from."""
    content = lumps | {table: getattr(tables, table.lower()).tobytes() for table in _TABLES}
    return Wad([Lump(name, b""), *(Lump(table, content[table]) for table in MAP_LUMPS if table in content)])
