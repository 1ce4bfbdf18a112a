#!/usr/bin/env python3
"""Start Astra Play: install it beside this file on the first run, then play.

    python3 launch.py                     install if needed, then open the player
    python3 launch.py test [pytest args]  install with the test tools, then run the tests
    python3 launch.py COMMAND [args]      the same as `python -m astra_play COMMAND [args]`; try: doctor

Standard library only. The packages go into .venv beside this file, at the exact versions of .ci/constraints.txt; pip's
own settings (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, HTTPS_PROXY, ...) count. An active environment that already holds
the project is used as it is.
"""

import os
import sys

OLDEST_PYTHON = (3, 11)


def old_python_sentence():
    """Say what is wrong with this Python, and which line starts the player instead."""
    import shutil

    newer = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
    if newer:
        fix = newer[0] + " launch.py"
    elif sys.platform == "darwin":
        fix = "brew install python@3.12 && python3.12 launch.py"
    elif os.name == "nt":
        fix = "winget install Python.Python.3.12, then: py -3.12 launch.py"
    else:
        fix = "sudo apt install python3.12 python3.12-venv && python3.12 launch.py (or your system's own way)"
    version = "%d.%d" % sys.version_info[:2]  # noqa: UP031
    return f"launch.py: Astra Play needs Python 3.11 or later, this is {version}.\n  fix: {fix}"


# Checked before the other imports and annotations, so that an old Python, which can parse this file but not run all
# of it, still gets a sentence.
if sys.version_info < OLDEST_PYTHON:
    sys.exit(old_python_sentence())

import collections  # noqa: E402
import contextlib  # noqa: E402
import hashlib  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import re  # noqa: E402
import shlex  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "astra-play.json"  # what was installed last, written after pip succeeded
MARKER = VENV / "astra-play-installing"  # exists while .venv is being changed: found later, the change was cut short
SPACE_NEEDED_GB = 1.5  # measured: 1.1 GB of installed packages (torch for the CPU: 0.8) and pip's temporary copies
# By the first word or the first two; train: the simulator, text: the text encoder of an imported world.
EXTRAS_FOR = {"test": ["dev"], "kiosk": ["kiosk"], "data": ["train"], "train": ["train"], "evaluate": ["train"],
              "weights fetch": ["fetch", "text"], "weights import": ["text"]}
# The tests on every processor: one thread each (tests/conftest.py), and whoever is done takes from the others' rest.
TEST_OPTIONS = ["-n", "logical", "--maxprocesses", "8", "--dist", "worksteal"]
PARSE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from astra_play.cli import parse; parse(sys.argv[1:])"
COMMAND_VARIABLE = "ASTRA_PLAY_COMMAND"  # tells the player what to call itself where it names a command to run
EXIT_WRONG_USE = 2  # of argparse
EXIT_INTERRUPTED = 130  # what shells report for Ctrl-C


class LaunchError(Exception):
    """What failed, and the line that fixes it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"launch.py: {what}\n  fix: {fix}")


def main(argv: Sequence[str]) -> int:
    """Prepare an environment and hand over to it; return an exit status (on POSIX a success does not return)."""
    if argv[:1] in (["-h"], ["--help"]):
        print(__doc__.strip() + commands_text())
        return 0
    testing = argv[:1] == ["test"]
    extras = EXTRAS_FOR.get(" ".join(argv[:2])) or EXTRAS_FOR.get(" ".join(argv[:1]), [])
    try:
        python = active_python(extras)
        if python is None and not is_ready(extras) and not testing:
            status = answer_without_installing(argv or ["play"])
            if status is not None:
                return status
        python = python or venv_with_project(extras)
    except LaunchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nlaunch.py: interrupted; the next launch repairs what is half done", file=sys.stderr)
        return EXIT_INTERRUPTED
    if testing:
        os.chdir(ROOT)
        return hand_over([python, "-m", "pytest", *TEST_OPTIONS, *argv[1:]])
    os.environ.setdefault(COMMAND_VARIABLE, f"{'py' if os.name == 'nt' else 'python3'} {shlex.quote(sys.argv[0])}")
    return hand_over([python, "-m", "astra_play", *(argv or ["play"])])


def commands_text() -> str:
    """Return the player's own list of commands, which needs no package; nothing where this file lies alone."""
    sys.path.insert(0, str(ROOT))
    try:
        commands = importlib.import_module("astra_play.cli").COMMANDS
    except ImportError:
        return ""
    finally:
        sys.path.remove(str(ROOT))
    lines = [f"    {name:10}{command.help}" for name, command in commands.items()]
    return "\n\nCommands; --help after one shows its options:\n\n" + "\n".join(lines)


