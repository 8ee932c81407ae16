"""Randomized smoothing with Gaussian noise, certified in l2.

Source: Cohen, Rosenfeld, Kolter, "Certified Adversarial Robustness via Randomized Smoothing",
ICML 2019, sections 3.2.1 (PREDICT) and 3.2.2 (CERTIFY); THEORY section 1.
"""

from __future__ import annotations

from typing import Any

from lightning_smooth.certify.voting import VotingCertifier
from lightning_smooth.maths.radius import gaussian_probability, gaussian_radius
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import GaussianNoise, PixelLaw
from lightning_smooth.types import Precision


class GaussianCertifier(VotingCertifier):
    """CERTIFY with a fixed number of draws: a radius in l2 for the smoothed classifier.

    Guarantee (`certified`): with probability at least 1 - alpha over the draws, the smoothed
    classifier g answers `predicted` at every x' with ||x' - x||_2 < radius, or the certifier
    abstained. It rests on the draws being independent and Gaussian (up to float32 rounding of
    x + e), and on the model being the same function of its input at every draw.

    Args:
        sigma: standard deviation of the noise, in units of pixels in [0, 1].
        n0: draws that choose the class to certify.
        n: fresh draws that bound its probability; the radius is at most sigma PPF(alpha^(1/n)).
        alpha: probability with which a certificate may be wrong.
        seed: seed of the noise.
        batch_size: noisy copies in a forward pass, None to choose; the counts do not depend on
            it, but for scores that are equal to within rounding.
        precision: arithmetic of the model: `float32` leaves it in the dtype of its weights,
            without TF32, `bf16` runs it under autocast (faster, and another classifier: certify
            the one that is deployed).
        speed: how the model is run; None to leave it to a short warm-up.

    Raises:
        InputError: sigma is not above 0, alpha not in (0, 1), n or n0 below 1, or the precision
            is not known.
    """

    method = "gaussian"

    def __init__(
        self,
        sigma: float,
        n0: int = 100,
        n: int = 100_000,
        alpha: float = 0.001,
        seed: int = 0,
        batch_size: int | None = None,
        precision: Precision = "float32",
        speed: Speed | None = None,
    ) -> None:
        law = self._noise(sigma)
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
        self.sigma = float(sigma)

    @property
    def radius_unit(self) -> str:
        """See `VotingCertifier.radius_unit`."""
        return "l2"

    def radius_of(self, p_lower: float) -> float:
        """See `VotingCertifier.radius_of`: sigma PPF(p)."""
        return gaussian_radius(p_lower, self.sigma)

    def probability_for(self, radius: float) -> float:
        """See `VotingCertifier.probability_for`."""
        return gaussian_probability(radius, self.sigma)

    def _noise(self, sigma: float) -> PixelLaw:
        return GaussianNoise(sigma)

    def _own(self) -> dict[str, Any]:
        return {"sigma": self.sigma}

    def _fixed(self, n0: int, n: int) -> GaussianCertifier:
        kind = GaussianCertifier
        return kind(
            self.sigma, n0, n, self.alpha, self.seed, self.batch_size, self.precision, self.speed
        )
