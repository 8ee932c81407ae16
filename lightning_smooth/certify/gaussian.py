"""Randomized smoothing with Gaussian noise, certified in l2.

Source: Cohen, Rosenfeld, Kolter, "Certified Adversarial Robustness via Randomized Smoothing",
ICML 2019, sections 3.2.1 (PREDICT) and 3.2.2 (CERTIFY); THEORY section 1.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lightning_smooth.certify.base import Certifier, sparse
from lightning_smooth.errors import check_count
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.hypothesis import top_two_p_value
from lightning_smooth.maths.radius import gaussian_radius, largest_gaussian_radius
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.prediction import Prediction
from lightning_smooth.smoothing.checks import check_image
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import GaussianNoise
from lightning_smooth.smoothing.plans import Draws, Plan
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey, Stream, backend
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.types import ABSTAIN, Precision


class GaussianCertifier(Certifier):
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
        law = GaussianNoise(sigma)
        super().__init__(
            law, alpha=alpha, seed=seed, batch_size=batch_size, precision=precision, speed=speed
        )
        self.sigma = law.sigma
        self.n0 = check_count("n0", n0)
        self.n = check_count("n", n)
        self._streams: tuple[Stream, Stream] = ("selection", "estimation")

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(sigma={self.sigma:g}, n0={self.n0}, n={self.n}, "
            f"alpha={self.alpha:g}, seed={self.seed})"
        )

    @property
    def draws(self) -> int:
        """Draws that one image may take."""
        return self.n0 + self.n

    @property
    def largest_radius(self) -> float:
        """The radius that an image gets whose `n` draws all agree: no radius is larger."""
        return largest_gaussian_radius(self.n, self.alpha, self.sigma)

    def for_validation(self, *, n0: int, n: int) -> GaussianCertifier:
        """See `Certifier.for_validation`; a fixed number of draws."""
        other = GaussianCertifier(
            self.sigma,
            n0,
            n,
            self.alpha,
            self.seed,
            self.batch_size,
            self.precision,
            self.speed,
        )
        other._streams = ("validation selection", "validation estimation")
        return other

    def predict(self, model: nn.Module, image: Tensor, *, index: int) -> Prediction:
        """PREDICT: the smoothed classifier's class, or an abstention; no radius.

        Guarantee: with probability at least 1 - alpha over the `n` draws, the answer is g's
        most probable class, or an abstention (Cohen et al. 2019, proposition 1).

        Args:
            model: as for the call.
            image: (C, H, W), floating point, in [0, 1].
            index: the image's index in its data set.

        Returns:
            The prediction, with its votes and p-value.

        Raises:
            InputError: image, index or the model's answer is not what was expected.
        """
        check_image(image)
        index = check_count("index", index, least=0)
        votes = self.smooth(model).votes(image, NoiseKey(self.seed, index, "prediction"), self.n)
        top, second = (int(count) for count in votes.topk(2).values)
        p_value = top_two_p_value(top, second)
        return Prediction(
            index=index,
            predicted=int(votes.argmax()) if p_value <= self.alpha else ABSTAIN,
            votes=sparse(votes),
            n=self.n,
            p_value=p_value,
            alpha=self.alpha,
            seed=self.seed,
        )

    def _settings(self) -> dict[str, Any]:
        return {"method": self.method, "sigma": self.sigma, "n0": self.n0, "n": self.n}

    def _select(self, image: Tensor, index: int) -> Plan[Tensor]:
        """Votes of the draws that choose the candidate."""
        return (yield Draws(image, NoiseKey(self.seed, index, self._streams[0]), 0, self.n0))

    def _plan(
        self, smoothed: SmoothedClassifier, image: Tensor, *, index: int
    ) -> Plan[Certificate]:
        votes0 = yield from self._select(image, index)
        votes = yield Draws(image, NoiseKey(self.seed, index, self._streams[1]), 0, self.n)
        p_lower = clopper_pearson_lower(int(votes[votes0.argmax()]), self.n, self.alpha)
        return self._certificate(
            smoothed,
            index,
            votes0,
            votes,
            n=self.n,
            p_lower=p_lower,
            radius=gaussian_radius(p_lower, self.sigma),
            ledger={"estimation": self.alpha},
        )

    def _certificate(
        self,
        smoothed: SmoothedClassifier,
        index: int,
        votes0: Tensor,
        votes: Tensor,
        *,
        n: int,
        p_lower: float,
        radius: float,
        ledger: dict[str, float],
        looks: tuple[tuple[int, int], ...] = (),
        decisions: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> Certificate:
        """Write down what was measured; it is an abstention unless `p_lower` is above 1/2."""
        candidate = int(votes0.argmax())
        certified = p_lower > 0.5
        return Certificate(
            index=index,
            label=None,
            candidate=candidate,
            predicted=candidate if certified else ABSTAIN,
            radius=radius if certified else 0.0,
            radius_unit="l2",
            guarantee="certified",
            hits=int(votes[candidate]),
            n=n,
            n0=self.n0,
            p_lower=p_lower,
            alpha=self.alpha,
            ledger=ledger,
            method=self.method,
            parameters={
                "sigma": self.sigma,
                "block": BLOCK,
                "generator": backend(smoothed.device),
                **smoothed.arithmetic,
                "classes": len(votes),
                **(parameters or {}),
            },
            seed=self.seed,
            seconds=0.0,
            votes=sparse(votes),
            votes0=sparse(votes0),
            looks=looks,
            decisions=decisions or {},
        )
