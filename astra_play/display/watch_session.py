"""When a session's generator last made a chunk: what the heartbeat says about a world that stands still."""

from __future__ import annotations

from ..chunks import FrameChunk
from ..runtime.interfaces import Clock
from ..runtime.session import Session


class LastChunk:
    """An output of a session that keeps nothing but the time: the generator thread writes it, the window's reads it."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session, self._clock = session, clock
        self._started_s = self._at_s = clock.now()
        session.add_output(self)

    def publish(self, chunk: FrameChunk) -> None:
        self._at_s = self._clock.now()

    def close(self) -> None:
        pass

    def age_s(self) -> float | None:
        """Return the seconds since the last chunk, or None while none is awaited."""
        if self._session.status != "playing":
            self._at_s = self._clock.now()
            return None
        return self._clock.now() - self._at_s

    def loading_s(self) -> float | None:
        """Return for how long the world has been on its way, or None once it plays."""
        return self._clock.now() - self._started_s if self._session.status in ("loading", "warming up") else None
