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


def swept_by_rotation(
    middle: Tensor,
    half: float | Tensor,
    height: int,
    width: int,
    *,
    pixels: Tensor | None = None,
) -> Swept:
    """Where pixels look while the angle is within `half` of `middle`.

    Args:
        middle: (B,) float64, degrees.
        half: degrees, one or (B,). What is returned is float32, rounded outward.
        height: of the image, in pixels.
        width: likewise.
        pixels: (n,) numbers of those that are wanted, row by row; what is returned is (B, 1, n).

    Raises:
        InputError: the interval is so wide that a point may move by a pixel or more.
    """
    cos, sin = (value[:, None, None].float() for value in cos_sin(middle))
    px, py = centered(width, cos), centered(height, cos)[:, None]
    if pixels is not None:
        px, py = px[pixels % width], py[:, 0][pixels // width]
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
    speed_x, speed_y = along + bend, across + bend
    return Swept(
        x, y, half_x, half_y, speed_x, speed_y, far_x=speed_y, far_y=speed_x,
        turns_x=along <= bend, turns_y=across <= bend,
    )  # fmt: skip


@dataclass(frozen=True)
class _Crossings:
    """Points that may cross lines of samples: columns as they move along x, or rows along y.

    Attributes:
        along: where the points are in the direction in which they cross, in samples.
        half: how far from there they may be, less than 1/2.
        speed: bound of how fast they move there.
        turns: whether they may turn round there.
        across: where they are in the other direction.
        half_across: how far from there they may be.
        bend: (C, samples) second differences of the image in the direction of crossing.
        slope: how much larger they may be a sample away.
        lines: how many lines there are, and how far apart they are in `bend`.
        places: likewise of the samples on a line.
    """

    along: Tensor
    half: Tensor
    speed: Tensor
    turns: Tensor
    across: Tensor
    half_across: Tensor
    bend: Tensor
    slope: Tensor
    lines: tuple[int, int]
    places: tuple[int, int]


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

    def departure(
        self, swept: Swept, width: float | Tensor, *, beyond: float | None = None
    ) -> Tensor:
        """As `remainder`, over a width of whatever parameter `swept` is of: one, or (B,).

        Args:
            swept: where the points are.
            width: of the piece, at most that of the interval that `swept` is over.
            beyond: how much half of `swept`'s interval is more than half a piece, where `swept`'s
                `x` and `y` are those of that interval's middle: what crosses a line near an end
                then counts for less. None: nothing is known of when.
        """
        widths = torch.as_tensor(width, dtype=torch.float64).reshape(-1, 1, 1)
        d = (widths * (1 + 4 * _ROUNDING)).to(swept.x).expand(len(swept.x), 1, 1)
        x, y = swept.x + (self.columns - 1) / 2, swept.y + (self.rows - 1) / 2
        bound = self._smooth(swept, x, y, d * d / 8)
        wide, high = (self.columns, 1), (self.rows, self.columns)
        columns = _Crossings(
            x, swept.half_x, swept.speed_x, swept.turns_x, y, swept.half_y,
            self.bend_x, self.slope_x, wide, high,
        )  # fmt: skip
        rows = _Crossings(
            y, swept.half_y, swept.speed_y, swept.turns_y, x, swept.half_x,
            self.bend_y, self.slope_y, high, wide,
        )  # fmt: skip
        for crossings in (columns, rows):
            self._add_jumps(bound, crossings, d, beyond)
        return bound.view(len(bound), *x.shape).transpose(0, 1)

    def _smooth(self, swept: Swept, x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """(C, BHW): the bound of v'' within cells, times `scale`."""
        left, top = (x - swept.half_x).floor_(), (y - swept.half_y).floor_()
        # 1 where the points may be in two columns of cells, 2 for two rows: a plane each.
        plane = (x + swept.half_x).floor_().sub_(left).clamp_(max=1)
        plane.add_((y + swept.half_y).floor_().sub_(top).clamp_(max=1), alpha=2)
        cell = plane.int().mul_(self.rows).add_(top.clamp_(0, self.rows - 1).int())
        cell = cell.mul_(self.columns).add_(left.clamp_(0, self.columns - 1).int()).flatten()
        tables: list[Tensor] = [table.index_select(1, cell) for table in self.cells]
        bound, step_x, step_y = tables
        bound.mul_((swept.speed_x * swept.speed_y).mul_(2 * scale).flatten())
        bound.addcmul_(step_x, (swept.far_x * scale).flatten())
        bound.addcmul_(step_y, (swept.far_y * scale).flatten())
        return bound

    def _add_jumps(
        self, bound: Tensor, points: _Crossings, d: Tensor, beyond: float | None
    ) -> None:
        """Add to (C, BHW) bounds what v' jumps by where points cross a line of samples.

        A jump J at the time s leaves at most J s (d - s)/d, which is J d/4 (1 - (2 u/d)^2) where
        u is how far s is from the middle. A point that is p from the line in the middle is there
        after p/speed at least.
        """
        along, half = points.along, points.half
        line = (along + half).floor_()
        apart = along - line
        place = (apart <= half).flatten().nonzero()[:, 0]  # few, of narrow pieces

        def of(values: Tensor) -> Tensor:
            return values.flatten().index_select(0, place)

        speed, turns, across = of(points.speed), of(points.turns), of(points.across)
        base = across.floor()
        part = across.sub_(base)
        (lines, apart_lines), (places, stride) = points.lines, points.places
        start = of(line).clamp_(0, lines - 1).int().mul_(apart_lines)
        first = base.clamp(0, places - 1).int().mul_(stride).add_(start)
        second = base.add_(1).clamp_(0, places - 1).int().mul_(stride).add_(start)
        nearest = torch.where(part < 0.5, first, second)
        bend = points.bend
        bent = torch.lerp(bend.index_select(1, first), bend.index_select(1, second), part)
        bent.addcmul_(points.slope.index_select(1, nearest), of(points.half_across))
        widths = d.expand(along.shape)
        width = of(widths) if len(d) > 1 else d.flatten()
        height = width / 4
        if beyond is not None:
            size = max(self.rows, self.columns)
            late = of(apart).abs_().sub_(2 * _ROUNDING * size).div_(speed).sub_(beyond)
            late = late.div_(width / 2).sub_(_ROUNDING).clamp_(0, 1)
            height = height * (1 - late.square_())
        bound.index_add_(1, place, bent.mul_(height * speed * (1 + turns)))


def _up(values: Tensor) -> Tensor:
    """Values of at least 0, float64, as float32 that is not below them."""
    return torch.nextafter(values.float(), torch.full((), torch.inf)) * (values > 0)


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
