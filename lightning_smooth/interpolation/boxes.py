"""Where each pixel of a transformed image looks, while the parameters range over a box.

A pixel of the result shows the image at one point, which depends on the parameters. `swept_boxes`
encloses, for every pixel, all points of all parameters of a box, in axis-aligned boxes.

Convention: coordinates are pixel indices, column j and row i as real numbers: those about the
centre that `transforms.sampling` uses, plus (W - 1)/2 and (H - 1)/2.

**Rounding.** The boxes hold the points of real arithmetic and those that `transforms.geometric`
computes in float32 (float64 errs far less). With u = 2^-24, and m the largest entry of the matrix:

- a parameter is rounded to float32 first, which is monotone: each end is moved to the float32
  nearest to it where that lies outside;
- cosine and sine: the angle in radians is at most pi/4 from a quarter turn and has relative error
  2u; the function itself has at most 2 units in the last place. Together less than 4u. The
  reciprocal of a scale: m u;
- a point is at most m S from the centre, S = (W + H - 2)/2, along an axis. Five roundings on its
  way (product, offset, sum, `grid_sample`'s two) are each at most u times it, plus, in all,
  u (P + W + 1), where P < 2W is the power of two that `sampling` pads the width to; likewise for
  the height. A shift d enters four of them: 4u |d|.

The sum is below u (9 m S + 3 W + 1) + 4u |d| <= 8u ((W + H) max(m, 1) + |d|): 2.7e-5 pixels for
28 x 28 and 2.1e-4 for 224 x 224, by which boxes are larger on each side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.transforms.base import Transform
from lightning_smooth.transforms.geometric import Rotation, Scaling, Translation, cos_sin
from lightning_smooth.transforms.sampling import centered

ROUNDING: Final = 2.0**-24
"""Relative error of one operation in float32."""

_COORDINATE: Final = 8 * ROUNDING
_LARGEST_ANGLE: Final = 1e6
"""Degrees. Multiples of 90 are exact in float32 up to there, and far beyond."""


@dataclass(frozen=True)
class Boxes:
    """Axis-aligned boxes of source points, one for each of B boxes of parameters and each pixel.

    Attributes:
        x_low: (B, H, W) float64, least column.
        x_high: greatest column, likewise.
        y_low: least row.
        y_high: greatest row.
    """

    x_low: Tensor
    x_high: Tensor
    y_low: Tensor
    y_high: Tensor

    @property
    def shape(self) -> torch.Size:
        """(B, H, W)."""
        return self.x_low.shape

    def __len__(self) -> int:
        return len(self.x_low)

    def __getitem__(self, rows: slice | Tensor) -> Boxes:
        """The boxes of some of the B."""
        return Boxes(self.x_low[rows], self.x_high[rows], self.y_low[rows], self.y_high[rows])


def cells(low: Tensor, high: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cells between neighbouring samples that intervals touch, along one axis.

    Cell k lies between samples k and k + 1. Samples -1 and `size`, and all beyond, are 0, so that
    an interval matters only within [-1, size], to which it is clipped.

    Returns:
        The clipped ends, the first cell (-1..size - 1), and the number of cells, at least 1; both
        as floating point. An end on a sample counts to the interval's side.

    >>> cells(torch.tensor([0.25, 1.0, -9.0]), torch.tensor([0.5, 2.5, -8.0]), 4)[2:]
    (tensor([ 0.,  1., -1.]), tensor([1., 2., 1.]))
    """
    low, high = low.clamp(-1, size), high.clamp(-1, size)
    first = low.floor().clamp(max=size - 1)
    return low, high, first, (high.ceil() - first).clamp(min=1)


