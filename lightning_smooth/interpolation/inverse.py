"""Bounds of the original of an attacked image, whose transformation is known up to a piece.

Source: Fischer, Baader, Vechev, NeurIPS 2020, section 5 and its appendix on the inverse; THEORY
section 6. Where the inverted form is evaluated is our own, for the reason in `solving`.

An attacked pixel q looks at a point of the original x somewhere in its box of source points
(`boxes`). `solving` turns it into a range of each sample around that point, given bounds of the
others. For every parameter of the piece, and whatever the original:

- if its box lies within the open square of side 2 about p, each of its points is in one of the
  cells around p, at most four, that the box touches: x_p is in the *join* of their ranges;
- otherwise p may have no weight at all: no bound;
- all attacked pixels show the same original: the bounds of p *meet*, and with those known before.

Passes over all pixels go on from the newest bounds. What lies outside the image is 0. Where bounds
are empty, no original in [0, 1] and no parameter of the piece give the attacked image, nor where,
in the end, the interval image of the bounds does not hold it. What changes nothing is a special
case: every image in [0, 1] is its own original, so the piece that holds it stays possible.

**Rounding.** With u = 2^-24: an attacked pixel that float32 computed is wrong by 7u (`intervals`).
Of the form, evaluated as q + f (q - x_a) + g ((q - x_b) + f (q - x_d)) with odds of relative error
u, float32 loses less than 8u (1 + f)(1 + g). Rounding to 8 bits and widening q take 5u at most. All
of it is less than what a q wider by 32u on each side does to the result: bounds hold for attacks in
float32, in float64 and in real arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.interpolation.boxes import ROUNDING, Boxes, checked_range, swept_boxes
from lightning_smooth.interpolation.intervals import interval_images
from lightning_smooth.interpolation.solving import Interval, solved
from lightning_smooth.interpolation.views import Views, views_of
from lightning_smooth.transforms.base import Transform

_SLACK: Final = 32 * ROUNDING
_HALF_LEVEL: Final = 0.5 / 255


@dataclass(frozen=True)
class Originals:
    """What the original may be, for each of K pieces of an attack.

    Attributes:
        start: (K, P) float64, least parameters of the piece.
        end: (K, P) greatest parameters.
        low: (K, C, H, W), least pixels of an original, in the dtype of the attacked image.
        high: greatest pixels.
        possible: (K,) bool. False: no parameter of the piece and no original give the attacked
            image, and the bounds mean nothing.
    """

    start: Tensor
    end: Tensor
    low: Tensor
    high: Tensor
    possible: Tensor

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, rows: slice | Tensor) -> Originals:
        """Some of the pieces."""
        fields = (self.start, self.end, self.low, self.high, self.possible)
        return Originals(*(field[rows] for field in fields))


def inverse_images(
    attacked: Tensor,
    transform: Transform,
    start: Tensor,
    end: Tensor,
    *,
    quantised: bool = False,
    passes: int = 10,
    known: Interval | None = None,
    chunk: int = 1 << 17,
) -> Originals:
    """Bound the originals that each piece of an attack allows.

    Guarantee: if `attacked` is transform(x, gamma), computed in float32, float64 or exactly, and
    then rounded to 8 bits where `quantised`, with x in [0, 1] and gamma in [start, end] of a piece,
    then that piece is possible, and x lies within its bounds.

    Args:
        attacked: (C, H, W), float32 or float64, which is also the arithmetic of the bounds.
        transform: as for `swept_boxes`.
        start: (K, P) least parameters of each piece.
        end: (K, P) greatest parameters.
        quantised: whether the attacked image was rounded to multiples of 1/255.
        passes: how often to go over all pixels, at most; fewer if nothing changes.
        known: bounds (K, C, H, W) that the originals are known to have, besides [0, 1].
        chunk: pixels of all pieces to work on at once: what bounds memory.

    Raises:
        InputError: as for `swept_boxes`; or the image is not (C, H, W) of finite numbers, or
            `known` has another shape or dtype.
    """
    if attacked.ndim != 3 or attacked.dtype not in (torch.float32, torch.float64):
        raise InputError(
            "Expected `attacked` (C, H, W) of float32 or float64, but got shape "
            f"{tuple(attacked.shape)} of {attacked.dtype}."
        )
    if not bool(attacked.isfinite().all()):
        raise InputError("Expected `attacked` to be finite numbers, but got NaN or infinity.")
    start, end = checked_range(transform, start, end)
    shape = (len(start), *attacked.shape)
    for bounds in known or ():
        if bounds.shape != shape or bounds.dtype != attacked.dtype:
            raise InputError(
                f"Expected `known` bounds {shape} of {attacked.dtype}, but got "
                f"{tuple(bounds.shape)} of {bounds.dtype}."
            )
    low, high = attacked.new_zeros(shape), attacked.new_ones(shape)
    if known is not None:
        low, high = torch.maximum(low, known[0]), torch.minimum(high, known[1])
    error = _HALF_LEVEL if quantised else 0.0
    shown = ((attacked - error).clamp(min=0) - _SLACK, (attacked + error).clamp(max=1) + _SLACK)
    height, width = attacked.shape[1:]
    size = max(1, check_count("chunk", chunk) // (height * width))
    possible = torch.ones(len(start), dtype=torch.bool, device=attacked.device)
    for first in range(0, len(start), size):
        part = slice(first, first + size)
        boxes = swept_boxes(transform, start[part], end[part], height=height, width=width)
        low[part], high[part], possible[part] = _tightened(
            shown, boxes, low[part], high[part], check_count("passes", passes)
        )
    return Originals(start, end, low, high, possible)


def inverse_over_range(
    attacked: Tensor,
    transform: Transform,
    low: Tensor,
    high: Tensor,
    pieces: int,
    *,
    quantised: bool = False,
    passes: int = 10,
    chunk: int = 1 << 17,
) -> Originals:
    """Bound the originals over a whole range of parameters, in pieces that remain possible.

    The range is halved along every parameter, pieces that are impossible are dropped, the others
    halved again, from their bounds, until there are `pieces` along each parameter.

    Guarantee: as `inverse_images`. The true parameter, if it is in the range, is in a piece that is
    returned; if none is, the image is no transformation of any.

    Args:
        attacked: as for `inverse_images`.
        transform: as for `swept_boxes`.
        low: (P,) least parameters.
        high: (P,) greatest parameters; one equal to the least is not divided.
        pieces: along each parameter, rounded up to a power of two.
        quantised: as for `inverse_images`, as the rest.
        passes: for each size of pieces.
        chunk: pixels of all pieces to work on at once.

    Returns:
        The possible pieces; of one parameter, in its order.

    Raises:
        InputError: as for `inverse_images`.
    """
    low, high = (ends[0] for ends in checked_range(transform, low[None], high[None]))
    divided = (high > low).nonzero()[:, 0].tolist()
    halvings = (check_count("pieces", pieces) - 1).bit_length()
    place = torch.zeros(1, len(low), dtype=torch.float64, device=low.device)
    known: Interval | None = None
    for level in range(halvings + 1):
        width = 0.5**level
        ends = [(low * (1 - p) + high * p) for p in (place, (place + width))]
        ends = [torch.where(low == high, low, end) for end in ends]
        found = inverse_images(
            attacked, transform, torch.minimum(*ends), torch.maximum(*ends),
            quantised=quantised, passes=passes, known=known, chunk=chunk,
        )  # fmt: skip
        place, found = place[found.possible], found[found.possible]
        if level == halvings or not len(found):
            break
        known = (found.low, found.high)
        for column in divided:
            place = place.repeat_interleave(2, dim=0)
            place[1::2, column] += width / 2
            known = (known[0].repeat_interleave(2, dim=0), known[1].repeat_interleave(2, dim=0))
    return found


def _tightened(
    shown: Interval, boxes: Boxes, low: Tensor, high: Tensor, passes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Bounds (K, C, H, W) after all passes, and whether each piece is possible."""
    frame = [functional.pad(bounds, (1, 1, 1, 1)).transpose(0, 1) for bounds in (low, high)]
    lower, upper = (bounds.flatten(1) for bounds in frame)  # (C, places)
    views = views_of(boxes, low.dtype)
    possible = torch.ones(len(low), dtype=torch.bool, device=low.device)
    held = len(low)
    for _ in range(passes):
        before = (lower.clone(), upper.clone())
        for view in views:
            for channel in range(len(lower)):
                _meet(view, [s[channel].flatten() for s in shown], lower[channel], upper[channel])
        possible &= (lower <= upper).view(len(lower), len(low), -1).all(dim=2).all(dim=0)
        if torch.equal(before[0], lower) and torch.equal(before[1], upper):
            break
        if 2 * int(possible.sum()) < held:  # the others need no more work
            held = int(possible.sum())
            views = [view.chosen(possible[view.piece]) for view in views]
    low, high = (
        bounds.view(frame[0].shape)[:, :, 1:-1, 1:-1].transpose(0, 1) for bounds in (lower, upper)
    )
    rest = possible.nonzero()[:, 0]
    least, greatest = interval_images(low[rest], high[rest], boxes[rest])
    holds = (shown[0] <= greatest) & (shown[1] >= least)
    possible[rest] = holds.flatten(1).all(dim=1)
    return low, high, possible


def _meet(view: Views, shown: list[Tensor], lower: Tensor, upper: Tensor) -> None:
    """Narrow bounds of samples (places,) of one channel by what pixels show, in place."""
    across, down = view.beside[:, None], view.below[None]
    opposite = across + down - view.sample

    def bounds(places: Tensor) -> Interval:
        flat = places.flatten()
        return (
            lower.index_select(0, flat).view(places.shape),
            upper.index_select(0, flat).view(places.shape),
        )

    odds_x, odds_y = view.odds_x, view.odds_y
    low, high = solved(
        (shown[0].index_select(0, view.pixel), shown[1].index_select(0, view.pixel)),
        (odds_x[0][:, None], odds_x[1][:, None]),
        (odds_y[0][None], odds_y[1][None]),
        bounds(across), bounds(down), bounds(opposite),
    )  # fmt: skip
    lower.scatter_reduce_(0, view.sample, low.amin(dim=(0, 1)), "amax")
    upper.scatter_reduce_(0, view.sample, high.amax(dim=(0, 1)), "amin")
