"""Motion blur: along its length at the angle 0, and in any box of lengths and angles."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_smooth.transforms.geometric import cos_sin
from lightning_smooth.transforms.kernels import SAMPLES, MotionBlur
from lightning_smooth.variation.lattice import Moves, Span, mean_stray
from lightning_smooth.variation.path import Axis, Kernel, Size, Straight, check_steps
from lightning_smooth.variation.way import Plane, Ranges


def _parts() -> Tensor:
    """(S,): where samples are on the segment from its middle to one end, in lengths of all."""
    return (torch.arange(SAMPLES // 2, dtype=torch.float64) + 0.5) / SAMPLES


class LengthPath(Kernel):
    """The length of a motion blur, at the angle 0.

    A sample stays on its row, and what it shows moves on a straight line between two whole shifts;
    between values of `edges` no sample passes one.
    """

    transform: MotionBlur

    def edges(self, low: float, high: float, size: Size) -> Tensor:
        """See `Path.edges`: where a sample is at a whole shift."""
        shifts = torch.arange(1, math.ceil(high / 2) + 1, dtype=torch.float64)
        return (shifts[:, None] / _parts()).flatten()


class AnglePath(Straight):
    """The angle of a motion blur of the length 0, which changes nothing."""

    transform: MotionBlur

    def edges(self, low: float, high: float, size: Size) -> Tensor:
        """See `Path.edges`: quarters of a turn, between which samples do not turn back."""
        first, last = math.ceil(low / 90), math.floor(high / 90)
        check_steps(last - first)
        return 90 * torch.arange(first, max(first, last + 1), dtype=torch.float64)


class MotionPlane(Plane):
    """Length and angle of a motion blur, bounded together.

    A sample at the part u of the segment is at (x, y) = u length (cos angle, -sin angle): straight
    on with the length, on a circle with the angle. `lattice.mean_stray` bounds both, over all
    values of a cell of the parameter that stands still.
    """

    transform: MotionBlur

    def axes(self, ranges: Ranges, size: Size, cells: int) -> tuple[Axis, ...]:
        """See `Way.axes`."""
        (shortest, longest), (low, high) = ranges
        steps = cells + 1 if shortest < longest else 1
        lengths = torch.linspace(shortest, longest, steps, dtype=torch.float64)
        return Axis.between(lengths), AnglePath(self.transform, 1).axis(low, high, size, cells)

    def strays(self, image: Tensor, axes: tuple[Axis, ...]) -> tuple[Tensor, Tensor]:
        """See `Way.strays`."""
        lengths, angles = axes
        half = max(1, math.ceil(float(lengths.high.max()) / 2))
        first = mean_stray(image, self._along(lengths, angles), half)
        second = mean_stray(image, self._around(lengths.values, angles), half)
        least = second.view(len(lengths.values), -1)[lengths.ends].amax(dim=1)
        return first.view(len(lengths), -1), least

    def _along(self, lengths: Axis, angles: Axis) -> Moves:
        """Moves with the length, at all angles of each cell."""
        count = len(lengths), len(angles)
        low, high = (v[:, None].expand(count).flatten() for v in (lengths.low, lengths.high))
        cos, sin = (Span(*(v.repeat(count[0])[:, None] for v in span)) for span in _unit(angles))
        parts = _parts()
        reach = Span(low[:, None] * parts, high[:, None] * parts)
        steady = Span(parts[None], parts[None])
        return Moves(high - low, reach * cos, -(reach * sin), steady * cos, -(steady * sin))

    def _around(self, lengths: Tensor, angles: Axis) -> Moves:
        """Moves with the angle in radians, at each of some lengths."""
        cos, sin = (Span(*(v.repeat(len(lengths))[:, None] for v in s)) for s in _unit(angles))
        radius = lengths.repeat_interleave(len(angles))[:, None] * _parts()
        x, y = Span(radius, radius) * cos, -(Span(radius, radius) * sin)
        widths = (angles.high - angles.low).deg2rad().repeat(len(lengths))
        return Moves(widths, x, y, y, -x, turn=(-x, -y))


def _unit(angles: Axis) -> tuple[Span, Span]:
    """Cosines and sines (M,) of intervals, in each of which both are monotone."""
    ends = [cos_sin(values) for values in (angles.low, angles.high)]
    cos, sin = (Span(torch.minimum(a, b), torch.maximum(a, b)) for a, b in zip(*ends, strict=True))
    return cos, sin
