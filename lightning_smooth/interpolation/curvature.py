"""How far a pixel of a rotated image departs from a straight line in the angle.

As the angle grows, the point where a pixel looks moves along a circle, and the pixel's value v is
bilinear along it, in one cell of the image after the other. Between two angles a and a + d, v is
the straight line between its ends, plus

    r(t) = -integral of g(t, s) dv'(s),   0 <= g <= d/4,   integral of g(t, s) ds <= d^2/8,

with g Green's function of the second derivative. So r is bounded by what v' gains and loses:

- where the point crosses a column of samples, at speed X', v' jumps by |X'| times the second
  difference of the image along the row, interpolated between the two rows it passes between;
  likewise where it crosses a row;
- within a cell v'' = 2 I_xy X'Y' + I_x X'' + I_y Y'', and the derivatives of I are those of the
  cell's bilinear form.

Everything is bounded over the box that the point stays in. Nothing here is sampled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lightning_smooth.errors import InputError
from lightning_smooth.transforms.geometric import cos_sin
from lightning_smooth.transforms.sampling import centered

_MARGIN = 3
_ROUNDING = 16 * 2.0**-24
"""Relative: more than float32 is wrong by in a position, and in all of a bound of a remainder."""


@dataclass(frozen=True)
class Swept:
    """Where the points of (B, H, W) pixels are while a parameter stays within an interval.

    Attributes:
        x: column of a point in the middle, in samples from the image's centre.
        y: row, likewise.
        half_x: no point is farther from `x` than this, which is less than 1/2.
        half_y: likewise.
        speed_x: bound of |dx/dt|, in pixels a unit of the parameter (of angles: a radian).
        speed_y: likewise.
        far_x: bound of |d^2x/dt^2|.
        far_y: likewise.
        turns_x: whether dx/dt may change its sign.
        turns_y: likewise.
    """

    x: Tensor
    y: Tensor
    half_x: Tensor
    half_y: Tensor
    speed_x: Tensor
    speed_y: Tensor
    far_x: Tensor
    far_y: Tensor
    turns_x: Tensor
    turns_y: Tensor


def swept_by_rotation(middle: Tensor, half: float | Tensor, height: int, width: int) -> Swept:
    """Where pixels look while the angle is within `half` of `middle`.

    Args:
        middle: (B,) float64, degrees.
        half: degrees, one or (B,). What is returned is float32, rounded outward.
        height: of the image, in pixels.
        width: likewise.

    Raises:
        InputError: the interval is so wide that a point may move by a pixel or more.
    """
    cos, sin = (value[:, None, None].float() for value in cos_sin(middle))
    px, py = centered(width, cos), centered(height, cos)[:, None]
    x, y = cos * px - sin * py, sin * px + cos * py
    halves = torch.as_tensor(half, dtype=torch.float64).reshape(-1, 1, 1)
    angle = (halves.deg2rad() * (1 + _ROUNDING)).to(cos)
    radius = (px * px + py * py).sqrt()
    wrong = _ROUNDING * (height + width)
    bend, drift = radius * angle + wrong, radius * (angle * angle / 2) + wrong
    # dx/dt = -y and dy/dt = x, and each moves by at most `bend`.
    across, along = x.abs(), y.abs()
    half_x, half_y = along * angle + drift, across * angle + drift
    if len(middle) and float(torch.maximum(half_x, half_y).max()) >= 0.5:
        raise InputError(
            "Expected intervals in which no pixel moves by more than one, but got "
            f"{2 * float(halves.max()):g} degrees of an image {height} x {width}: split them."
        )
    return Swept(
        x, y, half_x, half_y,
        speed_x=along + bend, speed_y=across + bend, far_x=across + bend, far_y=along + bend,
        turns_x=along <= bend, turns_y=across <= bend,
    )  # fmt: skip


class Curvature:
    """Bounds of what a straight line in the angle leaves of an image's pixels.

    Args:
        image: (C, H, W), any values; 0 outside.
    """

    def __init__(self, image: Tensor) -> None:
        padded = functional.pad(image.double(), (_MARGIN,) * 4)
        step_x, step_y = padded.diff(dim=2), padded.diff(dim=1)
        inner = slice(1, -1)
        bend_x, bend_y = step_x.diff(dim=2)[:, inner], step_y.diff(dim=1)[:, :, inner]
        self.rows, self.columns = bend_x.shape[1:]
        bend_x, bend_y = bend_x.abs(), bend_y.abs()
        self.bend_x, self.bend_y = _up(bend_x).flatten(1), _up(bend_y).flatten(1)
        # Between samples a bend is at most this much larger, a pixel away.
        self.slope_x = _up(_either(bend_x, dim=1)).flatten(1)
        self.slope_y = _up(_either(bend_y, dim=2)).flatten(1)
        # One value a cell, named by its upper left sample.
        twist = step_x.diff(dim=1).abs()
        cells = torch.stack([
            twist,
            torch.maximum(step_x[:, 1:].abs(), step_x[:, :-1].abs()),
            torch.maximum(step_y[:, :, 1:].abs(), step_y[:, :, :-1].abs()),
        ])[:, :, 1:, 1:]  # fmt: skip
        right, below = _next(cells, dim=3), _next(cells, dim=2)
        both = torch.maximum(right, _next(right, dim=2))
        planes = torch.stack([cells, right, below, both], dim=2)  # (3, C, 4, rows, columns)
        self.cells = _up(planes).flatten(2)

    def remainder(self, swept: Swept, step: float) -> Tensor:
        """Bound how far v is from the line between its ends, over `step` degrees within `swept`.

        Returns:
            (B, C, H, W), float32, at least 0.
        """
        return self.departure(swept, math.radians(step))

    def departure(self, swept: Swept, width: float | Tensor) -> Tensor:
        """As `remainder`, over a width of whatever parameter `swept` is of: one, or (B,)."""
        widths = torch.as_tensor(width, dtype=torch.float64).reshape(-1, 1, 1, 1)
        d = (widths * (1 + 4 * _ROUNDING)).to(swept.x)
        x, y = swept.x + (self.columns - 1) / 2, swept.y + (self.rows - 1) / 2
        sizes = self.columns, self.rows
        jumps = self._jumps(
            x, y, swept.half_x, swept.half_y, swept.speed_x * (1 + swept.turns_x.float()),
            self.bend_x, self.slope_x, sizes, (1, self.columns),
        ) + self._jumps(
            y, x, swept.half_y, swept.half_x, swept.speed_y * (1 + swept.turns_y.float()),
            self.bend_y, self.slope_y, sizes[::-1], (self.columns, 1),
        )  # fmt: skip
        left, top = (x - swept.half_x).floor(), (y - swept.half_y).floor()
        plane = ((x + swept.half_x).floor() > left).long()
        plane += 2 * ((y + swept.half_y).floor() > top).long()
        cell = top.clamp(0, self.rows - 1) * self.columns + left.clamp(0, self.columns - 1)
        cell = cell.long() + plane * (self.rows * self.columns)
        twist, step_x, step_y = (_take(table, cell) for table in self.cells)
        smooth = 2 * (swept.speed_x * swept.speed_y)[:, None] * twist
        smooth += swept.far_x[:, None] * step_x + swept.far_y[:, None] * step_y
        return jumps * (d / 4) + smooth * (d * d / 8)

    def _jumps(
        self,
        along: Tensor,
        across: Tensor,
        half_along: Tensor,
        half_across: Tensor,
        speed: Tensor,
        bend: Tensor,
        slope: Tensor,
        sizes: tuple[int, ...],
        strides: tuple[int, int],
    ) -> Tensor:
        """Bound what v' jumps by where points cross a line of samples, `along` an axis."""
        line = (along + half_along).floor()
        crossed = (line >= along - half_along) * speed
        base = across.floor()
        part = across - base
        place = line.clamp(0, sizes[0] - 1) * strides[0]
        first = (place + base.clamp(0, sizes[1] - 1) * strides[1]).long()
        second = (place + (base + 1).clamp(0, sizes[1] - 1) * strides[1]).long()
        nearest = torch.where(part < 0.5, first, second)
        bent = torch.lerp(_take(bend, first), _take(bend, second), part[:, None])
        return crossed[:, None] * (bent + half_across[:, None] * _take(slope, nearest))


