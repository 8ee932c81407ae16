"""The Gaussian rounded to the grid of 8-bit images, drawn exactly from 60-bit integers.

Source: Voracek and Hein, "Sound Randomized Smoothing in Floating-Point Arithmetic", ICLR 2023;
THEORY section 12.

The noise of a pixel is e ~ N(0, sigma^2); what a classifier sees that rounds to multiples of 1/255
and clips depends on the integer round(255 e) alone, which is i with probability
CDF((i + 1/2)/(255 sigma)) - CDF((i - 1/2)/(255 sigma)). Every i gets floor(2^60 x a lower bound of
its probability) of the 2^60 integers, so never more than its mass; the integers that are left
over, fewer than two an i, are failures.

Convention: the bound needs more digits than float64 has. It is computed in decimal arithmetic of
50 digits, whose operations are correctly rounded: CDF(t) - 1/2 = pdf(t) sum t^(2j+1)/(2j+1)!!, a
sum of at most 500 positive terms, is known to a relative 1e-46; 1e-40 is taken off each mass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lightning_smooth.errors import InputError, check_positive

GRID: Final = 255
"""Steps of the grid in one unit of a pixel: images of 8 bits lie on it."""

BITS: Final = 60
"""Bits of the integers that decide a draw."""

_DIGITS: Final = 50
_PI: Final = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
_MARGIN: Final = Decimal("1e-40")
_FAR: Final = Decimal(12)
"""Standard deviations beyond which no mass is handed out: it is below 2^-108."""

_GUIDE_BITS: Final = 16
_LARGEST_SIGMA: Final = 100.0


def clip_range(sigma: float) -> tuple[int, int]:
    """The range [-k, k + 1] to which noisy pixels are clipped, k = max(1, floor(6 sigma)).

    Args:
        sigma: standard deviation of the noise, in units of pixels in [0, 1].

    Raises:
        InputError: sigma is not above 0, or above 100: units of 1/255 were given.

    >>> clip_range(0.5), clip_range(0.12)
    ((-3, 4), (-1, 2))
    """
    if check_positive("sigma", sigma) > _LARGEST_SIGMA:
        raise InputError(
            f"Expected `sigma` to be at most {_LARGEST_SIGMA:g}, in units of pixels in [0, 1], but "
            f"got {sigma:g}: divide a sigma in units of 8-bit pixels by 255."
        )
    k = max(1, math.floor(6 * sigma))
    return -k, k + 1


@dataclass(frozen=True, eq=False)
class RoundedGaussian:
    """How many of the 2^60 integers give each step of noise.

    Attributes:
        sigma: standard deviation, in units of pixels in [0, 1].
        largest: the steps are -largest..largest, in units of 1/255; the two ends stand for all
            beyond them, which clipping makes equal.
        counts: (2 largest + 1,) uint64: integers that give each step, at most 2^60 times its mass.
    """

    sigma: float
    largest: int
    counts: NDArray[np.uint64]

    @property
    def lost(self) -> int:
        """Integers of the 2^60 that give no step: failures."""
        return (1 << BITS) - int(self.counts.sum(dtype=np.uint64))

    @cached_property
    def thresholds(self) -> NDArray[np.uint64]:
        """Ends of the ranges of integers of the steps, ascending: the running sum of `counts`."""
        return np.cumsum(self.counts, dtype=np.uint64)

    def places(self, integers: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Place of the step of each integer: how many thresholds are at or below it.

        Args:
            integers: below 2^60, any shape.

        Returns:
            0..2 largest + 1, of that shape: the step plus `largest`; 2 largest + 1 for a failure.

        >>> law = rounded_gaussian(0.5)
        >>> (law.places(np.array([0, 2**59, 2**60 - 1], dtype=np.uint64)) - law.largest).tolist()
        [-1020, 0, 1021]
        """
        flat = integers.ravel()
        # Where no threshold lies between integers of the same leading bits, these decide.
        places: NDArray[np.int64] = self._guide[flat >> np.uint64(BITS - _GUIDE_BITS)]
        unsure = np.flatnonzero(places < 0)
        places[unsure] = np.searchsorted(self.thresholds, flat[unsure], side="right")
        return places.reshape(integers.shape)

    @cached_property
    def _guide(self) -> NDArray[np.int64]:
        width = 2 ** (BITS - _GUIDE_BITS)
        first = np.arange(2**_GUIDE_BITS, dtype=np.uint64) * np.uint64(width)
        low = np.searchsorted(self.thresholds, first, side="right")
        high = np.searchsorted(self.thresholds, first + np.uint64(width - 1), side="right")
        return np.where(low == high, low, -1).astype(np.int64)


@lru_cache(maxsize=8)
def rounded_gaussian(sigma: float) -> RoundedGaussian:
    """The Gaussian of `sigma`, rounded to multiples of 1/255, over all steps that clipping leaves.

    Args:
        sigma: standard deviation, in units of pixels in [0, 1].

    Returns:
        Its integers: no step has more than 2^60 times its mass, so that the probability of any
        event without a failure is at most its true probability.

    Raises:
        InputError: as for `clip_range`.

    >>> law = rounded_gaussian(0.5)
    >>> law.largest, int(law.counts[law.largest]), law.lost < 2 * len(law.counts)
    (1020, 3607434943302713, True)
    """
    _, top = clip_range(sigma)
    largest = GRID * top
    with localcontext(Context(prec=_DIGITS)):
        scale = GRID * Decimal(sigma)
        edges = [min((i + Decimal("0.5")) / scale, _FAR) for i in range(largest)] + [_FAR]
        known = {edge: _above_half(edge) for edge in set(edges)}
        heights = [known[edge] for edge in edges]
        centre = _integers(2 * heights[0])
        side = [_integers(b - a) for a, b in pairwise(heights)]
    counts = np.array([*reversed(side), centre, *side], dtype=np.uint64)
    counts.setflags(write=False)
    return RoundedGaussian(sigma, largest, counts)


def _integers(mass: Decimal) -> int:
    return max(0, math.floor((1 << BITS) * (mass - _MARGIN)))


def _above_half(t: Decimal) -> Decimal:
    """CDF(t) - 1/2 for 0 < t <= 12, of relative error below 1e-46."""
    square = t * t
    term = total = t
    odd = 1
    while odd < square or term > total * Decimal("1e-48"):
        odd += 2
        term = term * square / odd
        total += term
    return total * (-square / 2).exp() / (2 * _PI).sqrt()
