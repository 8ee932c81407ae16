"""A range covered in the latents of a surrogate network, for the real transformation."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_smooth.certify.costs import Costs, full_precision, stored_off, widths
from lightning_smooth.certify.ranges import RangeCertifier
from lightning_smooth.interpolation.measure import Stored
from lightning_smooth.maths.latent import LatentShift
from lightning_smooth.models.fingerprint import fingerprint
from lightning_smooth.models.surrogate import SurrogateNetwork
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.latent import LatentNoise
from lightning_smooth.smoothing.rng import NoiseKey
from lightning_smooth.smoothing.sharing import Share
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.types import Box, Precision
from lightning_smooth.variation import Cells


class Decoded(nn.Module):
    """A classifier of images as one of latents: f(H(c)).

    Args:
        surrogate: H is its.
        model: f: images (B, C, H, W) -> scores (B, K).
    """

    def __init__(self, surrogate: SurrogateNetwork, model: nn.Module) -> None:
        super().__init__()
        self.surrogate = surrogate
        self.model = model

    def forward(self, latents: Tensor) -> Tensor:
        """Scores (B, K) of latents (B, D, h, w)."""
        scores: Tensor = self.model(self.surrogate.decode(latents))
        return scores


class LatentCertifier(RangeCertifier):
    """What certifiers share that smooth inside a surrogate network H(F1(theta) + F2(x)).

    The classifier: g(x) = argmax_c P(f(H(F1(theta) + e + F2(x))) = c), theta ~ N(identity,
    scales^2), e ~ N(0, sigma^2 I) in the latents.

    Args:
        surrogate: the network.
        scales: standard deviation of each of its parameters; none: noise in latents alone.
        sigma: standard deviation of the noise in latents.
        box: see `RangeCertifier`, as for all that follows; within the surrogate's.
        radii: parts of the box to decide.
        reach: what a test is asked to show at first, in standard deviations.
        anchors: tests at most.
        n0: draws that choose the class.
        n: draws of a test at most.
        stray: how far images may stray between vertices, in l2.
        stored: how an attack may store its image.
        alpha: probability with which a certificate may be wrong.
        seed: seed of all draws.
        batch_size: noisy copies in a forward pass; None to choose.
        precision: arithmetic of the model.
        speed: how the model is run.

    Raises:
        InputError: as for `RangeCertifier`; the box is not one of the surrogate's parameters within
            their ranges; or scales do not fit it.
    """

    def __init__(
        self,
        surrogate: SurrogateNetwork,
        scales: Mapping[str, float] | None,
        sigma: float,
        box: Box | None,
        radii: Sequence[float],
        reach: float,
        anchors: int,
        n0: int,
        n: int,
        stray: float | None,
        stored: Stored,
        alpha: float,
        seed: int,
        batch_size: int | None,
        precision: Precision,
        speed: Speed | None,
    ) -> None:
        # A copy: what becomes of the caller's is none of the certificates' business.
        self.surrogate = copy.deepcopy(surrogate).eval().requires_grad_(False).cpu().float()
        law = LatentNoise(self.surrogate, scales or {}, sigma)
        self.sigma, self.scales = law.sigma, law.scales
        box = surrogate.box if box is None else surrogate.check_box(box)
        super().__init__(
            law, surrogate.transform, box, radii, reach, anchors, n0, n,
            0.1 * law.sigma if stray is None else stray,
            stored, alpha, seed, batch_size, precision, speed,
        )  # fmt: skip

    def encode(self, images: Tensor) -> Tensor:
        """See `Certifier.encode`: F2, on the CPU, in float32."""
        with full_precision():
            return self.surrogate.encode(images.cpu().float()).to(images)

    def seen(self, image: Tensor, key: NoiseKey) -> Tensor:
        """See `Certifier.seen`: the image that the surrogate makes."""
        with torch.no_grad():
            return self.surrogate.decode(super().seen(image, key)[None])[0]

    def smooth(self, model: nn.Module, share: Share | None = None) -> SmoothedClassifier:
        """See `Certifier.smooth`: f(H(.)), smoothed over latents."""
        tensors = [*model.parameters(), *model.buffers()]
        surrogate = self.surrogate
        if tensors and tensors[0].device.type != "cpu":
            surrogate = copy.deepcopy(surrogate).to(tensors[0].device)
        return SmoothedClassifier(
            Decoded(surrogate, model),
            LatentNoise(surrogate, self.scales, self.sigma),
            batch_size=self.batch_size,
            precision=self.precision,
            speed=self.speed,
            share=share,
        )

    @cached_property
    def shift(self) -> LatentShift:
        """See `RangeCertifier.shift`: with the surrogate's slopes."""
        if not self.scales:
            return LatentShift(self.sigma)
        slopes, radius = self.surrogate.slopes()
        return LatentShift(self.sigma, list(self.scales.values()), slopes.cpu().numpy(), radius)

    @cached_property
    def _fingerprint(self) -> dict[str, str]:
        return fingerprint(self.surrogate)

    @cached_property
    def lipschitz(self) -> float:
        """Upper bound of F2's Lipschitz constant in l2."""
        return self.surrogate.lipschitz()

    def _own(self) -> dict[str, Any]:
        return {
            "sigma": self.sigma,
            "scales": dict(self.scales),
            "surrogate": self._fingerprint,
        }


class PathCertifier(LatentCertifier):
    """Covers a range of the real transformation by what holds around several latents.

    The classifier is that of GSmooth (`LatentCertifier`), and the certificate rests on the real
    transformation: the surrogate may fit it badly, and the certificate is true all the same.

    Guarantee (`certified`): with probability at least 1 - alpha over the draws, g answers
    `predicted` at tau(theta, x) for every theta in `box` times `radius` (its faces included at 1),
    or the certifier abstained. tau is the real transformation; `stored` says how tau(theta, x) may
    be rounded.

    How: g depends on an image through F2 alone. From one latent to another its class probability
    changes by what `maths.latent` bounds, with the best k for each; the straight line costs no
    more than any path. Between the vertices of a grid, F2 moves by at most its Lipschitz bound
    times the distance to the nearest vertex, which `variation` bounds.

    Sources: Hao et al., "GSmooth", ICML 2022 (the classifier; k = 1, for the surrogate); THEORY
    section 7 (the certificate). Arguments: see `LatentCertifier`.

    Raises:
        InputError: as for `LatentCertifier`.
    """

    method = "path"

    def __init__(
        self,
        surrogate: SurrogateNetwork,
        scales: Mapping[str, float] | None = None,
        sigma: float = 0.25,
        box: Box | None = None,
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
        super().__init__(
            surrogate, scales, sigma, box, radii, reach, anchors, n0, n, stray, stored, alpha,
            seed, batch_size, precision, speed,
        )  # fmt: skip

    def costs(self, cells: Cells) -> Costs:
        """See `RangeCertifier.costs`."""
        latents = self.encoded(cells.images)
        between = self.shift.pairs(latents.flatten(1).double().numpy())
        corners = cells.corners
        stray = cells.stray + stored_off(cells.images)
        if self.surrogate.encoder != "identity":
            # Of a hull of K points every point is this near to one of them: for weights w,
            # sum w_i |z - v_i|^2 = sum_{i<j} w_i w_j |v_i - v_j|^2 <= D^2 (1 - 1/K) / 2.
            stray = stray + widths(cells) * np.sqrt((1 - 1 / corners.shape[1]) / 2)
        away = self.lipschitz * stray.numpy()
        return Costs(
            latents=latents,
            cells=between[:, corners.numpy()].max(axis=2) + away / self.sigma * (1 + 1e-9),
            slack=float(away.max()),
        )
