"""`train hand --find arm`: tables drawn in layers and by the simulator -> the arm completer of a codec.

What is learned is told in codec/arm_completer.py. Worlds are played by the behaviour policy; a picture of each is cut
into layers (model/tabletop_picture.py), these are drawn where the hand has gone by then, and what the simulator shows
there is the truth. The codec's own finders cut, with all their mistakes, so they come first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..codec import pixels
from ..codec.arm_completer import MIRRORED_FACTS, NUM_DRAWN, ArmCompleter, Drawn
from ..model.still_camera import StillCamera
from ..model.tabletop_drawing import draw, kept, told, ways_of
from ..model.tabletop_picture import cut, follow
from .arm_play import plays
from .codec_parts import fit_finder

WIDTH, BATCH, LR = 12, 16, 3e-3
NUM_FRAMES = 124  # of a world that is played
STARTS = 0, 30  # frames that are cut
MOMENTS_PER_START = 12
CROP_PX = 64  # wide: of a moment a strip is drawn, which is what most of the time goes for
EDGES_WEIGHT = 0.5  # of errors in the differences between neighbours, beside errors of the colours
DOUBT = 0.008  # of a colour's range of 2: how much worse than the best an offer may be and still be nearly as right
OTHERS_COST = 0.01  # what any other offer is taken to be worse than the picture as it is
LEAST_WORTH = 0.01  # of a choice that changes nothing


class Sheets(NamedTuple):
    """N pictures in layers: `pictures` (N, 3, H, W), `hand` and `thrown` (N, 1, H, W), of `Drawn` but uint8, 255 being
    1; `ways_m` (N, 3) of the hand since they were cut."""

    pictures: Tensor
    hand: Tensor
    thrown: Tensor
    ways_m: Tensor


class Cuts(NamedTuple):
    """What was found when N pictures were cut: `tables` (N, 3, H, W), lit and `shaded`, uint8; the camera's
    `lift_rad` and `eye_height_m` (N,); `place_m` (N, 3) of the hand, and its shadow's `slant` (N, 2)."""

    tables: Tensor
    shaded: Tensor
    lift_rad: Tensor
    eye_height_m: Tensor
    place_m: Tensor
    slant: Tensor


@dataclass(frozen=True)
class Arms:
    """Tables at S `starts`, which were cut into layers, and at N moments `later`, drawn in these and as they are,
    `truth` (N, 3, H, W) uint8. `start_of` (N,): which start each belongs to."""

    motion: StillCamera
    cuts: Cuts
    starts: Sheets
    later: Sheets
    truth: Tensor
    start_of: Tensor

    def __len__(self) -> int:
        return len(self.truth)

    def batch(self, index: Tensor) -> Batch:
        """Moments and their starts."""
        own = self.start_of[index]
        return Batch(self._drawn(own, self.later, index), self._drawn(own, self.starts, own),
                     to_pictures(self.truth[index]), kept(self.later.ways_m[index][:, None])[:, 0])

    def _drawn(self, own: Tensor, sheets: Sheets, index: Tensor) -> Drawn:
        cuts, sheet = (type(x)(*(part[at] for part in x)) for x, at in ((self.cuts, own), (sheets, index)))
        sight = self.motion.sight(cuts.lift_rad, cuts.eye_height_m)
        place_m = cuts.place_m + sheet.ways_m
        return Drawn(to_pictures(sheet.pictures), to_pictures(cuts.tables), to_pictures(cuts.shaded),
                     sheet.hand / 255, sheet.thrown / 255,
                     *self.motion.around(sight, cuts.eye_height_m, place_m, cuts.slant),
                     torch.cat([place_m, cuts.slant], dim=1))


class Batch(NamedTuple):
    """Moments, what they were cut from, the truth (N, 3, H, W) in [-1, 1], and the share (N, 1, 1, 1) of the drawn
    picture that is shown in any case."""

    moments: Drawn
    starts: Drawn
    truth: Tensor
    kept: Tensor


def draw_arms(motion: StillCamera, first_seed: int, num_worlds: int, width: int, height: int) -> Arms:
    """Play worlds of the arm from `first_seed` on, cut some of their pictures, and draw them later."""
    parts: list[tuple] = []
    for frames, rows in plays(first_seed, num_worlds, width, height, NUM_FRAMES):
        pictures, rows = pixels.to_float(torch.from_numpy(frames)), torch.from_numpy(rows).float()
        # The same moments for each start, spread over all that follows it.
        for start in STARTS:
            picked = np.linspace(start + 1, len(frames) - 1, MOMENTS_PER_START).round().astype(int).tolist()
            parts.append(_cut_and_draw(motion, pictures[start:start + 1], rows[start + 1:], pictures[picked],
                                       [at - start - 1 for at in picked]))
    cuts, starts, later, truth = zip(*parts, strict=True)

    def joined(each: tuple) -> NamedTuple:
        return type(each[0])(*(torch.cat(own) for own in zip(*each, strict=True)))

    return Arms(motion, joined(cuts), joined(starts), joined(later), torch.cat(truth),
                torch.arange(len(starts)).repeat_interleave(MOMENTS_PER_START))


