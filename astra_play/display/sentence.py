"""Any failure -> the sentence that the window shows for it."""

from __future__ import annotations

from ..errors import AstraPlayError


def as_sentence(error: BaseException, what_happened: str = "the world stopped") -> AstraPlayError:
    """Return an error that a person can read; a fault of the program names itself."""
    if isinstance(error, AstraPlayError):
        return error
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("astra_play"):
        return AstraPlayError(f"the package {error.name} is not installed; run: python3 launch.py doctor")
    if isinstance(error, MemoryError):
        return AstraPlayError("there is not enough memory for this world; close other programs and try again")
    what = str(error).strip().splitlines()
    return AstraPlayError(f"{what_happened} with {type(error).__name__}{': ' + what[0] if what else ''}; "
                          "run again with --debug and report the traceback")
