"""`weights fetch`: the published files of a world from their authors, sizes and licences first, never unasked.

Nothing is downloaded before a person has said yes, to the question or with --yes. A file that lies there whole is left
alone, one that was broken off begins anew. `weights import` makes a world of the files afterwards.
"""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Protocol, TypeVar

from .errors import ConfigError, DependencyError, FetchError, did_you_mean
from .paths import weights_folder

T = TypeVar("T")

TIMEOUT_S = 20.0
COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Part:
    """Files of one repository, and the folder below --out that they go to under their own names."""

    what: str
    host: str  # "hub" or "github"
    repo: str
    paths: tuple[str, ...]
    folder: str
    licence: str = ""  # as its page said when this was written, where the host's listing does not say it


WAN_FOLDER, TAEHV_FILE = "Wan2.1-T2V-1.3B", "taew2_1.pth"
CHECKPOINT = "models/Astra/checkpoints/diffusion_pytorch_model.ckpt"
PUBLISHED: dict[str, tuple[Part, ...]] = {"astra": (
    Part("Astra: the network", "hub", "EvanEternal/Astra", (CHECKPOINT,), "Astra"),
    Part("Wan 2.1: video autoencoder, text encoder, tokenizer", "hub", "Wan-AI/Wan2.1-T2V-1.3B", (
        "Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth", "google/umt5-xxl/tokenizer.json",
        "google/umt5-xxl/tokenizer_config.json", "google/umt5-xxl/special_tokens_map.json",
        "google/umt5-xxl/spiece.model"), WAN_FOLDER),
    # Its author publishes it here only; copies elsewhere are not all of the same weights.
    Part("TAEHV: tiny video autoencoder", "github", "madebyollin/taehv", (TAEHV_FILE,), WAN_FOLDER, "mit"),
)}


@dataclass(frozen=True)
class Listing:
    """What a host says about a repository: its licence, the exact version, and the size of each file in bytes."""

    licence: str
    revision: str
    sizes: dict[str, int]


class Host(Protocol):
    """Where files are published. Both calls raise FetchError with a sentence if they fail."""

    def listing(self, part: Part) -> Listing: ...

    def download(self, part: Part, path: str, revision: str, folder: Path) -> None:
        """Put one file at folder / path."""
        ...


@dataclass(frozen=True)
class File:
    """One file to have: where it comes from, where it goes, how large it is."""

    part: Part
    path: str
    revision: str
    size: int
    target: Path

    @property
    def is_here(self) -> bool:
        return self.target.is_file() and self.target.stat().st_size == self.size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("world", metavar="NAME", help=f"whose files: {', '.join(PUBLISHED)}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where they go (weights/NAME-files)")
    parser.add_argument("--yes", action="store_true", help="download without asking")


def main(args: argparse.Namespace) -> int:
    out = args.out or weights_folder() / f"{args.world}-files"
    return fetch(args.world, out, args.yes, {"hub": HuggingFaceHub(), "github": GitHub()})


def fetch(world: str, out: Path, yes: bool, hosts: dict[str, Host], ask: Callable[[str], str] | None = None) -> int:
    """Show what a world's files are, ask, and download them to `out`; returns 0, or 1 if the answer was no.

    `ask` puts a question (None: at the terminal, if there is one). FetchError if the files cannot be had.
    """
    if world not in PUBLISHED:
        raise ConfigError(f"no files of {world!r} are published{did_you_mean(world, PUBLISHED)}")
    files = _list(PUBLISHED[world], out, hosts)
    missing = [file for file in files if not file.is_here]
    if not missing:
        print(f"all files are in {out}")
        return _say_how_to_go_on(world, out)
    total = sum(file.size for file in missing)
    _check_room(out, total)
    if not yes and not _agreed(f"Download {size_text(total)} to {out}? [y/N] ", ask):
        print("nothing was downloaded")
        return 1
    for number, file in enumerate(missing, start=1):
        print(f"[{number}/{len(missing)}] {file.path}, {size_text(file.size)}", flush=True)
        folder = out / file.part.folder
        folder.mkdir(parents=True, exist_ok=True)
        hosts[file.part.host].download(file.part, file.path, file.revision, folder)
        if not file.is_here:
            found = file.target.stat().st_size if file.target.is_file() else 0
            raise FetchError(f"{file.target} has {found} bytes instead of {file.size} after its download; delete it "
                             "and fetch again")
    return _say_how_to_go_on(world, out)


