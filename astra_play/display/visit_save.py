"""A visitor's last 30 seconds on their way into a file while the thanks page is on: recorder -> file -> QR code."""

from __future__ import annotations

import datetime
import logging
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from ..booth.profile import SavePlan
from ..booth.qr import address_of, qr_squares
from ..errors import AstraPlayError
from ..record.format import SUFFIX, VIDEO_SUFFIX
from ..record.recorder import Notice, Target

log = logging.getLogger(__name__)

TOKEN_BYTES = 5  # in each name: an address in a QR code must not let anybody guess the one of the visitor before
SUFFIXES = (VIDEO_SUFFIX, SUFFIX)


class SaveRecorder(Protocol):
    """What of `record.recorder.Recorder` a visit needs."""

    def save_last(self, target: Target) -> None: ...

    def notice(self) -> Notice | None: ...

    def close(self) -> None: ...


class VisitSave:
    """One save; `tick` it until `state` is no longer "saving"."""

    def __init__(self, recorder: SaveRecorder, plan: SavePlan, folder: Path, now: datetime.datetime,
                 record: Callable[..., None]) -> None:
        """Begin to save. `record(kind, **fields)` puts an entry into the daily log; `now` is the time on the wall."""
        self.state: Literal["saving", "saved", "failed"] = "saving"
        self.squares: list[list[bool]] | None = None
        self._plan, self._folder, self._record = plan, folder, record
        self._recorder: SaveRecorder | None = recorder
        self._name = f"visit-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(TOKEN_BYTES)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            forget_oldest(folder, plan.keep_files)
        except OSError as error:
            self._end(f"{folder} cannot be used ({error.strerror or error})")
            return
        recorder.save_last(Target(folder, self._name, now))

    @property
    def file_name(self) -> str:
        return self._name + SUFFIXES[0]

    def tick(self) -> None:
        """Hear what the recorder has to say."""
        if self.state != "saving":
            return
        notice = self._recorder.notice() if self._recorder is not None else None
        if notice is not None:
            self._end(str(notice.error) if notice.error is not None else "")

    def close(self, wait_s: float = 0.0) -> None:
        """Let go of the recorder, on a thread of its own: a slow disk must not hold up the next visitor.

        `wait_s`: how long to wait for it all the same, when nobody comes after.
        """
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            closer = threading.Thread(target=self._close, args=(recorder,), name="astra-visit-save", daemon=True)
            closer.start()
            closer.join(wait_s)

    def _close(self, recorder: SaveRecorder) -> None:
        recorder.close()
        if self.state == "saving":
            notice = recorder.notice()
            self._end("the visit ended before it was written" if notice is None else str(notice.error or ""))

    def _end(self, failure: str) -> None:
        if not failure and not (self._folder / self.file_name).exists():
            failure = "there was nothing to save yet"
        if failure:
            self.state = "failed"
            log.warning("A visitor's last seconds were not saved: %s", failure)
            self._record("save", file=None, reason=failure)
            return
        self.state = "saved"
        self._record("save", file=self.file_name)
        if self._plan.what == "qr":
            try:
                self.squares = qr_squares(address_of(self._plan.url, self.file_name))
            except AstraPlayError as error:  # the file is there: its name is shown instead
                log.warning("%s", error)


def forget_oldest(folder: Path, keep_files: int) -> None:
    """Delete the oldest visits of a folder until there is room for one more of `keep_files`; 0 deletes none.

    Nothing but our own files is touched, whatever else lies there.
    """
    if not keep_files:
        return
    visits = sorted(folder.glob(f"visit-*{SUFFIXES[0]}"), key=lambda path: path.stat().st_mtime)
    for path in visits[:max(0, len(visits) - keep_files + 1)]:
        for suffix in SUFFIXES:
            path.with_suffix(suffix).unlink(missing_ok=True)
