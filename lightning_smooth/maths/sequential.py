"""Bounds that stay true while draws are still coming in: look, decide, or draw on.

A fixed-n bound that is computed again after every batch is wrong 8 to 18 times as often as it says.
Two remedies, both valid for a whole grid of thresholds at once, as they bound one probability:

- `Looks`: Clopper-Pearson at a geometric grid of looks, alpha split over them, half of it kept for
  the last, so that what N draws can show is nearly what they show in a fixed run.
- `Betting`: the beta-binomial martingale, valid at every number of draws (Voracek 2024,
  "Treatment of statistical estimation problems in randomized smoothing", section 4).

Source: THEORY section 3. Giving up on a threshold spends power alone, and no alpha.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, Literal, get_args

from scipy.optimize import brentq
from scipy.special import betaln

from lightning_smooth.errors import InputError, check_count, check_probability
from lightning_smooth.maths.confidence import clopper_pearson_lower

Rule = Literal["looks", "betting"]

FIRST: Final = 64
"""Draws before the first look."""

GROWTH: Final = 1.5
"""Each look has so many times the draws of the one before."""


def look_sizes(n: int, first: int = FIRST, growth: float = GROWTH) -> tuple[int, ...]:
    """Numbers of draws at which to look: a geometric grid, in steps of 64, that ends with `n`.

    Args:
        n: draws at most, at least 1.
        first: draws before the first look.
        growth: ratio of one look to the one before, above 1.

    Raises:
        InputError: an argument is out of range.

    >>> look_sizes(1000)
    (64, 128, 192, 256, 384, 512, 768, 1000)
    """
    check_count("n", n)
    check_count("first", first)
    if not growth > 1:
        raise InputError(f"Expected `growth` to be above 1, but got {growth!r}.")
    sizes: list[int] = []
    wanted = float(first)
    while wanted < n:
        size = 64 * math.ceil(wanted / 64)
        if size < n and (not sizes or size > sizes[-1]):
            sizes.append(size)
        wanted *= growth
    return (*sizes, n)


class Stopping(ABC):
    """Lower bounds of one binomial proportion at several looks, all true at once.

    Guarantee: for hits that are the running count of independent draws, the probability that the
    bound of any look is above the proportion is at most `alpha`, wherever one stops looking.

    Args:
        n: draws at most, at least 1.
        alpha: failure probability of all looks together.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, n: int, alpha: float) -> None:
        self.sizes = look_sizes(n)
        self.n = self.sizes[-1]
        self.alpha = check_probability("alpha", alpha)
        self._reached: dict[float, int] = {}

    @property
    @abstractmethod
    def ledger(self) -> dict[str, float]:
        """How alpha is spent."""

    @abstractmethod
    def lower(self, look: int, hits: int) -> float:
        """Lower bound after `sizes[look]` draws, `hits` of them hits."""

    def running(self, hits: Sequence[int]) -> float:
        """The best bound of the looks so far: each is true, so the largest is.

        Args:
            hits: running counts of hits at the looks 0, 1, ....

        Returns:
            The bound; 0 before the first look.
        """
        return max((self.lower(look, count) for look, count in enumerate(hits)), default=0.0)

    def reach(self, threshold: float) -> int:
        """Fewest hits with which the last look reaches `threshold`; `n` where none is enough."""
        if threshold not in self._reached:
            last = len(self.sizes) - 1
            self._reached[threshold] = bisect_left(
                range(self.n), threshold, key=lambda hits: self.lower(last, hits)
            )
        return self._reached[threshold]


class Looks(Stopping):
    """Clopper-Pearson at every look: half of alpha for the last, the rest in equal parts.

    >>> rule = Looks(1000, 0.001)
    >>> round(rule.lower(0, 64), 4), round(rule.lower(7, 1000), 4)
    (0.8614, 0.9924)
    """

    def __init__(self, n: int, alpha: float) -> None:
        super().__init__(n, alpha)
        before = len(self.sizes) - 1
        each = alpha / 2 / before if before else 0.0
        self.alphas = (*([each] * before), alpha / 2 if before else alpha)

    @property
    def ledger(self) -> dict[str, float]:
        """See `Stopping.ledger`."""
        last = self.alphas[-1]
        return {"looks": self.alpha - last, "last look": last} if last < self.alpha else {
            "last look": last
        }  # fmt: skip

    def lower(self, look: int, hits: int) -> float:
        """See `Stopping.lower`."""
        return clopper_pearson_lower(hits, self.sizes[look], self.alphas[look])


class Betting(Stopping):
    """The lower confidence sequence of the betting test, from one martingale.

    >>> round(Betting(1000, 0.001).lower(0, 64), 4)
    0.8612
    """

    @property
    def ledger(self) -> dict[str, float]:
        """See `Stopping.ledger`."""
        return {"betting": self.alpha}

    def lower(self, look: int, hits: int) -> float:
        """See `Stopping.lower`."""
        return betting_lower(hits, self.sizes[look], self.alpha)


def log_wealth(hits: int, n: int, p: float) -> float:
    """Logarithm of what a bettor against `p` has made of 1 after `n` draws.

    It is ln of B(hits + 1/2, n - hits + 1/2) / B(1/2, 1/2) / p^hits / (1-p)^(n-hits): a
    non-negative martingale where p is the true proportion (Voracek 2024; the mixture is that of
    Krichevsky and Trofimov 1981).

    Args:
        hits: successes, 0..n.
        n: draws.
        p: the proportion that is bet against, in (0, 1).

    >>> round(log_wealth(64, 64, 0.5), 4)
    41.7077
    """
    miss = n - hits
    mixture = float(betaln(hits + 0.5, miss + 0.5) - betaln(0.5, 0.5))
    return mixture - hits * math.log(p) - miss * math.log1p(-p)


def betting_lower(hits: int, n: int, alpha: float) -> float:
    """Lower end of the betting test's confidence sequence after `n` draws, rounded down.

    Args:
        hits: successes, 0..n.
        n: independent draws so far.
        alpha: failure probability over all n together.

    Returns:
        inf{p < hits/n : log_wealth(hits, n, p) < ln(1/alpha)}; 0 where there is no hit.

    Raises:
        InputError: an argument is out of range.

    >>> round(betting_lower(900, 1000, 0.001), 4)
    0.8508
    """
    check_probability("alpha", alpha)
    check_count("n", n)
    if check_count("hits", hits, least=0) > n:
        raise InputError(f"Expected `hits` to be at most n = {n}, but got {hits}.")
    rich = -math.log(alpha) + 1e-9 + n * 1e-14  # betaln rounds by as much
    rate = hits / n
    top = math.nextafter(rate, 0.0) if rate else 0.0
    if hits == 0 or log_wealth(hits, n, tiny := 1e-300) < rich:
        return 0.0
    if log_wealth(hits, n, top) >= rich:
        return top
    bound = float(brentq(lambda p: log_wealth(hits, n, p) - rich, tiny, top, xtol=1e-15))
    step = math.ulp(bound)
    while bound > 0 and log_wealth(hits, n, bound) < rich:
        bound = max(0.0, bound - step)
        step *= 2
    return bound


def stopping(rule: Rule, n: int, alpha: float) -> Stopping:
    """Build the stopping rule of a name.

    Raises:
        InputError: the name is not known, or a number is out of range.
    """
    if rule == "looks":
        return Looks(n, alpha)
    if rule == "betting":
        return Betting(n, alpha)
    raise InputError(f"Expected `rule` to be one of {get_args(Rule)}, but got {rule!r}.")
