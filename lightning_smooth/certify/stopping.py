"""As many draws as an image needs, for any certifier that counts votes.

Source: Voracek 2024 and THEORY section 3 for when to stop.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightning_smooth.certify.voting import VotingCertifier
from lightning_smooth.errors import InputError, check_probability
from lightning_smooth.maths.deciding import Decider, Fraction, Thresholds
from lightning_smooth.maths.sequential import Rule, stopping
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.plans import Draws, Plan
from lightning_smooth.smoothing.rng import NoiseKey
from lightning_smooth.smoothing.smoothed import SmoothedClassifier


class Stopping(VotingCertifier):
    """Draws from look to look until its decider has enough; a subclass names the decider.

    The bound is valid at every look (`maths.sequential`), so when to stop is free. A class that
    inherits from this and from a certifier says how to stop at the end of its `__init__`.
    """

    @property
    def largest_radius(self) -> float:
        """The radius of an image all of whose draws agree, up to the last: none is larger."""
        return self.radius_of(self._rule.running(self._rule.sizes))

    def _stop_by(self, rule: Rule) -> None:
        self._rule = stopping(rule, self.n, self.alpha)
        self.rule = rule

    @abstractmethod
    def _decider(self) -> Decider:
        """A fresh decider, for one image."""

    @abstractmethod
    def _verdict(self, decider: Decider) -> tuple[float, dict[str, str]]:
        """The certified radius, and what was decided."""

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "rule": self.rule}

    def _plan(
        self, smoothed: SmoothedClassifier, image: Tensor, *, index: int
    ) -> Plan[Certificate]:
        votes0 = yield from self._select(image, index)
        candidate = int(votes0.argmax())
        key = NoiseKey(self.seed, index, self._streams[1])
        decider = self._decider()
        votes, drawn, stop = votes0 * 0, 0, False
        while not stop:
            wanted = decider.draws
            votes = votes + (yield Draws(image, key, drawn, wanted - drawn))
            drawn = wanted
            stop = decider.observe(int(votes[candidate]))
        radius, decisions = self._verdict(decider)
        return self._certificate(
            smoothed,
            index,
            votes0,
            votes,
            n=drawn,
            p_lower=decider.p_lower,
            radius=radius,
            ledger=self._rule.ledger,
            looks=tuple(decider.path),
            decisions=decisions,
            parameters={"rule": self.rule, "n": self.n},
        )


class Deciding(Stopping):
    """Decides radii that are fixed beforehand.

    A radius is `held`, `not held` (given up: with counts so low, `n` draws would implausibly hold
    it) or `undecided` (after `n` draws). Giving up spends power alone.
    """

    def _decide(self, radii: Sequence[float] | float, rule: Rule) -> None:
        self._stop_by(rule)
        if isinstance(radii, int | float):
            radii = [radii]
        self.radii = tuple(sorted({float(radius) for radius in radii}))
        possible = bool(self.radii) and 0 <= self.radii[0] <= self.radii[-1] <= self.largest_radius
        if possible:
            self._thresholds = [self.probability_for(radius) for radius in self.radii]
            possible = self._thresholds[-1] <= self._rule.running(self._rule.sizes)
        if not possible:
            raise InputError(
                f"Expected `radii` to be one or more radii from 0 to {self.largest_radius:.4g} "
                f"{self.radius_unit}, the largest that n = {self.n} draws can certify at alpha = "
                f"{self.alpha:g} and {self.law!r}, but got {list(radii)}: leave out the larger "
                "ones, or raise n."
            )

    def _decider(self) -> Thresholds:
        return Thresholds(self._rule, self._thresholds)

    def _verdict(self, decider: Decider) -> tuple[float, dict[str, str]]:
        held = [
            r for r, p in zip(self.radii, self._thresholds, strict=True) if decider.p_lower >= p
        ]
        decisions = decider.decisions if isinstance(decider, Thresholds) else []
        named = {repr(r): said for r, said in zip(self.radii, decisions, strict=True)}
        return max(held, default=0.0), named

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "radii": list(self.radii)}


class Approaching(Stopping):
    """Draws for the radius until more draws would raise it by little."""

    def _approach(self, fraction: float, rule: Rule) -> None:
        self._stop_by(rule)
        self.fraction = check_probability("fraction", fraction)

    def _decider(self) -> Fraction:
        return Fraction(self._rule, self.radius_of, self.fraction, self.probability_for(0.0))

    def _verdict(self, decider: Decider) -> tuple[float, dict[str, str]]:
        return self.radius_of(decider.p_lower), {}

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "fraction": self.fraction}
