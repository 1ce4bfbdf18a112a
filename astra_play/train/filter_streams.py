"""What a loop filter learns from: worlds that run freely with it in their loop, and a pool of what it was given.

`FreeStreams` play many clips at once as `World` plays one; `Pool` keeps the newest of what their filter was given, so
that a batch holds pictures of all ages.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from ..codec import pixels
from ..codec.loop_filter import LoopFilter
from ..codec.mini import MiniCodec
from ..config import WorldConfig
from ..model.carried import carried_picture
from ..model.free_run import FreeRun
from ..model.transformer import Transformer
from .filter_recipe import FilterRecipe
from .latents import LatentDataset


@dataclass(frozen=True)
class Examples:
    """What a filter was given in free runs, and what the simulator showed.

    `pictures`, `moved`, `starts`, `truth` (N, 3, H, W) in [-1, 1], `seen` (N, 1, H, W) in [0, 1]; `ages` (N,) frames
    since the start. After a run's own clip is over the truth is some picture of the same place.
    """

    pictures: Tensor
    moved: Tensor
    seen: Tensor
    starts: Tensor
    truth: Tensor
    ages: Tensor

    def __len__(self) -> int:
        return len(self.ages)

    def at(self, index: Tensor) -> Examples:
        return Examples(*(getattr(self, own.name)[index] for own in dataclasses.fields(self)))

    def mirrored(self) -> Examples:
        """The same with left and right exchanged."""
        return Examples(*(x.flip(-1) for x in (self.pictures, self.moved, self.seen, self.starts, self.truth)),
                        self.ages)


class Pool:
    """The newest examples of a scenario, in half precision."""

    def __init__(self, size: int) -> None:
        self._size, self._next = size, 0
        self._examples: Examples | None = None
        self.filled = 0

    def add(self, examples: Examples) -> None:
        """Put examples in the places of the oldest ones."""
        if self._examples is None:
            self._examples = Examples(*(getattr(examples, own.name)[:1].half().repeat(
                self._size, *(1,) * (getattr(examples, own.name).ndim - 1)) for own in dataclasses.fields(examples)))
        places = (self._next + torch.arange(len(examples))) % self._size
        for own in dataclasses.fields(examples):
            getattr(self._examples, own.name)[places] = getattr(examples, own.name).half()
        self._next = (self._next + len(examples)) % self._size
        self.filled = min(self._size, self.filled + len(examples))

    def draw(self, count: int, generator: torch.Generator) -> Examples:
        """Draw examples in single precision, with replacement."""
        drawn = self._examples.at(torch.randint(self.filled, (count,), generator=generator))
        return Examples(*(getattr(drawn, own.name).float() for own in dataclasses.fields(drawn)))


class Watched:
    """A loop filter that remembers what it was given last."""

    def __init__(self, loop_filter: LoopFilter) -> None:
        self._filter = loop_filter
        self.given: tuple[Tensor, Tensor, Tensor] | None = None

    def style(self, pictures: Tensor) -> Tensor:
        return self._filter.style(pictures)

    def __call__(self, pictures: Tensor, moved: Tensor, seen: Tensor, style: Tensor) -> Tensor:
        self.given = pictures, moved, seen
        return self._filter(pictures, moved, seen, style)


class FreeStreams:
    """Streams of one scenario that run freely, clip after clip, from start pictures and with actions of a data set."""

    def __init__(self, config: WorldConfig, model: Transformer, codec: MiniCodec, loop_filter: LoopFilter,
                 data: LatentDataset, recipe: FilterRecipe, generator: torch.Generator) -> None:
        # At full strength, whatever the world is played with: the filter has to meet what it does. And a picture is
        # carried on, which needs no filter where it is a view of a place.
        config = dataclasses.replace(config, stream=dataclasses.replace(config.stream, filter_strength=1.0,
                                                                        place_reach_m=0.0))
        self._data, self._recipe, self._generator = data, recipe, generator
        self._watched = Watched(loop_filter)
        self._stream = config.stream
        self._run = FreeRun(model, config.stream, config.controls.modality, recipe.streams,
                            carried_picture(config, codec, self._watched))
        self._run.carried.filters_at_rest = True
        self.age = 0  # frames since the start picture
        self.max_age = recipe.max_frames
        self._truth = self._starts = self._rows = None
        self._at = 0  # of the rows

    @torch.no_grad()
    def advance(self, num_frames: int) -> Examples:
        """Make so many frames of every stream and return what the filter was given for the last one."""
        for _ in range(num_frames):
            self.refill()
            rows = self._rows[:, self._at:self._at + 1]
            self._at += 1
            self.age += 1
            noise = torch.randn(self._noise_shape, generator=self._generator).to(rows.device)
            self._run.generate(noise, rows, self._stream.sigmas)
            self._run.paint()
        own = self.age if self.age < self._truth.shape[1] else int(
            torch.randint(self._truth.shape[1], (), generator=self._generator))
        return Examples(*self._watched.given, self._starts, pixels.to_float(self._truth[:, own]),
                        torch.full((len(self._starts),), float(self.age), device=rows.device))

    @property
    def picture(self) -> Tensor:
        """What the streams show now, (B, 3, H, W) in [-1, 1]."""
        return self._run.carried.picture

    def refill(self) -> None:
        """Begin anew where a run is old; where its actions are over, do so or draw others to go on under."""
        recipe = self._recipe
        if self._rows is None or self.age >= self.max_age:
            self.begin()
            return
        if self._at < self._rows.shape[1]:
            return
        if float(torch.rand((), generator=self._generator)) >= recipe.go_on_prob:
            self.begin()
            return
        rows = self._data.sample_rows(recipe.streams, recipe.clip_frames, self._generator)
        self._rows, self._at = rows.to(self._starts.device), 0

    @torch.no_grad()
    def begin(self) -> None:
        """Draw clips and go to their start pictures."""
        recipe = self._recipe
        clips = self._data.sample(recipe.streams, recipe.clip_frames + 1, 0.0, self._generator).to(
            self._data.latents.device)
        self._truth, self._rows = clips.before[:, 1:], clips.rows[:, :-1]  # the picture of a frame is before the next
        self._starts = pixels.to_float(self._truth[:, 0])
        self._noise_shape = clips.latents[:, :1].shape
        self._run.reset()
        self._run.show(clips.latents[:, :1], self._rows[:, :1], self._starts)
        self._at, self.age = 1, 0
