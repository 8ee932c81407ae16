"""Exact binomial confidence bounds (Clopper and Pearson 1934).

Source: Cohen, Rosenfeld, Kolter 2019, section 3.2.2 (LOWERCONFBOUND); THEORY sections 0 and 1.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from scipy.stats import binom
from statsmodels.stats.proportion import proportion_confint

from lightning_smooth.errors import InputError, check_count, check_probability

_LEAST: Final = 1e-280
"""The least alpha for which scipy's inverse and tail were seen to be right."""


def clopper_pearson_lower(hits: int, n: int, alpha: float) -> float:
    """Lower bound of a binomial proportion, wrong with probability at most `alpha`.

    For `hits` ~ Binomial(n, p), P(bound > p) <= alpha for every p. Computed in float64 and moved
    down until the tail `P(Binomial(n, bound) >= hits)` is at most alpha as scipy evaluates it.

    Args:
        hits: number of successes, 0..n.
        n: number of independent draws, at least 1.
        alpha: failure probability, in (0, 1).

    Returns:
        The bound, in [0, 1); 0 when there is no hit, or where alpha is below 1e-280.

    Raises:
        InputError: an argument is out of range.

    >>> round(clopper_pearson_lower(990, 1000, 0.001), 6)
    0.976036
    >>> clopper_pearson_lower(0, 1000, 0.001)
    0.0
    """
    check_probability("alpha", alpha)
    check_count("n", n)
    check_count("hits", hits, least=0)
    if hits > n:
        raise InputError(f"Expected `hits` to be at most n = {n}, but got {hits}.")
    if hits == 0:
        return 0.0
    bound = float(betaincinv(hits, n - hits + 1, alpha))
    if math.isnan(bound) or alpha < _LEAST:  # below what scipy can invert, or say the tail of
        return 0.0
    step = math.ulp(bound)
    while bound > 0 and binom.sf(hits - 1, n, bound) > alpha:
        bound = max(0.0, bound - step)
        step *= 2
    return bound


def clopper_pearson_upper(hits: int, n: int, alpha: float) -> float:
    """Upper bound of a binomial proportion, wrong with probability at most `alpha`; rounded up.

    Args:
        hits: number of successes, 0..n.
        n: number of independent draws, at least 1.
        alpha: failure probability, in (0, 1).

    >>> round(clopper_pearson_upper(0, 400, 0.001), 6)
    0.017121
    """
    return min(1.0, math.nextafter(1 - clopper_pearson_lower(n - hits, n, alpha), 2.0))


def clopper_pearson_interval(
    hits: NDArray[Any] | int, n: int, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two-sided interval of each binomial proportion in `hits`, pointwise at `confidence`.

    Args:
        hits: successes out of `n`, any shape.
        n: number of independent trials, at least 1.
        confidence: coverage of each interval, in (0, 1).

    Returns:
        Lower and upper ends, of the shape of `hits`.

    Raises:
        InputError: an argument is out of range.

    >>> low, high = clopper_pearson_interval(400, 500)
    >>> round(float(low), 4), round(float(high), 4)
    (0.7622, 0.8342)
    """
    check_probability("confidence", confidence)
    check_count("n", n)
    counts = np.asarray(hits)
    if counts.size and (counts.min() < 0 or counts.max() > n):
        raise InputError(f"Expected every `hits` to be in 0..{n}.")
    low, high = proportion_confint(counts, n, alpha=1 - confidence, method="beta")
    low = np.where(counts == 0, 0.0, np.asarray(low, dtype=np.float64))
    high = np.where(counts == n, 1.0, np.asarray(high, dtype=np.float64))
    return low, high