def _up(values: Tensor) -> Tensor:
    """Values of at least 0, float64, as float32 that is not below them."""
    return torch.nextafter(values.float(), torch.full((), torch.inf)) * (values > 0)


def _take(table: Tensor, places: Tensor) -> Tensor:
    """(B, C, H, W): entries of (C, N) at (B, H, W)."""
    taken = table.index_select(1, places.flatten())  # six times faster than table[:, places]
    return taken.view(len(table), *places.shape).transpose(0, 1)


def _next(values: Tensor, dim: int) -> Tensor:
    """The larger of each entry and the one after it; 0 comes after the last."""
    after = torch.zeros_like(values)
    length = values.shape[dim] - 1
    after.narrow(dim, 0, length).copy_(values.narrow(dim, 1, length))
    return torch.maximum(values, after)


def _either(values: Tensor, dim: int) -> Tensor:
    """The larger step, of those from each entry to the one before and the one after it."""
    pad = [0, 0, 0, 0]
    pad[(3 - 1 - dim) * 2 : (3 - 1 - dim) * 2 + 2] = [1, 1]
    steps = functional.pad(values, pad).diff(dim=dim).abs()
    length = values.shape[dim]
    return torch.maximum(steps.narrow(dim, 0, length), steps.narrow(dim, 1, length))
