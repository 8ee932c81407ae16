"""Certificates for a range of a transformation's parameters, from tests at several of them."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, Self

import torch
from torch import Tensor

from lightning_smooth.certify.anchoring import Anchoring
from lightning_smooth.certify.asked import asked_range
from lightning_smooth.certify.base import Certifier, sparse
from lightning_smooth.certify.costs import Costs, full_precision, widths
from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.interpolation.measure import Stored
from lightning_smooth.maths.coverage import box_norm, held_radius
from lightning_smooth.maths.deciding import HELD, NOT_HELD, UNDECIDED, Thresholds
from lightning_smooth.maths.latent import LatentShift
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.maths.sequential import Looks
from lightning_smooth.records.anchor import SHARE
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import Law
from lightning_smooth.smoothing.plans import Draws, Plan
from lightning_smooth.smoothing.rng import NoiseKey, Stream
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import ABSTAIN, Box, Guarantee, Precision
from lightning_smooth.variation import Cells, has_bound, vary

STREAMS: Final[tuple[Stream, Stream]] = ("selection", "estimation")
VALIDATION: Final[tuple[Stream, Stream]] = ("validation selection", "validation estimation")
_BATCH = 256
_CELLS = 16
_ALONG_TWO = 33
"""Cells along each of two parameters that are asked for, at most: kinks add to them."""

MOST_CELLS: Final = 4096
"""Cells of a range, at most."""


class RangeCertifier(Certifier):
    """What certifiers share that cover a range of parameters from several anchors.

    The classifier is smoothed over noise on what `encode` makes of an image. Between the images at
    two parameters its class probabilities can change by so much as `maths.latent` says; how far
    images stray between the vertices of a fine grid, `variation` bounds. So a class that is shown
    at an anchor holds at every parameter that costs less than PPF of its probability there.

    Anchors are tested one after the other, the next one where it covers the first parameters that
    are not covered yet, each by a sequential test with alpha / `anchors` of its own.

    Args:
        law: the noise.
        transform: what an attack does to images.
        box: (least, greatest) of each parameter that is attacked, one or two, around its identity.
        radii: parts of the box to decide, in [0, 1]; 0 asks for the prediction alone.
        reach: what a test is asked to show at first, in standard deviations.
        anchors: tests at most.
        n0: draws that choose the class, at the image itself.
        n: draws of a test at most.
        stray: how far images may stray between vertices, in l2, before a cell is halved; and 2.5
            times as far its corners may be apart, where that takes no more than 2,048 cells.
        stored: how an attack may store its image.
        alpha: probability with which a certificate may be wrong.
        seed: seed of all draws.
        batch_size: noisy copies in a forward pass; None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run.

    Raises:
        InputError: there is no bound for the transformation, the box does not fit it or is not
            around its identity, or a number is out of its range.
    """

    method: ClassVar[str]
    guarantee: ClassVar[Guarantee] = "certified"
    bounded: ClassVar[bool] = True
    """Whether `variation` has to bound the transformation."""

    def __init__(
        self,
        law: Law,
        transform: Transform,
        box: Box,
        radii: Sequence[float],
        reach: float,
        anchors: int,
        n0: int,
        n: int,
        stray: float,
        stored: Stored,
        alpha: float,
        seed: int,
        batch_size: int | None,
        precision: Precision,
        speed: Speed | None,
    ) -> None:
        super().__init__(
            law, alpha=alpha, seed=seed, batch_size=batch_size, precision=precision, speed=speed
        )
        if self.bounded and not has_bound(transform):
            raise InputError(
                f"Expected a `transform` whose variation is bounded, but got {transform!r}: see "
                "lightning_smooth.variation for those that are."
            )
        self.transform = transform
        self.box, self.identity, self.radii = asked_range(transform, box, radii, stored)
        self.reach = check_positive("reach", reach)
        self.anchors = check_count("anchors", anchors)
        self.n0, self.n = check_count("n0", n0), check_count("n", n)
        self.stray = check_positive("stray", stray)
        self.stored: Stored = stored
        self._rule = Looks(self.n, self.alpha / self.anchors)
        most = gaussian_radius(self._rule.running(self._rule.sizes), 1.0)
        if self.reach >= most:
            raise InputError(
                f"Expected `reach` below {most:.4g}, the most that n = {self.n} draws show of each "
                f"of {self.anchors} anchors at alpha = {self.alpha:g}, but got {self.reach:g}."
            )
        self._streams = STREAMS

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.transform!r}, box={self.box}, n={self.n}, "
            f"anchors={self.anchors}, alpha={self.alpha:g})"
        )

    @property
    def draws(self) -> int:
        """Forward passes that one image may take."""
        return self.n0 + self.anchors * self.n

    def for_validation(self, *, n0: int, n: int) -> Self:
        """See `Certifier.for_validation`: `n` draws of a test at most, but not fewer than 1,000."""
        other = copy.copy(self)
        other.n0, other.n = check_count("n0", n0), max(check_count("n", n), min(self.n, 1000))
        other.reach = min(self.reach, 1.2)
        other._rule = Looks(other.n, other.alpha / other.anchors)
        other._streams = VALIDATION
        return other

    @property
    @abstractmethod
    def shift(self) -> LatentShift:
        """What a shift of a latent costs."""

    @abstractmethod
    def costs(self, cells: Cells) -> Costs:
        """What it costs to go from the vertices of a range to its cells."""

    @abstractmethod
    def _own(self) -> dict[str, Any]:
        """Settings of the method, beside those of ranges."""

    def cells(self, image: Tensor) -> Cells:
        """The range of an image (C, H, W) in [0, 1], in cells whose corners are near each other."""
        count, found = _CELLS, self._vary(image, _CELLS)
        # Of transformations with kinks of their own more cells come back than are asked for.
        most = MOST_CELLS * 3 // 4 if len(self.box) == 1 else _ALONG_TWO
        while (far := float(widths(found).max())) > self.step and 2 * len(found.low) >= count:
            if count == most:
                break
            count = math.ceil(count * min(max(1.2, far / self.step), 16))
            if len(self.box) > 1:
                count = min(count, most)
            try:
                found = self._vary(image, count)
            except InputError:  # more than `MOST_CELLS`: what was found will do, or most of them
                if len(self.box) == 1 and len(found.low) < most:
                    with suppress(InputError):
                        found = self._vary(image, most)
                break
        return found

    def _vary(self, image: Tensor, cells: int) -> Cells:
        return vary(
            self.transform, image, self.box, stray=self.stray, cells=cells, most=MOST_CELLS,
            stored=self.stored,
        )  # fmt: skip

    def encoded(self, images: Tensor) -> Tensor:
        """`encode` in float32, without gradients, some images at a time."""
        with torch.no_grad(), full_precision():
            parts = [self.encode(part) for part in torch.split(images.float(), _BATCH)]
        return torch.cat(parts)

    @property
    def step(self) -> float:
        """How far the corners of a cell are to be apart, in l2."""
        return 2.5 * self.stray

    def _settings(self) -> dict[str, Any]:
        return {"method": self.method, **self._range(), "n0": self.n0, "n": self.n}

    def _range(self) -> dict[str, Any]:
        return {
            "transform": repr(self.transform),
            "box": {name: list(ends) for name, ends in self.box.items()},
            "identity": self.identity,
            **self._own(),
            "radii": list(self.radii),
            "reach": self.reach,
            "anchors": self.anchors,
            "stray": self.stray,
            "stored": self.stored,
        }

    def _plan(
        self, smoothed: SmoothedClassifier, image: Tensor, *, index: int
    ) -> Plan[Certificate]:
        with full_precision():
            cells = self.cells(image.double().cpu())
            costs = self.costs(cells)
        norms = box_norm(cells.low.numpy(), cells.high.numpy(), [*self.box.values()], self.identity)
        search = Anchoring(
            costs.cells, norms,
            goal=self.radii[-1], reach=self.reach, most=self.anchors, draws=self.n,
            best=self._rule.running(self._rule.sizes),
        )  # fmt: skip
        key = NoiseKey(self.seed, index, self._streams[0])
        first = self.encoded(image[None])[0]
        votes0 = yield Draws(first, key, 0, self.n0)
        candidate = int(votes0.argmax())
        votes = torch.zeros_like(votes0)
        while (wanted := search.next()) is not None:
            key = NoiseKey(self.seed, index, self._streams[1], len(search.tested))
            latent, test = costs.latents[wanted.vertex], Thresholds(self._rule, [wanted.needed])
            drawn, hits, stop = 0, 0, False
            while not stop:
                count = test.draws - drawn
                more = yield Draws(latent, key, drawn, count)
                votes += more
                hits += int(more[candidate])
                drawn += count
                stop = test.observe(hits) or drawn >= wanted.draws
            ended = test.decisions == [NOT_HELD]
            if not search.observe(wanted, test.path, test.p_lower, ended=ended):
                break
        return self._certificate(smoothed, index, votes0, votes, search, cells, costs)

    def _certificate(
        self,
        smoothed: SmoothedClassifier,
        index: int,
        votes0: Tensor,
        votes: Tensor,
        search: Anchoring,
        cells: Cells,
        costs: Costs,
    ) -> Certificate:
        anchors = search.anchors(cells.theta.numpy(), cells.low.numpy(), cells.high.numpy())
        covered = [part for anchor in anchors for part in anchor.covers]
        uncovered = search.uncovered(cells.low.numpy(), cells.high.numpy())
        box = [*self.box.values()]
        held = held_radius(covered, uncovered, box, self.identity, self.radii[-1])
        rest = NOT_HELD if search.outcome == NOT_HELD else UNDECIDED
        said = {repr(r): HELD if held is not None and held >= r else rest for r in self.radii}
        used = [anchor.p_lower for anchor in anchors if anchor.covers]
        tried = max((anchor.p_lower for anchor in anchors), default=0.0)
        candidate, spent = int(votes0.argmax()), {SHARE: self._rule.alpha}
        return Certificate(
            index=index,
            label=None,
            candidate=candidate,
            predicted=ABSTAIN if held is None else candidate,
            radius=held or 0.0,
            radius_unit="box",
            guarantee=self.guarantee,
            hits=sum(anchor.looks[-1][1] for anchor in anchors),
            n=sum(anchor.looks[-1][0] for anchor in anchors),
            n0=self.n0,
            p_lower=min(used) if used else min(tried, 0.5),
            alpha=self.alpha,
            ledger={"anchors": self.alpha},
            method=self.method,
            parameters={
                **self._range(),
                "units": {p.name: p.unit for p in self.transform.parameters},
                "n": self.n,
                "rule": "looks",
                **smoothed.drawing,
                "classes": len(votes0),
            },
            seed=self.seed,
            seconds=0.0,
            votes=sparse(votes),
            votes0=sparse(votes0),
            decisions=said,
            anchors=anchors,
            uncovered=uncovered,
            measured={"cells": len(cells.low), "slack": costs.slack, **spent, **costs.measured},
        )
