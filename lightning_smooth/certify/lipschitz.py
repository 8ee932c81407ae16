"""Certificates of a model with a known Lipschitz constant: no draws, no probability.

Source: Tsuzuku, Sato, Sugiyama, "Lipschitz-Margin Training", NeurIPS 2018, section 4; THEORY
section 2.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final, Literal, get_args

import torch
from torch import Tensor

from lightning_smooth.certify.base import Certifier
from lightning_smooth.errors import InputError, check_positive
from lightning_smooth.maths.lipschitz import lipschitz_radius
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import NoNoise
from lightning_smooth.smoothing.plans import Draws, Plan
from lightning_smooth.smoothing.rng import NoiseKey
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.types import ABSTAIN, Precision

Norm = Literal["l2", "l1", "linf"]

_LARGEST: Final = 2.0**63
"""Scores of this size are not kept in records."""


class LipschitzCertifier(Certifier):
    """The margin of a model's scores over its Lipschitz constant: a radius for the model itself.

    Guarantee (`certified`): the model answers `predicted` at every x' with ||x' - x|| < radius,
    without a probability of error. It rests on `lipschitz` being a true constant: for every class c
    and all real x', x'', |f_c(x') - f_c(x'')| <= lipschitz ||x' - x''|| in the `norm`, for the raw
    scores f_c that the model returns (with its normalisation, before any softmax). A constant that
    was measured on samples is a lower bound and proves nothing. An abstention says that the top
    two scores are nearer than rounding can tell.

    Args:
        lipschitz: the constant, of every single score; for the difference of two it is twice that.
        rounding: by how much a score, as the machine computes it, may differ from that of the
            function whose constant is known, at any input; it has to be stated. 0 takes the
            computed scores for exact ones: radii can then be too large by what float32 rounds off
            (in bf16 and float16, which are never exact, it is refused). Otherwise it is at least
            what rounding the scores themselves may take, half a unit in the last place of the
            largest.
        norm: norm in which the constant holds, and the unit of the radius: `l2`, `l1` or `linf`,
            over all pixels and channels in [0, 1].
        batch_size: images in a forward pass, None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run; None to leave it to a short warm-up.

    Raises:
        InputError: the constant is not above 0, rounding below 0, or 0 in bf16, or the norm or the
            precision is not known. When it runs: an image's scores are so large that rounding them
            takes more than `rounding`, or that is 0 and the weights are coarser than float32.
    """

    method = "lipschitz"
    deterministic: ClassVar[bool] = True

    def __init__(
        self,
        lipschitz: float,
        rounding: float,
        norm: Norm = "l2",
        batch_size: int | None = None,
        precision: Precision = "float32",
        speed: Speed | None = None,
    ) -> None:
        super().__init__(
            NoNoise(), alpha=0.0, seed=0, batch_size=batch_size, precision=precision, speed=speed
        )
        self.lipschitz = check_positive("lipschitz", lipschitz)
        if norm not in get_args(Norm):
            raise InputError(f"Expected `norm` to be one of {get_args(Norm)}, but got {norm!r}.")
        self.norm = norm
        if not 0 <= rounding < math.inf:
            raise InputError(f"Expected `rounding` to be at least 0, but got {rounding!r}.")
        if rounding == 0 and self.precision == "bf16":
            raise InputError(
                "Expected `rounding` above 0 in bf16, which keeps 8 bits of a score, but got 0: "
                "state by how much bf16 may move a score, or certify in float32."
            )
        self.rounding = float(rounding)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(lipschitz={self.lipschitz:g}, rounding={self.rounding:g}, "
            f"norm={self.norm!r})"
        )

    @property
    def draws(self) -> int:
        """One: the image itself."""
        return 1

    def for_validation(self, *, n0: int, n: int) -> LipschitzCertifier:
        """See `Certifier.for_validation`; there are no draws, so it is the same certifier."""
        del n0, n
        return LipschitzCertifier(
            self.lipschitz, self.rounding, self.norm, self.batch_size, self.precision, self.speed
        )

    def _settings(self) -> dict[str, Any]:
        settings = {"lipschitz": self.lipschitz, "rounding": self.rounding, "norm": self.norm}
        return {"method": self.method, **settings}

    @staticmethod
    def _tally(scores: Tensor) -> Tensor:
        return score_bits(scores)

    def _plan(
        self, smoothed: SmoothedClassifier, image: Tensor, *, index: int
    ) -> Plan[Certificate]:
        # One draw: the sum that comes back is its bits.
        bits = yield Draws(image, NoiseKey(self.seed, index, "estimation"), 0, 1)
        scores = bits[:-1].view(torch.float64)
        candidate = int(scores.argmax())
        top, second = scores.topk(2).values.tolist()
        if max(abs(top), abs(second)) >= _LARGEST:
            raise InputError(
                f"Expected scores below 2^63, but image {index} has {top:g} and {second:g}: divide "
                "the model's scores by a constant, and `lipschitz` and `rounding` with them."
            )
        coarse = smoothed.roundoff > torch.finfo(torch.float32).eps / 2
        if self.rounding == 0 and coarse:
            raise InputError(
                "Expected `rounding` above 0 for a model whose weights are coarser than float32, "
                "but got 0: state by how much they may move a score, or certify model.float()."
            )
        least = smoothed.roundoff * max(abs(top), abs(second))
        if 0 < self.rounding < least:
            raise InputError(
                f"Expected `rounding` to be at least {least:.3g}, what rounding takes from scores "
                f"as large as those of image {index}, {top:g} and {second:g}, in {self.precision}, "
                f"but got {self.rounding:g}: state a bound of all that the network rounds off."
            )
        radius = lipschitz_radius(top, second, self.lipschitz, rounding=self.rounding)
        return Certificate(
            index=index,
            label=None,
            candidate=candidate,
            predicted=ABSTAIN if radius is None else candidate,
            radius=radius or 0.0,
            radius_unit=self.norm,
            guarantee="certified",
            hits=0,
            n=0,
            n0=0,
            p_lower=0.0,
            alpha=0.0,
            ledger={},
            method=self.method,
            parameters={
                "lipschitz": self.lipschitz,
                "rounding": self.rounding,
                "norm": self.norm,
                **smoothed.arithmetic,
                "classes": len(scores),
            },
            seed=self.seed,
            seconds=0.0,
            measured={"top": top, "second": second},
        )


def score_bits(scores: Tensor) -> Tensor:
    """Scores as the bits of float64 numbers, and whether they count.

    Args:
        scores: (B, K).

    Returns:
        (B, K + 1) int64: the bits, and a last column of ones; zeros where a score is not finite.
        Only of a single row do sums mean anything.

    >>> score_bits(torch.tensor([[0.0, 1.5]]))[:, :-1].view(torch.float64).tolist()
    [[0.0, 1.5]]
    """
    finite = scores.isfinite().all(dim=1, keepdim=True)
    bits = scores.double().contiguous().view(torch.int64)
    return torch.cat([bits, torch.ones_like(bits[:, :1])], dim=1) * finite
