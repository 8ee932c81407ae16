"""Rotation, scaling, shear and translation, and the blurs that are means of the first two.

The image of each is bilinear at points that move with the parameter. `interpolation.curvature`
bounds, for each pixel, how far it is from the straight line between two values of the parameter;
the l2 norm over pixels bounds how far the image is from the chord. That holds whatever parameter
the path is given by; a scaling's points move evenly with 1/scale.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_smooth.interpolation.curvature import Curvature, Swept, swept_by_rotation
from lightning_smooth.interpolation.error import length
from lightning_smooth.transforms.zoom import RotationalBlur, ZoomBlur
from lightning_smooth.variation.path import Path, Size, Straight, evenly
from lightning_smooth.variation.swept import (
    faster,
    sampling_norm,
    swept_by_scaling,
    swept_by_shear,
)

_FARTHEST = 0.9
"""Pixels that a point may move within an interval; `Swept` allows less than 1."""


class Sampled(Path):
    """A mean of bilinear samplings at points that move with the parameter.

    A mean is as far from its chord as its parts are from theirs in the mean, pixel by pixel.
    """

    order = 1.5

    @abstractmethod
    def swept(self, low: Tensor, high: Tensor, size: Size) -> Iterator[Swept]:
        """Where pixels look in each of the samplings, for intervals (M,)."""

    def widths(self, low: Tensor, high: Tensor) -> Tensor:
        """(M,): widths of intervals in the parameter that `swept` is of."""
        return high - low

    def _stray(self, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
        sweeps, widths = list(self.swept(low, high, _size(images))), self.widths(low, high)
        curvatures = [Curvature(image) for image in images]
        return torch.stack([length(_mean(c, sweeps, widths)) for c in curvatures])

    def _gain(self, low: Tensor, high: Tensor, size: Size) -> Tensor:
        return torch.stack([sampling_norm(s) for s in self.swept(low, high, size)]).mean(dim=0)


class RotationPath(Sampled):
    """Rotation: points move on circles, with the angle."""

    def turns(self) -> Sequence[float]:
        """Angles of the samplings, in units of the parameter."""
        return (1.0,)

    def edges(self, low: float, high: float, size: Size) -> Tensor:
        """See `Path.edges`: no point moves too far."""
        radius = math.hypot(*(n - 1 for n in size)) / 2
        # A point moves by angle + angle^2/2 of its radius, for each half of an interval.
        widest = math.degrees(0.9 * _FARTHEST / max(radius, 1.0))
        return evenly(low, high, widest)

    def widths(self, low: Tensor, high: Tensor) -> Tensor:
        """See `Sampled.widths`: radians."""
        return (high - low).deg2rad()

    def swept(self, low: Tensor, high: Tensor, size: Size) -> Iterator[Swept]:
        """See `Sampled.swept`."""
        middle, half = (low + high) / 2, (high - low) / 2
        for turn in self.turns():
            yield faster(swept_by_rotation(turn * middle, abs(turn) * half, *size), turn)


class RotationalBlurPath(RotationPath):
    """Rotational blur: the mean of rotations by multiples of the angle."""

    transform: RotationalBlur

    def turns(self) -> Sequence[float]:
        """See `RotationPath.turns`."""
        last = self.transform.samples - 1
        return [2 * k / last - 1 for k in range(last + 1)]


class ScalingPath(Sampled):
    """Scaling: points move on straight lines, evenly with 1/scale."""

    def edges(self, low: float, high: float, size: Size) -> Tensor:
        """See `Path.edges`: no point moves too far."""
        return 1 / evenly(1 / high, 1 / low, 2 * _FARTHEST / max(*size, 2))

    def widths(self, low: Tensor, high: Tensor) -> Tensor:
        """See `Sampled.widths`: of 1/scale."""
        return 1 / low - 1 / high

    def swept(self, low: Tensor, high: Tensor, size: Size) -> Iterator[Swept]:
        """See `Sampled.swept`."""
        one = torch.ones_like(low)
        yield swept_by_scaling(1 / high, 1 / low, one, 0 * one, *size)


class ZoomBlurPath(Sampled):
    """Zoom blur: the mean of scalings by 1 + u zoom, with u fixed for each.

    Points are at p t, t = 1/(1 + u zoom), with t' = -u t^2 and t'' = 2 u^2 t^3.
    """

    transform: ZoomBlur

    def edges(self, low: float, high: float, size: Size) -> Tensor:
        """See `Path.edges`: no point moves too far, as |t'| <= 1/(1 + zoom) for every u."""
        return evenly(math.log1p(low), math.log1p(high), 2 * _FARTHEST / max(*size, 2)).expm1()

    def swept(self, low: Tensor, high: Tensor, size: Size) -> Iterator[Swept]:
        """See `Sampled.swept`."""
        last = self.transform.samples - 1
        for u in (k / last for k in range(last + 1)):
            near, far = 1 / (1 + u * high), 1 / (1 + u * low)
            yield swept_by_scaling(near, far, u * far**2, 2 * u * u * far**3, *size)


class ShearPath(Sampled):
    """Shear: each row's points move evenly along the row."""

    def edges(self, low: float, high: float, size: Size) -> Tensor:
        """See `Path.edges`: no point moves too far."""
        return evenly(low, high, 2 * _FARTHEST / max(size[0], 2))

    def swept(self, low: Tensor, high: Tensor, size: Size) -> Iterator[Swept]:
        """See `Sampled.swept`."""
        yield swept_by_shear(low, high, *size)


class TranslationPath(Straight):
    """Translation along one axis, which is straight between whole numbers.

    Its norm is 1 at most: it is a mean of two shifts (Young's inequality).
    """

    def edges(self, low: float, high: float, size: Size) -> Tensor:
        """See `Path.edges`: whole numbers. Farther out nothing is seen, and nothing changes."""
        reach = size[1 - self.column] + 1
        first, last = max(math.ceil(low), -reach), min(math.floor(high), reach)
        return torch.arange(first, max(first, last + 1), dtype=torch.float64)


def _size(images: Tensor) -> Size:
    return images.shape[-2], images.shape[-1]


def _mean(curvature: Curvature, sweeps: Sequence[Swept], widths: Tensor) -> Tensor:
    """(M, C, H, W): the mean of departures."""
    total = curvature.departure(sweeps[0], widths)
    for swept in sweeps[1:]:
        total += curvature.departure(swept, widths)
    # A sum of n floats is wrong by n 2^-24 of it at most.
    return total * ((1 + len(sweeps) * 2.0**-23) / len(sweeps))