def swept_boxes(
    transform: Transform, low: Tensor, high: Tensor, *, height: int, width: int
) -> Boxes:
    """Enclose the points that pixels look at, for all parameters in boxes.

    Guarantee: for every theta in [low, high], each pixel's point lies in its box, as real
    arithmetic has it and as float32 and float64 compute it. The box of a rotation, a scaling or a
    translation is the smallest there is, but for the outward rounding in the module's docstring.

    Args:
        transform: `Rotation`, `Scaling` or `Translation`.
        low: (B, P) least parameters, taken as float64.
        high: (B, P) greatest parameters; a range of angles may be of any width.
        height: pixels.
        width: pixels.

    Raises:
        InputError: the transformation is another one, the parameters are not allowed or upside
            down, or an angle is beyond a million degrees.
    """
    low, high = checked_range(transform, low, high)
    single_low, single_high = low.float().double(), high.float().double()
    low, high = torch.minimum(low, single_low), torch.maximum(high, single_high)
    x, y = centered(width, low), centered(height, low)[:, None]
    if isinstance(transform, Rotation):
        bounds = _rotation(low[:, 0], high[:, 0], x, y)
    elif isinstance(transform, Scaling):
        factors = torch.stack([1 / high, 1 / low])[..., None]  # (2, B, 1, 1)
        columns, rows = (factors * x).sort(dim=0)[0], (factors * y).sort(dim=0)[0]
        bounds = (columns[0], columns[1], rows[0], rows[1])
    elif isinstance(transform, Translation):
        dx, dy = (torch.stack([high[:, k], low[:, k]])[..., None, None] for k in (0, 1))
        bounds = (x - dx[0], x - dx[1], y - dy[0], y - dy[1])
    else:
        raise InputError(
            f"Expected a Rotation, a Scaling or a Translation, but got {transform!r}: what it "
            "sweeps is not known here."
        )
    error = point_error(transform, low, high, height=height, width=width)[:, None, None]
    shape = (len(low), height, width)
    return Boxes(
        (bounds[0] + (width - 1) / 2 - error).expand(shape),
        (bounds[1] + (width - 1) / 2 + error).expand(shape),
        (bounds[2] + (height - 1) / 2 - error).expand(shape),
        (bounds[3] + (height - 1) / 2 + error).expand(shape),
    )


def point_error(
    transform: Transform, low: Tensor, high: Tensor, *, height: int, width: int
) -> Tensor:
    """(B,): by how many pixels, along an axis, float32 may be wrong about a point.

    The parameters are those that are applied: their own rounding comes on top of it.

    Args:
        transform: as for `swept_boxes`.
        low: (B, P) least parameters, checked, float64.
        high: greatest.
        height: pixels.
        width: pixels.
    """
    error = torch.full_like(low[:, 0], height + width)
    if isinstance(transform, Scaling):
        error = error * (1 / low[:, 0]).clamp(min=1)
    elif isinstance(transform, Translation):
        error = error + torch.maximum(low.abs(), high.abs()).amax(dim=1)
    return _COORDINATE * error


def checked_range(transform: Transform, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return ends of boxes of parameters (B, P) in float64, if they are allowed.

    Raises:
        InputError: they are not.
    """
    low, high = transform.check(low.double()), transform.check(high.double())
    if low.shape != high.shape or bool((low > high).any()):
        raise InputError(
            "Expected `low` and `high` of one shape, nowhere upside down, but got shapes "
            f"{tuple(low.shape)} and {tuple(high.shape)}."
        )
    if isinstance(transform, Rotation):
        farthest = float(torch.maximum(low.abs(), high.abs()).max()) if len(low) else 0.0
        if farthest > _LARGEST_ANGLE:
            raise InputError(
                f"Expected angles within {_LARGEST_ANGLE:g} degrees, but got {farthest:g}: take "
                "off whole turns."
            )
    return low, high


def _rotation(
    low: Tensor, high: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Extremes of arcs: those of their two ends, and the circle's where an arc passes them."""
    (c, s), (d, t) = ((part[:, None, None] for part in cos_sin(angle)) for angle in (low, high))
    columns, rows = (c * x - s * y, d * x - t * y), (s * x + c * y, t * x + d * y)
    radius = (x * x + y * y).sqrt()
    start = torch.rad2deg(torch.atan2(y, x.expand_as(radius)))  # a pixel looks at start + angle
    first, last = start + low[:, None, None], start + high[:, None, None]

    def passes(direction: float) -> Tensor:
        # Where rounding misses it, an end is so near that the difference is of second order.
        return ((last - direction) / 360).floor() > ((first - direction) / 360).floor()

    return (
        torch.where(passes(180.0), -radius, torch.minimum(*columns)),
        torch.where(passes(0.0), radius, torch.maximum(*columns)),
        torch.where(passes(270.0), -radius, torch.minimum(*rows)),
        torch.where(passes(90.0), radius, torch.maximum(*rows)),
    )
