"""How the parameters of a box move images: one after the other, or both at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_smooth.transforms.base import Transform
from lightning_smooth.variation.path import Axis, Path, Size

Ranges = Sequence[tuple[float, float]]
"""(least, greatest) of each parameter that varies."""


class Way(ABC):
    """The images of one or two parameters, and how far they are from the hulls of cells' corners.

    Attributes:
        orders: for each parameter, with so many powers of a width its share of a bound falls.
    """

    orders: tuple[float, ...]

    @abstractmethod
    def axes(self, ranges: Ranges, size: Size, cells: int) -> tuple[Axis, ...]:
        """Intervals of each parameter to start with, at least `cells` if they can be divided."""

    @abstractmethod
    def strays(self, image: Tensor, axes: tuple[Axis, ...]) -> tuple[Tensor, Tensor]:
        """What each parameter adds to the bound of each cell, for an image (C, H, W) float64.

        Returns:
            (M1, M2 or 1) float64 for the first, which may be (M1, 1), and for the second.
        """


class Plane(Way):
    """Two parameters of one transformation, that do not act one after the other.

    For every b in [b_0, b_1] let tau(a, b, x) be within R of the segment of tau(a_0, b, x) and
    tau(a_1, b, x), and tau(a_i, b, x) within r_i of that of tau(a_i, b_0, x) and tau(a_i, b_1, x):

        distance from the hull of the four corners <= R + max(r_0, r_1),

    as a mean of two points that are within r_i of the hull is within the larger one of it. `strays`
    gives R and the larger r_i.

    Args:
        transform: whose two parameters vary.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        self.orders = 2.0, 2.0


class InTurn(Way):
    """One path, or two of which the second is applied to what the first gives.

    Of two, tau2(b, tau1(a, x)) with tau2(b, .) affine, N the norm of its linear part, u_i =
    tau1(a_i, x) at the ends of [a_0, a_1], and r_i how far tau2(b, u_i) is from the segment of
    tau2(b_0, u_i) and tau2(b_1, u_i):

        distance from the hull of the four corners <= N r + max(r_0, r_1),

    r how far tau1(a, x) is from the segment of u_0 and u_1. For tau1(a, x) = (1 - w) u_0 + w u_1 +
    e, with |e| <= r, becomes (1 - w) tau2(b, u_0) + w tau2(b, u_1) + e', with |e'| <= N r; each of
    both is within r_i of a segment between corners, and so is their mean of the hull.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.orders = tuple(path.order for path in paths)

    def axes(self, ranges: Ranges, size: Size, cells: int) -> tuple[Axis, ...]:
        """See `Way.axes`."""
        return tuple(
            path.axis(low, high, size, cells)
            for path, (low, high) in zip(self.paths, ranges, strict=True)
        )

    def strays(self, image: Tensor, axes: tuple[Axis, ...]) -> tuple[Tensor, Tensor]:
        """See `Way.strays`."""
        paths = self.paths
        first = paths[0].stray(image[None], axes[0].low, axes[0].high)[0, :, None]
        if len(paths) == 1:
            return first, torch.zeros_like(first)
        images = paths[0].images(image[None], axes[0].values)
        second = paths[1].stray(images, axes[1].low, axes[1].high)[axes[0].ends].amax(dim=1)
        size = image.shape[1], image.shape[2]
        return first * paths[1].gain(axes[1].low, axes[1].high, size), second
