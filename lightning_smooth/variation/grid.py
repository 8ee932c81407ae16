"""Bounds of cells of one or two parameters, and cells that are divided until bounds are small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_smooth.variation.path import Axis, Path

_NARROW = 1e-9
"""Intervals that are no wider than this, relative to their values, are left as they are."""


@dataclass(frozen=True)
class Grid:
    """Cells of one or two axes, and how far images are from the hulls of their corners.

    Of two paths, tau2(b, tau1(a, x)) with tau2(b, .) affine, N the norm of its linear part, u_i =
    tau1(a_i, x) at the ends of [a_0, a_1], and r_i how far tau2(b, u_i) is from the segment of
    tau2(b_0, u_i) and tau2(b_1, u_i):

        distance from the hull of the four corners <= N r + max(r_0, r_1),

    r how far tau1(a, x) is from the segment of u_0 and u_1. For tau1(a, x) = (1 - w) u_0 + w u_1 +
    e, with |e| <= r, becomes (1 - w) tau2(b, u_0) + w tau2(b, u_1) + e', with |e'| <= N r; each of
    both is within r_i of a segment between corners, and so is their mean of the hull.

    Attributes:
        axes: one for each path.
        first: (M1, M2 or 1) float64, what the first path adds to each cell's bound.
        second: likewise; 0 where there is none.
    """

    axes: tuple[Axis, ...]
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, image: Tensor, paths: Sequence[Path], axes: tuple[Axis, ...]) -> Grid:
        """Bounds of all cells, for an image (C, H, W) float64."""
        first = paths[0].stray(image[None], axes[0].low, axes[0].high)[0, :, None]
        if len(paths) == 1:
            return cls(axes, first, torch.zeros_like(first))
        images = paths[0].images(image[None], axes[0].values)
        second = paths[1].stray(images, axes[1].low, axes[1].high)[axes[0].ends].amax(dim=1)
        size = image.shape[1], image.shape[2]
        return cls(axes, first * paths[1].gain(axes[1].low, axes[1].high, size), second)

    def __len__(self) -> int:
        return self.first.numel()

    def divided(self, paths: Sequence[Path], stray: float, most: int) -> tuple[Axis, ...] | None:
        """Axes for the next try: `most` cells at most; None where there is nothing to be done.

        Of a cell with too large a bound the axis is divided that adds more to it; into as many
        parts as it seems to need, or in halves, the worst first, where that were too many.
        """
        bound = self.first + self.second
        worst = torch.where(bound > stray, bound, 0.0)
        blame = torch.where(self.first >= self.second, worst, 0.0), 0.0
        shares = [blame[0].amax(dim=1), (worst - blame[0]).amax(dim=0)][: len(paths)]
        for axis, share in zip(self.axes, shares, strict=True):
            wide = axis.high - axis.low > _NARROW * (1 + axis.low.abs())
            share.mul_(wide)
        needed = [
            torch.where(share > stray, (share / stray) ** (1 / path.order), 1.0)
            .clamp_max(most + 1.0).ceil()
            for path, share in zip(paths, shares, strict=True)
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
