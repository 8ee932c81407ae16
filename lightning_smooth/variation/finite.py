"""Transformations with finitely many images: pixelate, and translation by whole pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_smooth.transforms.pixelate import Pixelate
from lightning_smooth.variation.path import Axis, Size, Straight, check_steps, column_norm


class _Finite(Straight):
    def _gain(self, low: Tensor, high: Tensor, size: Size) -> Tensor:
        return column_norm(self.transform, self.theta((low + high) / 2), size)


class PixelatePath(_Finite):
    """Pixelate: constant above each level's least strength, up to its greatest."""

    transform: Pixelate

    def axis(self, low: float, high: float, size: Size, cells: int) -> Axis:
        """See `Path.axis`: an interval a level."""
        ends = [
            (max(level.low, low), min(level.high, high))
            for level in self.transform.levels(size)
            if level.high >= low and (level.low < high or level.high == high)
        ]
        least, most = torch.tensor(ends, dtype=torch.float64).T
        return Axis.constant(least, most, (least + most) / 2)


class WholePath(_Finite):
    """A parameter that is rounded to the nearest whole number, halves to the even one."""

    def axis(self, low: float, high: float, size: Size, cells: int) -> Axis:
        """See `Path.axis`: an interval a whole number, also of those that a range rounds to."""
        first, last = (int(torch.tensor(end, dtype=torch.float64).round()) for end in (low, high))
        check_steps(last - first)
        whole = torch.arange(first, last + 1, dtype=torch.float64)
        return Axis.constant(
            (whole - 0.5).clamp_min(low), (whole + 0.5).clamp_max(high), whole.clamp(low, high)
        )
