"""The radius of a classifier with a known Lipschitz constant (THEORY section 2).

Source: Tsuzuku, Sato, Sugiyama, "Lipschitz-Margin Training", NeurIPS 2018, section 4.
"""

from __future__ import annotations

import math
from fractions import Fraction

from lightning_smooth.errors import InputError, check_positive


def lipschitz_radius(
    top: float, second: float, lipschitz: float, *, rounding: float = 0.0
) -> float | None:
    """Radius (top - second) / (2 lipschitz) within which the class of the top score stays.

    Each score changes by at most lipschitz times the distance, so the difference of two by at most
    twice that. Where computed scores are those of the Lipschitz function only to within
    `rounding`, four times that comes off the difference: for two scores, here and at the other
    point.

    Args:
        top: the largest score, as computed.
        second: the next score, at most `top`.
        lipschitz: Lipschitz constant of every score, in the norm of the radius.
        rounding: by how much a computed score may be off, at least 0.

    Returns:
        The radius, rounded down from exact arithmetic: no other class has a score as large at any
        point that is nearer. None where the difference certifies nothing, not even here.

    Raises:
        InputError: an argument is not finite or out of range.

    >>> lipschitz_radius(3.0, 1.0, 0.5)
    2.0
    >>> lipschitz_radius(3.0, 1.0, 0.5, rounding=0.25)
    1.0
    >>> lipschitz_radius(1.0, 1.0, 0.5)
    """
    check_positive("lipschitz", lipschitz)
    if not (math.isfinite(top) and math.isfinite(second) and second <= top):
        raise InputError(f"Expected finite scores, the larger first, but got {top!r}, {second!r}.")
    if not 0 <= rounding < math.inf:
        raise InputError(f"Expected `rounding` to be at least 0 and finite, but got {rounding!r}.")
    margin = Fraction(top) - Fraction(second) - 4 * Fraction(rounding)
    if margin <= 0:
        return None
    exact = margin / (2 * Fraction(lipschitz))
    try:
        radius = float(exact)
    except OverflowError:
        return math.nextafter(math.inf, 0.0)
    return radius if Fraction(radius) <= exact else math.nextafter(radius, 0.0)
