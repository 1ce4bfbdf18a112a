"""`weights fetch`: what is shown before, what is asked, what is left alone, and a sentence for each way to fail."""

from __future__ import annotations

import argparse
import errno
import io
import os
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from http.client import IncompleteRead
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError

from astra_play import cli, weights_fetch
from astra_play.errors import ConfigError, DependencyError, FetchError
from astra_play.weights_fetch import CHECKPOINT, PUBLISHED, GitHub, HuggingFaceHub, Listing, Part, fetch, size_text

SIZES = {path: 100 + number for number, path in enumerate(path for part in PUBLISHED["astra"] for path in part.paths)}
HUB_PART = PUBLISHED["astra"][0]


class FakeHost:
    """Holds files of known sizes; `cut` files arrive short, `failing` ones raise."""

    def __init__(self, sizes: dict[str, int] = SIZES, cut: str = "",
                 failing: dict[str, FetchError] | None = None) -> None:
        self.sizes, self.cut, self.failing = sizes, cut, failing or {}
        self.downloaded: list[str] = []

    def listing(self, part: Part) -> Listing:
        if part.repo in self.failing:
            raise self.failing[part.repo]
        return Listing("mit", "abc123", {path: self.sizes[path] for path in part.paths if path in self.sizes})

    def download(self, part: Part, path: str, revision: str, folder: Path) -> None:
        assert revision == "abc123" and folder.is_dir()
        if path in self.failing:
            raise self.failing[path]
        self.downloaded.append(path)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x" * (self.sizes[path] // (2 if path == self.cut else 1)))

    @property
    def hosts(self) -> dict[str, FakeHost]:
        return {"hub": self, "github": self}


def test_sizes_and_licences_are_shown_before_the_question(tmp_path: Path, capsys: pytest.CaptureFixture,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    host, shown = FakeHost({**SIZES, "models_t5_umt5-xxl-enc-bf16.pth": 11_361_845_133}), []

    def ask(question: str) -> str:
        shown.extend([capsys.readouterr().out, question])
        assert not host.downloaded
        return "n"

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, 10**12))
    assert fetch("astra", tmp_path / "files", False, host.hosts, ask) == 1
    for path in SIZES:
        assert path in shown[0]
    assert "EvanEternal/Astra, licence: mit" in shown[0] and "11.4 GB  models_t5_umt5-xxl-enc-bf16.pth" in shown[0]
    assert shown[1].startswith("Download 11.4 GB to ")
    assert not host.downloaded and not (tmp_path / "files").exists()


@pytest.mark.parametrize("answer", ["", "n", "no", "nein", "yep", " "])
def test_only_yes_downloads(tmp_path: Path, answer: str) -> None:
    host = FakeHost()
    assert fetch("astra", tmp_path, False, host.hosts, lambda question: answer) == 1
    assert not host.downloaded


@pytest.mark.parametrize("answer", ["y", "Y", "yes", " Yes "])
def test_yes_downloads_everything_under_the_repositories_own_names(tmp_path: Path, answer: str,
                                                                   capsys: pytest.CaptureFixture) -> None:
    host = FakeHost()
    assert fetch("astra", tmp_path, False, host.hosts, lambda question: answer) == 0
    assert host.downloaded == list(SIZES)
    assert (tmp_path / "Astra" / CHECKPOINT).stat().st_size == SIZES[CHECKPOINT]
    wan = tmp_path / "Wan2.1-T2V-1.3B"
    assert (wan / "google/umt5-xxl/tokenizer.json").is_file() and (wan / "taew2_1.pth").is_file()
    assert f"weights import astra --checkpoint {tmp_path / 'Astra' / CHECKPOINT} --wan {wan}" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="cmd.exe has rules of its own")
def test_command_that_goes_on_can_be_copied_whatever_the_folder_is_called(tmp_path: Path,
                                                                          capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "Jan's files"
    fetch("astra", out, True, FakeHost().hosts)
    words = shlex.split(capsys.readouterr().out.rpartition("now run: ")[2])
    assert words[words.index("--checkpoint") + 1] == str(out / "Astra" / CHECKPOINT)
    assert words[words.index("--wan") + 1] == str(out / "Wan2.1-T2V-1.3B")


def test_no_terminal_and_no_yes_is_an_error_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    host = FakeHost()
    with pytest.raises(FetchError, match="add --yes"):
        fetch("astra", tmp_path, False, host.hosts)
    assert not host.downloaded
    assert fetch("astra", tmp_path, True, host.hosts) == 0


def test_end_of_input_is_no(tmp_path: Path) -> None:
    def ask(question: str) -> str:
        raise EOFError

    assert fetch("astra", tmp_path, False, FakeHost().hosts, ask) == 1


def test_what_is_here_whole_is_left_alone_and_the_rest_is_fetched(tmp_path: Path,
                                                                  capsys: pytest.CaptureFixture) -> None:
    broken = FakeHost(failing={"models_t5_umt5-xxl-enc-bf16.pth": FetchError("the network went away")})
    with pytest.raises(FetchError, match="went away"):
        fetch("astra", tmp_path, True, broken.hosts)
    again = FakeHost()
    assert fetch("astra", tmp_path, True, again.hosts) == 0
    assert broken.downloaded + again.downloaded == list(SIZES)
    assert capsys.readouterr().out.count("(already here)") == 2
    third = FakeHost()
    assert fetch("astra", tmp_path, False, third.hosts, lambda question: pytest.fail("asked")) == 0
    assert not third.downloaded


def test_file_that_arrives_short_is_found(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"Wan2.1_VAE.pth has 50 bytes instead of 101 after its download"):
        fetch("astra", tmp_path, True, FakeHost(cut="Wan2.1_VAE.pth").hosts)


def test_full_disk_is_said_before_the_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 5, 3_000_000))
    host = FakeHost({**SIZES, CHECKPOINT: 4_000_000_000})
    with pytest.raises(FetchError, match=r"needs 4.0 GB in .*, but only 3.0 MB are free"):
        fetch("astra", tmp_path / "not" / "there", False, host.hosts, lambda question: pytest.fail("asked"))


