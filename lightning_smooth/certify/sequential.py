"""Gaussian smoothing with as many draws as an image needs.

Source: Cohen, Rosenfeld, Kolter 2019 for the radius; Voracek 2024 and THEORY section 3 for when to
stop.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightning_smooth.certify.gaussian import GaussianCertifier
from lightning_smooth.errors import InputError, check_probability
from lightning_smooth.maths.deciding import Decider, Fraction, Thresholds
from lightning_smooth.maths.radius import gaussian_probability, gaussian_radius
from lightning_smooth.maths.sequential import Rule, stopping
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.plans import Draws, Plan
from lightning_smooth.smoothing.rng import NoiseKey
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.types import Precision


class StoppingCertifier(GaussianCertifier):
    """Draws from look to look until its decider has enough; a subclass names the decider.

    The bound is valid at every look (`maths.sequential`), so when to stop is free.
    """

    def __init__(
        self,
        sigma: float,
        n0: int,
        n: int,
        alpha: float,
        seed: int,
        batch_size: int | None,
        precision: Precision,
        speed: Speed | None,
        rule: Rule,
    ) -> None:
        super().__init__(sigma, n0, n, alpha, seed, batch_size, precision, speed)
        self._rule = stopping(rule, self.n, self.alpha)
        self.rule = rule

    @property
    def largest_radius(self) -> float:
        """The radius of an image all of whose draws agree, up to the last: none is larger."""
        return gaussian_radius(self._rule.running(self._rule.sizes), self.sigma)

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


class SequentialGaussianCertifier(StoppingCertifier):
    """Decides whether radii fixed beforehand are certified, with as few draws as that takes.

    Guarantee (`certified`): with probability at least 1 - alpha over the draws, the smoothed
    classifier answers `predicted` at every x' with ||x' - x||_2 < radius, where radius is the
    largest of `radii` that is held; assumptions as for `GaussianCertifier`. One bound serves all
    radii, so a whole grid costs no more alpha than one of them.

    A radius is `held`, `not held` (given up: with counts so low, `n` draws would implausibly hold
    it) or `undecided` (after `n` draws). Giving up spends power alone.

    Args:
        sigma: standard deviation of the noise, in units of pixels in [0, 1].
        radii: l2 radii to decide, each at least 0; 0 asks for the prediction alone.
        n0: draws that choose the class to certify.
        n: draws at most.
        alpha: probability with which a certificate may be wrong.
        seed: seed of the noise.
        batch_size: noisy copies in a forward pass; None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run, as for `GaussianCertifier`.
        rule: the bound that stays true while looking: `looks` (Clopper-Pearson on a geometric
            grid) or `betting` (the betting test of Voracek 2024).

    Raises:
        InputError: as for `GaussianCertifier`; or a radius is below 0, beyond what `n` draws can
            certify, or none is given; or the rule is not known.
    """

    method = "gaussian sequential"

    def __init__(
        self,
        sigma: float,
        radii: Sequence[float],
        n0: int = 100,
        n: int = 100_000,
        alpha: float = 0.001,
        seed: int = 0,
        batch_size: int | None = None,
        precision: Precision = "float32",
        speed: Speed | None = None,
        rule: Rule = "looks",
    ) -> None:
        super().__init__(sigma, n0, n, alpha, seed, batch_size, precision, speed, rule)
        self.radii = tuple(sorted({float(radius) for radius in radii}))
        if not self.radii or self.radii[0] < 0 or not self.radii[-1] <= self.largest_radius:
            raise InputError(
                f"Expected `radii` to be one or more radii from 0 to {self.largest_radius:.4g}, "
                f"the largest that n = {self.n} draws can certify at alpha = {self.alpha:g} and "
                f"sigma = {self.sigma:g}, but got {list(radii)}: leave out the larger ones, or "
                "raise n."
            )
        self._thresholds = [gaussian_probability(radius, self.sigma) for radius in self.radii]

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


class AdaptiveGaussianCertifier(StoppingCertifier):
    """The radius, drawn until more draws would raise it by little.

    Guarantee (`certified`): as for `GaussianCertifier`. The radius is a true one wherever the
    drawing stops; `fraction` is an aim, not a part of the guarantee: it stops where the radius is
    that part of what `n` draws may plausibly give.

    Args:
        sigma: standard deviation of the noise, in units of pixels in [0, 1].
        fraction: part of the radius of `n` draws that is enough, in (0, 1).
        n0: draws that choose the class to certify.
        n: draws at most.
        alpha: probability with which a certificate may be wrong.
        seed: seed of the noise.
        batch_size: noisy copies in a forward pass; None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run, as for `GaussianCertifier`.
        rule: as for `SequentialGaussianCertifier`.

    Raises:
        InputError: as for `GaussianCertifier`; or `fraction` is not in (0, 1), or the rule is not
            known.
    """

    method = "gaussian adaptive"

    def __init__(
        self,
        sigma: float,
        fraction: float = 0.9,
        n0: int = 100,
        n: int = 100_000,
        alpha: float = 0.001,
        seed: int = 0,
        batch_size: int | None = None,
        precision: Precision = "float32",
        speed: Speed | None = None,
        rule: Rule = "looks",
    ) -> None:
        super().__init__(sigma, n0, n, alpha, seed, batch_size, precision, speed, rule)
        self.fraction = check_probability("fraction", fraction)

    def _decider(self) -> Fraction:
        least = gaussian_probability(0.0, self.sigma)
        return Fraction(self._rule, self._radius, self.fraction, least)

    def _verdict(self, decider: Decider) -> tuple[float, dict[str, str]]:
        return self._radius(decider.p_lower), {}

    def _radius(self, p_lower: float) -> float:
        return gaussian_radius(p_lower, self.sigma)

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "fraction": self.fraction}