def answer_without_installing(argv: Sequence[str]) -> int | None:
    """Answer a command line that is wrong or asks for help; None if it means work, or cannot be judged yet.

    The player's parser needs no package for most commands, and that of the others none of the extras.
    """
    python = str(venv_python()) if is_ready([]) else sys.executable
    done = subprocess.run([python, "-c", PARSE, str(ROOT), *argv], capture_output=True, text=True)
    asks = not {"-h", "--help", "--version"}.isdisjoint(argv)
    if done.returncode != EXIT_WRONG_USE and not (asks and done.returncode == 0):
        return None
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)
    return done.returncode


def hand_over(command: Sequence[str]) -> int:
    """Become the command on POSIX, so that signals reach it directly; on Windows run it and pass its status on."""
    sys.stdout.flush()
    if os.name == "posix":
        os.execv(command[0], command)
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                pass  # Ctrl-C reaches the command too: its answer to it is the one that counts


# --- an environment that is already there ---------------------------------------------------------------------------

def active_python(extras: Sequence[str]) -> str | None:
    """Return this interpreter if it is an environment that holds this checkout and what it needs, else None."""
    in_environment = sys.prefix != sys.base_prefix or (Path(sys.prefix) / "conda-meta").is_dir()
    if in_environment and installed_checkout() == ROOT and all(map(satisfied, requirements(extras))):
        return sys.executable
    return None


def installed_checkout() -> Path | None:
    """Return the checkout that `import astra_play` would use in this environment, wherever this script lies."""
    script_path, sys.path = sys.path, sys.path[1:]  # the first entry is this script's own folder
    try:
        spec = importlib.util.find_spec("astra_play")
    finally:
        sys.path = script_path
    return Path(spec.origin).resolve().parents[1] if spec and spec.origin else None


def requirements(extras: Sequence[str]) -> list[str]:
    """Return the requirement lines of pyproject.toml: the base and the given extras."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    return project["dependencies"] + [line for extra in extras for line in optional[extra]]


def satisfied(requirement: str) -> bool:
    """Tell whether a `name>=version` or `name==version` line is met in this environment."""
    from importlib import metadata

    name, operator, wanted = re.fullmatch(r"([\w.-]+?)(?:(>=|==)([\d.]+))?", requirement).groups()
    try:
        have = metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    numbers = [[int(part) for part in re.findall(r"\d+", version.split("+")[0])] for version in (have, wanted or "")]
    return numbers[0] == numbers[1] if operator == "==" else numbers[0] >= numbers[1]


# --- our own .venv --------------------------------------------------------------------------------------------------

def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def venv_with_project(extras: Sequence[str]) -> str:
    """Return the Python of .venv, after making, updating or repairing it where that is needed."""
    if not is_ready(extras):
        with only_installer():
            if not is_ready(extras):  # another launch may have finished while this one waited for the lock
                install(extras)
    return str(venv_python())


def is_ready(extras: Sequence[str]) -> bool:
    """Tell whether .venv holds what the files ask for now: no process is started and nothing is imported."""
    if MARKER.exists() or not venv_python().exists():
        return False
    stamp = read_stamp()
    return stamp["fingerprint"] == fingerprint() and set(extras) <= set(stamp["extras"])


def read_stamp() -> dict:
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        return {"fingerprint": stamp["fingerprint"], "extras": list(stamp["extras"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"fingerprint": "", "extras": []}


def fingerprint() -> str:
    """Return a hash of all that decides what pip installs: our two files, .venv's Python, and where we lie."""
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (ROOT / "pyproject.toml", ROOT / ".ci" / "constraints.txt", VENV / "pyvenv.cfg"):
        with contextlib.suppress(FileNotFoundError):
            digest.update(path.read_bytes())
        digest.update(b"\0")
    return digest.hexdigest()


