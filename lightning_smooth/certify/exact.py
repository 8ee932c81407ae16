"""Gaussian smoothing whose certificate holds for the arithmetic of the machine.

Source: Voracek and Hein, "Sound Randomized Smoothing in Floating-Point Arithmetic", ICLR 2023, who
show classifiers whose certificates floating-point noise makes false; Jin et al., "Getting a-Round
Guarantees: Floating-Point Attacks on Certified Robustness", 2022; THEORY section 12.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import torch
from torch import Tensor, nn

from lightning_smooth.certify.gaussian import GaussianCertifier
from lightning_smooth.errors import InputError
from lightning_smooth.maths.hypothesis import top_two_p_value
from lightning_smooth.maths.rounded import BITS, GRID
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.prediction import Prediction
from lightning_smooth.smoothing.checks import check_image
from lightning_smooth.smoothing.laws import RoundedGaussianNoise
from lightning_smooth.smoothing.plans import Plan
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.types import ABSTAIN

_TOLERANCE: Final = 2.0**-12
"""How far, in steps of 1/255, a pixel may be from the grid: ten times what float32 rounds off."""


class ExactGaussianCertifier(GaussianCertifier):
    """CERTIFY whose noise is drawn exactly: a radius in l2 that no rounding error can break.

    What is smoothed is the classifier that first rounds its input to multiples of 1/255 and clips
    it to [-k, k + 1], k = max(1, floor(6 sigma)): g(x') = argmax_c P(f(clip(round(x' + e))) = c),
    with e ~ N(0, sigma^2 I) of real numbers. At an image x of 8 bits, clip(round(x + e)) takes
    finitely many values, whose probabilities do not depend on how x + e would be computed; they
    are drawn exactly (`maths.rounded`).

    Guarantee (`certified`): with probability at least 1 - alpha over the draws, g answers
    `predicted` at every real x' with ||x' - x||_2 < radius, or the certifier abstained. Here x is
    the image of 8 bits: the pixels m/255 themselves, not the nearest floats. It rests on the
    generator's integers being independent and uniform, and on the model being the same function of
    its input at every draw; not on any rounding of x + e.

    What it says of a deployed classifier: at x' of 8 bits, as all image files are, draws of this
    law are draws of g. A classifier that is handed other x' and rounds them to 8 bits first
    answers g(round(x')); it is certified within radius - sqrt(d)/510 for d numbers an image, and
    within radius/2, as rounding moves no pixel farther from x than to twice its distance.

    A draw is lost where one of its pixels has an integer that belongs to no value (below 2e-15 a
    pixel at sigma 0.5): it counts in n, and is never a hit.

    Args:
        sigma: standard deviation of the noise, in units of pixels in [0, 1].
        n0: draws that choose the class to certify.
        n: fresh draws that bound its probability.
        alpha: probability with which a certificate may be wrong.
        seed: seed of the noise.
        batch_size: noisy copies in a forward pass, None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run; None to leave it to a short warm-up.

    Raises:
        InputError: as for `GaussianCertifier`, or sigma is above 100. The calls raise it for an
            image that is not of 8 bits: round it first, if that is the image to certify.
    """

    method = "gaussian exact"

    law: RoundedGaussianNoise

    def _noise(self, sigma: float) -> RoundedGaussianNoise:
        return RoundedGaussianNoise(sigma)

    def _fixed(self, n0: int, n: int) -> ExactGaussianCertifier:
        kind = ExactGaussianCertifier
        return kind(
            self.sigma, n0, n, self.alpha, self.seed, self.batch_size, self.precision, self.speed
        )

    def predict(self, model: nn.Module, image: Tensor, *, index: int) -> Prediction:
        """PREDICT: g's class, or an abstention; see `GaussianCertifier.predict`.

        Draws without a vote are counted for the runner-up, as some of them may have been.

        Raises:
            InputError: as for `GaussianCertifier.predict`, or the image is not of 8 bits.
        """
        found = super().predict(model, check_grid(image), index=index)
        top, *rest = sorted(found.votes.values(), reverse=True)
        rival = max(rest, default=0) + found.n - sum(found.votes.values())
        p_value = top_two_p_value(top, rival) if top > rival else 1.0
        predicted = found.predicted if p_value <= self.alpha else ABSTAIN
        return dataclasses.replace(found, predicted=predicted, p_value=p_value)

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "grid": GRID}

    def _plan(
        self, smoothed: SmoothedClassifier, image: Tensor, *, index: int
    ) -> Plan[Certificate]:
        certificate = yield from super()._plan(smoothed, check_grid(image), index=index)
        exact = {
            "grid": GRID,
            "clip": [self.law.low, self.law.high],
            "bits": BITS,
        }
        return dataclasses.replace(certificate, parameters={**certificate.parameters, **exact})


def check_grid(image: Tensor) -> Tensor:
    """Return an image, if it is one of 8 bits: its pixels are multiples of 1/255.

    Args:
        image: (C, H, W), floating point, in [0, 1].

    Raises:
        InputError: a pixel lies farther from all multiples than float32 rounds off.
    """
    steps = check_image(image).detach().to("cpu", torch.float64) * GRID
    off = float((steps - steps.round()).abs().max())
    if off > _TOLERANCE:
        raise InputError(
            f"Expected `image` with pixels that are multiples of 1/{GRID}, but one lies {off:.3g} "
            "steps beside: the exact noise certifies images of 8 bits. Resize before, not after "
            "the conversion to floats, or certify the rounded image: (image * 255).round() / 255."
        )
    return image
