"""Linear forms of a square patch anywhere: four steps, their product, and the pixels under it.

Source: Mohapatra, Weng, Chen, Liu, Daniel, "Towards verifying robustness of neural networks against
a family of semantic perturbations", CVPR 2020; THEORY section 9. With parameters rounded to whole
numbers, the pixel of column j and row i is covered where four whole numbers z are at least 1:
j + 1 - x, x + side - j, i + 1 - y and y + side - i. Each layer is relaxed on its own:

- a step [z >= 1] for z from l <= 0 to u >= 1: whole numbers up to 0 have 0 and others 1, so that
  (z - l) / (1 - l) and 1 are above it, z / u and 0 below. With other l and u it is 0 or 1;
- the product m of steps in [0, 1]: any of them is above it, and so is 1; their sum less 3 is below
  it, as is 0. The better one in the box's middle is taken, one for all of the box. Where a side is
  at least 1 and no step is 0 everywhere, a patch covers the pixel; with other sides none does;
- the pixel is the image's value b or the patch's v, b + m (v - b): with the form above m in the
  upper bound where v > b, with the one below m elsewhere.

**Rounding.** Parameters of float32 are rounded before; both roundings are monotone, and so ends of
boxes bound them (`rounded`). Below 2^24 whole numbers, and sums of them that are near an image, are
exact in float32. A pixel is copied: b and v are what float64 has, or float32. Forms whose middle is
better than 0 or 1 have terms of at most 1 over the box, computed within 2^-48, taken as 2^-40.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.transforms.occlusion import Occlusion
from lightning_smooth.verify.linear_forms import Forms, Line
from lightning_smooth.verify.regions import Bounds

_FARTHEST: Final = 2.0**24
"""Whole numbers beyond it, float32 may not have."""

_OWN: Final = 2.0**-40

_STEPS: Final = 4


def rounded(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest whole numbers that parameters between ends (B, P) are rounded to.

    Raises:
        InputError: they are beyond 2^24.

    >>> [end.tolist() for end in rounded(torch.tensor([[0.5, 2.3]]), torch.tensor([[1.5, 2.4]]))]
    [[[0.0, 2.0]], [[2.0, 2.0]]]
    """
    least = torch.minimum(low.double().round(), low.float().double().round())
    most = torch.maximum(high.double().round(), high.float().double().round())
    if bool((torch.maximum(least.abs(), most.abs()) > _FARTHEST).any()):
        raise InputError(
            f"Expected parameters of patches within {_FARTHEST:.0f} pixels, but got {low.tolist()} "
            f"to {high.tolist()}: float32 has not all whole numbers beyond."
        )
    return least, most


def occluded(transform: Occlusion, image: Tensor, low: Tensor, high: Tensor) -> Forms:
    """Forms of `Occlusion`, in the numbers that its parameters are rounded to.

    Args:
        transform: the patch.
        image: (C, H, W) float64.
        low: (B, 3) ends of boxes, whole numbers: side, column and row.
        high: likewise.
    """
    within, (below, above) = _covered(low, high, image.shape[1], image.shape[2])
    never, always = (within.upper == 0)[:, None], (within.lower == 1)[:, None]
    images = torch.stack([image, image.float().double()])
    patch = torch.tensor(transform.value, dtype=torch.float64)
    patches = torch.stack([patch, patch.float().double()])
    lines, bounds = [], []
    for sign in (-1.0, 1.0):
        base, value = (sign * (sign * ends).amax(dim=0) for ends in (images, patches))
        change = value - base
        # The form of m that bounds b + m (v - b) from this side.
        more = (sign * change > 0).expand(len(low), -1, -1, -1)
        middle = torch.where(more, above.middle[:, None], below.middle[:, None])
        slope = torch.where(more[:, None], above.slope[:, :, None], below.slope[:, :, None])
        slack = sign * _OWN * torch.maximum(base.abs(), value.abs())
        some = base + middle * change + slack
        lines.append(
            Line(slope * change, torch.where(never, base, torch.where(always, value, some)))
        )
        either = sign * torch.maximum(sign * base, sign * value)
        bounds.append(torch.where(never, base, torch.where(always, value, either)))
    return Forms(lines[0], lines[1], Bounds(bounds[0], bounds[1]))


def _covered(low: Tensor, high: Tensor, height: int, width: int) -> tuple[Bounds, list[Line]]:
    """Whether pixels (B, H, W) are covered: least and most, and lines in (side, x, y) around it."""
    steps = []
    for place, size in ((1, width), (2, height)):
        pixels = torch.arange(size, dtype=torch.float64)
        for direction in (1.0, -1.0):  # sign in which (side, x, y) count: -x, or x + side
            factors = torch.zeros(3, dtype=torch.float64)
            factors[place] = -direction
            factors[0] = float(direction < 0)
            least, most = (
                (ends * factors).sum(dim=1, keepdim=True)
                for ends in (
                    torch.where(factors > 0, low, high),
                    torch.where(factors > 0, high, low),
                )
            )
            at = direction * pixels + float(direction > 0)
            shape = (len(low), 1, width) if place == 1 else (len(low), height, 1)
            ends = Bounds((at + least).view(shape), (at + most).view(shape))
            steps.append((ends, factors[:, None, None]))
    none = torch.stack([(z.upper < 1).expand(-1, height, width) for z, _ in steps]).any(dim=0)
    none = none | (high[:, 0] < 1)[:, None, None]
    every = torch.stack([(z.lower >= 1).expand(-1, height, width) for z, _ in steps]).all(dim=0)
    within = Bounds(every.double(), (~none).double())
    return within, [_below(steps, within), _above(steps, within)]


def _above(steps: list[tuple[Bounds, Tensor]], within: Bounds) -> Line:
    """The step that is least in the middle, or 1."""
    middle = within.upper
    slope = torch.zeros(len(middle), 3, *middle.shape[1:], dtype=middle.dtype)
    for (low, high), factors in steps:
        rise = 1 / (1 - low.clamp(max=0))
        at = (low + high) / 2 * rise - low.clamp(max=0) * rise
        better = (low < 1) & (at < middle)
        middle = torch.where(better, at, middle)
        slope = torch.where(better[:, None], rise[:, None] * factors, slope)
    return Line(slope, middle)


def _below(steps: list[tuple[Bounds, Tensor]], within: Bounds) -> Line:
    """The sum of the steps less 3, where that is above 0 in the middle."""
    total = torch.full_like(within.lower, 1.0 - _STEPS)
    slope = torch.zeros(len(total), 3, *total.shape[1:], dtype=total.dtype)
    for (low, high), factors in steps:
        rise = torch.where(low < 1, 1 / high.clamp(min=1), 0.0)
        at = torch.where(low < 1, (low + high) / 2 * rise, 1.0)
        total = total + at
        slope = slope + rise[:, None] * factors
    better = (total > 0) & (within.upper > 0)
    return Line(torch.where(better[:, None], slope, 0.0), torch.where(better, total, 0.0))