@torch.no_grad()
def _cut_and_draw(motion: StillCamera, picture: Tensor, rows: Tensor, truth: Tensor,
                  picked: list[int]) -> tuple[Cuts, Sheets, Sheets, Tensor]:
    """Cut a picture (1, 3, H, W), follow rows (T, A), and draw those that are picked."""
    layers = cut(motion, picture)
    now, moments = layers.start, []
    for row in rows[:picked[-1] + 1]:
        now = follow(motion, now, row[None], layers.eye_height_m)
        moments.append(now)
    sheets = []
    for chosen in ([layers.start], [moments[at] for at in picked]):
        sheet = draw(motion, layers, chosen)
        drawn = told(motion, layers, chosen, sheet)
        sheets.append(Sheets(to_bytes(drawn.pictures), share_bytes(drawn.hand), share_bytes(drawn.thrown),
                             ways_of(chosen)[0]))
    cuts = Cuts(to_bytes(drawn.table[:1]), to_bytes(drawn.shaded[:1]), torch.asin(-layers.sight.to_camera[:, 2, 2]),
                layers.eye_height_m, layers.start.grip.place_m, layers.shadow.slant)
    return cuts, *sheets, to_bytes(truth)


def to_bytes(pictures: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) in [-1, 1] -> the same as uint8."""
    return pixels.to_uint8(pictures).movedim(-1, 1)


def to_pictures(stored: Tensor) -> Tensor:
    """The way back."""
    return pixels.to_float(stored.movedim(1, -1))


def share_bytes(shares: Tensor) -> Tensor:
    """Shares in [0, 1] -> uint8."""
    return (shares.clamp(0, 1) * 255).round().byte()


def varied(batch: Batch, generator: torch.Generator) -> Batch:
    """Return a batch, half of it mirrored, in other paints and light, its moments cut to a strip of full height."""
    mirrored = torch.rand(len(batch.truth), 1, 1, 1, generator=generator) < 0.5
    order = torch.randperm(3, generator=generator)
    light = torch.empty(len(batch.truth), 1, 1, 1).uniform_(0.8, 1.2, generator=generator)
    left = int(torch.randint((batch.truth.shape[-1] - CROP_PX) // 8 + 1, (), generator=generator)) * 8
    to_left = torch.tensor([-1.0, 1.0])[:, None, None]

    def flipped(x: Tensor) -> Tensor:
        return torch.where(mirrored, x.flip(-1), x)

    def painted(pictures: Tensor) -> Tensor:
        return ((flipped(pictures)[:, order] + 1) * light - 1).clamp(-1, 1)

    def other(drawn: Drawn, strip: slice) -> Drawn:
        around = (torch.where(mirrored, x.flip(-1) * to_left, x) for x in (drawn.around_hand, drawn.around_shadow))
        facts = torch.where(mirrored[:, :, 0, 0], drawn.facts * drawn.facts.new_tensor(MIRRORED_FACTS), drawn.facts)
        maps = *(painted(x) for x in drawn[:3]), flipped(drawn.hand), flipped(drawn.thrown), *around
        return Drawn(*(x[..., strip].contiguous(memory_format=torch.channels_last) for x in maps), facts)

    strip = slice(left, left + CROP_PX)
    return Batch(other(batch.moments, strip), other(batch.starts, slice(None)), painted(batch.truth)[..., strip],
                 batch.kept)


def fit(completer: ArmCompleter, arms: Arms, num_steps: int, seed: int = 0) -> list[float]:
    """Train the completer in place; return the losses."""
    def loss_of_batch(generator: torch.Generator) -> Tensor:
        batch = arms.batch(torch.randint(len(arms), (BATCH,), generator=generator))
        return loss_of(completer, varied(batch, generator))

    return fit_finder(completer, loss_of_batch, num_steps, LR, seed)


def loss_of(completer: ArmCompleter, batch: Batch) -> Tensor:
    """How wrong completed pictures are, in colours and edges, and how wrong the choices that they are made by.

    A mixture that has settled on the picture as it is hears little of what another offer would be worth. So the choice
    is taught by itself: each offer's own error says how right it is.
    """
    truth, style = batch.truth, completer.style(batch.starts)
    offers, logits = completer.offers(batch.moments, style), completer.logits(batch.moments, style)
    off = (completer.mixed(offers, logits) - truth) * (1 - batch.kept)
    wrong = off.abs().mean() + EDGES_WEIGHT * sum(off.diff(dim=dim).abs().mean() for dim in (2, 3))
    errors = torch.stack([(offer - truth).abs().mean(dim=1) for offer in offers], dim=1)  # (N, 3 + K, H, W)
    cost = errors.detach() + OTHERS_COST * (torch.arange(len(offers)) > 0)[:, None, None]
    right = (-cost / DOUBT).softmax(dim=1)
    worth = errors.detach()[:, 0] - errors.detach().amin(dim=1) + LEAST_WORTH
    moved = 1 - batch.kept[:, 0]
    choices = (-(right * logits.log_softmax(dim=1)).sum(dim=1) * worth * moved).mean()
    colours = ((right * errors)[:, NUM_DRAWN:].sum(dim=1) * moved).mean()
    return wrong + choices + colours


@torch.no_grad()
def scores(completer: ArmCompleter, arms: Arms) -> dict[str, float]:
    """Mean PSNR (dB) and mean error (of a range of 2) of all moments, as they are drawn and completed."""
    found: dict[str, list[Tensor]] = {"drawn": [], "completed": []}
    for index in torch.arange(len(arms)).split(BATCH):
        moments, starts, truth, kept_share = arms.batch(index)
        made = torch.lerp(completer(moments, completer.style(starts)), moments.pictures, kept_share)
        found["drawn"].append(moments.pictures - truth)
        found["completed"].append(made - truth)
    scores = {}
    for name, parts in found.items():
        off = torch.cat(parts)
        scores[f"{name}_psnr_db"] = float(-10 * (off / 2).square().mean(dim=(1, 2, 3)).log10().mean())
        scores[f"{name}_error"] = float(off.abs().mean())
    return scores
