"""Randomized smoothing with Gaussian noise, certified in l2.

Source: Cohen, Rosenfeld, Kolter, "Certified Adversarial Robustness via Randomized Smoothing",
ICML 2019, sections 3.2.1 (PREDICT) and 3.2.2 (CERTIFY); THEORY section 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_smooth.certify.base import Certifier
from lightning_smooth.errors import check_count, check_probability
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.hypothesis import top_two_p_value
from lightning_smooth.maths.radius import gaussian_radius, largest_gaussian_radius
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.prediction import Prediction
from lightning_smooth.smoothing.checks import check_image
from lightning_smooth.smoothing.laws import GaussianNoise
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey, Stream, backend
from lightning_smooth.smoothing.smoothed import SmoothedClassifier, check_precision
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
        batch_size: noisy copies in a forward pass; the counts do not depend on it, but for
            scores that are equal to within rounding.
        precision: arithmetic of the model: `float32` leaves it in the dtype of its weights,
            without TF32, `bf16` runs it under autocast (faster, and another classifier: certify
            the one that is deployed).

    Raises:
        InputError: sigma is not above 0, alpha not in (0, 1), n or n0 below 1, or the precision
            is not known.
    """

    def __init__(
        self,
        sigma: float,
        n0: int = 100,
        n: int = 100_000,
        alpha: float = 0.001,
        seed: int = 0,
        batch_size: int = BLOCK,
        precision: Precision = "float32",
    ) -> None:
        self._law = GaussianNoise(sigma)
        self.sigma = self._law.sigma
        self.n0 = check_count("n0", n0)
        self.n = check_count("n", n)
        self.alpha = check_probability("alpha", alpha)
        self.seed = check_count("seed", seed, least=0)
        self.batch_size = check_count("batch_size", batch_size)
        self.precision = check_precision(precision)
        self._streams: tuple[Stream, Stream] = ("selection", "estimation")

    def __repr__(self) -> str:
        return (
            f"GaussianCertifier(sigma={self.sigma:g}, n0={self.n0}, n={self.n}, "
            f"alpha={self.alpha:g}, seed={self.seed})"
        )

    @property
    def law(self) -> GaussianNoise:
        """The noise under which the model is smoothed."""
        return self._law

    @property
    def draws(self) -> int:
        """Draws that one image takes."""
        return self.n0 + self.n

    @property
    def largest_radius(self) -> float:
        """The radius that an image gets whose `n` draws all agree: no radius is larger."""
        return largest_gaussian_radius(self.n, self.alpha, self.sigma)

    def for_validation(self, *, n0: int, n: int) -> GaussianCertifier:
        """See `Certifier.for_validation`."""
        other = GaussianCertifier(
            self.sigma, n0, n, self.alpha, self.seed, self.batch_size, self.precision
        )
        other._streams = ("validation selection", "validation estimation")
        return other

    def describe(self) -> dict[str, Any]:
        """See `Certifier.describe`."""
        return {
            "method": "gaussian",
            "sigma": self.sigma,
            "n0": self.n0,
            "n": self.n,
            "alpha": self.alpha,
            "seed": self.seed,
            "block": BLOCK,
            "precision": self.precision,
        }

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
        votes = self._votes(self._smooth(model), image, index, "prediction", self.n)
        top, second = (int(count) for count in votes.topk(2).values)
        p_value = top_two_p_value(top, second)
        return Prediction(
            index=index,
            predicted=int(votes.argmax()) if p_value <= self.alpha else ABSTAIN,
            votes=_sparse(votes),
            n=self.n,
            p_value=p_value,
            alpha=self.alpha,
            seed=self.seed,
        )

    def _certify(self, model: nn.Module, image: Tensor, *, index: int) -> Certificate:
        smoothed = self._smooth(model)
        selection, estimation = self._streams
        votes0 = self._votes(smoothed, image, index, selection, self.n0)
        candidate = int(votes0.argmax())
        votes = self._votes(smoothed, image, index, estimation, self.n)
        hits = int(votes[candidate])
        p_lower = clopper_pearson_lower(hits, self.n, self.alpha)
        certified = p_lower > 0.5
        return Certificate(
            index=index,
            label=None,
            candidate=candidate,
            predicted=candidate if certified else ABSTAIN,
            radius=gaussian_radius(p_lower, self.sigma) if certified else 0.0,
            radius_unit="l2",
            guarantee="certified",
            hits=hits,
            n=self.n,
            n0=self.n0,
            p_lower=p_lower,
            alpha=self.alpha,
            ledger={"estimation": self.alpha},
            method="gaussian",
            parameters={
                "sigma": self.sigma,
                "block": BLOCK,
                "generator": backend(smoothed.device),
                "precision": self.precision,
                "classes": len(votes),
            },
            seed=self.seed,
            seconds=0.0,
            votes=_sparse(votes),
            votes0=_sparse(votes0),
        )

    def _smooth(self, model: nn.Module) -> SmoothedClassifier:
        return SmoothedClassifier(
            model, self.law, batch_size=self.batch_size, precision=self.precision
        )

    def _votes(
        self, smoothed: SmoothedClassifier, image: Tensor, index: int, stream: Stream, n: int
    ) -> Tensor:
        return smoothed.votes(image, NoiseKey(self.seed, index, stream), n)


def _sparse(votes: Tensor) -> dict[int, int]:
    """Classes that have votes, and how many."""
    return {int(c): int(votes[c]) for c in torch.nonzero(votes).flatten()}
