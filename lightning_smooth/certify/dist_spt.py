"""DistSPT: a clean image, and what interpolation does to it.

Source: Fischer, Baader, Vechev, NeurIPS 2020, section 5; THEORY section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightning_smooth.certify.distances import Distances, OwnDistances, Sizes
from lightning_smooth.certify.spt import CANDIDATES, VALIDATION, SPTCertifier
from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.interpolation.measure import (
    MeasuredError,
    Stored,
    bounds_of,
    measure_error,
    pairs_of,
)
from lightning_smooth.interpolation.sizes import BIN, AngleSizes
from lightning_smooth.maths.spt import ERROR_SHARE, PAIRS
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.rng import Stream
from lightning_smooth.transforms.geometric import Rotation, Translation
from lightning_smooth.transforms.preprocessing import Preprocessing
from lightning_smooth.types import Precision

_STREAMS: tuple[Stream, Stream] = ("error size", "error")


class DistSPTxCertifier(SPTCertifier):
    """DistSPT^x: rotations or translations of a clean image, whatever interpolation does.

    The classifier is that of `SPTCertifier`: g, smoothed over the transformation, around h,
    smoothed over pixels.

    Guarantee (`certified`): with probability at least 1 - alpha over the draws, g answers
    `predicted` at T_g x for every attack g of l2 norm at most `radius`, or the certifier abstained.
    T is bilinear and 0 outside; `stored` says how T_g x may be rounded. It rests on x being the
    image that is certified: of an image that was attacked already it says nothing. No maximum in it
    is sampled.

    How, for rotations: E is `margin` times the largest error that `error_draws[0]` draws of b show,
    as a function of the angle b + g at which the image is seen (`interpolation.sizes`: the
    published E is one number, about twice as large as most angles need). rho bounds how often the
    error of another b exceeds E for some attack (`error_draws[1]` fresh draws). An outer draw is a
    hit if h holds the class within its E, which an inner test shows. At an attack g the draw b
    answers as b + g does for the clean image, if that is a hit and the error is at most
    E(b + g): `maths.spt` makes radii of it. For translations the largest error of any b and g that
    add up to s is known (`interpolation.pairs`): each draw has that E, and there is no rho.

    Args:
        transform: see `SPTCertifier`, as for all that is not here.
        scale: standard deviation of the noise on each parameter, in its unit.
        sigma: standard deviation of the noise on pixels, in units of [0, 1].
        radii: l2 norms of attacks to decide, in the unit of the parameters.
        largest: greatest attack for which the error is bounded.
        preprocessing: what the classifier does to an image before it adds noise.
        error_draws: outer draws that choose E, and that bound rho, of rotations.
        margin: E is so many times the largest error found, of rotations.
        stored: how an attack may store its image.
        n0: outer draws that choose the class, each with 16 inner ones.
        n: outer draws at most.
        inner: draws of an inner test at most.
        level: error rate of an inner test.
        alpha: probability with which a certificate may be wrong: a fifth for rho, of rotations.
        seed: seed of all draws.
        batch_size: noisy copies in a forward pass; None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run.

    Raises:
        InputError: the transformation is another one, or an argument is out of its range.
    """

    method = "dist spt x"

    def __init__(
        self,
        transform: Rotation | Translation,
        scale: float,
        sigma: float,
        radii: Sequence[float],
        largest: float | None = None,
        preprocessing: Preprocessing | None = None,
        error_draws: tuple[int, int] = (100, 400),
        margin: float = 1.15,
        stored: Stored = "float32",
        n0: int = 8,
        n: int = 1000,
        inner: int = 2000,
        level: float = 0.001,
        alpha: float = 0.01,
        seed: int = 0,
        batch_size: int | None = None,
        precision: Precision = "float32",
        speed: Speed | None = None,
    ) -> None:
        spent = ERROR_SHARE * alpha if isinstance(transform, Rotation) else 0.0
        super().__init__(
            transform, scale, sigma, radii, largest, preprocessing, stored, n0, n, inner, level,
            alpha, spent, seed, batch_size, precision, speed,
        )  # fmt: skip
        chosen, fresh = error_draws
        self.error_draws = check_count("error_draws", chosen), check_count("error_draws", fresh)
        self.margin = check_positive("margin", margin)

    def for_validation(self, *, n0: int, n: int) -> DistSPTxCertifier:
        """See `Certifier.for_validation`: `n` outer draws at most, and a tenth of the errors."""
        chosen, fresh = (max(1, count // 10) for count in self.error_draws)
        other = DistSPTxCertifier(
            self.transform, self.scale, self.sigma, self.radii, self.largest, self.preprocessing,
            (chosen, fresh), self.margin, self.stored, max(1, n0 // CANDIDATES), n, self.inner,
            self.level, self.alpha, self.seed, self.batch_size, self.precision, self.speed,
        )  # fmt: skip
        other._part = VALIDATION
        return other

    def error(self, image: Tensor, index: int) -> MeasuredError:
        """Bound what interpolation of rotations does to an image, by draws of its own.

        Args:
            image: (C, H, W) in [0, 1].
            index: the image's index in its data set.

        Raises:
            InputError: the certifier is of translations, whose errors need no draws.
        """
        if not isinstance(self.transform, Rotation):
            raise InputError(
                f"Expected a certifier of rotations, but got {self!r}: `interpolation.pairs` has "
                "the errors of translations."
            )
        chosen, fresh = (
            self._drawn(self._key(index, stream), 0, count).squeeze(1)
            for stream, count in zip(_STREAMS, self.error_draws, strict=True)
        )
        engine = bounds_of(image, self.transform, self.largest, self.preprocessing, self.stored)
        spent = self._ledger["error"]
        return measure_error(engine, chosen, fresh, margin=self.margin, alpha=spent)

    def distances(self, image: Tensor, index: int) -> Distances:
        """See `SPTCertifier.distances`: E by the angle, with rho; of translations, by the draw."""
        if isinstance(self.transform, Translation):
            asked = self.transform, self.largest, self.preprocessing, self.stored
            return OwnDistances(engine=pairs_of(image, *asked))
        found = self.error(image, index)
        if isinstance(found.size, AngleSizes):
            size, smallest = found.size.largest, float(found.size.values.min())
        else:
            size = smallest = found.size
        return Sizes(
            size=found.size,
            rho=found.rho,
            measured={
                "failures": found.failures,
                "error_draws": found.draws,
                "rho": found.rho,
                "size": size,
                "smallest": smallest,
            },
        )

    def _own(self) -> dict[str, Any]:
        rotation = isinstance(self.transform, Rotation)
        return {
            **super()._own(),
            "error_draws": list(self.error_draws) if rotation else None,
            "margin": self.margin if rotation else None,
            "bin": BIN if rotation else None,
            **({} if rotation else {"errors": PAIRS}),
        }
