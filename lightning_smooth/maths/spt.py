"""The statistics of SPT: what nested draws show of a classifier that is smoothed twice.

The outer draw b is a hit if the inner classifier h (Gaussian noise on pixels) holds its class
within l2 distance E of the image transformed by b. Source: Fischer, Baader, Vechev, NeurIPS 2020,
sections 4 and 5; THEORY section 6. Two steps are ours, and give more for the same draws:

- rho, the probability that an error exceeds E, is taken off after the shift by the attack, not
  before: P(hit at b + g) - rho > 1/2 is all that the proof needs.
- An inner test is wrong with probability `level` for a draw that is no hit; as outer draws are
  independent, so are these mistakes, and P(test passes) <= level + (1 - level) P(hit) accounts
  for all of them. No alpha is split among the tests. Images that verify an E are such tests, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scipy.special import ndtri

from lightning_smooth.errors import InputError, check_count, check_positive, check_probability
from lightning_smooth.maths.confidence import clopper_pearson_lower, clopper_pearson_upper
from lightning_smooth.maths.deciding import HELD, NOT_HELD, Thresholds
from lightning_smooth.maths.radius import gaussian_probability
from lightning_smooth.maths.sequential import Stopping

ERROR_SHARE: Final = 0.2
"""The part of alpha that DistSPT spends on how often an error exceeds E."""

HOLDS_FOR: Final = "images of a fraction q of the distribution"
"""What certificates of DistSPT^D hold for, as their records say it."""

PAIRS: Final = "each draw the largest of any two translations that add up to it"
"""Whose errors certificates of translations bound, as their records say it."""

_UP = 1 + 16 * 2.0**-53
_DOWN = 1 - 16 * 2.0**-53


def passes_needed(hit: float, level: float) -> float:
    """How often inner tests must pass for hits to have a probability, rounded up.

    Args:
        hit: the probability of a hit that is to be shown, in (0, 1].
        level: probability with which a test passes a draw that is no hit.

    >>> round(passes_needed(0.9, 0.01), 6)
    0.901
    """
    check_probability("level", level)
    return min(1.0, (level + (1 - level) * hit) * _UP)


def hits_shown(passed: int, tests: int, level: float, alpha: float) -> float:
    """Lower bound of the probability of a hit, from tests that passed, rounded down.

    The inverse of `passes_needed`: with L the lower bound of Clopper and Pearson of how often tests
    pass, L <= level + (1 - level) P(hit).

    Args:
        passed: tests that passed, 0..tests.
        tests: independent tests, each of a fresh draw of what may be a hit.
        level: probability with which a test passes what is no hit.
        alpha: probability with which the bound may be above the truth.

    >>> round(hits_shown(300, 300, 0.05, 0.001), 6), hits_shown(3, 300, 0.05, 0.001)
    (0.976039, 0.0)
    """
    check_probability("level", level)
    shown = (clopper_pearson_lower(passed, tests, alpha) - level) / (1 - level)
    return max(0.0, shown * _DOWN)


def failures_allowed(draws: int, rho: float, level: float) -> int:
    """Most failures, of some draws, with which they are shown to be no more frequent than rho.

    A test that passes with so many at most is wrong with probability at most `level`.

    Args:
        draws: independent draws.
        rho: the probability of a failure that is to be shown, in (0, 1).
        level: probability with which the test may pass where failures are more frequent.

    Returns:
        The number; -1 where no count shows it.

    >>> failures_allowed(8000, 0.001, 0.001), failures_allowed(400, 0.02, 0.05)
    (0, 3)
    >>> failures_allowed(100, 0.001, 0.05)
    -1
    """
    check_probability("rho", rho)
    allowed = -1
    while allowed + 1 < draws and clopper_pearson_upper(allowed + 1, draws, level) <= rho:
        allowed += 1
    return allowed


def alpha_of_attempt(alpha: float, attempt: int) -> float:
    """What one of any number of attempts may spend: half of what those before it left.

    Args:
        alpha: probability with which any of them may be wrong.
        attempt: which, from 1.

    >>> [alpha_of_attempt(0.001, attempt) for attempt in (1, 2, 3)]
    [0.0005, 0.00025, 0.000125]
    """
    check_probability("alpha", alpha)
    return alpha / 2.0 ** check_count("attempt", attempt)


def hit_needed(radius: float, scale: float, rho: float) -> float:
    """Probability of a hit that a radius needs, rounded up: 1 where none is enough.

    After a shift by `radius` it must be above 1/2 + rho: PPF(p) - radius / scale > PPF(1/2 + rho).

    Args:
        radius: l2 norm of the attack, in the unit of the parameters.
        scale: standard deviation of the noise on each parameter, in that unit.
        rho: probability that what two transformations differ from one by exceeds E.

    Raises:
        InputError: rho is below 0, or an argument is out of its range.

    >>> round(hit_needed(30.0, 30.0, 0.0), 6), round(hit_needed(30.0, 30.0, 0.017), 6)
    (0.841345, 0.851439)
    """
    check_positive("scale", scale)
    if not rho >= 0:
        raise InputError(f"Expected `rho` to be at least 0, but got {rho!r}.")
    if rho >= 0.5:
        return 1.0
    lost = scale * float(ndtri(0.5 + rho)) * _UP if rho else 0.0
    return gaussian_probability((radius + lost) * _UP, scale)


class OuterTest:
    """Decides radii by the tests that passed.

    Args:
        rule: the bound of the probability that a test passes, at each look.
        radii: radii that are asked about, in the unit of the parameters.
        scale: standard deviation of the noise on each parameter.
        rho: probability that an error exceeds E.
        level: error rate of an inner test.
    """

    def __init__(
        self, rule: Stopping, radii: Sequence[float], scale: float, rho: float, level: float
    ) -> None:
        self.radii = tuple(radii)
        self.needed = [passes_needed(hit_needed(r, scale, rho), level) for r in self.radii]
        self._answer = passes_needed(hit_needed(0.0, scale, 0.0), level)
        best = rule.running(rule.sizes)
        within = [p for p in self.needed if p <= best]
        # What no count would show is not held; something must be asked of the draws all the same.
        self.decider = Thresholds(rule, within or [best])
        self._within = len(within)

    @property
    def decisions(self) -> dict[str, str]:
        """`held`, `not held` or `undecided` for each radius."""
        return self.decided(self.decider.p_lower)

    def decided(self, p_lower: float) -> dict[str, str]:
        """Decisions as they would be for another bound and the same counts."""
        said = iter(self.decider.decisions[: self._within])
        best = self.decider.rule.running(self.decider.rule.sizes)
        words = {}
        for radius, needed in zip(self.radii, self.needed, strict=True):
            word = next(said) if needed <= best else NOT_HELD
            if needed <= best:
                word = HELD if p_lower >= needed else "undecided" if word == HELD else word
            words[repr(radius)] = word
        return words

    def radius(self, p_lower: float) -> float:
        """The largest radius that a bound holds; 0 if none."""
        held = [r for r, needed in zip(self.radii, self.needed, strict=True) if p_lower >= needed]
        return max(held, default=0.0)

    def certified(self, p_lower: float) -> bool:
        """Whether the class is the answer at the image itself, which no attack moved."""
        return p_lower >= self._answer
