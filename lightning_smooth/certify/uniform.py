"""Randomized smoothing with uniform noise, certified in l1.

Source: Lee et al., "Tight Certificates of Adversarial Robustness for Randomly Smoothed
Classifiers", NeurIPS 2019; Yang et al., "Randomized Smoothing of All Shapes and Sizes", ICML 2020;
THEORY section 4.
"""

from __future__ import annotations

from typing import Any

from lightning_smooth.certify.voting import VotingCertifier
from lightning_smooth.maths.laws import UniformLaw
from lightning_smooth.maths.uniform import uniform_radius
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import UniformNoise
from lightning_smooth.types import Precision


class UniformCertifier(VotingCertifier):
    """CERTIFY with uniform noise: a radius in l1, 2 lam (p - 1/2), which is below lam.

    Guarantee (`certified`): with probability at least 1 - alpha over the draws, the smoothed
    classifier g(x') = argmax_c P(f(x' + e) = c), e uniform on [-lam, lam] for each pixel, answers
    `predicted` at every x' with ||x' - x||_1 < radius, or the certifier abstained. The l1 norm is
    the sum of the changes of all pixels and channels, in units of pixels in [0, 1]. It rests on
    the draws being independent and uniform (up to float32 rounding of x + e), and on the model
    being the same function of its input at every draw.

    Args:
        lam: half of the width of the noise, in units of pixels in [0, 1].
        n0: draws that choose the class to certify.
        n: fresh draws that bound its probability.
        alpha: probability with which a certificate may be wrong.
        seed: seed of the noise.
        batch_size: noisy copies in a forward pass, None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run; None to leave it to a short warm-up.

    Raises:
        InputError: lam is not above 0, alpha not in (0, 1), n or n0 below 1, or the precision is
            not known.
    """

    method = "uniform"

    def __init__(
        self,
        lam: float,
        n0: int = 100,
        n: int = 100_000,
        alpha: float = 0.001,
        seed: int = 0,
        batch_size: int | None = None,
        precision: Precision = "float32",
        speed: Speed | None = None,
    ) -> None:
        law = UniformNoise(lam)
        super().__init__(
            law,
            n0=n0,
            n=n,
            alpha=alpha,
            seed=seed,
            batch_size=batch_size,
            precision=precision,
            speed=speed,
        )
        self.lam = law.lam

    @property
    def radius_unit(self) -> str:
        """See `VotingCertifier.radius_unit`."""
        return "l1"

    def radius_of(self, p_lower: float) -> float:
        """See `VotingCertifier.radius_of`: 2 lam (p - 1/2)."""
        return uniform_radius(p_lower, self.lam)

    def probability_for(self, radius: float) -> float:
        """See `VotingCertifier.probability_for`."""
        return UniformLaw(self.lam).needed(radius)

    def _own(self) -> dict[str, Any]:
        return {"lam": self.lam}

    def _fixed(self, n0: int, n: int) -> UniformCertifier:
        kind = UniformCertifier
        return kind(
            self.lam, n0, n, self.alpha, self.seed, self.batch_size, self.precision, self.speed
        )
