"""Randomized smoothing with uniform noise, certified in l1.

Source: Lee et al., "Tight Certificates of Adversarial Robustness for Randomly Smoothed
Classifiers", NeurIPS 2019; Yang et al., "Randomized Smoothing of All Shapes and Sizes", ICML 2020;
THEORY section 4.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_smooth.certify.base import Certifier, sparse
from lightning_smooth.errors import check_count
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.uniform import largest_uniform_radius, uniform_radius
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import UniformNoise
from lightning_smooth.smoothing.plans import Draws, Plan
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey, Stream, backend
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.types import ABSTAIN, Precision


class UniformCertifier(Certifier):
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
            law, alpha=alpha, seed=seed, batch_size=batch_size, precision=precision, speed=speed
        )
        self.lam = law.lam
        self.n0 = check_count("n0", n0)
        self.n = check_count("n", n)
        self._streams: tuple[Stream, Stream] = ("selection", "estimation")

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(lam={self.lam:g}, n0={self.n0}, n={self.n}, "
            f"alpha={self.alpha:g}, seed={self.seed})"
        )

    @property
    def draws(self) -> int:
        """Draws that one image takes."""
        return self.n0 + self.n

    @property
    def largest_radius(self) -> float:
        """The l1 radius that an image gets whose `n` draws all agree: no radius is larger."""
        return largest_uniform_radius(self.n, self.alpha, self.lam)

    def for_validation(self, *, n0: int, n: int) -> UniformCertifier:
        """See `Certifier.for_validation`; a fixed number of draws."""
        other = UniformCertifier(
            self.lam,
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

    def _settings(self) -> dict[str, Any]:
        return {"method": self.method, "lam": self.lam, "n0": self.n0, "n": self.n}

    def _plan(
        self, smoothed: SmoothedClassifier, image: Tensor, *, index: int
    ) -> Plan[Certificate]:
        votes0 = yield Draws(image, NoiseKey(self.seed, index, self._streams[0]), 0, self.n0)
        votes = yield Draws(image, NoiseKey(self.seed, index, self._streams[1]), 0, self.n)
        candidate = int(votes0.argmax())
        hits = int(votes[candidate])
        p_lower = clopper_pearson_lower(hits, self.n, self.alpha)
        certified = p_lower > 0.5
        return Certificate(
            index=index,
            label=None,
            candidate=candidate,
            predicted=candidate if certified else ABSTAIN,
            radius=uniform_radius(p_lower, self.lam) if certified else 0.0,
            radius_unit="l1",
            guarantee="certified",
            hits=hits,
            n=self.n,
            n0=self.n0,
            p_lower=p_lower,
            alpha=self.alpha,
            ledger={"estimation": self.alpha},
            method=self.method,
            parameters={
                "lam": self.lam,
                "block": BLOCK,
                "generator": backend(smoothed.device),
                **smoothed.arithmetic,
                "classes": len(votes),
            },
            seed=self.seed,
            seconds=0.0,
            votes=sparse(votes),
            votes0=sparse(votes0),
        )
