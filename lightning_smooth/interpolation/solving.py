"""One sample of a cell, from a pixel that shows all four.

A pixel looks at a point c and shows q = sum of w_r(c) x_r over the four samples r around it. Let p
be one of them, at distances s and t < 1 from c along the row and the column, a and b its neighbours
along the row and the column of the cell, d the opposite sample. With the *odds* f = s/(1 - s) and
g = t/(1 - t), the weights are, as parts of that of p, 1 : f : g : f g, so that

    x_p = (1 + f)(1 + g) q - f x_a - g x_b - f g x_d.

That is affine in each of f, g, q, x_a, x_b and x_d, and f and g grow with s and t. So over a box of
points within the cell, and bounds of the other values, its extremes are at corners. In q it grows,
in x_a, x_b, x_d it falls; of (f, g) all four corners are evaluated, and the range is exact.

The paper (Fischer, Baader, Vechev, NeurIPS 2020, appendix; THEORY section 6) takes the corner
farthest from p alone. In general that excludes originals:
x_p - q = f (q - x_a) + g (q - x_b) + f g (q - x_d), of which the upper bound grows with f and g
only while q is at least the lower bounds of x_a, x_b, x_d, and the lower bound falls only while q
is at most their upper bounds. [0, 1] holds every q; bounds of later passes need not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TypeAlias

import torch
from torch import Tensor

Interval: TypeAlias = tuple[Tensor, Tensor]
"""Least and greatest values, of one shape."""


def odds(distance: Tensor) -> Tensor:
    """s/(1 - s), for distances s in [0, 1).

    >>> odds(torch.tensor([0.0, 0.5, 0.75]))
    tensor([0., 1., 3.])
    """
    return distance / (1 - distance)


def solved(
    shown: Interval, odds_x: Interval, odds_y: Interval, a: Interval, b: Interval, d: Interval
) -> Interval:
    """Range of a sample p, from a pixel that shows it together with the cell's other three.

    Args:
        shown: bounds of the pixel's value; all tensors here broadcast.
        odds_x: bounds of the odds (`odds`) of its distance from p along the row.
        odds_y: likewise along the column.
        a: bounds of p's neighbour along the row.
        b: bounds of p's neighbour along the column.
        d: bounds of the sample opposite to p.

    Returns:
        The exact range over all of these, but for float rounding.

    >>> one, others = torch.ones(()), (torch.tensor(0.0), torch.tensor(1.0))
    >>> solved((0.9 * one, 0.9 * one), (0 * one, one), (0 * one, 0 * one), *[others] * 3)
    (tensor(0.8000), tensor(1.8000))
    """
    low = _extreme(torch.minimum, shown[0], odds_x, odds_y, a[1], b[1], d[1])
    return low, _extreme(torch.maximum, shown[1], odds_x, odds_y, a[0], b[0], d[0])


def _extreme(
    better: Callable[[Tensor, Tensor], Tensor],
    q: Tensor,
    odds_x: Interval,
    odds_y: Interval,
    a: Tensor,
    b: Tensor,
    d: Tensor,
) -> Tensor:
    """The best of the form's values at the four corners of (f, g)."""
    from_a, from_b, from_d = q - a, q - b, q - d
    lines = [(torch.addcmul(q, f, from_a), torch.addcmul(from_b, f, from_d)) for f in odds_x]
    return reduce(better, (torch.addcmul(near, g, far) for near, far in lines for g in odds_y))
