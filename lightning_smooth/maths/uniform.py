"""The l1 radius of uniform smoothing, rounded down (THEORY section 4).

Source: Lee et al., "Tight Certificates of Adversarial Robustness for Randomly Smoothed
Classifiers", NeurIPS 2019; Yang et al., "Randomized Smoothing of All Shapes and Sizes", ICML 2020,
table 1.
"""

from __future__ import annotations

import math

from lightning_smooth.errors import InputError, check_count, check_positive, check_probability
from lightning_smooth.maths.confidence import clopper_pearson_lower


def uniform_radius(p_lower: float, lam: float) -> float:
    """Certified l1 radius `2 lam (p_lower - 1/2)` of uniform smoothing, rounded down.

    Shifted by d, the cube of the noise keeps at least 1 - ||d||_1 / (2 lam) of its volume, so no
    probability changes by more than ||d||_1 / (2 lam): if the top class has probability at least
    `p_lower` under noise uniform on [-lam, lam] per pixel, it keeps more than one half at every x'
    with ||x' - x||_1 below the radius.

    Args:
        p_lower: lower bound of the top class's probability, in [0, 1).
        lam: half of the width of the noise, in units of pixels in [0, 1].

    Returns:
        The radius, in the units of `lam`; 0 when `p_lower` <= 1/2.

    Raises:
        InputError: `p_lower` is outside [0, 1) or `lam` is not above 0.

    >>> round(uniform_radius(0.9, 0.5), 6)
    0.4
    >>> uniform_radius(0.5, 0.5)
    0.0
    """
    check_positive("lam", lam)
    if not 0 <= p_lower < 1:
        raise InputError(f"Expected `p_lower` to be in [0, 1), but got {p_lower!r}.")
    if p_lower <= 0.5:
        return 0.0
    # The difference is exact, and so is the doubling: one product is rounded.
    return math.nextafter(lam * (2 * (p_lower - 0.5)), 0.0)


def largest_uniform_radius(n: int, alpha: float, lam: float) -> float:
    """The largest l1 radius that `n` draws can certify: every one of them a hit.

    Args:
        n: draws that the bound is computed from.
        alpha: failure probability of the bound.
        lam: half of the width of the noise, in units of pixels in [0, 1].

    Raises:
        InputError: an argument is out of range.

    >>> round(largest_uniform_radius(100_000, 0.001, 1.0), 6)
    0.999862
    """
    check_count("n", n)
    check_probability("alpha", alpha)
    return uniform_radius(clopper_pearson_lower(n, n, alpha), lam)
