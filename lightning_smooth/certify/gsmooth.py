"""GSmooth: a range of a surrogate transformation, covered in the surrogate's latents."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lightning_smooth.certify.costs import Costs, stored_off
from lightning_smooth.certify.path import LatentCertifier
from lightning_smooth.certify.ranges import MOST_CELLS
from lightning_smooth.errors import InputError, check_count
from lightning_smooth.maths.latent import rate
from lightning_smooth.models.speed import surrogate_speed
from lightning_smooth.models.surrogate import SurrogateNetwork
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.types import Box, Guarantee, Precision
from lightning_smooth.variation import Cells


class GSmoothCertifier(LatentCertifier):
    """GSmooth's certificate: for the surrogate transformation, not for the real one.

    The classifier is that of `LatentCertifier`.

    Guarantee (`surrogate`): with probability at least 1 - alpha over the draws, g answers
    `predicted` at y_xi = H(F1(xi) + F2(x)) for every xi in `box` times `radius`, or the certifier
    abstained. How near y_xi is to tau(xi, x) it does not say: `PathCertifier` is for that.

    How, with `best`: as `PathCertifier`, of the images y_xi in place of tau(xi, x); from one latent
    to another the best k is taken. Without: the paper's theorem 2. From xi to xi' it costs
    M* |xi - xi'|, M* = max sqrt(1/s^2 + |dF2(y_xi)/dxi - F1'(theta)|^2 / sigma^2) over all xi and
    theta; `rate_upper` of the record takes its place, the same with the mean of dF2(y_xi)/dxi over
    each cell. Neither is a maximum over a grid: between grid points y_xi moves by no more than
    `models.speed` bounds, F2 by no more than its Lipschitz bound, and F1' is within a proven radius
    of the slopes that are looked at. `rate_lower` is what M* is not below.

    The paper tests x alone (`anchors` 1); here the range may be covered from several points.

    Source: Hao et al., "GSmooth", ICML 2022, theorem 2 (theorem 1, for transformations that
    compose, is `ResolvableCertifier`); THEORY section 7.

    Args:
        surrogate: the network, of one parameter.
        scales: standard deviation of its parameter; none: noise in latents alone.
        sigma: standard deviation of the noise in latents.
        box: see `LatentCertifier`, as for all that is not here.
        best: whether every shift has the k that costs least.
        cells: intervals of the range; where the surrogate moves fast they are split.
        radii: parts of the box to decide.
        reach: what a test is asked to show at first, in standard deviations.
        anchors: tests at most.
        n0: draws that choose the class.
        n: draws of a test at most.
        alpha: probability with which a certificate may be wrong.
        seed: seed of all draws.
        batch_size: noisy copies in a forward pass; None to choose.
        precision: arithmetic of the model.
        speed: how the model is run.

    Raises:
        InputError: as for `LatentCertifier`; the surrogate has several parameters; or `best` is
            off without scales.
    """

    method = "gsmooth"
    guarantee: ClassVar[Guarantee] = "surrogate"
    bounded = False

    def __init__(
        self,
        surrogate: SurrogateNetwork,
        scales: Mapping[str, float] | None = None,
        sigma: float = 0.25,
        box: Box | None = None,
        best: bool = True,
        cells: int = 256,
        radii: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        reach: float = 1.2,
        anchors: int = 64,
        n0: int = 64,
        n: int = 10_000,
        alpha: float = 0.001,
        seed: int = 0,
        batch_size: int | None = None,
        precision: Precision = "float32",
        speed: Speed | None = None,
    ) -> None:
        super().__init__(
            surrogate, scales, sigma, box, radii, reach, anchors, n0, n, None, "float32", alpha,
            seed, batch_size, precision, speed,
        )  # fmt: skip
        if len(self.box) > 1:
            raise InputError(
                f"Expected a surrogate of one parameter, but got {', '.join(self.box)}."
            )
        if not best and not self.scales:
            raise InputError("Expected `scales` where `best` is off: M* is that of theorem 2.")
        self.best = best
        self.intervals = check_count("cells", cells, least=2)

    def cells(self, image: Tensor) -> Cells:
        """See `RangeCertifier.cells`: of the surrogate's images; `stray` is from the nearer end."""
        ((low, high),) = self.box.values()
        edges = torch.linspace(low, high, self.intervals + 1, dtype=torch.float64)
        still = torch.tensor(self.identity, dtype=torch.float64)
        # `linspace` may miss the identity by a rounding, and leave an interval of no width.
        inner = edges[1:-1][(edges[1:-1] - still).abs() > 1e-9 * (high - low)]
        edges = torch.unique(torch.cat([edges[:1], inner, edges[-1:], still]))
        latent = self.encoded(image[None].float())[0]
        speed = surrogate_speed(self.surrogate, latent, edges)
        while len(finer := self._split(edges, speed)) > len(edges):
            edges = finer
            speed = surrogate_speed(self.surrogate, latent, edges)
        with torch.no_grad():
            images = self._exact.decode(latent.double() + self._exact.move(edges[:, None]))
        rows = torch.arange(len(edges) - 1)
        return Cells(
            names=tuple(self.box),
            low=edges[:-1, None],
            high=edges[1:, None],
            theta=self.surrogate.full_theta(edges[:, None]),
            images=images,
            corners=torch.stack([rows, rows + 1], dim=1),
            stray=speed * edges.diff() / 2,
        )

    @cached_property
    def _exact(self) -> SurrogateNetwork:
        """The surrogate in float64: intervals may be narrower than float32 tells apart."""
        return copy.deepcopy(self.surrogate).double()

    def _split(self, edges: Tensor, speed: Tensor) -> Tensor:
        """Edges with more of them where the surrogate moves fast, the fastest first."""
        parts = (speed * edges.diff() / (2 * self.step)).ceil().clamp(1, 16).long()
        fastest = (speed * edges.diff()).argsort(descending=True)
        room = MOST_CELLS - len(parts)
        fits = (parts[fastest] - 1).cumsum(dim=0) <= room
        parts[fastest[~fits]] = 1
        between = [
            torch.linspace(low, high, count + 1, dtype=torch.float64)[:-1]
            for low, high, count in zip(edges[:-1], edges[1:], parts.tolist(), strict=True)
        ]
        return torch.cat([*between, edges[-1:]])

    def costs(self, cells: Cells) -> Costs:
        """See `RangeCertifier.costs`."""
        latents = self.encoded(cells.images)
        flat = latents.flatten(1).double().numpy()
        corners = cells.corners.numpy()
        away = self.lipschitz * (cells.stray.numpy() + stored_off(cells.images))
        measured = {}
        edges = np.append(cells.low[:, 0].numpy(), cells.high[-1, 0].item())
        if self.scales:
            lower, upper = rate(self.shift, np.diff(flat, axis=0), np.diff(edges))
            measured = {"rate_lower": lower, "rate_upper": upper}
        if self.best:
            between = self.shift.pairs(flat)
        else:
            between = np.abs(edges[:, None] - edges) * measured["rate_upper"] * (1 + 1e-12)
        return Costs(
            latents=latents,
            cells=between[:, corners].max(axis=2) + away / self.sigma * (1 + 1e-9),
            slack=float(away.max()),
            measured=measured,
        )

    def _own(self) -> dict[str, Any]:
        return {**super()._own(), "best": self.best, "cells": self.intervals}
