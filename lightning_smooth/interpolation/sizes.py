"""E as a function of the angle at which an image is seen.

A rotation by a whole quarter shows the image as it is, any other one blurs it a little. Two
rotations b and g therefore differ most from one where b + g is nearly nothing, and half as much
elsewhere: one E for all angles asks the inner classifier for twice what is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor

BIN = 1.0
"""Degrees over which E is constant."""

_FEW = 8
"""Samples without which a bin takes the largest E."""


class AngleSizes:
    """E(s), the size of error that is allowed where b + g = s.

    Args:
        values: (360,) float64: E of s in [0, 1), [1, 2), ... degrees; s counts modulo 360.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values

    @classmethod
    def chosen(cls, seen: Tensor, errors: Tensor, margin: float) -> AngleSizes:
        """Choose E from some errors: `margin` times the largest in a bin and the two beside it.

        Args:
            seen: (N,) angles b + g, in degrees.
            errors: (N,) norms of the error there.
            margin: factor above 0.
        """
        count = round(360 / BIN)
        place = (seen / BIN).floor().long() % count
        largest = torch.zeros(count, dtype=torch.float64).scatter_reduce_(
            0, place, errors.double(), "amax"
        )
        number = torch.zeros(count, dtype=torch.float64).index_add_(
            0, place, torch.ones_like(errors, dtype=torch.float64)
        )
        around = [largest.roll(shift) for shift in (-1, 0, 1)]
        near = torch.stack(around).amax(dim=0)
        enough = number + number.roll(1) + number.roll(-1) >= _FEW
        return cls(margin * torch.where(enough, near, largest.max()))

    @property
    def largest(self) -> float:
        """The largest E."""
        return float(self.values.max())

    def at(self, seen: Tensor) -> Tensor:
        """E at angles b + g (N,), float64."""
        return self.values[(seen / BIN).floor().long() % len(self.values)]

    def least(self, low: Tensor, high: Tensor) -> Tensor:
        """The least E of all angles from `low` to `high`, both (N,); a little beyond them, too."""
        first = ((low - 1e-9) / BIN).floor().long()
        last = ((high + 1e-9) / BIN).floor().long()
        found = self.values[first % len(self.values)]
        widest = int((last - first).max()) if len(first) else 0
        for step in range(1, min(widest, len(self.values)) + 1):
            other = self.values[(first + step) % len(self.values)]
            found = torch.where(first + step <= last, torch.minimum(found, other), found)
        return found


def scaled(size: float | AngleSizes, factor: float) -> float | AngleSizes:
    """E, so many times as large."""
    return AngleSizes(factor * size.values) if isinstance(size, AngleSizes) else factor * size


def extremes(size: float | AngleSizes) -> tuple[float, float]:
    """The smallest and the largest E."""
    if isinstance(size, AngleSizes):
        return float(size.values.min()), size.largest
    return size, size
