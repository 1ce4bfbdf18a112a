"""One stream of a published network: true latents are shown first, then each chunk is made from those before it.

The face is that of `free_run.FreeRun`. What is behind it is simpler: no anchor, no palette, no carried picture, and a
history that is packed anew at every denoise step (model/framepack_history.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ..config import StreamConfig
from .framepack_history import FramePackHistory, RowPlacement
from .solvers import SOLVERS
from .transformer import Transformer


class PackedRun:
    """`show` true latents, then `generate` and `commit`, chunk after chunk."""

    carried = None  # pictures come from the latents alone

    def __init__(self, model: Transformer, stream: StreamConfig, modality: str,
                 placement: RowPlacement = "leaving") -> None:
        self.history = FramePackHistory(model, stream, modality, placement)
        self.stream = stream
        self.text_guidance_scale = 1.0
        self.after_step: Callable[[], None] | None = None  # called after every denoise step
        self._finished: tuple[Tensor, Tensor] | None = None  # latents and rows of a chunk to commit

    @property
    def has_past(self) -> bool:
        return self.history.has_past or self._finished is not None

    def reset(self) -> None:
        """Forget the past; the text stays."""
        self.history.reset()
        self._finished = None

    def snapshot(self) -> dict[str, Any]:
        """Return what `restore` needs to go on from here, after a commit; playing on changes nothing in it."""
        return {"history": self.history.snapshot(), "text_guidance_scale": self.text_guidance_scale}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self.history.restore(snapshot["history"])
        self.text_guidance_scale, self._finished = snapshot["text_guidance_scale"], None

    def set_text(self, text: Tensor, negative: Tensor | None = None) -> None:
        """Take the text states (1, L, text_dim) of the prompt and of the negative prompt, from the next chunk on."""
        self.history.set_text(text, negative)

    def show(self, latents: Tensor, rows: Tensor, picture: Tensor | None = None) -> None:
        """Take true latents (B, c, C, H, W), any number of them, and their rows (B, c, A); no picture is needed."""
        self.commit()
        self.history.push(latents, rows)

    def generate(self, noise: Tensor, rows: Tensor, sigmas: Sequence[float], guidance_scale: float = 1.0) -> Tensor:
        """Return the clean latents (B, c, C, H, W) of the next chunk, made from noise of that shape."""
        self.commit()

        def velocity(noisy: Tensor, sigma: float) -> Tensor:
            made = self.history.velocity(noisy, sigma, rows, guidance_scale, self.text_guidance_scale).float()
            if self.after_step is not None:
                self.after_step()
            return made

        clean = SOLVERS[self.stream.solver](velocity, noise, sigmas)
        self._finished = clean, rows
        return clean

    def commit(self) -> None:
        """Hand the finished chunk to the history, once."""
        if self._finished is not None:
            finished, self._finished = self._finished, None
            self.history.push(*finished)
