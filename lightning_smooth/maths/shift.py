"""What a shift of a parameter does to a smoothed classifier (THEORY section 4).

The smoothed classifier is g(x) = E f(tau(noise, x)), and the attacked image tau(shift, x). With
tau(a, tau(b, x)) = tau(a + b, x), the attack moves the law of the parameter by `shift` and nothing
else. So a class of probability at least p keeps at least

    after(p, shift) = min { P(noise + shift in S) : P(noise in S) >= p },

which by the lemma of Neyman and Pearson (1933) is reached by the set S where the ratio of the
moved density to the density is smallest. Only the set of one parameter matters: in a product
measure the ratio is that of the coordinate which moves. `laws` has the laws.

Sources: Cohen, Rosenfeld, Kolter, ICML 2019; Yang et al., "Randomized Smoothing of All Shapes and
Sizes", ICML 2020 (rates); Hao et al., "GSmooth", ICML 2022, theorem 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from typing import ClassVar, Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from lightning_smooth.errors import InputError, check_positive, check_probability

SLACK: Final = 16 * 2.0**-53
"""Relative error allowed for one special function of scipy and a few products around it."""


@dataclass(frozen=True)
class ParameterLaw(ABC):
    """A law of one real parameter, in the units of that parameter.

    Its fields are finite numbers above 0, checked at construction (InputError).
    """

    kind: ClassVar[str]
    one_sided: ClassVar[bool]
    """Whether the noise is never below 0, and certifies attacks of 0 and above alone."""

    def __post_init__(self) -> None:
        for name in [field.name for field in fields(self)]:
            object.__setattr__(self, name, check_positive(name, getattr(self, name)))

    @final
    def quantile(self, u: ArrayLike) -> NDArray[np.float64]:
        """Inverse of the distribution function: uniform `u` to draws of the law.

        Args:
            u: probabilities, strictly between 0 and 1, any shape.

        Returns:
            Values of the parameter, float64, of the shape of `u`.

        Raises:
            InputError: an entry of `u` is not strictly between 0 and 1.
        """
        levels = np.asarray(u, dtype=np.float64)
        if not np.all((levels > 0) & (levels < 1)):
            raise InputError("Expected every `u` to be strictly between 0 and 1.")
        return np.asarray(self._quantile(levels), dtype=np.float64)

    @final
    def rate(self, p: float) -> float:
        """Phi(p): how fast the mass of a set of mass `p` can fall, per unit of shift.

        For a two-sided law it is the same for either sign of the shift, equals the fastest rate of
        growth at 1 - p, and R = 1/2 * integral of dp / Phi(p) from 1 - pA to pA (GSmooth, theorem
        1). For a one-sided law the shift is upward, Phi is not symmetric, and
        R = integral of dp / Phi(p) from 1/2 to pA: the masses of all other classes together are
        the complement, and grow by what this one loses. Not rounded to a side.

        Args:
            p: mass, in (0, 1).

        Raises:
            InputError: `p` is not in (0, 1).
        """
        return self._rate(check_probability("p", p))

    @final
    def radius(self, p_lower: float) -> float:
        """Certified radius: the class holds after every shift below it, rounded down.

        The supremum of the shifts with after(p_lower, shift) > 1/2. A shift has either sign for a
        two-sided law, and is at least 0 for a one-sided one.

        Args:
            p_lower: lower bound of the class's probability, in [0, 1).

        Returns:
            The radius, in units of the parameter; 0 when `p_lower` <= 1/2.

        Raises:
            InputError: `p_lower` is outside [0, 1).
        """
        check_lower(p_lower)
        return max(0.0, self._radius(float(p_lower))) if p_lower > 0.5 else 0.0

    @final
    def after(self, p_lower: float, shift: float) -> float:
        """Lower bound of the class's probability after a shift, the best one, rounded down.

        It increases with `p_lower` and decreases with the size of the shift, so it holds for every
        smaller shift (of either sign, if the law is two-sided) as well.

        Args:
            p_lower: lower bound of the class's probability before, in [0, 1).
            shift: the attack, in units of the parameter; at least 0 for a one-sided law.

        Returns:
            The bound, in [0, p_lower]; `p_lower` itself for no shift.

        Raises:
            InputError: `p_lower` is outside [0, 1), or `shift` is not finite, or below 0 for a
                one-sided law.
        """
        check_lower(p_lower)
        self.check_shift(shift)
        if shift == 0:
            return float(p_lower)
        return min(float(p_lower), max(0.0, self._after(float(p_lower), abs(float(shift)))))

    @final
    def needed(self, shift: float) -> float:
        """Probability that certifies `shift`: the inverse of `radius`, rounded up.

        Args:
            shift: radius to certify, in units of the parameter, at least 0.

        Returns:
            p above 1/2 with radius(p) >= shift, the least one up to rounding. 1 where no
            probability below 1 does.

        Raises:
            InputError: `shift` is below 0 or not finite.
        """
        if not 0 <= shift < math.inf:
            raise InputError(f"Expected `shift` to be at least 0 and finite, but got {shift!r}.")
        p = min(1.0, max(self._needed(float(shift)), math.nextafter(0.5, 1.0)))
        step = math.ulp(p)
        while p < 1 and self.radius(p) < shift:
            p = min(1.0, p + step)
            step *= 2
        return p

    @final
    def describe(self) -> dict[str, float | str]:
        """The kind and its parameters; `law_from` reads it back."""
        return {"kind": self.kind, **asdict(self)}

    @final
    def check_shift(self, shift: float) -> None:
        """Check that the law certifies attacks of this sign.

        Raises:
            InputError: `shift` is not finite, or below 0 although the noise is one-sided.
        """
        if not math.isfinite(shift):
            raise InputError(f"Expected `shift` to be finite, but got {shift!r}.")
        if self.one_sided and shift < 0:
            raise InputError(
                f"Expected `shift` to be at least 0 under {self.kind} noise, which is never below "
                f"0, but got {shift!r}. Use a two-sided law to certify attacks of both signs."
            )

    @abstractmethod
    def _quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]: ...

    @abstractmethod
    def _rate(self, p: float) -> float: ...

    @abstractmethod
    def _radius(self, p: float) -> float:
        """The radius for p in (1/2, 1), rounded down; below 0 counts as 0."""

    @abstractmethod
    def _after(self, p: float, shift: float) -> float:
        """The bound for a shift above 0, rounded down; below 0 counts as 0."""

    @abstractmethod
    def _needed(self, shift: float) -> float:
        """The inverse of `_radius`, in float64 and not yet rounded up."""


def gaussian_after(p_lower: float, distance: float) -> float:
    """CDF(PPF(p_lower) - distance), rounded down: Gaussian noise after a shift.

    Args:
        p_lower: lower bound of the class's probability, in [0, 1).
        distance: length of the shift in standard deviations, at least 0; that of a vector for
            several independent parameters (Cohen et al. 2019, theorem 1). A relative error of
            8 * 2**-53 in it is allowed for.

    Raises:
        InputError: `p_lower` is outside [0, 1), or `distance` is below 0 or not a number.

    >>> round(gaussian_after(0.9, 1.0), 6)
    0.610856
    """
    check_lower(p_lower)
    if not distance >= 0:
        raise InputError(f"Expected `distance` to be at least 0, but got {distance!r}.")
    ppf = float(ndtri(p_lower))
    z = math.nextafter(ppf - abs(ppf) * SLACK - distance * (1 + SLACK), -math.inf)
    # The exponential in `ndtr` carries the rounding of -z^2 / 2; below -37 lie subnormal numbers.
    return float(ndtr(z)) * max(0.0, 1 - SLACK * (1 + min(z, 0.0) ** 2)) if z > -37 else 0.0


def check_lower(p_lower: float) -> None:
    """Check a lower bound of a probability.

    Raises:
        InputError: it is outside [0, 1).
    """
    if not 0 <= p_lower < 1:
        raise InputError(f"Expected `p_lower` to be in [0, 1), but got {p_lower!r}.")
