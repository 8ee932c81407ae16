"""DistSPT^D: a clean image of a distribution whose error was bounded once, on other images.

Source: Fischer, Baader, Vechev, NeurIPS 2020, section 5; THEORY section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor

from lightning_smooth.certify.distances import Distances, Sizes
from lightning_smooth.certify.spt import CANDIDATES, VALIDATION, SPTCertifier
from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.measure import Stored
from lightning_smooth.interpolation.population import PopulationError
from lightning_smooth.interpolation.sizes import extremes
from lightning_smooth.maths.spt import HOLDS_FOR
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.transforms.geometric import Rotation, Translation
from lightning_smooth.transforms.preprocessing import Preprocessing
from lightning_smooth.types import Precision

_MEASURED: Final = ("transform", "scale", "preprocessing", "stored")


class DistSPTDCertifier(SPTCertifier):
    """DistSPT^D: rotations or translations of an image of a distribution, with E from others.

    The classifier is that of `SPTCertifier`: g, smoothed over the transformation, around h,
    smoothed over pixels.

    Guarantee (`certified`, for a fraction q of the distribution): as q < 1, this is a statement
    about the distribution, and not about this image. Among the images x of the distribution there
    is a fraction of at least q for which, with probability at least 1 - alpha over the draws made
    here, g answers `predicted` at T_g x for every attack g of l2 norm at most `radius`, or the
    certifier abstained. Which images they are is not known. T is bilinear and 0 outside; `stored`
    says how T_g x may be rounded. No maximum in it is sampled.

    That q was bounded by other images, once for all certificates: with confidence 1 - alpha of
    `error` (`PopulationError`). Where that bound is right, an image that is drawn from the
    distribution has a wrong certificate with probability at most alpha + (1 - q). Of an image from
    elsewhere, or of one that was attacked already, it says nothing.

    How: as `DistSPTxCertifier`, with the E and the rho of `error`, as `scripts/measure_error` finds
    them, in place of a bound of each image's own error; E is the same for all images, or the same
    multiple of an image's `roughness`, as `error` says. The ledger is of the draws made here alone;
    q, rho, the counts that they follow from, their alpha and a digest of the file stand apart, in
    `population` of the record's parameters, and `holds_for` says what they mean.

    Args:
        transform: see `SPTCertifier`, as for all that is not here.
        scale: standard deviation of the noise on each parameter, in its unit.
        sigma: standard deviation of the noise on pixels, in units of [0, 1].
        radii: l2 norms of attacks to decide, in the unit of the parameters.
        error: what is known of the distribution's errors, or the file that it was saved in.
        preprocessing: what the classifier does to an image before it adds noise.
        stored: how an attack may store its image.
        n0: outer draws that choose the class, each with 16 inner ones.
        n: outer draws at most.
        inner: draws of an inner test at most.
        level: error rate of an inner test.
        alpha: probability with which a certificate may be wrong of an image for which E holds.
        seed: seed of all draws.
        batch_size: noisy copies in a forward pass; None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run.

    Raises:
        InputError: the transformation is another one, or an argument is out of its range, or
            `error` cannot be read, or was measured for something else, or shows nothing (q is 0);
            in the call: the image is of another shape.
    """

    method = "dist spt d"

    def __init__(
        self,
        transform: Rotation | Translation,
        scale: float,
        sigma: float,
        radii: Sequence[float],
        error: str | PopulationError,
        preprocessing: Preprocessing | None = None,
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
        self.error = error if isinstance(error, PopulationError) else PopulationError.load(error)
        super().__init__(
            transform, scale, sigma, radii, self.error.largest, preprocessing, stored, n0, n, inner,
            level, alpha, 0.0, seed, batch_size, precision, speed,
        )  # fmt: skip
        own = super()._own()
        for name in _MEASURED:
            if own[name] != getattr(self.error, name):
                raise InputError(
                    f"Expected an `error` that was measured for {name} = {own[name]!r}, but it is "
                    f"for {getattr(self.error, name)!r}: measure another (scripts/measure_error)."
                )
        if self.error.q <= 0:
            raise InputError(
                f"Expected an `error` that holds for some part of the distribution, but "
                f"{self.error.passes} of {len(self.error.failures)} images passed, which shows "
                "q = 0: verify with more images, or choose a larger margin."
            )

    def for_validation(self, *, n0: int, n: int) -> DistSPTDCertifier:
        """See `Certifier.for_validation`: `n` outer draws at most."""
        other = DistSPTDCertifier(
            self.transform, self.scale, self.sigma, self.radii, self.error, self.preprocessing,
            self.stored, max(1, n0 // CANDIDATES), n, self.inner, self.level, self.alpha, self.seed,
            self.batch_size, self.precision, self.speed,
        )  # fmt: skip
        other._part = VALIDATION
        return other

    def distances(self, image: Tensor, index: int) -> Distances:
        """See `SPTCertifier.distances`: E and rho of the distribution."""
        del index
        if tuple(image.shape) != self.error.shape:
            raise InputError(
                f"Expected an image of shape {self.error.shape}, as those are whose error was "
                f"measured, but got {tuple(image.shape)}."
            )
        size = self.error.size_of(image, self.preprocessing)
        smallest, largest = extremes(size)
        found = {"rho": self.error.rho, "q": self.error.q, "size": largest, "smallest": smallest}
        return Sizes(size=size, rho=self.error.rho, measured=found)

    def _own(self) -> dict[str, Any]:
        return {**super()._own(), "holds_for": HOLDS_FOR, "population": self.error.summary()}
