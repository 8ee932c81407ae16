"""The search of one image's range: bounds over its parts, and the network at their centres."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Literal

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.measure import Stored
from lightning_smooth.smoothing.plans import Plan, T, Tally, votes
from lightning_smooth.smoothing.smoothed import SmoothedClassifier, evaluating
from lightning_smooth.types import ABSTAIN
from lightning_smooth.verify.crown import Intermediate, crown_margins
from lightning_smooth.verify.enclosure import Enclosure
from lightning_smooth.verify.graph import BoundedNetwork, bounded
from lightning_smooth.verify.interval import as_stored
from lightning_smooth.verify.propagation import interval_bounds, margins
from lightning_smooth.verify.regions import ParameterForms, PixelBox, Region
from lightning_smooth.verify.rounding import plain_sums
from lightning_smooth.verify.splitting import Part, Splitting

Bound = Literal["interval", "crown"]
"""What bounds the network: interval propagation, or CROWN as well where that is not enough."""

_TRIED: Final = 64
"""Images in a forward pass, of those that may be counterexamples."""


class BoundedClassifier(SmoothedClassifier):
    """A network that answers for itself, taken apart for bounds before any image is done.

    Attributes:
        network: its steps, once it runs.
    """

    network: BoundedNetwork

    def run(
        self,
        plans: Iterable[Plan[T]],
        shape: tuple[int, ...],
        *,
        tally: Tally = votes,
        most: int = 0,
    ) -> Iterator[tuple[T, float]]:
        """See `SmoothedClassifier.run`.

        Raises:
            InputError: the network is not on the CPU, or a step of it has no bounds.
        """
        if self.device.type != "cpu":
            raise InputError(
                f"Expected a model on the CPU, but it is on {self.device}: bounds are of sums as "
                "a CPU makes them. Set trainer.accelerator to cpu."
            )
        self.network = bounded(self.model, shape)
        yield from super().run(plans, shape, tally=tally, most=most)


class Search:
    """Examines the parts of one image's range.

    Args:
        enclosure: encloses what a box of parameters makes of the image.
        names: the parameters that are attacked, in the order of the parts' ends.
        classifier: the network, which has been taken apart.
        image: (C, H, W) in [0, 1].
        candidate: the class that is to hold.
        stored: how an attack may store its image.
        bound: see `Bound`.
        intermediate: as for `crown_bounds`.

    Attributes:
        counterexample: of the nearest one its norm, its class (-1: scores that are not finite)
            and its parameters; empty while there is none.
    """

    def __init__(
        self,
        enclosure: Enclosure,
        names: Sequence[str],
        classifier: BoundedClassifier,
        image: Tensor,
        candidate: int,
        *,
        stored: Stored,
        bound: Bound,
        intermediate: Intermediate,
    ) -> None:
        self.enclosure, self.transform = enclosure, enclosure.transform
        self.names = tuple(names)
        self.model, self.network = classifier.model, classifier.network
        self.image, self.candidate = image.double(), candidate
        self.stored: Stored = stored
        self.bound, self.intermediate = bound, intermediate
        self.counterexample: dict[str, float] = {}
        self._rows = margins(torch.tensor([candidate]), self.network.classes).double()

    def run(self, parts: Splitting, batch: int, until: float | None) -> bool:
        """Examine parts until all are held, it is known where none is, or a budget is used up.

        Args:
            parts: what is examined next, and where the outcome goes.
            batch: parts that are bounded at once.
            until: reading of `time.perf_counter` after which to stop; None for no limit.

        Returns:
            Whether the time ended it.

        Raises:
            InputError: the network has no bounds even for the image itself.
        """
        self._intervals(self.image[None], self.image[None])
        self._try(parts, parts.first())
        while found := parts.next(batch):
            region = self.enclosure.regions(self.image, *self._outward(found))
            region = as_stored(region, self.stored)
            held = self._held(region).tolist()
            left = [part for part, good in zip(found, held, strict=True) if not good]
            self._try(parts, [part for part in left if part.depth])
            for part in left:
                parts.split(part)
            for part, good in zip(found, held, strict=True):
                if good:
                    parts.hold(part)
            if until is not None and time.perf_counter() > until:
                return True
        return False

    def _theta(self, rows: Sequence[Sequence[float]]) -> Tensor:
        """All parameters (B, P), of values of those that are attacked."""
        theta = self.transform.identity().repeat(len(rows), 1)
        places = [self.transform.names.index(name) for name in self.names]
        theta[:, places] = torch.tensor(rows, dtype=torch.float64)
        return theta

    def _outward(self, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
        """Ends (B, P) of parts, and of what float32 makes of any parameters within."""
        low, high = self._theta([p.low for p in parts]), self._theta([p.high for p in parts])
        known = self.transform.parameters
        least, most = (torch.tensor([getattr(p, end) for p in known], dtype=torch.float64)
                       for end in ("low", "high"))  # fmt: skip
        lower = torch.minimum(low, low.float().double().maximum(least))
        return lower, torch.maximum(high, high.float().double().minimum(most))

    def _held(self, region: Region) -> Tensor:
        """(B,) bool: whether every other class has a margin above 0."""
        pixels = region.pixels
        held = _each(lambda rows: self._intervals(*(p[rows] for p in pixels)), len(pixels.lower))
        left = (~held).nonzero()[:, 0]
        if self.bound == "crown" and len(left):
            some = chosen(region, left)
            held[left] = _each(lambda rows: self._crown(chosen(some, rows)), len(left))
        return held

    def _intervals(self, lower: Tensor, upper: Tensor) -> Tensor:
        return interval_bounds(self.network, lower, upper, self._rows).lower

    def _crown(self, region: Region) -> Tensor:
        labels = torch.full((len(region.pixels.lower),), self.candidate)
        return crown_margins(self.network, region, labels, intermediate=self.intermediate)

    def _try(self, parts: Splitting, asked: Sequence[Part]) -> None:
        """Ask the network at centres of parts, the smallest attacks first, up to another answer."""
        centers = [part.center for part in asked]
        if not centers:
            return
        norms = parts.norms([(center, center) for center in centers])
        for start in range(0, len(centers), _TRIED):
            rows = slice(start, start + _TRIED)
            answers = self._answers(self._theta(centers[rows]))
            for theta, norm, answer in zip(centers[rows], norms[rows], answers, strict=True):
                if answer != self.candidate and norm < parts.nearest:
                    parts.found(norm)
                    self.counterexample = {
                        "nearest": norm,
                        "nearest_class": answer,
                        **{f"nearest_{n}": x for n, x in zip(self.names, theta, strict=True)},
                    }
            if any(answer != self.candidate for answer in answers):
                return

    def _answers(self, theta: Tensor) -> list[int]:
        """The network's classes, of the image transformed in float32; -1 for none."""
        images = self.transform(self.image.float()[None], theta)
        if self.stored == "uint8":
            images = (images * 255).round().clamp(0, 255) / 255
        like = next((p for p in self.model.parameters() if p.is_floating_point()), images)
        with evaluating(self.model), plain_sums():
            scores = self.model(images.to(like.dtype))
        finite = scores.isfinite().all(dim=1)
        answers: list[int] = torch.where(finite, scores.argmax(dim=1), ABSTAIN).tolist()
        return answers


def chosen(region: Region, rows: Tensor) -> Region:
    """A region of some of the boxes of another one, by their places.

    Raises:
        InputError: it is neither `PixelBox` nor `ParameterForms`.
    """
    if isinstance(region, PixelBox):
        return PixelBox(region.low[rows], region.high[rows])
    if isinstance(region, ParameterForms):
        within = region.within and (region.within[0][rows], region.within[1][rows])
        names = ("low_a", "low_b", "up_a", "up_b", "box")
        some = {name: getattr(region, name)[rows] for name in names}
        return dataclasses.replace(region, **some, within=within)
    raise InputError(f"Expected a PixelBox or ParameterForms, but got {type(region).__name__}.")


def _each(bounds: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """(count,) bool: whether margins (B, K - 1) of boxes are above 0, by their places.

    A box over which the network might overflow has no bounds: it is not held, others may be.
    """
    try:
        return (bounds(torch.arange(count)) > 0).all(dim=1)
    except InputError:
        held = torch.zeros(count, dtype=torch.bool)
    for place in range(count):
        with suppress(InputError):
            held[place] = (bounds(torch.tensor([place])) > 0).all()
    return held
