"""Which attacked pixels tell something about which samples of the original, for the inverse.

An attacked pixel q tells about a sample p only if every point of its box is within the open square
of side 2 about p, where p has weight (`interpolation.inverse` says why). The box then touches one
or two columns of cells around p, and one or two rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from torch import Tensor

from lightning_smooth.interpolation.boxes import Boxes, cells
from lightning_smooth.interpolation.solving import Interval, odds

_LEAST_WEIGHT: Final = 2.0**-20
"""A sample of which a box may see less is said to be not seen: float32 has nothing to tell."""

_Side: TypeAlias = tuple[int, Tensor, Tensor]
"""+1 or -1, where the cell is from p; and least and greatest distance from p within it, (n,)."""


@dataclass(frozen=True)
class Views:
    """Pairs (q, p), n of them, and the cells that q may look through: S columns by T rows.

    A sample's place is in the images of all pieces, one after the other, each in a frame of zeros.

    Attributes:
        sample: (n,) place of p.
        pixel: (n,) place of q in the attacked image, without a frame.
        piece: (n,) number of the piece.
        beside: (S, n) place of p's neighbour in its row, in each column of cells.
        below: (T, n) place of p's neighbour in its column, in each row of cells.
        odds_x: least and greatest odds of the distance from p along the row, (S, n) each.
        odds_y: likewise along the column, (T, n).
    """

    sample: Tensor
    pixel: Tensor
    piece: Tensor
    beside: Tensor
    below: Tensor
    odds_x: Interval
    odds_y: Interval

    def chosen(self, mask: Tensor) -> Views:
        """Those where a mask (n,) is set."""
        rows = mask.nonzero()[:, 0]
        return _each(lambda values: values[0].index_select(-1, rows), [self])


def _each(change: Callable[[list[Tensor]], Tensor], parts: list[Views]) -> Views:
    """Views of what `change` makes of each field, of all parts."""
    return Views(
        change([v.sample for v in parts]),
        change([v.pixel for v in parts]),
        change([v.piece for v in parts]),
        change([v.beside for v in parts]),
        change([v.below for v in parts]),
        (change([v.odds_x[0] for v in parts]), change([v.odds_x[1] for v in parts])),
        (change([v.odds_y[0] for v in parts]), change([v.odds_y[1] for v in parts])),
    )


def views_of(boxes: Boxes, dtype: torch.dtype) -> list[Views]:
    """All pairs of an attacked pixel and a sample that it tells about, with odds in `dtype`."""
    height, width = boxes.shape[1:]
    left, right, column, across = cells(boxes.x_low, boxes.x_high, width)
    top, bottom, row, down = cells(boxes.y_low, boxes.y_high, height)
    found = []
    for wide in (1, 2):
        for high in (1, 2):
            place = ((across == wide) & (down == high)).flatten().nonzero()[:, 0]

            def of(values: Tensor, place: Tensor = place) -> Tensor:
                return values.flatten().index_select(0, place)

            first_x, first_y = of(column), of(row)
            parts = []
            for x, sides_x in _samples(of(left) - first_x, of(right) - first_x, wide):
                for y, sides_y in _samples(of(top) - first_y, of(bottom) - first_y, high):
                    at = ((first_x + x).long(), (first_y + y).long())
                    parts.append(_views(place, at, sides_x, sides_y, height, width, dtype))
            found.append(_each(lambda values: torch.cat(values, dim=-1), parts))
    return [views for views in found if len(views.sample)]


def _samples(low: Tensor, high: Tensor, touched: int) -> Iterator[tuple[int, list[_Side]]]:
    """Samples that an interval may be around, along one axis, and the sides that it lies on.

    Both are from the first cell's first sample. In one cell both samples are; over two cells only
    that in the middle is.
    """
    if touched == 1:
        yield 0, [(1, low, high)]
        yield 1, [(-1, 1 - high, 1 - low)]
    else:
        nothing = torch.zeros_like(low)
        yield 1, [(-1, nothing, 1 - low), (1, nothing, high - 1)]


def _views(
    place: Tensor,
    at: tuple[Tensor, Tensor],
    sides_x: list[_Side],
    sides_y: list[_Side],
    height: int,
    width: int,
    dtype: torch.dtype,
) -> Views:
    line = width + 2
    (x, y), per_piece = at, height * width
    piece = place // per_piece
    sample = piece * (line * (height + 2)) + (y + 1) * line + (x + 1)
    near_x, near_y = (torch.stack([low for _, low, _ in s]) for s in (sides_x, sides_y))
    far_x, far_y = (torch.stack([high for _, _, high in s]) for s in (sides_x, sides_y))
    weight = (1 - far_x.amax(dim=0)) * (1 - far_y.amax(dim=0))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    whole = Views(
        sample,
        place - piece * per_piece,
        piece,
        torch.stack([sample + side for side, _, _ in sides_x]),
        torch.stack([sample + side * line for side, _, _ in sides_y]),
        (near_x, far_x),
        (near_y, far_y),
    )
    kept = whole.chosen(inside & (weight >= _LEAST_WEIGHT))
    return Views(
        kept.sample, kept.pixel, kept.piece, kept.beside, kept.below,
        (odds(kept.odds_x[0]).to(dtype), odds(kept.odds_x[1]).to(dtype)),
        (odds(kept.odds_y[0]).to(dtype), odds(kept.odds_y[1]).to(dtype)),
    )  # fmt: skip
