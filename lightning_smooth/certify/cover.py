"""A range covered by balls in pixels: smoothing over pixels, at several parameters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from lightning_smooth.certify.costs import Costs, stored_off
from lightning_smooth.certify.ranges import RangeCertifier
from lightning_smooth.interpolation.measure import Stored
from lightning_smooth.maths.latent import LatentShift
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import GaussianNoise
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box, Precision
from lightning_smooth.variation import Cells


class CoverCertifier(RangeCertifier):
    """Covers a range by l2 balls around transformed images, each certified on its own.

    The classifier is that of Gaussian smoothing: g(x) = argmax_c P(f(x + e) = c), e ~ N(0, sigma^2
    I). It knows nothing of the transformation.

    Guarantee (`certified`): with probability at least 1 - alpha over the draws, g answers
    `predicted` at tau(theta, x) for every theta in `box` times `radius` (its faces included at 1),
    or the certifier abstained. tau is the real transformation; `stored` says how tau(theta, x) may
    be rounded. No maximum in it is sampled: between the vertices of a grid `variation` bounds how
    far an image is from the straight line.

    Source: Li et al., "TSS", CCS 2021 (section 5.2: sampled cover of rotation and scaling, with a
    Lipschitz bound of the distance to the nearest anchor); THEORY section 8. Here: every
    transformation of one or two parameters that `variation` bounds, anchors chosen as they are
    needed, and tests that stop when they know.

    Args:
        transform: what an attack does to images.
        box: (least, greatest) of each parameter that is attacked, one or two, around its identity;
            `{angle: [-30, 30]}`.
        sigma: standard deviation of the noise on pixels, in units of [0, 1].
        radii: see `RangeCertifier`, as for all that follows.
        reach: what a test is asked to show at first, in standard deviations.
        anchors: tests at most.
        n0: draws that choose the class, at the image itself.
        n: draws of a test at most.
        stray: how far images may stray between vertices, in l2, before a cell is halved; None for
            a tenth of sigma.
        stored: how an attack may store its image.
        alpha: probability with which a certificate may be wrong.
        seed: seed of all draws.
        batch_size: noisy copies in a forward pass; None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run.

    Raises:
        InputError: as for `RangeCertifier`.
    """

    method = "cover"

    def __init__(
        self,
        transform: Transform,
        box: Box,
        sigma: float,
        radii: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        reach: float = 1.2,
        anchors: int = 64,
        n0: int = 64,
        n: int = 10_000,
        stray: float | None = None,
        stored: Stored = "float32",
        alpha: float = 0.001,
        seed: int = 0,
        batch_size: int | None = None,
        precision: Precision = "float32",
        speed: Speed | None = None,
    ) -> None:
        law = GaussianNoise(sigma)
        self.sigma = law.sigma
        super().__init__(
            law, transform, box, radii, reach, anchors, n0, n,
            0.1 * law.sigma if stray is None else stray,
            stored, alpha, seed, batch_size, precision, speed,
        )  # fmt: skip

    @cached_property
    def shift(self) -> LatentShift:
        """See `RangeCertifier.shift`: the l2 distance, in sigmas."""
        return LatentShift(self.sigma)

    def costs(self, cells: Cells) -> Costs:
        """See `RangeCertifier.costs`: the farthest corner, and how far images stray."""
        latents = self.encoded(cells.images)
        between = self.shift.pairs(latents.flatten(1).double().numpy())
        # A norm is convex: of a segment, or a hull, it is largest at a corner.
        corners = between[:, cells.corners.numpy()].max(axis=2)
        stray = cells.stray.numpy() + stored_off(cells.images)
        return Costs(
            latents=latents,
            cells=corners + stray / self.sigma * (1 + 1e-12),
            slack=float(stray.max()),
        )

    def _own(self) -> dict[str, Any]:
        return {"sigma": self.sigma, "dtype": str(torch.float32).removeprefix("torch.")}
