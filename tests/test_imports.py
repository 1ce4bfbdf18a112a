"""The imports of the package, read from its source: arrows point one way, and heavy packages stay where they belong."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = CHECKOUT / "astra_play"

BASE = {"errors", "config", "contradictions", "chunks", "paths"}
STAGES = {"actions", "model", "codec"}
EVERYTHING = BASE | STAGES | {"runtime", "booth", "display", "record", "remote", "render", "render_options",
                               "render_published", "argument_types", "train", "evaluate", "bench", "bench_published",
                               "bench_record", "overlay", "doctor", "weights_cli", "weights_fetch", "clips_cli",
                               "replay_cli", "kiosk_cli", "cli", "__init__"}
# each part of the package -> the parts it may import besides itself; "__init__" is the package's own name and version
ALLOWED = {
    "__init__": {"model"},  # lazily, for astra_play.load_world
    "errors": set(),
    "config": {"errors", "contradictions"},
    "contradictions": {"config"},  # for its types
    "chunks": {"errors", "config"},
    "paths": {"errors", "config"},
    "actions": BASE,
    "codec": BASE,
    "model": BASE | {"codec", "actions"},
    "runtime": BASE | {"actions"},
    "booth": BASE | {"runtime"},  # the supervisor outlives what it watches, so it carries neither windows nor networks
    "display": BASE | STAGES | {"runtime", "record", "booth", "__init__"},
    "record": BASE | STAGES | {"runtime", "overlay", "__init__"},
    "remote": BASE | STAGES | {"runtime", "__init__"},
    "overlay": BASE,
    "argument_types": BASE,
    "render_options": BASE | {"argument_types"},
    "render_published": BASE | STAGES | {"runtime", "overlay", "render_options"},
    "render": BASE | STAGES | {"runtime", "record", "render_options", "render_published"},
    "train": BASE | STAGES | {"record"},
    "evaluate": BASE | STAGES | {"record", "train"},
    "bench": BASE | STAGES | {"runtime", "record", "evaluate", "argument_types", "bench_published", "bench_record"},
    "bench_record": BASE | STAGES | {"runtime", "record"},
    "bench_published": BASE | STAGES,
    "weights_cli": BASE | {"model"},
    "weights_fetch": BASE,
    "clips_cli": BASE | {"record", "display", "argument_types"},  # the settings name the recordings folder
    "replay_cli": BASE | STAGES | {"record", "render", "display", "argument_types"},
    "kiosk_cli": BASE | {"runtime", "booth", "display", "argument_types"},
    "doctor": EVERYTHING - {"cli"},
    "cli": EVERYTHING,
    "__main__": {"cli"},
}
MAX_FILE_MB = 5.0
MAX_WEIGHTS_MB = 24.0  # for the weights of one world together, as the project allows them
JUNK = re.compile(r"(^|/)(\.DS_Store|Thumbs\.db|__pycache__|\.venv|\.idea|\.vscode)(/|$)"
                  r"|\.(pyc|pyo|orig|rej|swp|tmp|bak|log|ckpt|pt|pth|pkl)$|~$")
# somebody's disk: home folders and mounts, written in pieces so that this file does not match itself
SOMEBODYS_DISK = re.compile("|".join(["/ho" + "me/[a-z]", "/Us" + "ers/[A-Za-z]", "/ro" + "ot/", "/mn" + "t/[a-z]",
                                      "/wo" + "rk/", r"[A-Z]:\\U" + "sers"]))


@dataclass(frozen=True)
class Import:
    file: str
    line: int
    name: str  # absolute, as in "astra_play.runtime.clock" or "torch"
    for_types_only: bool

    @property
    def part(self) -> str:
        """The part of our package that is imported; "" for other packages."""
        head, *rest = self.name.split(".")
        if head != "astra_play":
            return ""
        known = rest and ((PACKAGE / rest[0]).is_dir() or (PACKAGE / f"{rest[0]}.py").is_file())
        return rest[0] if known else "__init__"


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(path: Path) -> Iterator[Import]:
    """Yield every import of a file, those inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {id(node) for block in ast.walk(tree)
                 if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
                 for child in block.body for node in ast.walk(child)}
    package = ["astra_play", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[:len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(str(path.relative_to(CHECKOUT)), node.lineno, name, id(node) in for_types)


def all_imports() -> Iterator[tuple[str, Import]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for found in imports_of(path):
            yield part_of(path), found


def test_every_part_of_the_package_has_a_place_in_the_order() -> None:
    assert {part_of(path) for path in PACKAGE.rglob("*.py")} <= ALLOWED.keys()


def test_no_import_goes_against_the_order() -> None:
    wrong = [f"{found.file}:{found.line} {part} imports {found.name}" for part, found in all_imports()
             if found.part and found.part != part and found.part not in ALLOWED[part]]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("package", "free_parts"), [
    ("torch", BASE | {"actions", "runtime", "booth", "render", "render_options", "render_published", "argument_types",
                      "overlay", "cli", "doctor", "weights_cli", "weights_fetch", "kiosk_cli", "__init__"}),
    ("transformers", ALLOWED.keys() - {"model"}),
    ("huggingface_hub", ALLOWED.keys() - {"weights_fetch"}),
    ("pygame", ALLOWED.keys() - {"display"}),
    ("mujoco", ALLOWED.keys() - {"train"}),
    ("vizdoom", ALLOWED.keys() - {"train"}),
    ("diffusers", ALLOWED.keys()),  # for tests only
])
def test_heavy_package_is_imported_only_where_it_belongs(package: str, free_parts: set[str]) -> None:
    wrong = [f"{found.file}:{found.line}" for part, found in all_imports()
             if found.name.split(".")[0] == package and part in free_parts and not found.for_types_only]
    assert not wrong, wrong


def test_reader_of_imports_sees_relative_and_lazy_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "CHECKOUT", tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "runtime").mkdir()
    (tmp_path / "model" / "world.py").write_text(
        "from typing import TYPE_CHECKING\nfrom .. import runtime\nif TYPE_CHECKING:\n    import torch\n"
        "def f():\n    from ..runtime.clock import now\n    import astra_play.runtime.stats\n")
    found = list(imports_of(tmp_path / "model" / "world.py"))
    assert [(i.line, i.part) for i in found if i.part] == [(2, "runtime"), (6, "runtime"), (7, "runtime")]
    assert [i.name for i in found if i.for_types_only] == ["torch"]


def loaded_by(statement: str) -> set[str]:
    """Run a statement in a fresh Python; return the top-level names of the modules that it loaded."""
    code = f"{statement}\nimport json, sys; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_neither_torch_nor_pygame() -> None:
    assert not loaded_by("import astra_play") & {"torch", "pygame", "numpy"}


def test_actions_and_runtime_load_neither_torch_nor_pygame() -> None:
    names = [".".join(path.relative_to(CHECKOUT).with_suffix("").parts) for part in ("actions", "runtime")
             for path in sorted((PACKAGE / part).glob("*.py")) if path.stem != "__init__"]
    assert not loaded_by("\n".join(f"import {name}" for name in names)) & {"torch", "pygame"}


# --- the tree -------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """The files that git tracks here."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode != 0 or not (CHECKOUT / ".git").exists():
        pytest.skip("this copy is not a git checkout")
    return [CHECKOUT / name for name in done.stdout.split("\0") if name and (CHECKOUT / name).is_file()]


def test_pattern_of_junk_knows_it_from_source() -> None:
    assert JUNK.search("a/.DS_Store") and JUNK.search("run/model.pt") and JUNK.search("__pycache__/a.pyc")
    assert not JUNK.search("tests/test_log.py") and not JUNK.search("weights/mini/model.safetensors")


def test_no_tracked_file_is_junk(tracked: list[Path]) -> None:
    assert not [path for path in tracked if JUNK.search(path.relative_to(CHECKOUT).as_posix())]


def test_no_tracked_file_is_too_big(tracked: list[Path]) -> None:
    weights = CHECKOUT / "weights"
    big = [path for path in tracked if weights not in path.parents and path.stat().st_size > MAX_FILE_MB * 1e6]
    assert not big
    for world in {path.parent for path in tracked if weights in path.parents}:
        assert sum(path.stat().st_size for path in tracked if world in path.parents) <= MAX_WEIGHTS_MB * 1e6, world


def test_no_text_names_somebodys_disk(tracked: list[Path]) -> None:
    found = []
    for path in tracked:
        content = path.read_bytes()
        if b"\0" not in content:
            text = content.decode("utf-8", errors="replace")
            found += [f"{path.relative_to(CHECKOUT)}: {hit.group()}" for hit in SOMEBODYS_DISK.finditer(text)]
    assert not found


def test_top_level_holds_only_what_belongs_there(tracked: list[Path]) -> None:
    top = {path.relative_to(CHECKOUT).parts[0] for path in tracked}
    assert top <= {"astra_play", "weights", "assets", "tests", "launch.py", "pyproject.toml", "README.md", "LICENSE",
                   "NOTICE", ".ci", ".gitignore"}