@contextlib.contextmanager
def only_installer() -> Iterator[None]:
    """Let one launch at a time change .venv. Windows has no fcntl; two first launches at once are rare there."""
    if os.name != "posix":
        yield
        return
    import fcntl

    with open(__file__, "rb") as own_file:  # locking a file that is there anyway leaves nothing behind
        try:
            fcntl.flock(own_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another launch is installing; waiting for it")
            fcntl.flock(own_file, fcntl.LOCK_EX)
        except OSError:
            pass  # a network disk without locks
        yield


def install(extras: Sequence[str]) -> None:
    """Bring .venv to what the files ask for; on a failure it is left so that the next launch repairs it."""
    if not os.access(ROOT, os.W_OK):
        raise LaunchError(f"the folder {ROOT} is read-only, so .venv cannot be made in it",
                          "copy the folder to a place you can write to, and run launch.py there")
    wanted = sorted(set(read_stamp()["extras"]) | set(extras))
    try:
        empty_broken_venv()
        if not (VENV / "pyvenv.cfg").exists():
            make_venv()
        MARKER.touch()
        run_pip(wanted)
        write_stamp(wanted)
        MARKER.unlink()
    except OSError as error:
        raise LaunchError(f"{VENV} could not be written ({error})", explain_failure(str(error))) from None
    say("installed")


def empty_broken_venv() -> None:
    """Empty a .venv that was cut short or whose Python is gone; refuse to touch what is not an environment."""
    if not os.path.lexists(VENV):
        return
    ours = MARKER.exists() or (VENV / "pyvenv.cfg").is_file() or (VENV.is_dir() and not any(VENV.iterdir()))
    if not ours or VENV.is_symlink():
        raise LaunchError(f"{VENV} exists and is not an environment that launch.py made",
                          f"move it away: {'ren' if os.name == 'nt' else 'mv'} {VENV} old-venv")
    if MARKER.exists() or not pip_answers():
        say("repairing .venv: an earlier installation was cut short or its Python is gone")
        MARKER.touch()  # outlives the rest, so that a removal cut short is still known as ours
        for path in VENV.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != MARKER:
                path.unlink()


def pip_answers() -> bool:
    """Tell whether .venv has a Python that runs and a pip that answers."""
    try:
        command = [str(venv_python()), "-m", "pip", "--version"]
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def make_venv() -> None:
    """Make .venv with this Python, after the checks that cost nothing."""
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if free_gb < SPACE_NEEDED_GB:
        raise LaunchError(f"the disk of {ROOT} has {free_gb:.1f} GB free, the installation needs {SPACE_NEEDED_GB} GB",
                          f"free {SPACE_NEEDED_GB - free_gb:.1f} GB or more, or move the folder to another disk")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    no_venv = LaunchError(
        f"this Python {version} cannot make virtual environments (its venv or ensurepip is missing)",
        f"sudo apt install python{version}-venv" if sys.platform == "linux" else "install Python from its own site")
    try:
        import ensurepip  # noqa: F401  Debian leaves it out of its Python
        import venv  # noqa: F401
    except ImportError:
        raise no_venv from None
    say(f"making .venv with Python {version}")
    VENV.mkdir(exist_ok=True)
    MARKER.touch()
    base_python = getattr(sys, "_base_executable", None) or sys.executable  # an environment of an environment breaks
    made = subprocess.run([base_python, "-m", "venv", str(VENV)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    if made.returncode != 0:
        print(made.stdout, file=sys.stderr)
        if "ensurepip" in made.stdout and "No space left" not in made.stdout:
            raise no_venv
        raise LaunchError(f"python -m venv failed with status {made.returncode}", explain_failure(made.stdout))


def run_pip(extras: Sequence[str]) -> None:
    """Install the project in editable mode, so that weights/ and assets/ are found beside it."""
    target = f".[{','.join(extras)}]" if extras else "."
    say(f"installing {target} with pip, once: some minutes, {SPACE_NEEDED_GB} GB (5 GB where torch comes with CUDA)")
    command = [str(venv_python()), "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
               "-c", os.path.join(".ci", "constraints.txt"), "-e", target]
    # pip keeps the terminal for its progress bars; only its complaints pass through here, to be explained at the end
    last_lines: collections.deque[str] = collections.deque(maxlen=200)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace") as pip:
        for line in pip.stderr:
            sys.stderr.write(line)
            last_lines.append(line)
    if pip.returncode != 0:
        fix = explain_failure("".join(last_lines))
        if pip.returncode > 0 and fix != NO_SPACE_FIX:
            MARKER.unlink()  # pip ended by itself and put back what it had touched: nothing to repair
        raise LaunchError(f"pip could not install the packages (status {pip.returncode})", fix)


NO_SPACE_FIX = "free some GB on this disk and on the temporary folder's (or set TMPDIR), and run launch.py again"
FIXES = (  # the first pattern that is found in the failure's text gives the fix
    (r"No space left|not enough space|Errno 28", NO_SPACE_FIX),
    (r"CERTIFICATE_VERIFY_FAILED|SSLError",
     "the connection is not trusted: set PIP_CERT to your company's certificate file, and run launch.py again"),
    (r"NewConnectionError|ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|name resolution|Max retries|"
     r"connection broken|Network is unreachable|getaddrinfo|timed out",
     "the package index cannot be reached: check the network (or set HTTPS_PROXY), and run launch.py again"),
    (r"No matching distribution|Could not find a version",
     "the package index has no such package for this Python and machine: use a 64-bit Python 3.11, 3.12 or 3.13, and "
     "check PIP_INDEX_URL, PIP_NO_INDEX and pip's configuration"),
    (r"Permission denied|Access is denied|Read-only file system",
     "make this folder writable for you, or copy it to a place you can write to"),
)


def explain_failure(text: str) -> str:
    """Return the fix for what a failed command wrote."""
    for pattern, fix in FIXES:
        if re.search(pattern, text):
            return fix
    return f"read the lines above; to start afresh, delete {VENV} and run launch.py again"


def write_stamp(extras: Sequence[str]) -> None:
    """Write the stamp under another name and rename it, so that a reader never meets half of it."""
    half = STAMP.with_suffix(".tmp")
    half.write_text(json.dumps({"fingerprint": fingerprint(), "extras": list(extras)}), encoding="utf-8")
    os.replace(half, STAMP)


def say(text: str) -> None:
    print(f"launch.py: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
