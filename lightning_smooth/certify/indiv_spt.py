"""IndivSPT: an image that may have been attacked already, and its unknown original.

Source: Fischer, Baader, Vechev, NeurIPS 2020, section 5; THEORY section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lightning_smooth.certify.distances import Distances, OwnDistances
from lightning_smooth.certify.spt import CANDIDATES, VALIDATION, SPTCertifier
from lightning_smooth.errors import check_count
from lightning_smooth.interpolation.measure import Stored
from lightning_smooth.interpolation.original import OriginalError
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.transforms.geometric import Rotation, Translation
from lightning_smooth.transforms.preprocessing import Preprocessing
from lightning_smooth.types import Precision


class IndivSPTCertifier(SPTCertifier):
    """IndivSPT: was this image attacked, the classifier answers as for its original.

    The classifier is that of `SPTCertifier`: g, smoothed over the transformation, around h,
    smoothed over pixels.

    Guarantee (`certified`): let x' be the image that is certified, and x' = T_g x for some image x
    in [0, 1] and some attack g of l2 norm at most `radius`, stored as `stored` says. With
    probability at least 1 - alpha over the draws, g answers `predicted` at x' and at x, or the
    certifier abstained. Neither x nor g are known. T is bilinear and 0 outside.

    How: an outer draw b is a hit if h holds the class at K T_b x' within the largest distance to
    K T_{b+g} x of any original that the image may have had (`interpolation.original`), shown by an
    inner test. The published way tests one E for all draws, and bounds how often it is exceeded;
    here each draw has its own, and there is no rho. Where no original is possible, `pieces` of the
    certificate is 0, and it abstains.

    Args:
        transform: see `SPTCertifier`, as for all that is not here.
        scale: standard deviation of the noise on each parameter, in its unit.
        sigma: standard deviation of the noise on pixels, in units of [0, 1].
        radii: l2 norms of attacks to decide, in the unit of the parameters.
        largest: greatest attack whose originals are searched.
        preprocessing: what the classifier does to an image before it adds noise.
        pieces: of the range of each parameter, for the originals; rounded up to a power of two.
        stored: how the image was stored: `uint8` if it was rounded to 8 bits.
        n0: outer draws that choose the class, each with 16 inner ones.
        n: outer draws at most.
        inner: draws of an inner test at most.
        level: error rate of an inner test.
        alpha: probability with which a certificate may be wrong.
        seed: seed of all draws.
        batch_size: noisy copies in a forward pass; None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run.

    Raises:
        InputError: the transformation is another one, or an argument is out of its range.
    """

    method = "indiv spt"

    def __init__(
        self,
        transform: Rotation | Translation,
        scale: float,
        sigma: float,
        radii: Sequence[float],
        largest: float | None = None,
        preprocessing: Preprocessing | None = None,
        pieces: int = 256,
        stored: Stored = "uint8",
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
        super().__init__(
            transform, scale, sigma, radii, largest, preprocessing, stored, n0, n, inner, level,
            alpha, 0.0, seed, batch_size, precision, speed,
        )  # fmt: skip
        self.pieces = check_count("pieces", pieces)

    def for_validation(self, *, n0: int, n: int) -> IndivSPTCertifier:
        """See `Certifier.for_validation`: `n` outer draws at most."""
        other = IndivSPTCertifier(
            self.transform, self.scale, self.sigma, self.radii, self.largest, self.preprocessing,
            self.pieces, self.stored, max(1, n0 // CANDIDATES), n, self.inner, self.level,
            self.alpha, self.seed, self.batch_size, self.precision, self.speed,
        )  # fmt: skip
        other._part = VALIDATION
        return other

    def distances(self, image: Tensor, index: int) -> Distances:
        """See `SPTCertifier.distances`: for each draw what the originals allow."""
        del index
        engine = OriginalError(
            image, self.transform, self.largest, self.preprocessing,
            quantised=self.stored == "uint8", pieces=self.pieces,
        )  # fmt: skip
        count = engine.pieces
        return OwnDistances(engine=engine, possible=count > 0, measured={"pieces": count})

    def _own(self) -> dict[str, Any]:
        return {**super()._own(), "pieces": self.pieces}
