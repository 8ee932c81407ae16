"""The empirical Bernstein bound of a mean, from whole sums.

Source: Maurer and Pontil, "Empirical Bernstein Bounds and Sample Variance Penalization", COLT
2009, theorem 4; THEORY section 2.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

from lightning_smooth.errors import InputError, check_count, check_probability

_SLACK: Final = 16 * 2.0**-53
"""Relative error allowed for two roots, a logarithm and six products and sums."""


def empirical_bernstein_lower(
    total: int, squares: int, n: int, alpha: float, *, scale: int = 1
) -> float:
    """Lower bound of the mean of a variable in [0, 1], wrong with probability at most `alpha`.

    The variable is q / scale for whole q. With the unbiased variance V of n independent draws the
    bound is mean - sqrt(2 V ln(2/alpha)/n) - 7 ln(2/alpha)/(3 (n - 1)): mean and V exactly, from
    whole numbers, the rest in float64, rounded down.

    Args:
        total: sum of q over the draws.
        squares: sum of q^2.
        n: number of independent draws, at least 2.
        alpha: failure probability, in (0, 1).
        scale: the q are whole numbers of 0..scale.

    Returns:
        The bound, in [0, 1); 0 where it would be below.

    Raises:
        InputError: an argument is out of range, or no n numbers have such sums.

    >>> round(empirical_bernstein_lower(900, 900, 1000, 0.001), 6)
    0.84524
    >>> empirical_bernstein_lower(3, 3, 10, 0.001)
    0.0
    """
    check_probability("alpha", alpha)
    n = check_count("n", n, least=2)
    scale = check_count("scale", scale)
    total, squares = check_count("total", total, least=0), check_count("squares", squares, least=0)
    spread = n * squares - total * total
    if not (total <= n * scale and spread >= 0 and total <= squares <= scale * total):
        raise InputError(
            f"Expected the sums of {n} numbers of 0..{scale} and of their squares, but got "
            f"{total} and {squares}."
        )
    mean = Fraction(total, n * scale)
    variance = Fraction(spread, n * (n - 1) * scale * scale)
    log = math.log(2) - math.log(alpha)
    below = math.sqrt(2 * float(variance) * log / n) + 7 * log / (3 * (n - 1))
    bound = mean - Fraction(below * (1 + _SLACK))
    return max(0.0, math.nextafter(float(bound), -math.inf))
