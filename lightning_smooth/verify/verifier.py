"""Certificates of the model itself over a range of parameters, part by part, without draws."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any, ClassVar, Self, get_args

from torch import Tensor, nn

from lightning_smooth.certify.asked import asked_range
from lightning_smooth.certify.base import Certifier
from lightning_smooth.errors import InputError, SoundnessError, check_count, check_positive
from lightning_smooth.interpolation.measure import Stored
from lightning_smooth.maths.coverage import held_radius
from lightning_smooth.maths.deciding import HELD, NOT_HELD, UNDECIDED
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.laws import NoNoise
from lightning_smooth.smoothing.plans import Draws, Plan
from lightning_smooth.smoothing.rng import NoiseKey
from lightning_smooth.smoothing.sharing import Share
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.types import Box, Precision
from lightning_smooth.verify.crown import Intermediate
from lightning_smooth.verify.enclosure import Enclosure
from lightning_smooth.verify.searching import Bound, BoundedClassifier, Search
from lightning_smooth.verify.splitting import Splitting


class BoxVerifier(Certifier):
    """What verifiers of a range of parameters share: they cut it until bounds of each part hold.

    Guarantee (`certified`): the model, in eval mode, answers `predicted` at tau(theta, x) for every
    theta in `box` times `radius` (its faces included at 1; places are anywhere in their ranges),
    without a probability of error, as real arithmetic has tau and as float32 and float64 compute
    it, stored as `stored` says. It rests on `Enclosure.regions`, and on the model being computed as
    `verify.propagation` says. Radii are lower bounds: an attack beyond may have the answer, too.

    The search goes from the identity outward. A part of the range is held where every other class
    has a margin above 0 over all images that the enclosure allows. Where it is not, the model is
    asked at the part's centre: another answer there is a counterexample, and nothing beyond it is
    looked at any more. Without one the part is halved. Where parameters are whole, parts are of
    whole numbers, which stand for all that is rounded to them (see `Splitting`).

    A subclass names its `method`.

    Args:
        enclosure: encloses what a box of parameters makes of an image.
        box: (least, greatest) of each parameter that is attacked, one or two, around its identity;
            and of places (`transforms.Parameter.place`), which no radius shrinks.
        radii: parts of the box to decide, in [0, 1]; 0 asks for the prediction alone.
        stored: how an attack may store its image.
        parts: equal parts along each parameter that the range is cut into first.
        boxes: parts that are examined for one image, at most.
        seconds: time after which an image is left as it is; None for no limit. With one, records
            depend on the machine.
        batch: parts that are bounded at once.
        bound: see `Bound`.
        intermediate: what bounds activations' inputs in CROWN, as for `crown_bounds`.
        precision: `float32` alone: of other arithmetic there are no bounds.

    Raises:
        InputError: the box does not fit the transformation or is not around its identity, or a
            number or a choice is out of its range.
    """

    method: ClassVar[str]
    deterministic: ClassVar[bool] = True

    def __init__(
        self,
        enclosure: Enclosure,
        box: Box,
        radii: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        stored: Stored = "float32",
        parts: int = 16,
        boxes: int = 4096,
        seconds: float | None = None,
        batch: int = 16,
        bound: Bound = "crown",
        intermediate: Intermediate = "interval",
        precision: Precision = "float32",
    ) -> None:
        super().__init__(NoNoise(), alpha=0.0, seed=0, batch_size=None, precision=precision)
        if self.precision != "float32":
            raise InputError(
                f"Expected `precision` to be float32, but got {precision!r}: of other arithmetic "
                "there are no bounds."
            )
        self.enclosure, self.transform = enclosure, enclosure.transform
        self.box, self.identity, self.radii = asked_range(self.transform, box, radii, stored)
        self.whole = [p.name for p in self.transform.parameters if p.name in self.box and p.whole]
        for name, value, known in (
            ("bound", bound, get_args(Bound)),
            ("intermediate", intermediate, get_args(Intermediate)),
        ):
            if value not in known:
                raise InputError(f"Expected `{name}` to be one of {known}, but got {value!r}.")
        self.stored: Stored = stored
        self.parts, self.boxes = check_count("parts", parts), check_count("boxes", boxes)
        self.seconds = None if seconds is None else check_positive("seconds", seconds)
        self.batch = check_count("batch", batch)
        self.bound, self.intermediate = bound, intermediate

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.transform!r}, box={self.box}, boxes={self.boxes})"

    @property
    def draws(self) -> int:
        """One: the image itself."""
        return 1

    def for_validation(self, *, n0: int, n: int) -> Self:
        """See `Certifier.for_validation`: no more than `n` parts are examined."""
        del n0
        other = copy.copy(self)
        other.boxes = min(self.boxes, check_count("n", n))
        return other

    def smooth(self, model: nn.Module, share: Share | None = None) -> BoundedClassifier:
        """See `Certifier.smooth`; nothing is added to images."""
        return BoundedClassifier(model, self.law, precision=self.precision, share=share)

    def _settings(self) -> dict[str, Any]:
        return {"method": self.method, **self._own()}

    def _own(self) -> dict[str, Any]:
        return {
            "transform": repr(self.transform),
            "box": {name: list(ends) for name, ends in self.box.items()},
            "identity": self.identity,
            **({"whole": self.whole} if self.whole else {}),
            "radii": list(self.radii),
            "stored": self.stored,
            "parts": self.parts,
            "boxes": self.boxes,
            "seconds": self.seconds,
            "batch": self.batch,
            "bound": self.bound,
            "intermediate": self.intermediate,
            "enclosure": self.enclosure.describe(),
        }

    def _plan(
        self, smoothed: SmoothedClassifier, image: Tensor, *, index: int
    ) -> Plan[Certificate]:
        own = yield Draws(image, NoiseKey(self.seed, index, "estimation"), 0, 1)
        until = None if self.seconds is None else time.perf_counter() + self.seconds
        if not isinstance(smoothed, BoundedClassifier):
            raise TypeError("a verifier takes what its own `smooth` gives")
        parts = Splitting(
            list(self.box.values()), self.identity,
            radii=self.radii, parts=self.parts, most=self.boxes,
            whole=[name in self.whole for name in self.box],
        )  # fmt: skip
        search = Search(
            self.enclosure, list(self.box), smoothed, image.detach().cpu(), int(own.argmax()),
            stored=self.stored, bound=self.bound, intermediate=self.intermediate,
        )  # fmt: skip
        timed_out = search.run(parts, self.batch, until)
        uncovered = parts.uncovered()
        measured = {
            "boxes": parts.examined,
            "held": parts.held,
            "depth": parts.depth,
            "timed_out": int(timed_out),
            **search.counterexample,
        }
        parameters = {
            **self._own(),
            "units": {p.name: p.unit for p in self.transform.parameters},
            **smoothed.arithmetic,
            "classes": len(own),
        }
        ends = list(self.box.values())
        whole = (tuple(low for low, _ in ends), tuple(high for _, high in ends))
        held = held_radius([whole], uncovered, ends, self.identity, self.radii[-1])
        if held is None or held > parts.nearest:
            raise SoundnessError(f"Held up to {held}, against another answer at {parts.nearest}.")
        return Certificate(
            index=index,
            label=None,
            candidate=search.candidate,
            predicted=search.candidate,
            radius=held,
            radius_unit="box",
            guarantee="certified",
            hits=0,
            n=0,
            n0=0,
            p_lower=0.0,
            alpha=0.0,
            ledger={},
            method=self.method,
            parameters=parameters,
            seed=self.seed,
            seconds=0.0,
            decisions={repr(r): _decision(r, held, parts.nearest) for r in self.radii},
            uncovered=uncovered,
            measured=measured,
        )


def _decision(radius: float, held: float, nearest: float) -> str:
    if held >= radius:
        return HELD
    # A radius is about attacks below it; that of the whole range, about its faces, too.
    return NOT_HELD if nearest < radius or nearest == radius == 1 else UNDECIDED
