"""vizdoom wheel -> a smaller wheel with what the `doom` scenario needs: for carrying to a machine without a network.

    python -m astra_play.train.scenarios.doom_wheel vizdoom-1.3.2-cp312-….whl smaller/
    pip install --no-index --no-deps smaller/vizdoom-1.3.2-cp312-….whl

What stays: the package itself, the engine and its `vizdoom.pk3`, every shared library (the engine or the Python module
links to each of them), the two game files, and the folder `scenarios`, which the package lists when it is imported.
What goes: the Gymnasium wrapper, the type stubs, the small scenarios, and of the game files what a silent walk without
monsters never loads: music, sounds, the pictures of living monsters and their tables of what they can see. `--no-deps`
because the wheel still asks for gymnasium and pygame-ce, which only the wrapper uses; it needs numpy.

Walks come out the same with the smaller wheel: poses always did, pictures but for one pixel in a few frames of one walk
of the two dozen that were compared; why that pixel differed is not known.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import sys
import zipfile
from pathlib import Path, PurePosixPath

from astra_play.errors import AstraPlayError, DataError
from astra_play.train.scenarios.doom_wad import Lump, Wad

_UNUSED = re.compile(r"vizdoom/(gymnasium_wrapper/|scenarios/(?!README\.md$)|bots\.cfg$|py\.typed$|.*\.pyi$)")
_SOUND = re.compile(r"D_\w+|DS\w+|DP\w+")
_MONSTERS = ("POSS", "SPOS", "CPOS", "TROO", "SARG", "SKUL", "HEAD", "BOSS", "BOS2", "SKEL", "VILE", "FATT", "BSPI",
             "PAIN", "SPID", "CYBR", "KEEN", "SSWV")
_FACES_ALL_WAYS = "0"  # sixth letter of a sprite's name: one picture for all sides, as of the fallen, who stay


def strip_wad(content: bytes) -> bytes:
    """Return the bytes of a game file without what a silent walk through its maps never loads."""
    wad, kept, among_sprites = Wad.parse(content), [], False
    for lump in wad.lumps:
        if lump.name in ("S_START", "S_END"):
            among_sprites = lump.name == "S_START"
        # parts of wall textures have names like those of sprites, so the place counts as well
        if _is_monster_on_its_feet(lump.name) if among_sprites else _SOUND.fullmatch(lump.name):
            continue
        kept.append(Lump(lump.name, b"") if lump.name == "REJECT" else lump)
    return Wad(kept, wad.kind).to_bytes()


def strip_wheel(wheel: Path | str, folder: Path | str) -> Path:
    """Write a smaller wheel of the same name into `folder` and return its path; DataError when it is no such wheel."""
    wheel, target = Path(wheel), Path(folder) / Path(wheel).name
    if target.resolve() == wheel.resolve():
        raise DataError(f"{wheel} would be written over itself; name another folder")
    try:
        with zipfile.ZipFile(wheel) as old:
            record = [name for name in old.namelist() if name.endswith(".dist-info/RECORD")]
            if len(record) != 1 or not wheel.name.startswith("vizdoom-"):
                raise DataError(f"{wheel} is not a wheel of vizdoom; get it with: pip download --no-deps vizdoom")
            target.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
                _copy(old, new, record[0])
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{wheel} cannot be read or its copy not written ({error}); get the file again") from error
    return target


def main(arguments: list[str] | None = None) -> int:
    """Strip the wheel that is named on the command line and say what it became."""
    parser = argparse.ArgumentParser(description="Write a smaller vizdoom wheel for the doom scenario.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path, help="where the smaller wheel goes, under the same name")
    options = parser.parse_args(arguments)
    try:
        target = strip_wheel(options.wheel, options.folder)
    except AstraPlayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sizes = [path.stat().st_size / 2**20 for path in (options.wheel, target)]
    print(f"{target}: {sizes[1]:.1f} MiB of {sizes[0]:.1f} MiB")
    return 0


def _copy(old: zipfile.ZipFile, new: zipfile.ZipFile, record_name: str) -> None:
    """Copy what is needed, and write the RECORD last, as wheels have it: name, hash and size of every file."""
    lines = []
    for info in old.infolist():
        if info.is_dir() or info.filename == record_name or _UNUSED.match(info.filename):
            continue
        content = old.read(info)
        if PurePosixPath(info.filename).match("vizdoom/*.wad"):
            content = strip_wad(content)
        info.compress_type = zipfile.ZIP_DEFLATED  # the entry keeps its date and, for the engine, its right to run
        new.writestr(info, content, compresslevel=9)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{info.filename},sha256={digest},{len(content)}\n")
    new.writestr(record_name, "".join([*lines, f"{record_name},,\n"]))


def _is_monster_on_its_feet(sprite: str) -> bool:
    return sprite[:4] in _MONSTERS and len(sprite) > 5 and sprite[5] != _FACES_ALL_WAYS


if __name__ == "__main__":
    sys.exit(main())
