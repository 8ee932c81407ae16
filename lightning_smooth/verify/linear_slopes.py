"""Slopes of lines and planes below points that are as high as possible in the middle.

The mean of a linear form over a box is its value at the box's centre. Of all lines below points,
the one that is highest at 0 is the edge over 0 of the points' lower convex hull. Slopes are but
choices: whatever they are, forms are made sound by what is added to them (`verify.linear`).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

_ROUNDS = 2
_NEAR = 1e-6
"""Share of a box's half width within which a point is in its middle."""


def slope_below(places: Tensor, values: Tensor) -> Tensor:
    """Slope of the line below points that is highest at 0.

    Args:
        places: (n, ...) where the points are; broadcasts against `values`.
        values: (n, *shape).

    Returns:
        Slopes (*shape); 0 where no two points have 0 between them.

    >>> places = torch.tensor([-1.0, -0.5, 0.5, 1.0])
    >>> slope_below(places, torch.tensor([0.0, 3.0, 1.0, 8.0]))
    tensor(0.6667)
    """
    near = _NEAR * places.abs().amax(dim=0)
    left, right = places < -near, places > near
    best = torch.full_like(values[0], math.inf)
    slope = torch.zeros_like(best)
    for one, two in itertools.combinations(range(len(values)), 2):
        across = (left[one] & right[two]) | (left[two] & right[one])
        if not bool(across.any()):
            continue
        apart = torch.where(across, places[two] - places[one], 1.0)
        rise = (values[two] - values[one]) / apart
        middle = torch.addcmul(values[one], rise, places[one], value=-1)
        better = across & (middle < best)
        best = torch.where(better, middle, best)
        slope = torch.where(better, rise, slope)
    return slope


def plane_below(x: Tensor, y: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes of a plane below points on a grid that is high at the origin.

    Each slope in turn is the best one for the other, which starts as that of least squares.

    Args:
        x: (n, ...) places along the first axis.
        y: (m, ...) places along the second one.
        values: (n, m, *shape).

    Returns:
        Slopes (*shape) along both.
    """
    along_x, along_y = x[:, None], y[None]
    total = along_y.square().sum(dim=1) * len(x)
    second = (along_y * values).sum(dim=(0, 1)) / torch.where(total > 0, total, 1.0)[0]
    for _ in range(_ROUNDS):
        first = slope_below(x, (values - along_y * second).amin(dim=1))
        second = slope_below(y, (values - along_x * first).amin(dim=0))
    return first, second
