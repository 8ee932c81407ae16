"""What a transformation's bound is: paths, one a parameter, each with how far it is from chords."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, final

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.transforms.base import Transform

Size = tuple[int, int]
"""(height, width) of images."""

_CHUNK = 1 << 18
"""Pixels of images that are worked on at once: about 100 bytes each."""
_MOST = 1_000_000


@dataclass(frozen=True)
class Axis:
    """Intervals of one parameter that cover its range, M in ascending order.

    Attributes:
        low: (M,) float64.
        high: (M,) float64.
        values: (V,) float64, at which images are taken.
        ends: (M, 2) int64, rows of `values`: the two ends, or the one value of all the interval.
    """

    low: Tensor
    high: Tensor
    values: Tensor
    ends: Tensor

    def __len__(self) -> int:
        return len(self.low)

    @classmethod
    def between(cls, edges: Tensor) -> Axis:
        """Intervals between ascending edges (V,); of one edge, a point."""
        count = max(1, len(edges) - 1)
        rows = torch.arange(count)
        ends = torch.stack([rows, rows + len(edges) - count], dim=1)
        return cls(edges[:count], edges[-count:], edges, ends)

    @classmethod
    def constant(cls, low: Tensor, high: Tensor, values: Tensor) -> Axis:
        """Intervals within each of which nothing changes, and one value of each."""
        rows = torch.arange(len(values))
        return cls(low, high, values, torch.stack([rows, rows], dim=1))

    def divided(self, parts: Tensor) -> Axis:
        """Those of `between`, each in so many equal parts (M,)."""
        return Axis.between(divided(self.values, parts))


class Path(ABC):
    """The images of one parameter of a transformation, the others at their identity.

    A subclass says where intervals have to end (`edges`), how far images are from chords
    (`_stray`), and, to be the second of two, how much it may enlarge an image (`_gain`).

    Args:
        transform: what it is a path of.
        column: of the parameter.

    Attributes:
        affine: whether images at any parameter are an affine function of the image.
        order: with so many powers of an interval's width the bound falls, about.
    """

    affine: ClassVar[bool] = True
    order: ClassVar[float] = 2.0

    def __init__(self, transform: Transform, column: int) -> None:
        self.transform = transform
        self.column = column

    @final
    def stray(self, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Bound how far images between `low` and `high` are from the chord of their two ends.

        Args:
            images: (B, C, H, W) float64, which may leave [0, 1].
            low: (M,) float64; intervals are among those of `axis`, or parts of them.
            high: (M,) float64.

        Returns:
            (B, M) float64, l2, up to float64 rounding, which `vary` adds.
        """
        parts = self._split(low, high, images[0].numel())
        return torch.cat([self._stray(images, *part) for part in parts], dim=1)

    @final
    def gain(self, low: Tensor, high: Tensor, size: Size) -> Tensor:
        """Bound the operator norm of tau(value, .), its linear part, at values of each interval.

        Returns:
            (M,) float64.
        """
        parts = self._split(low, high, math.prod(size))
        return torch.cat([self._gain(*part, size) for part in parts])

    def _split(self, low: Tensor, high: Tensor, pixels: int) -> list[tuple[Tensor, Tensor]]:
        at_once = max(1, _CHUNK // pixels)
        return list(zip(torch.split(low, at_once), torch.split(high, at_once), strict=True))

    @final
    def images(self, images: Tensor, values: Tensor) -> Tensor:
        """Images (V, C, H, W) of one image (1, C, H, W) at values (V,)."""
        return self.transform(images, self.theta(values))

    @final
    def theta(self, values: Tensor) -> Tensor:
        """Parameters (V, all) of values (V,)."""
        theta = self.transform.identity().repeat(len(values), 1)
        theta[:, self.column] = values
        return theta

    def axis(self, low: float, high: float, size: Size, cells: int) -> Axis:
        """Intervals to start with, at least `cells` of them if they can be divided at all."""
        identity = self.transform.parameters[self.column].identity
        marks = [low, identity, high] if low < identity < high else [low, high]
        gaps = [(a, b) for a, b in pairwise(marks) if a < b]
        inner = [self.edges(a, b, size) for a, b in gaps]
        places = torch.cat([torch.tensor(marks, dtype=torch.float64), *inner])
        edges = torch.unique(places[(places >= low) & (places <= high)])
        if low == high:
            return Axis.between(edges)
        share = edges.diff() / (high - low)
        return Axis.between(divided(edges, (cells * share - 1e-6).ceil().clamp_min(1)))

    def edges(self, low: float, high: float, size: Size) -> Tensor:
        """Values (E,) float64 where intervals have to end, if they are within a range."""
        return torch.zeros(0, dtype=torch.float64)

    @abstractmethod
    def _stray(self, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """See `stray`."""

    def _gain(self, low: Tensor, high: Tensor, size: Size) -> Tensor:
        """See `gain`."""
        return torch.ones_like(low)


class Straight(Path):
    """A path that is straight, or is so between `edges`."""

    @final
    def _stray(self, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return images.new_zeros(len(images), len(low))


class Kernel(Straight):
    """A blur whose kernel moves on a straight line between `edges`, its weights at least 0."""

    def _gain(self, low: Tensor, high: Tensor, size: Size) -> Tensor:
        # Column sums are affine in the kernel, which is between those of both ends.
        ends = [column_norm(self.transform, self.theta(value), size) for value in (low, high)]
        return torch.maximum(*ends)


def divided(edges: Tensor, parts: Tensor) -> Tensor:
    """Ascending edges (V,), and what divides the interval after each into so many (V - 1,).

    >>> divided(torch.tensor([0.0, 1.0, 4.0]), torch.tensor([1, 3]))
    tensor([0., 1., 2., 3., 4.])
    """
    whole = parts.long()
    within = torch.arange(int(whole.sum())) - (whole.cumsum(0) - whole).repeat_interleave(whole)
    share = within / whole.repeat_interleave(whole).to(edges)
    start, width = (v.repeat_interleave(whole) for v in (edges[:-1], edges.diff()))
    finer: Tensor = torch.unique(torch.cat([start + width * share, edges[-1:]]))
    return finer


def evenly(low: float, high: float, widest: float) -> Tensor:
    """Values (E,) float64 between `low` and `high` that make steps of `widest` at most.

    Raises:
        InputError: there are more than a million.

    >>> evenly(0.0, 1.0, 0.4)
    tensor([0.3333, 0.6667], dtype=torch.float64)
    """
    steps = check_steps(math.ceil((high - low) / widest))
    return torch.linspace(low, high, steps + 1, dtype=torch.float64)[1:-1]


def check_steps(steps: int) -> int:
    """Return how many intervals there are to be at least.

    Raises:
        InputError: there are more than a million.
    """
    if steps > _MOST:
        raise InputError(
            f"Expected a `box` that a million cells cover, but got one that needs {steps}: reduce "
            "its ranges."
        )
    return steps


def column_norm(transform: Transform, theta: Tensor, size: Size) -> Tensor:
    """Norms (B,) float64 of linear maps whose weights are at least 0 and sum to at most 1 a pixel.

    Schur's test: sqrt(greatest row sum * greatest column sum). The column sums are the gradient of
    the sum of all that comes out.

    Args:
        transform: linear in the image, each channel on its own.
        theta: (B, all parameters).
        size: of the images.
    """
    with torch.inference_mode(False), torch.enable_grad():
        images = torch.zeros(len(theta), 1, *size, dtype=torch.float64, requires_grad=True)
        (sums,) = torch.autograd.grad(transform(images, theta.clone()).sum(), [images])
    return sums.amax(dim=(1, 2, 3)).clamp_min(0).sqrt() * (1 + 1e-12)
