"""The log lines since the world was last started, kept so that a recording begun in mid-play replays from the seed.

Packed in blocks, a chunk takes about 150 bytes. Starts before the last one are kept while the frame buffer still shows
them. Everything together is bounded: the oldest start goes first, and when even the last one alone is too long, after
hours of play without a reset, it is given up; what is recorded then can be watched but not replayed from its seed.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator

from .format import Head

LINES_PER_BLOCK = 256
MAX_BYTES = 48_000_000  # five hours and more of a world at 16 chunks a second


class StartLines:
    """The lines from one start on. `head`: what was in force when the world was started, for the log's first line."""

    def __init__(self, reset_count: int, seed: int, head: Head) -> None:
        self.reset_count, self.seed, self.head = reset_count, seed, head
        self.num_bytes = 0
        self.num_chunks = 0
        self._blocks: list[bytes] = []
        self._open: list[str] = []
        self._open_bytes = 0

    def add(self, line: str) -> None:
        self._open.append(line)
        self._open_bytes += len(line)
        self.num_bytes += len(line)
        if len(self._open) == LINES_PER_BLOCK:
            block = zlib.compress("".join(self._open).encode("utf-8"))
            self._blocks.append(block)
            self.num_bytes += len(block) - self._open_bytes
            self._open, self._open_bytes = [], 0

    def lines(self) -> Iterator[str]:
        """Yield every line with its end."""
        for block in self._blocks:
            # splitlines would also break lines at separators inside a prompt
            yield from (f"{line}\n" for line in zlib.decompress(block).decode("utf-8").split("\n")[:-1])
        yield from self._open


class Past:
    """The starts that can still be recorded from. One thread uses it."""

    def __init__(self, max_bytes: int | None = None) -> None:
        self._max_bytes = MAX_BYTES if max_bytes is None else max_bytes
        self._starts: deque[StartLines] = deque()

    def begin(self, reset_count: int, seed: int, head: Head, line: str) -> None:
        """The world was started anew; `line` says how."""
        self._starts.append(StartLines(reset_count, seed, head))
        self.add(line)

    def add(self, line: str, is_chunk: bool = False) -> None:
        """Keep a line (ending in a line break); without a start before it there is nothing to replay, so it goes."""
        if not self._starts:
            return
        self._starts[-1].add(line)
        self._starts[-1].num_chunks += is_chunk
        while self._starts and self.num_bytes > self._max_bytes:
            self._starts.popleft()

    def forget_before(self, reset_count: int) -> None:
        """Let starts go that nobody can see any more; the last one stays."""
        while len(self._starts) > 1 and self._starts[0].reset_count < reset_count:
            self._starts.popleft()

    def since(self, reset_count: int) -> list[StartLines]:
        """Return the starts from one on, as far as they are kept; [] if none is."""
        return [start for start in self._starts if start.reset_count >= reset_count]

    def last(self) -> StartLines | None:
        return self._starts[-1] if self._starts else None

    @property
    def num_bytes(self) -> int:
        return sum(start.num_bytes for start in self._starts)
