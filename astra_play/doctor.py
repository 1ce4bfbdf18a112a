"""`doctor`: report what works on this machine, line by line, and what to do about what does not.

Each check is a function that returns findings and takes what it judges as arguments where a test wants to choose them.
Torch and SDL are asked in processes of their own: a broken driver may end the process that touches it, not the report.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from . import __version__, paths
from .errors import AstraPlayError, ConfigError

PROBE_LIMIT_S = 120.0  # importing torch from a cold disk has been seen to take half a minute
MEMORY_NEEDED_GB = 1.0  # a session stays under 0.8
DISK_WANTED_GB = 1.0  # recordings and photos; playing itself writes next to nothing

TORCH_PROBE = """
import json, torch
cuda = [[torch.cuda.get_device_name(i), torch.cuda.get_device_properties(i).total_memory / 1e9]
        for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(json.dumps({
    "cuda": cuda,
    "cuda_build": torch.version.cuda or "",
    "mps": torch.backends.mps.is_available(),
    "capability": torch.backends.cpu.get_cpu_capability(),
    "threads": torch.get_num_threads(),
}))
"""

DISPLAY_PROBE = """
import json, os
os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"
import pygame
facts = {"driver": "", "error": "", "sizes": [], "pads": []}
try:
    pygame.display.init()
    facts["driver"] = pygame.display.get_driver()
    facts["sizes"] = pygame.display.get_desktop_sizes()
except pygame.error as error:
    facts["error"] = str(error)
pygame.joystick.init()
facts["pads"] = [pygame.joystick.Joystick(i).get_name() for i in range(pygame.joystick.get_count())]
print(json.dumps(facts))
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report. A "problem" prevents playing, a "note" is worth knowing; `fix` is what to do."""

    area: str
    level: Literal["ok", "note", "problem"]
    text: str
    fix: str = ""


def run_doctor(as_json: bool = False) -> int:
    """Print the report and return 0 unless a problem prevents playing."""
    findings = [finding for check in CHECKS for finding in guarded(check)]
    num_problems = sum(finding.level == "problem" for finding in findings)
    if as_json:
        print(json.dumps({"problems": num_problems, "findings": [dataclasses.asdict(f) for f in findings]}, indent=2))
    else:
        print(format_report(findings))
    return 1 if num_problems else 0


def guarded(check: Callable[[], list[Finding]]) -> list[Finding]:
    """Run a check; a check that breaks is itself a finding, and the report goes on."""
    try:
        return check()
    except Exception as error:  # the doctor must survive whatever is wrong with the patient
        area = check.__name__.removeprefix("check_")
        return [Finding(area, "note", f"could not be checked ({type(error).__name__}: {error})")]


def format_report(findings: Iterable[Finding]) -> str:
    """Return one line per finding, the fix under it, and a closing line."""
    findings = list(findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:<8} {finding.area:<12} {finding.text}")
        if finding.fix:
            lines.append(f"{'':<21} -> {finding.fix}")
    problems = [finding for finding in findings if finding.level == "problem"]
    lines.append("")
    lines.append(f"{len(problems)} problem{'s' * (len(problems) != 1)} to solve before playing" if problems
                 else "ready to play: python3 launch.py")
    return "\n".join(lines)


def probe(code: str) -> dict[str, Any]:
    """Run the code in a Python of its own and return the JSON of its last line; RuntimeError says how it ended."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PROBE_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"no answer within {PROBE_LIMIT_S:.0f} s") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        reason = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        raise RuntimeError(reason)
    return json.loads(lines[-1])


# --- environment ----------------------------------------------------------------------------------------------------

def check_environment() -> list[Finding]:
    """Report the system, the Python, and each package that pyproject.toml asks for."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    findings = [Finding("environment", "ok", f"astra-play {__version__}, Python {platform.python_version()}, {system}")]
    project = tomllib.loads((paths.checkout_folder() / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    findings += check_packages(project["dependencies"], needed=True)
    for extra, lines in project["optional-dependencies"].items():
        findings += [dataclasses.replace(finding, text=f"{finding.text} (extra {extra})")
                     for finding in check_packages(lines, needed=False)]
    return findings


def check_packages(requirement_lines: Iterable[str], needed: bool) -> list[Finding]:
    """Compare installed versions with `name>=version` or `name==version` lines; an optional one may be absent."""
    findings = []
    for line in requirement_lines:
        name, operator, wanted = re.fullmatch(r"([\w.-]+?)(?:(>=|==)([\d.]+))?", line).groups()
        try:
            have = metadata.version(name)
        except metadata.PackageNotFoundError:
            if needed:
                findings.append(Finding("packages", "problem", f"{name} is not installed", "run: python3 launch.py"))
            continue
        fits = version_numbers(have) == version_numbers(wanted) if operator == "==" else (
            version_numbers(have) >= version_numbers(wanted or ""))
        if fits:
            findings.append(Finding("packages", "ok", f"{name} {have}"))
        else:
            findings.append(Finding("packages", "problem" if needed else "note", f"{name} is {have}, needed is {line}",
                                    f"run: {sys.executable} -m pip install '{line}'"))
    return findings


def version_numbers(version: str) -> list[int]:
    """Return the numbers of a version without its local part: '2.13.0+cpu' -> [2, 13, 0]."""
    return [int(part) for part in re.findall(r"\d+", version.split("+")[0])]


# --- machine --------------------------------------------------------------------------------------------------------

def check_machine() -> list[Finding]:
    """Report GPU and CPU as torch sees them."""
    try:
        facts = probe(TORCH_PROBE)
    except RuntimeError as error:
        return [Finding("torch", "problem", f"torch cannot be loaded: {error}",
                        "delete .venv and run: python3 launch.py")]
    return judge_compute(facts, num_cores=os.cpu_count() or 1, has_nvidia_tool=shutil.which("nvidia-smi") is not None)


def judge_compute(facts: dict[str, Any], num_cores: int, has_nvidia_tool: bool) -> list[Finding]:
    """Turn the facts of TORCH_PROBE into findings."""
    findings = [Finding("gpu", "ok", f"CUDA: {name}, {gigabytes:.0f} GB") for name, gigabytes in facts["cuda"]]
    if facts["mps"]:
        findings.append(Finding("gpu", "ok", "Apple GPU (mps)"))
    if not findings and has_nvidia_tool:
        why = "torch is a build without CUDA" if not facts["cuda_build"] else "torch cannot reach it"
        findings.append(Finding("gpu", "note", f"an NVIDIA driver is installed, but {why}; worlds run on the CPU",
                                "install a CUDA build of torch into this environment, or update the driver"))
    if not findings:
        findings.append(Finding("gpu", "note", "none; the mini world is made for the CPU, larger worlds want a GPU"))
    cpu = f"{num_cores} core{'s' * (num_cores != 1)}, {facts['capability']}, {facts['threads']} compute threads"
    if num_cores < 2:
        findings.append(Finding("cpu", "note", cpu, "worlds are tuned for two cores: expect fewer frames a second"))
    else:
        findings.append(Finding("cpu", "ok", cpu))
    return findings


def check_memory() -> list[Finding]:
    """Report memory and disk space."""
    import psutil

    memory = psutil.virtual_memory()
    free_disk_gb = shutil.disk_usage(paths.checkout_folder()).free / 1e9
    return judge_space(memory.available / 1e9, memory.total / 1e9, free_disk_gb)


def judge_space(available_gb: float, total_gb: float, free_disk_gb: float) -> list[Finding]:
    """Compare free memory and disk with what a session needs."""
    memory = f"{available_gb:.1f} GB available of {total_gb:.1f} GB"
    disk = f"{free_disk_gb:.1f} GB free"
    return [
        Finding("memory", "ok", memory) if available_gb >= MEMORY_NEEDED_GB else
        Finding("memory", "problem", memory, f"close other programs: a session needs {MEMORY_NEEDED_GB:.0f} GB"),
        Finding("disk", "ok", disk) if free_disk_gb >= DISK_WANTED_GB else
        Finding("disk", "note", disk, f"free some space: recordings and photos want {DISK_WANTED_GB:.0f} GB"),
    ]


# --- display and controls -------------------------------------------------------------------------------------------

def check_display() -> list[Finding]:
    """Report whether a window can open, and the gamepads."""
    try:
        facts = probe(DISPLAY_PROBE)
    except RuntimeError as error:
        return [Finding("display", "problem", f"pygame cannot be loaded: {error}",
                        "delete .venv and run: python3 launch.py")]
    return judge_display(facts, sys.platform, os.environ)


def judge_display(facts: dict[str, Any], system: str, environment: Any) -> list[Finding]:
    """Turn the facts of DISPLAY_PROBE into findings; `system` is spelt as sys.platform spells it."""
    headless = "without a display, use: python3 launch.py play --headless --script FILE --seconds N, or render"
    if facts["error"]:
        display = Finding("display", "problem", f"no window can open: SDL says {facts['error']!r}",
                          f"log in to the desktop and run it there; {headless}")
    elif facts["driver"] in ("dummy", "offscreen"):  # SDL falls back to these when nothing can show a picture
        if environment.get("SDL_VIDEODRIVER"):
            why, fix = f"SDL_VIDEODRIVER is {environment['SDL_VIDEODRIVER']!r}", "unset SDL_VIDEODRIVER"
        elif system == "linux" and not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")):
            why = "neither DISPLAY nor WAYLAND_DISPLAY is set"
            fix = "log in to the desktop and run it there (over ssh: ssh -X)"
        else:
            why, fix = f"SDL found only its {facts['driver']!r} driver", "log in to the desktop and run it there"
        display = Finding("display", "problem", f"no window can open: {why}", f"{fix}; {headless}")
    else:
        sizes = ", ".join(f"{width}x{height}" for width, height in facts["sizes"])
        display = Finding("display", "ok", f"{facts['driver']}, {sizes}")
    pads = [Finding("gamepad", "ok", name) for name in facts["pads"]]
    return [display, *(pads or [Finding("gamepad", "note", "none is connected; keyboard and mouse are enough")])]


# --- weights and settings -------------------------------------------------------------------------------------------

def check_weights() -> list[Finding]:
    """Report each world in weights/: whole, or the sentence that says what is wrong."""
    from .weights_cli import verify_world

    findings = []
    for name in paths.world_names():
        try:
            findings.append(Finding("weights", "ok", verify_world(paths.world_folder(name))))
        except AstraPlayError as error:
            # only the default world is needed to play; another damaged one is worth a note
            level = "problem" if name == paths.DEFAULT_WORLD else "note"
            findings.append(Finding("weights", level, f"{name}: {error}"))
    if paths.DEFAULT_WORLD not in paths.world_names():
        findings.append(Finding("weights", "problem", f"the default world {paths.DEFAULT_WORLD!r} is missing from "
                                f"{paths.weights_folder()}", "take the folder weights/mini from the project again"))
    return findings


def check_settings() -> list[Finding]:
    """Report the player's own files; nothing is written."""
    from .actions.keymap import parse_keymap, user_keymap_path
    from .config import read_own_text
    from .display import settings

    def read_keymap(path: Path) -> None:
        parse_keymap(read_own_text(path), str(path))

    def read_settings(path: Path) -> None:
        # the player goes on without what it cannot use, and says so in its log: that is the finding
        said: list[str] = []
        listener = logging.Handler()
        listener.emit = lambda record: said.append(record.getMessage())
        settings.log.addHandler(listener)
        try:
            settings.load(path)
        finally:
            settings.log.removeHandler(listener)
        if said:
            raise ConfigError("; ".join(said))

    return [judge_own_file("keymap", user_keymap_path(), read_keymap, "problem"),
            judge_own_file("settings", settings.default_path(), read_settings, "note")]


def judge_own_file(area: str, path: Path, read: Callable[[Path], None],
                   level_if_damaged: Literal["note", "problem"]) -> Finding:
    """Report one of the player's files: the defaults count while it does not exist."""
    if not path.exists():
        return Finding(area, "ok", f"the defaults ({path} does not exist yet)")
    try:
        read(path)
    except (AstraPlayError, OSError, UnicodeDecodeError) as error:
        return Finding(area, level_if_damaged, str(error), f"correct it, or delete {path} to get the default back")
    return Finding(area, "ok", str(path))


CHECKS: tuple[Callable[[], list[Finding]], ...] = (
    check_environment, check_machine, check_memory, check_display, check_weights, check_settings)
