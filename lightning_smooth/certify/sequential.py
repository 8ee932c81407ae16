"""Gaussian smoothing with as many draws as an image needs.

Source: Cohen, Rosenfeld, Kolter 2019 for the radius; Voracek 2024 and THEORY section 3 for when to
stop.
"""

from __future__ import annotations

from collections.abc import Sequence

from lightning_smooth.certify.gaussian import GaussianCertifier
from lightning_smooth.certify.stopping import Approaching, Deciding
from lightning_smooth.maths.sequential import Rule
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.types import Precision


class SequentialGaussianCertifier(Deciding, GaussianCertifier):
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
        super().__init__(sigma, n0, n, alpha, seed, batch_size, precision, speed)
        self._decide(radii, rule)


class AdaptiveGaussianCertifier(Approaching, GaussianCertifier):
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
        super().__init__(sigma, n0, n, alpha, seed, batch_size, precision, speed)
        self._approach(fraction, rule)
