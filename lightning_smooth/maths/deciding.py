"""When to stop drawing: thresholds decided, or a probability known well enough.

The bounds are those of `sequential`, true wherever one stops; giving up costs power alone. Source:
THEORY section 3.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

from scipy.special import betaincinv
from scipy.stats import binom

from lightning_smooth.errors import InputError, check_probability
from lightning_smooth.maths.sequential import Stopping

FUTILITY: Final = 1e-3
"""A threshold is given up where counts so low had a smaller probability, if it could be reached."""

PLAUSIBLE: Final = 0.9
"""Confidence of the upper bound from which `Fraction` foresees what all draws may give."""

HELD, NOT_HELD, UNDECIDED = "held", "not held", "undecided"


class Decider(ABC):
    """Takes the hits of one look after another, and says when to stop.

    Args:
        rule: the bound at each look.
    """

    def __init__(self, rule: Stopping) -> None:
        self.rule = rule
        self.hits: list[int] = []
        self.p_lower = 0.0

    @property
    def draws(self) -> int:
        """Draws that the next look needs in all."""
        return self.rule.sizes[len(self.hits)]

    @property
    def path(self) -> list[tuple[int, int]]:
        """(draws, hits) of every look so far."""
        return list(zip(self.rule.sizes, self.hits, strict=False))

    def observe(self, hits: int) -> bool:
        """Take the hits among all draws so far; return whether to stop.

        Args:
            hits: hits among the first `draws` draws.
        """
        look = len(self.hits)
        self.p_lower = max(self.p_lower, self.rule.lower(look, hits))
        self.hits.append(hits)
        return look == len(self.rule.sizes) - 1 or self._enough(self.rule.sizes[look], hits)

    @abstractmethod
    def _enough(self, n: int, hits: int) -> bool:
        """Whether to stop, with `hits` of `n` draws."""


class Thresholds(Decider):
    """Stops when it is known of every threshold whether the probability is above it.

    `held` means that the bound reached the threshold; `not held`, that it was given up because
    the counts make it implausible that the last look would reach it; `undecided`, that the draws
    were used up.

    Args:
        rule: the bound at each look.
        thresholds: probabilities to reach, each within what the rule's draws can show.

    Raises:
        InputError: there is no threshold, or one that no count would reach.

    >>> from lightning_smooth.maths.sequential import Looks
    >>> test = Thresholds(Looks(1000, 0.001), [0.5, 0.9])
    >>> test.observe(63), test.decisions, test.draws
    (False, ['held', 'undecided'], 128)
    >>> test.observe(90), test.decisions
    (True, ['held', 'not held'])
    """

    def __init__(self, rule: Stopping, thresholds: Sequence[float]) -> None:
        super().__init__(rule)
        self.thresholds = check_thresholds(rule, thresholds)
        self._needed = [rule.reach(threshold) / rule.n for threshold in self.thresholds]
        self._given_up = [False] * len(self.thresholds)

    @property
    def decisions(self) -> list[str]:
        """`held`, `not held` or `undecided` for each threshold."""
        return [
            HELD if self.p_lower >= threshold else NOT_HELD if given_up else UNDECIDED
            for threshold, given_up in zip(self.thresholds, self._given_up, strict=True)
        ]

    def hopeless(self, n: int, hits: int) -> bool:
        """Whether every threshold that is not held would be given up, at a look or between two."""
        return all(
            self.p_lower >= threshold or given_up or binom.cdf(hits, n, needed) <= FUTILITY
            for threshold, given_up, needed in zip(
                self.thresholds, self._given_up, self._needed, strict=True
            )
        )

    def _enough(self, n: int, hits: int) -> bool:
        for place, needed in enumerate(self._needed):
            self._given_up[place] |= bool(binom.cdf(hits, n, needed) <= FUTILITY)
        return UNDECIDED not in self.decisions


class Fraction(Decider):
    """Stops when more draws could raise what the bound gives by little.

    Args:
        rule: the bound at each look.
        value: what a lower bound of the probability is worth, such as a radius; increasing.
        fraction: stop where that is this part of what the last look may give, in (0, 1).
        least: give up where the probability would not reach this.

    Raises:
        InputError: `fraction` is not in (0, 1).
    """

    def __init__(
        self, rule: Stopping, value: Callable[[float], float], fraction: float, least: float
    ) -> None:
        super().__init__(rule)
        self.fraction = check_probability("fraction", fraction)
        self._value = value
        self._needed = rule.reach(least) / rule.n

    def _enough(self, n: int, hits: int) -> bool:
        if binom.cdf(hits, n, self._needed) <= FUTILITY:
            return True
        # As if all draws went at the highest rate that those so far leave plausible.
        rate = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, PLAUSIBLE))
        best = self.rule.lower(len(self.rule.sizes) - 1, int(rate * self.rule.n))
        return self._value(self.p_lower) >= self.fraction * self._value(best)


def check_thresholds(rule: Stopping, thresholds: Sequence[float]) -> tuple[float, ...]:
    """Return thresholds, if all hits would reach each of them.

    Raises:
        InputError: there is none, or one is out of reach.
    """
    best = rule.running(rule.sizes)
    if not thresholds or not all(0 < threshold <= best for threshold in thresholds):
        raise InputError(
            f"Expected thresholds in (0, {best:.6g}], what {rule.n} draws can show at alpha = "
            f"{rule.alpha:g}, but got {list(thresholds)}."
        )
    return tuple(thresholds)
