"""Bounds of cells of one or two parameters, and cells that are divided until bounds are small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_smooth.variation.path import Axis
from lightning_smooth.variation.way import Way

_NARROW = 1e-9
"""Intervals that are no wider than this, relative to their values, are left as they are."""


@dataclass(frozen=True)
class Grid:
    """Cells of one or two axes, and how far images are from the hulls of their corners.

    Attributes:
        axes: one for each parameter.
        first: (M1, M2 or 1) float64, what the first parameter adds to each cell's bound.
        second: likewise; 0 where there is none.
    """

    axes: tuple[Axis, ...]
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, image: Tensor, way: Way, axes: tuple[Axis, ...]) -> Grid:
        """Bounds of all cells, for an image (C, H, W) float64."""
        return cls(axes, *way.strays(image, axes))

    def __len__(self) -> int:
        return self.first.numel()

    def divided(self, way: Way, stray: float, most: int) -> tuple[Axis, ...] | None:
        """Axes for the next try: `most` cells at most; None where there is nothing to be done.

        Of a cell with too large a bound the axis is divided that adds more to it; into as many
        parts as it seems to need, or in halves, the worst first, where that were too many.
        """
        bound = self.first + self.second
        worst = torch.where(bound > stray, bound, 0.0)
        blame = torch.where(self.first >= self.second, worst, 0.0), 0.0
        shares = [blame[0].amax(dim=1), (worst - blame[0]).amax(dim=0)][: len(self.axes)]
        for axis, share in zip(self.axes, shares, strict=True):
            wide = axis.high - axis.low > _NARROW * (1 + axis.low.abs())
            share.mul_(wide)
        needed = [
            torch.where(share > stray, (share / stray) ** (1 / order), 1.0)
            .clamp_max(most + 1.0).ceil()
            for order, share in zip(way.orders, shares, strict=True)
        ]  # fmt: skip
        if all(bool((parts == 1).all()) for parts in needed):
            return None
        if _product(needed) > most:
            needed = _halves(shares, stray, most)
            if all(bool((parts == 1).all()) for parts in needed):
                return None
        return tuple(
            axis.divided(parts) if bool((parts > 1).any()) else axis
            for axis, parts in zip(self.axes, needed, strict=True)
        )


def _halves(shares: Sequence[Tensor], stray: float, most: int) -> list[Tensor]:
    """Parts of each interval: two for the worst, as many as `most` cells allow, one for others."""
    joined = torch.cat(list(shares))
    order = joined.argsort(descending=True)[: int((joined > stray).sum())]
    lengths = [len(share) for share in shares]
    belongs = torch.arange(len(joined)) >= lengths[0]
    more = [(~belongs[order]).cumsum(0), belongs[order].cumsum(0)]
    cells = torch.ones(len(order), dtype=torch.int64)
    for length, added in zip(lengths, more, strict=False):
        cells = cells * (length + added)
    parts = torch.ones(len(joined))
    parts[order[cells <= most]] = 2
    return list(torch.split(parts, lengths))


def _product(parts: Sequence[Tensor]) -> float:
    total = 1.0
    for each in parts:
        total *= float(each.sum())
    return total
