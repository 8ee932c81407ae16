"""Every image that a transformation makes of one, by parameters that give each of them once.

Source: Pei et al., "Towards Practical Verification of Machine Learning: The Case of Computer
Vision Systems" (VeriVis), 2017; THEORY section 9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_smooth.errors import InputError, check_positive
from lightning_smooth.transforms.base import Transform
from lightning_smooth.transforms.nearest import NearestRotation, critical_angles, middle_angles
from lightning_smooth.transforms.occlusion import Occlusion
from lightning_smooth.transforms.photometric import LevelBrightness
from lightning_smooth.transforms.pixelate import Pixelate
from lightning_smooth.transforms.shifts import IntegerTranslation, Padding

Array = NDArray[np.float64]

LARGEST: Final[dict[type[Transform], float]] = {
    Pixelate: 1.0, NearestRotation: 180.0, LevelBrightness: 255.0,
}  # fmt: skip
"""Size of the largest attack that there is."""


@dataclass(frozen=True, eq=False)
class Listing:
    """Parameters of all distinct images, by the size of the attack that makes them.

    A shell is a set of images whose least attacks are of one size. Shell 0 is the image itself.

    Attributes:
        theta: (N, P) float64, in order of size; of images that are equal, one of the least size.
        ends: how many rows of `theta` there are up to and including each shell.
        sizes: size of the attacks of each shell: no smaller attack gives an image of the shell.
        attained: whether an attack of just that size gives an image of the shell, or only larger
            ones do.
    """

    theta: Tensor
    ends: tuple[int, ...]
    sizes: tuple[float, ...]
    attained: bool

    def below(self, shell: int) -> float:
        """Largest attack, a float, such that no attack up to it gives an image of the shell."""
        return math.nextafter(self.sizes[shell], 0.0) if self.attained else self.sizes[shell]


def listing(transform: Transform, size: tuple[int, int], largest: float) -> Listing:
    """List every image that attacks up to a size can make.

    Args:
        transform: `IntegerTranslation`, attacked by whole pixels, of size their l2 norm;
            `NearestRotation`, of size its degrees, to both sides; `LevelBrightness`, of size its
            levels, up and down; `Occlusion`, of size its side, wherever it is; or `Pixelate`, of
            size its strength.
        size: (height, width) of the images.
        largest: size of the largest attack, above 0; at most `LARGEST` of it, where there is one.

    Raises:
        InputError: the transformation has infinitely many images, or `largest` is out of range.

    >>> found = listing(IntegerTranslation("cyclic"), (28, 28), 2.0)
    >>> len(found.theta), found.ends, [round(s, 4) for s in found.sizes]
    (13, (1, 5, 9, 13), [0.0, 1.0, 1.4142, 2.0])
    """
    largest = check_positive("largest", largest)
    most = LARGEST.get(type(transform), math.inf)
    if largest > most:
        raise InputError(
            f"Expected `largest` to be at most {most:g} for {type(transform).__name__}, but got "
            f"{largest:g}."
        )
    if isinstance(transform, IntegerTranslation):
        return _shifts(transform.padding, size, largest)
    if isinstance(transform, Pixelate):
        return _levels(transform, size, largest)
    if isinstance(transform, NearestRotation):
        critical = critical_angles(size)
        reached = critical[critical < largest]
        return _both_ways(reached, middle_angles(size)[1 : len(reached) + 1], attained=False)
    if isinstance(transform, LevelBrightness):
        steps = np.arange(1.0, math.floor(largest) + 1)
        return _both_ways(steps, steps, attained=True)
    if isinstance(transform, Occlusion):
        return _patches(size, largest)
    raise InputError(
        "Expected a transformation with finitely many images, IntegerTranslation, NearestRotation, "
        f"LevelBrightness, Occlusion or Pixelate, but got {transform!r}: its parameters cannot be "
        "tried one by one."
    )


def _patches(size: tuple[int, int], largest: float) -> Listing:
    """Every part of an image that a square covers, each by the smallest square that does."""
    height, width = size
    theta, sides = [np.zeros((1, 3), dtype=np.int64)], [0]
    for side in range(1, min(math.floor(largest), max(size)) + 1):
        x, y = np.meshgrid(np.arange(1 - side, width), np.arange(1 - side, height))
        theta.append(np.stack([np.full(x.size, side), x.ravel(), y.ravel()], axis=1))
        sides.append(side)
    listed = np.concatenate(theta)
    first, past = listed[:, 1:], listed[:, 1:] + listed[:, :1]
    shown = np.concatenate([first.clip(min=0), past.clip(max=[width, height])], axis=1)
    shown[0] = -1  # nothing
    kept = np.sort(np.unique(shown, axis=0, return_index=True)[1])
    found = listed[kept]
    return Listing(
        theta=torch.from_numpy(found.astype(np.float64)),
        ends=tuple(int((found[:, 0] <= side).sum()) for side in sides),
        sizes=tuple(float(side) for side in sides),
        attained=True,
    )


def _both_ways(sizes: Array, theta: Array, *, attained: bool) -> Listing:
    """Parameters above 0 and their negatives, of attacks of the same sizes."""
    pairs = np.concatenate([[0.0], np.stack([theta, -theta], axis=1).ravel()])
    return Listing(
        theta=torch.from_numpy(pairs)[:, None],
        ends=tuple(range(1, len(pairs) + 1, 2)),
        sizes=(0.0, *(float(size) for size in sizes)),
        attained=attained,
    )


def _shifts(padding: Padding, size: tuple[int, int], largest: float) -> Listing:
    height, width = size
    # Of a shift beyond these, a smaller one shows the same.
    far = (width // 2, height // 2) if padding == "cyclic" else (width, height)
    across, down = (min(math.floor(largest), reach) for reach in far)
    grid = np.meshgrid(np.arange(-across, across + 1), np.arange(-down, down + 1))
    shifts = np.stack([axis.ravel() for axis in grid], axis=1)
    squared = (shifts**2).sum(axis=1)
    order = np.lexsort((shifts[:, 1], shifts[:, 0], squared))
    order = order[np.sqrt(squared[order]) <= largest]
    first = np.unique(_shown(padding, size, shifts[order]), axis=0, return_index=True)[1]
    kept = order[np.sort(first)]
    squares, counts = np.unique(squared[kept], return_counts=True)
    return Listing(
        theta=torch.from_numpy(shifts[kept].astype(np.float64)),
        ends=tuple(int(end) for end in counts.cumsum()),
        sizes=tuple(math.sqrt(square) for square in squares),
        attained=True,
    )


def _shown(padding: Padding, size: tuple[int, int], shifts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N, 2): equal rows where shifts (dx, dy) show the same, whatever the image."""
    ends = np.array([size[1], size[0]])
    if padding == "zero":
        black = (np.abs(shifts) >= ends).any(axis=1, keepdims=True)
        return np.where(black, ends, shifts)
    period = ends if padding == "cyclic" else 2 * ends
    shown: NDArray[np.int64] = shifts % period
    return shown


def _levels(transform: Pixelate, size: tuple[int, int], largest: float) -> Listing:
    changed = [level for level in transform.levels(size)[1:] if level.low < largest]
    middles = [0.0, *((level.low + level.high) / 2 for level in changed)]
    return Listing(
        theta=torch.tensor(middles, dtype=torch.float64)[:, None],
        ends=tuple(range(1, len(middles) + 1)),
        sizes=(0.0, *(level.low for level in changed)),
        attained=False,
    )
