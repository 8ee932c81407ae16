"""Gaussian smoothing of scores instead of votes.

Source: Salman et al., "Provably Robust Deep Learning via Adversarially Trained Smoothed
Classifiers", NeurIPS 2019, appendix A (sigma PPF of a smoothed score is 1-Lipschitz); Maurer and
Pontil 2009 for the bound; THEORY section 2.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from lightning_smooth.certify.base import Certifier
from lightning_smooth.errors import InputError, check_count
from lightning_smooth.maths.bernstein import empirical_bernstein_lower
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import GaussianNoise
from lightning_smooth.smoothing.plans import Draws, Plan
from lightning_smooth.smoothing.rng import NoiseKey, Stream
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.types import ABSTAIN, Precision

SCALE: Final = 2**20
"""Parts of 1 that a score is rounded down to."""

MOST: Final = 2**22
"""Draws whose squares, of at most 2^40 each, add up in 63 bits."""


class SoftGaussianCertifier(Certifier):
    """A radius in l2 for the classifier that averages softmax scores under Gaussian noise.

    What is certified is G(x') = argmax_c E t_c(x' + e), e ~ N(0, sigma^2 I), with the softmax
    scores rounded down to whole parts of 2^20: t_c = floor(2^20 softmax_c) / 2^20. The rounding is
    a part of the classifier, so it costs the guarantee nothing: every t_c is in [0, 1] and they
    add up to at most 1, which is all that the radius needs. Whole numbers add up to the same sum
    in any order.

    Guarantee (`certified`): with probability at least 1 - alpha over the draws, G answers
    `predicted` at every x' with ||x' - x||_2 < radius, or the certifier abstained. Assumptions as
    for `GaussianCertifier`; G is another classifier than the one that counts votes.

    The bound is the empirical Bernstein bound: it gains where scores vary little from draw to
    draw, and never comes as near to 1 as that of votes. Records hold the sums of q = 2^20 t and of
    q^2 over the draws (`sum`, `squares`), and the candidate's and the runner-up's sums over those
    that chose it (`sum0`, `rival0`), in `measured`. Scores that differ by float rounding, as they
    may in batches of other sizes, change these sums in their last digits.

    Args:
        sigma: standard deviation of the noise, in units of pixels in [0, 1].
        n0: draws that choose the class to certify, 1 to 2^22.
        n: fresh draws that bound its mean score, 2 to 2^22.
        alpha: probability with which a certificate may be wrong.
        seed: seed of the noise.
        batch_size: noisy copies in a forward pass, None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`; softmax is in float64.
        speed: how the model is run; None to leave it to a short warm-up.

    Raises:
        InputError: as for `GaussianCertifier`, or n or n0 is out of range.
    """

    method = "gaussian soft"

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
        self.n = check_count("n", n, least=2)
        if max(self.n, self.n0) > MOST:
            raise InputError(
                f"Expected `n` and `n0` to be at most {MOST:,}, so that sums of squares fit into "
                f"63 bits, but got n = {self.n:,} and n0 = {self.n0:,}."
            )
        self._streams: tuple[Stream, Stream] = ("selection", "estimation")

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(sigma={self.sigma:g}, n0={self.n0}, n={self.n}, "
            f"alpha={self.alpha:g}, seed={self.seed})"
        )

    @property
    def draws(self) -> int:
        """Draws that one image takes."""
        return self.n0 + self.n

    @property
    def largest_radius(self) -> float:
        """The radius that an image gets whose scores are all 1: no radius is larger."""
        total, squares = self.n * SCALE, self.n * SCALE * SCALE
        best = empirical_bernstein_lower(total, squares, self.n, self.alpha, scale=SCALE)
        return gaussian_radius(best, self.sigma)

    def for_validation(self, *, n0: int, n: int) -> SoftGaussianCertifier:
        """See `Certifier.for_validation`; a fixed number of draws."""
        other = SoftGaussianCertifier(
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

    def _settings(self) -> dict[str, Any]:
        settings = {"sigma": self.sigma, "n0": self.n0, "n": self.n, "scale": SCALE}
        return {"method": self.method, **settings}

    @staticmethod
    def _tally(scores: Tensor) -> Tensor:
        return soft_scores(scores)

    def _plan(
        self, smoothed: SmoothedClassifier, image: Tensor, *, index: int
    ) -> Plan[Certificate]:
        sums0 = yield Draws(image, NoiseKey(self.seed, index, self._streams[0]), 0, self.n0)
        sums = yield Draws(image, NoiseKey(self.seed, index, self._streams[1]), 0, self.n)
        classes = len(sums) // 2
        first, second = sums0[:classes].topk(2).values.tolist()
        candidate = int(sums0[:classes].argmax())
        total, squares = int(sums[candidate]), int(sums[classes + candidate])
        p_lower = empirical_bernstein_lower(total, squares, self.n, self.alpha, scale=SCALE)
        certified = p_lower > 0.5
        return Certificate(
            index=index,
            label=None,
            candidate=candidate,
            predicted=candidate if certified else ABSTAIN,
            radius=gaussian_radius(p_lower, self.sigma) if certified else 0.0,
            radius_unit="l2",
            guarantee="certified",
            hits=total // SCALE,
            n=self.n,
            n0=self.n0,
            p_lower=p_lower,
            alpha=self.alpha,
            ledger={"estimation": self.alpha},
            method=self.method,
            parameters={
                "sigma": self.sigma,
                **smoothed.drawing,
                "classes": classes,
                "scale": SCALE,
            },
            seed=self.seed,
            seconds=0.0,
            measured={"sum": total, "squares": squares, "sum0": first, "rival0": second},
        )


def soft_scores(scores: Tensor) -> Tensor:
    """Softmax scores of each draw in whole parts of 2^20, rounded down, and their squares.

    Softmax is taken in float64, whose rounding is too small to lift the sum of a draw's parts
    above 2^20.

    Args:
        scores: (B, K).

    Returns:
        (B, 2 K) int64: the parts, then their squares; zeros where a score is not finite.

    >>> soft_scores(torch.tensor([[0.0, 0.0], [0.0, float("nan")]])).tolist()
    [[524288, 524288, 274877906944, 274877906944], [0, 0, 0, 0]]
    """
    finite = scores.isfinite().all(dim=1, keepdim=True)
    soft = torch.where(finite, scores.double(), 0.0).softmax(dim=1)
    parts = (soft * SCALE).floor().long() * finite
    return torch.cat([parts, parts * parts], dim=1)