def size_text(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _list(parts: tuple[Part, ...], out: Path, hosts: dict[str, Host]) -> list[File]:
    """Ask the hosts, print a line per file, and return the files."""
    files = []
    for part in parts:
        listing = hosts[part.host].listing(part)
        print(f"{part.what} ({part.repo}, licence: {listing.licence})")
        for path in part.paths:
            if path not in listing.sizes:
                raise FetchError(f"{part.repo} holds no file {path} (any more); look at its page and fetch it by hand")
            file = File(part, path, listing.revision, listing.sizes[path], out / part.folder / path)
            print(f"  {size_text(file.size):>9}  {path}{'  (already here)' if file.is_here else ''}")
            files.append(file)
    return files


def _check_room(out: Path, needed: int) -> None:
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise FetchError(f"the download needs {size_text(needed)} in {out}, but only {size_text(free)} are free; make "
                         "room or give another folder with --out")


def _agreed(question: str, ask: Callable[[str], str] | None) -> bool:
    if ask is None:
        if not sys.stdin.isatty():
            raise FetchError("nothing is downloaded without being asked for, and nobody is at the terminal to ask; "
                             "add --yes")
        ask = input
    try:
        return ask(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _say_how_to_go_on(world: str, out: Path) -> int:
    words = ["python3", "launch.py", "weights", "import", world, "--checkpoint", str(out / "Astra" / CHECKPOINT),
             "--wan", str(out / WAN_FOLDER), "--taehv", str(out / WAN_FOLDER / TAEHV_FILE),
             "--out", str(weights_folder() / world)]
    print(f"now run: {subprocess.list2cmdline(words) if os.name == 'nt' else shlex.join(words)}")
    return 0


# --- hosts ----------------------------------------------------------------------------------------------------------

class HuggingFaceHub:
    """The Hugging Face hub through its own client, which keeps nothing of a file that was broken off."""

    def listing(self, part: Part) -> Listing:
        info = self._call(part, "model_info", part.repo, files_metadata=True, timeout=TIMEOUT_S)
        licence = (info.card_data or {}).get("license") or "not stated"
        sizes = {file.rfilename: file.size for file in info.siblings or () if file.size is not None}
        return Listing(str(licence), info.sha, sizes)

    def download(self, part: Part, path: str, revision: str, folder: Path) -> None:
        self._call(part, "hf_hub_download", part.repo, path, revision=revision, local_dir=folder)

    def _call(self, part: Part, name: str, *args: object, **options: object) -> object:
        try:
            import huggingface_hub
        except ImportError:
            raise DependencyError("huggingface_hub", "weights fetch", "fetch") from None
        try:
            return getattr(huggingface_hub.HfApi(), name)(*args, **options)
        except Exception as error:  # the network errors of the client and of its transport have no common parent
            raise FetchError(_sentence(error, f"{part.repo} on the Hugging Face hub")) from error


class GitHub:
    """Single small files of a GitHub repository, read over https from the beginning."""

    def listing(self, part: Part) -> Listing:
        return Listing(part.licence, "main", {path: self._read(part, path, "HEAD", _length) for path in part.paths})

    def download(self, part: Part, path: str, revision: str, folder: Path) -> None:
        half = folder / (path + ".part")
        with half.open("wb") as file:
            self._read(part, path, "GET", lambda answer: shutil.copyfileobj(answer, file, COPY_BYTES))
        os.replace(half, folder / path)

    def _read(self, part: Part, path: str, method: str, use: Callable[[HTTPResponse], T]) -> T:
        request = urllib.request.Request(f"https://github.com/{part.repo}/raw/main/{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return use(answer)
        except (OSError, HTTPException, ValueError) as error:
            raise FetchError(_sentence(error, f"{part.repo} on GitHub")) from error


def _length(answer: HTTPResponse) -> int:
    length = answer.headers["Content-Length"]
    if length is None:
        raise ValueError("the answer says no size")
    return int(length)


def _sentence(error: Exception, where: str) -> str:
    """Return what a failed call means to the person who made it."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", getattr(error, "code", None))
    if getattr(error, "errno", None) == errno.ENOSPC:
        return "the disk is full; make room and fetch again: files that are whole are kept"
    if "OfflineModeIsEnabled" in kinds:
        return f"{where} was not asked, because HF_HUB_OFFLINE is set; unset it and fetch again"
    if "GatedRepoError" in kinds or status in (401, 403):
        return f"{where} wants its terms accepted or an account; open its page, then run: hf auth login"
    if "EntryNotFoundError" in kinds or "RepositoryNotFoundError" in kinds or status == 404:
        return f"{where} is not there (any more), or the file in it; look for it by hand"
    reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
    return (f"{where} cannot be reached ({reason[0][:120]}); fetch again when the network is there: files "
            "that are whole are kept")
