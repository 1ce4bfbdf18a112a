"""What a play screen is given when a player takes over a replay: the world in mid-play, and what went before it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..actions.row_makers import Place, RowMaker
from ..record.branch import Continuation
from ..record.replayed import ReplayControl
from ..runtime.interfaces import PlayableWorld
from ..runtime.session import Resume


@dataclass
class TakenOver:
    """`frame`: the picture on screen. The world comes from the replay's generator thread, to that of the play."""

    control: ReplayControl
    before: Continuation
    frame: np.ndarray
    _row_makers: list[RowMaker] = field(default_factory=list)

    @property
    def prompt_frames(self) -> np.ndarray | None:
        """What a reset begins from: the pictures of the last recorded start."""
        return self.before.start.prompt_frames()

    @property
    def hand_m(self) -> Place | None:
        """Where those pictures show the hand of an arm, where that is known."""
        return self.before.start.hand_m

    def world(self) -> PlayableWorld:
        """Wait for the world (generator thread)."""
        handed = self.control.taken_over()
        self._row_makers.append(handed.row_maker)
        handed.world.num_threads = self.before.settings["num_threads"]  # a thread of its own counts for itself
        return handed.world

    @property
    def resume(self) -> Resume:
        return Resume(lambda: self._row_makers[0], self.before.num_chunks)
