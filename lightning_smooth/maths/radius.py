"""Radii of smoothed classifiers, rounded down (THEORY sections 0 and 1)."""

from __future__ import annotations

import math

from scipy.special import ndtr, ndtri

from lightning_smooth.errors import InputError, check_count, check_positive, check_probability
from lightning_smooth.maths.confidence import clopper_pearson_lower

_SLACK = 8 * 2.0**-53
"""Relative error allowed for scipy's `ndtri` and one product (measured below 4 * 2**-53)."""


def gaussian_radius(p_lower: float, sigma: float) -> float:
    """Certified l2 radius `sigma * PPF(p_lower)` of Gaussian smoothing, rounded down.

    Cohen, Rosenfeld, Kolter 2019, theorem 1 with pB = 1 - pA: if the top class has probability
    at least `p_lower` under N(x, sigma^2 I), it stays the top class at every x' with
    ||x' - x||_2 below the radius.

    Args:
        p_lower: lower bound of the top class's probability, in [0, 1).
        sigma: standard deviation of the noise, in units of pixels in [0, 1].

    Returns:
        The radius, in the units of `sigma`; 0 when `p_lower` <= 1/2.

    Raises:
        InputError: `p_lower` is outside [0, 1) or `sigma` is not above 0.

    >>> round(gaussian_radius(0.9, 0.5), 6)
    0.640776
    >>> gaussian_radius(0.5, 0.5)
    0.0
    """
    check_positive("sigma", sigma)
    if not 0 <= p_lower < 1:
        raise InputError(f"Expected `p_lower` to be in [0, 1), but got {p_lower!r}.")
    if p_lower <= 0.5:
        return 0.0
    return max(0.0, math.nextafter(sigma * float(ndtri(float(p_lower))) * (1 - _SLACK), 0.0))


def gaussian_probability(radius: float, sigma: float) -> float:
    """Probability that certifies `radius`: the inverse of `gaussian_radius`, rounded up.

    Args:
        radius: l2 radius to certify, at least 0.
        sigma: standard deviation of the noise, in the units of `radius`.

    Returns:
        p above 1/2 with gaussian_radius(p, sigma) >= radius; a lower bound of p or more certifies
        `radius`. 1 where no probability below 1 does.

    Raises:
        InputError: `radius` is below 0 or not finite, or `sigma` is not above 0.

    >>> round(gaussian_probability(0.5, 0.5), 6)
    0.841345
    >>> gaussian_probability(0.0, 0.5) > 0.5
    True
    """
    check_positive("sigma", sigma)
    if not 0 <= radius < math.inf:
        raise InputError(f"Expected `radius` to be at least 0 and finite, but got {radius!r}.")
    p = max(float(ndtr(radius / sigma)), math.nextafter(0.5, 1.0))
    step, short = math.ulp(p), p
    while p < 1 and gaussian_radius(p, sigma) < radius:
        short, p = p, min(1.0, p + step)
        step *= 2
    # The least that holds, so that the bound of all hits reaches the radius it gives itself.
    while short < (middle := (short + p) / 2) < p:
        if gaussian_radius(middle, sigma) < radius:
            short = middle
        else:
            p = middle
    return p


def largest_gaussian_radius(n: int, alpha: float, sigma: float) -> float:
    """The largest radius that `n` draws can certify: every one of them a hit.

    Args:
        n: draws that the bound is computed from.
        alpha: failure probability of the bound.
        sigma: standard deviation of the noise, in units of pixels in [0, 1].

    Returns:
        sigma * PPF(alpha^(1/n)), rounded down.

    Raises:
        InputError: an argument is out of range.

    >>> round(largest_gaussian_radius(100_000, 0.001, 1.0), 4)
    3.8115
    """
    check_count("n", n)
    check_probability("alpha", alpha)
    return gaussian_radius(clopper_pearson_lower(n, n, alpha), sigma)
