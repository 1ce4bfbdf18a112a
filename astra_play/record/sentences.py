"""What the player is told came of a recording: how much of it was made, what of it is left, why it failed."""

from __future__ import annotations

from ..errors import RecordingError
from .frames import read_facts
from .messages import Written
from .recording import OpenRecording, reason_of

REMEDIES = {"disk full": "Free some space there.", "folder removed": "F9 still saves the last 30 s elsewhere.",
            "no permission": "Choose another recordings folder in the settings."}


def summary(verb: str, written: Written | None) -> str:
    """Say what was made of a recording that is whole; `verb`: what was done to it."""
    if written is None:
        return "Nothing was recorded: no frame was made meanwhile."
    return f"{verb} {written.seconds:.1f} s to {written.video_path}{written.loss}"


def what_is_kept(recording: OpenRecording) -> str:
    """Say what a recording that was cut off left on the disk."""
    try:
        return f"{read_facts(recording.video_path).length_s:.1f} s of its video are kept"
    except RecordingError:
        return "its actions are kept without a video" if recording.log_path.exists() else "nothing of it is left there"


def failed(what: str, error: Exception) -> str:
    """Say what failed, why, and what to do."""
    why = f"{error.strerror or error}".lower() if isinstance(error, OSError) else str(error)
    reason = reason_of(error) if isinstance(error, (OSError, RecordingError)) else ""
    return f"{what}: {why}. {REMEDIES.get(reason, 'The play goes on.')}"
