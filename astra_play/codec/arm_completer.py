"""A table drawn in layers -> the same with what no layer knows: the arm above the hand, and the shadow that it throws.

The layers (model/tabletop_picture.py, tabletop_drawing.py) are cut out of the picture that play starts from. So a hand
that goes down hangs on an arm that ends where that picture ended, and the shadow keeps the shape that it had there. But
the robot is always the same, and where its hand is says how its arm is bent: this network has seen it in all poses
(`train hand --find arm`). For each pixel it chooses from what it is offered: the picture as it is, the table behind it,
lit or in the shadow, and colours of the robot, which it picks from the start picture's hand. It invents none, so that
what it adds is as crisp and as colourful as the picture that it is added to.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_DRAWN, NUM_COLOURS = 3, 8  # of what is offered: pictures, and colours of the robot
SHARPNESS = 3.0  # of the choice; half of one thing and half of another is what nothing looks like
NUM_STYLES = 12
REACH_M, UNIT_M = 0.5, 0.1  # around hand and shadow within which places are told apart, and what they are counted in
# The hand's place (metres right, away, up) and its shadow's slant (right and away for each up).
USUAL_FACTS, SPREAD_OF_FACTS = (0.0, 0.82, 0.12, 0.0, 0.26), (0.1, 0.08, 0.06, 0.35, 0.06)
MIRRORED_FACTS = -1.0, 1.0, 1.0, -1.0, 1.0
FAINTEST = 1e-4  # share of the hand that a pixel is taken to have where it has none


class Drawn(NamedTuple):
    """Pictures of layers (N, 3, H, W) in [-1, 1], and what there is to know of them.

    `table` (N, 3, H, W): what is behind hand and blocks, lit; `shaded`: the same in the robot's shadow. `hand` (N, 1,
    H, W) in [0, 1]: share of hand and fingers; `thrown`: of all shadows. `around_hand` (N, 2, H, W): where pixels are,
    right and down of the hand and as far from the camera, in metres; `around_shadow` (N, 2, H, W): on the table, right
    and away of the hand's shadow. `facts` (N, 5): the hand's place, right, away and up, and the shadow's slant.
    """

    pictures: Tensor
    table: Tensor
    shaded: Tensor
    hand: Tensor
    thrown: Tensor
    around_hand: Tensor
    around_shadow: Tensor
    facts: Tensor


class Style(NamedTuple):
    """What a start picture says of its robot: `colours` (N, K, 3) in [-1, 1], and the rest (N, S)."""

    colours: Tensor
    rest: Tensor


class ArmCompleter(nn.Module):
    """`Drawn` pictures, H and W multiples of 8, and their `Style` -> pictures (N, 3, H, W).

    A small U-Net that is told where the hand is; what it chooses is decided at half size, pixel by pixel, and refined.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        one, two, four, told = width, width * 5 // 3, width * 8 // 3, len(USUAL_FACTS) + NUM_STYLES
        num_offers = NUM_DRAWN + NUM_COLOURS
        self.look = nn.Sequential(nn.Conv2d(5, one, 3, 2, 1), nn.SiLU(), nn.Conv2d(one, two, 3, 2, 1), nn.SiLU(),
                                  nn.Conv2d(two, two, 3, 2, 1), nn.SiLU())
        self.style_of = nn.Linear(2 * two, NUM_STYLES)
        self.pick = nn.Sequential(nn.Conv2d(6, 16, 1), nn.SiLU(), nn.Conv2d(16, NUM_COLOURS, 1))
        self.fine = nn.Conv2d(16, one, 3, 1, 1)
        self.down = nn.Conv2d(one, two, 3, 2, 1)
        self.coarse = nn.Conv2d(two, four, 3, 2, 1)
        self.told_coarse = nn.Linear(told, four)
        self.narrow = nn.Conv2d(four, one, 1)
        self.across = nn.Conv2d(one, four, 3, 1, 2, 2)
        self.up = nn.Conv2d(four, two, 1)
        self.two = nn.Conv2d(two, two, 3, 1, 1)
        self.place = nn.Conv2d(two + 4, 4 * one, 1)
        self.told_place = nn.Linear(told, 4 * one)
        self.think = nn.Conv2d(4 * one, 4 * one, 1)
        self.choose = nn.Conv2d(4 * one, num_offers, 1)
        self.refine = nn.Conv2d(one, num_offers, 3, 1, 1)

    def style(self, start: Drawn) -> Style:
        """What pictures say that were just cut into layers."""
        seen = self.look(torch.cat([start.pictures, start.hand, start.thrown], dim=1))
        rest = self.style_of(torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=1))
        marks = self.pick(torch.cat([start.pictures, start.hand, _near(start.around_hand)], dim=1))
        shares = (marks + (start.hand + FAINTEST).log()).flatten(2).softmax(dim=2)
        return Style(shares @ start.pictures.flatten(2).mT, rest)

    def logits(self, drawn: Drawn, style: Style) -> Tensor:
        """Logits (N, offers, H, W) of the choice in each pixel."""
        usual, spread = drawn.facts.new_tensor(USUAL_FACTS), drawn.facts.new_tensor(SPREAD_OF_FACTS)
        told = torch.cat([(drawn.facts - usual) / spread, style.rest], dim=1)
        places = torch.cat([_near(drawn.around_hand), _near(drawn.around_shadow)], dim=1)
        differs = (drawn.pictures - drawn.table).abs().amax(dim=1, keepdim=True)
        one = F.silu(self.fine(torch.cat([drawn.pictures, drawn.table, drawn.shaded - drawn.table, drawn.hand,
                                          drawn.thrown, differs, places], dim=1)))
        two = F.silu(self.down(one))
        four = F.silu(self.coarse(two) + self.told_coarse(told)[:, :, None, None])
        four = four + F.silu(self.across(F.silu(self.narrow(four))))
        two = F.silu(self.two(two + _twice(self.up(four))))
        hidden = torch.cat([two, F.avg_pool2d(places, 2)], dim=1)
        hidden = F.silu(self.place(hidden) + self.told_place(told)[:, :, None, None])
        # Edges are where logits cross, and lie between the pixels of the half size as finely as these are interpolated.
        return _twice(self.choose(F.silu(self.think(hidden)))) + self.refine(one)

    def offers(self, drawn: Drawn, style: Style) -> list[Tensor]:
        """What is chosen from, each (N, 3, H, W) or (N, 3, 1, 1)."""
        return [drawn.pictures, drawn.table, drawn.shaded, *style.colours[..., None, None].unbind(dim=1)]

    def mixed(self, offers: list[Tensor], logits: Tensor) -> Tensor:
        """The pictures (N, 3, H, W) that a choice makes."""
        shares = (SHARPNESS * logits).softmax(dim=1)
        drawn, colours = torch.stack(offers[:NUM_DRAWN], dim=1), torch.stack(offers[NUM_DRAWN:], dim=1)[..., 0, 0]
        made = (shares[:, :NUM_DRAWN, None] * drawn).sum(dim=1)
        return made + torch.einsum("nkhw,nkc->nchw", shares[:, NUM_DRAWN:], colours)

    def forward(self, drawn: Drawn, style: Style) -> Tensor:
        return self.mixed(self.offers(drawn, style), self.logits(drawn, style))


def _near(places_m: Tensor) -> Tensor:
    return places_m.clamp(-REACH_M, REACH_M) / UNIT_M


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
