"""How fast pixels of a transformed image change with a parameter, and what float32 adds to them.

While a parameter stays in an interval, the point where a pixel looks stays in its swept box
(`interpolation.boxes`). The image I is bilinear in cells and continuous, so that a pixel's value
v = I(q(t)) is Lipschitz in t, and almost everywhere v' = I_x x' + I_y y', with a gradient of one of
the cells that the box touches: within a cell I_x depends on the row alone, linearly, and I_y on the
column. Their ranges over the box are thus interval images of the differences of neighbouring
samples, over boxes that hold the numbers of the cells touched. The same ranges bound what a point
that is off by rounding does to a value, since both points are in the box, and it is convex.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lightning_smooth.interpolation.boxes import ROUNDING, Boxes, point_error
from lightning_smooth.interpolation.intervals import interval_images
from lightning_smooth.transforms.base import Transform
from lightning_smooth.transforms.geometric import Rotation
from lightning_smooth.transforms.sampling import centered
from lightning_smooth.verify.regions import Bounds
from lightning_smooth.verify.rounding import UNDERFLOW

_SAMPLED = 16 * ROUNDING
"""Share of an image's largest value that storing it in float32 and sampling it may cost."""

_OWN = 2.0**-24
"""Share by which ranges of derivatives are wider, for this computation's own rounding."""


@dataclass(frozen=True)
class Gradients:
    """Ranges (B, C, H, W) of an image's derivatives over boxes of points.

    Attributes:
        x: of that along a row.
        y: of that along a column.
    """

    x: Bounds
    y: Bounds


def gradients(image: Tensor, boxes: Boxes) -> Gradients:
    """Ranges of the derivatives of a bilinear image (C, H, W), float64, in all cells touched."""
    column, row = boxes.x_low.floor(), boxes.y_low.floor()
    last_column = torch.maximum(boxes.x_high.ceil() - 1, column)
    last_row = torch.maximum(boxes.y_high.ceil() - 1, row)
    # Cell k, between samples k and k + 1, is column k + 1 of the differences.
    across = Boxes(column + 1, last_column + 1, boxes.y_low, boxes.y_high)
    down = Boxes(boxes.x_low, boxes.x_high, row + 1, last_row + 1)
    return Gradients(
        _ranges(functional.pad(image, (1, 1)).diff(dim=2), across),
        _ranges(functional.pad(image, (0, 0, 1, 1)).diff(dim=1), down),
    )


def _ranges(image: Tensor, boxes: Boxes) -> Bounds:
    """Interval images over any number of boxes, whatever the image's size."""
    size = image.shape[1:].numel()
    missing = -boxes.shape.numel() % size

    def paged(values: Tensor) -> Tensor:
        flat = values.flatten()
        return torch.cat([flat, flat[-1:].expand(missing)]).view(-1, *image.shape[1:])

    points = Boxes(*map(paged, (boxes.x_low, boxes.x_high, boxes.y_low, boxes.y_high)))
    low, high = (
        found.transpose(0, 1).flatten(1)[:, : boxes.shape.numel()]
        .reshape(-1, *boxes.shape).transpose(0, 1)
        for found in interval_images(image, image, points)
    )  # fmt: skip
    return Bounds(low, high)


def slopes(
    transform: Transform, found: Gradients, boxes: Boxes, low: Tensor, high: Tensor
) -> tuple[Bounds, Bounds, Bounds]:
    """Ranges of v', and of x' and y', while a parameter stays in intervals.

    Args:
        transform: `Rotation` or `Scaling`.
        found: of the image.
        boxes: that the intervals sweep.
        low: (B,) ends of the intervals.
        high: likewise.

    Returns:
        (B, C, H, W), and (B, 1, H, W) twice: a unit of the parameter.
    """
    x, y = speeds(transform, boxes, low, high)
    parts = [_product(found.x, x), _product(found.y, y)]
    size = found.x.size * x.size + found.y.size * y.size
    lower = parts[0].lower + parts[1].lower - _OWN * size
    return Bounds(lower, parts[0].upper + parts[1].upper + _OWN * size), x, y


def speeds(transform: Transform, boxes: Boxes, low: Tensor, high: Tensor) -> tuple[Bounds, Bounds]:
    """Ranges (B, 1, H, W) of x' and y', of points' derivatives with respect to the parameter."""
    height, width = boxes.shape[1:]
    if isinstance(transform, Rotation):
        # x' = -y and y' = x, about the centre; the boxes know where points are.
        degree = math.pi / 180
        middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
        bounds = (
            (middle_y - boxes.y_high, middle_y - boxes.y_low),
            (boxes.x_low - middle_x, boxes.x_high - middle_x),
        )
        return _pair(*((one * degree, two * degree) for one, two in bounds))
    ends = torch.stack([-1 / low.square(), -1 / high.square()])[..., None, None]
    columns = (ends * centered(width, low)).expand(2, *boxes.shape)
    rows = (ends * centered(height, low)[:, None]).expand(2, *boxes.shape)
    return _pair(*((e.amin(dim=0), e.amax(dim=0)) for e in (columns, rows)))


def _pair(*bounds: tuple[Tensor, Tensor]) -> tuple[Bounds, Bounds]:
    # Wider by what rounding of a parameter to float32 may do to them, too.
    wider = [
        (one - 4 * ROUNDING * one.abs(), two + 4 * ROUNDING * two.abs()) for one, two in bounds
    ]
    x, y = (Bounds(one[:, None], two[:, None]) for one, two in wider)
    return x, y


def _product(one: Bounds, two: Bounds) -> Bounds:
    ends = [a * b for a in one for b in two]
    low = torch.minimum(torch.minimum(ends[0], ends[1]), torch.minimum(ends[2], ends[3]))
    return Bounds(low, torch.maximum(torch.maximum(ends[0], ends[1]), torch.maximum(*ends[2:])))


def rounding(
    transform: Transform,
    image: Tensor,
    found: Gradients,
    speed: tuple[Tensor, Tensor],
    low: Tensor,
    high: Tensor,
) -> Tensor:
    """What computing pixels in float32 or float64, from rounded parameters, may change them by.

    Args:
        transform: any that `swept_boxes` knows.
        image: (C, H, W).
        found: ranges of its derivatives over swept boxes.
        speed: greatest |x'| and |y'| (B, 1, H, W), of the parameter that moves points so.
        low: (B, P) ends of the intervals.
        high: likewise.

    Returns:
        (B, C, H, W).
    """
    height, width = image.shape[1:]
    moved = point_error(transform, low, high, height=height, width=width)[:, None, None, None]
    rounded = ROUNDING * torch.maximum(low.abs(), high.abs())
    first, last = rounded[:, 0, None, None, None], rounded[:, -1, None, None, None]
    value = found.x.size * (moved + speed[0] * first) + found.y.size * (moved + speed[1] * last)
    return value * (1 + _OWN) + sampling_error(image)


def sampling_error(image: Tensor) -> Tensor:
    """What storing an image in float32 and sampling it there, at given points, may cost a pixel."""
    return _SAMPLED * image.abs().max() + 16 * UNDERFLOW