def test_file_that_the_repository_lost_is_named(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="EvanEternal/Astra holds no file models/Astra"):
        fetch("astra", tmp_path, True, FakeHost({}).hosts)


def test_unknown_world_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'astra'"):
        fetch("atsra", tmp_path, True, FakeHost().hosts)


@pytest.mark.parametrize(("size", "text"), [(0, "0.0 MB"), (22_700_000, "22.7 MB"), (11_361_845_133, "11.4 GB")])
def test_sizes_are_in_the_units_of_a_disk(size: int, text: str) -> None:
    assert size_text(size) == text


# --- the hub's own client -------------------------------------------------------------------------------------------

class FakeApi:
    """huggingface_hub.HfApi without a network."""

    calls: list[tuple] = []

    def model_info(self, repo: str, **options: object) -> huggingface_hub.ModelInfo:
        self.calls.append((repo, options))
        return huggingface_hub.ModelInfo(
            id=repo, sha="f00", private=False, downloads=0, likes=0, tags=[], cardData={"license": "apache-2.0"},
            siblings=[{"rfilename": "a.pth", "size": 7}, {"rfilename": "b.pth"}])

    def hf_hub_download(self, repo: str, path: str, **options: object) -> str:
        self.calls.append((repo, path, options))
        return path


def test_hub_is_asked_for_sizes_licence_and_the_exact_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    monkeypatch.setattr(FakeApi, "calls", [])
    assert HuggingFaceHub().listing(HUB_PART) == Listing("apache-2.0", "f00", {"a.pth": 7})
    HuggingFaceHub().download(HUB_PART, "a.pth", "f00", tmp_path)
    assert FakeApi.calls[0][1]["files_metadata"] is True
    assert FakeApi.calls[1] == ("EvanEternal/Astra", "a.pth", {"revision": "f00", "local_dir": tmp_path})


def hub_error(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    class Response:
        status_code, headers, request = status, {}, None

    return kind("went wrong\nin many words", response=Response())


FAILURES = {
    "no network": (ConnectionError("Network is unreachable"), "cannot be reached (Network is unreachable)"),
    "no words": (TimeoutError(), "cannot be reached (TimeoutError)"),
    "full disk": (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
    "terms": (hub_error(GatedRepoError, 403), "wants its terms accepted"),
    "no account": (hub_error(HfHubHTTPError, 401), "hf auth login"),
    "no repository": (hub_error(RepositoryNotFoundError, 404), "is not there (any more)"),
    "no file": (hub_error(RemoteEntryNotFoundError, 404), "is not there (any more)"),
    "server": (hub_error(HfHubHTTPError, 503), "cannot be reached (went wrong)"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_each_failure_of_the_hub_is_one_sentence(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error, words = FAILURES[failure]

    def fail(self: FakeApi, *args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    monkeypatch.setattr(FakeApi, "model_info", fail)
    with pytest.raises(FetchError) as caught:
        HuggingFaceHub().listing(HUB_PART)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_missing_client_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DependencyError, match=r"pip install 'astra-play\[fetch\]'"):
        HuggingFaceHub().listing(HUB_PART)


def test_command_offline_is_one_sentence_and_status_2(checkout: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "astra_play", "weights", "fetch", "astra", "--out", str(tmp_path / "f")]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True,
                          env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 2 and not (tmp_path / "f").exists()
    assert done.stderr.splitlines() == [
        "astra-play: EvanEternal/Astra on the Hugging Face hub was not asked, because HF_HUB_OFFLINE is set; unset it "
        "and fetch again"]


# --- GitHub ---------------------------------------------------------------------------------------------------------

def test_github_file_is_read_from_its_repository_and_renamed_when_whole(monkeypatch: pytest.MonkeyPatch,
                                                                       tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.write_bytes(b"weights")
    asked = []

    def urlopen(request: urllib.request.Request, timeout: float):
        asked.append((request.get_method(), request.full_url))
        return original(urllib.request.Request(page.as_uri()))

    original = urllib.request.urlopen
    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    part = PUBLISHED["astra"][2]
    assert GitHub().listing(part).sizes == {"taew2_1.pth": 7}
    GitHub().download(part, "taew2_1.pth", "main", tmp_path)
    address = "https://github.com/madebyollin/taehv/raw/main/taew2_1.pth"
    assert asked == [("HEAD", address), ("GET", address)]
    assert (tmp_path / "taew2_1.pth").read_bytes() == b"weights" and not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(("error", "words"), [
    (urllib.error.URLError("no route to host"), "cannot be reached (<urlopen error no route to host>)"),
    (urllib.error.HTTPError("https://x", 404, "Not Found", {}, None), "is not there (any more)"),
    (IncompleteRead(b"half", 100), "cannot be reached (IncompleteRead")])
def test_github_that_fails_is_one_sentence(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(FetchError) as caught:
        GitHub().listing(PUBLISHED["astra"][2])
    assert words in str(caught.value)


def test_command_parses_and_files_go_below_the_weights_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    args = cli.parse(["weights", "fetch", "astra", "--yes"])
    assert args.run is weights_fetch.main and isinstance(args, argparse.Namespace)
    seen = []
    monkeypatch.setattr(weights_fetch, "fetch", lambda *given: seen.append(given) or 0)
    assert args.run(args) == 0
    assert seen[0][0] == "astra" and seen[0][1] == weights_fetch.weights_folder() / "astra-files" and seen[0][2] is True
