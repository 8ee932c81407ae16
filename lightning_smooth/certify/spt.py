"""Smoothing twice: over a transformation that does not compose, and over pixels within it.

Source: Fischer, Baader, Vechev, "Certified Defense to Image Transformations via Randomized
Smoothing", NeurIPS 2020 (SPT, sections 4 and 5); THEORY section 6.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterator, Sequence
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from lightning_smooth.certify.base import Certifier, sparse
from lightning_smooth.certify.distances import Distances
from lightning_smooth.errors import InputError, check_count, check_positive, check_probability
from lightning_smooth.interpolation.measure import Stored
from lightning_smooth.maths.deciding import HELD, Thresholds
from lightning_smooth.maths.laws import GaussianLaw
from lightning_smooth.maths.radius import gaussian_probability
from lightning_smooth.maths.sequential import Looks
from lightning_smooth.maths.spt import OuterTest
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import GaussianNoise
from lightning_smooth.smoothing.parameters import ParameterNoise
from lightning_smooth.smoothing.plans import Draws, Plan, votes
from lightning_smooth.smoothing.rng import NoiseKey, Stream
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.transforms.geometric import Rotation, Translation
from lightning_smooth.transforms.preprocessing import Preprocessing
from lightning_smooth.types import ABSTAIN, Precision

CANDIDATES = 16
"""Pixel draws for each outer draw that chooses the class."""

TOGETHER = 16
"""Outer draws whose distances are computed at once: those of a hopeless image are not."""

VALIDATION = 1 << 40
"""Streams of validation are numbered from here."""


class SPTCertifier(Certifier):
    """What certifiers share that smooth over a transformation, and over pixels within it.

    The classifier: g(x) = argmax_c P(h(K T_b x) = c), b ~ N(0, scale^2 I), with K the
    preprocessing and h(y) = argmax_c P(f(y + e) = c), e ~ N(0, sigma^2 I), the inner one. A
    subclass says within which l2 distance h has to hold its class for a draw b to be a hit.

    Args:
        transform: Rotation or Translation.
        scale: standard deviation of the noise on each parameter, in its unit.
        sigma: standard deviation of the noise on pixels, in units of [0, 1].
        radii: l2 norms of attacks to decide, in the unit of the parameters.
        largest: greatest attack for which the error is bounded: no radius is larger. None for the
            largest of `radii`.
        preprocessing: K; None for nothing.
        stored: how an attack may store its image.
        n0: outer draws that choose the class, each with 16 inner ones.
        n: outer draws at most.
        inner: draws of an inner test at most.
        level: error rate of an inner test, in (0, 1); it costs probability, and no alpha.
        alpha: probability with which a certificate may be wrong.
        spent: what the subclass spends of it before outer draws are tested.
        seed: seed of all draws.
        batch_size: noisy copies in a forward pass; None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run.

    Raises:
        InputError: the transformation is another one, or an argument is out of its range.
    """

    method: ClassVar[str]

    @staticmethod
    def _tally(scores: Tensor) -> Tensor:
        # Its own, so that a queue goes no further without votes: an inner classifier without one
        # would seem to choose class 0.
        return votes(scores)

    def __init__(
        self,
        transform: Rotation | Translation,
        scale: float,
        sigma: float,
        radii: Sequence[float],
        largest: float | None,
        preprocessing: Preprocessing | None,
        stored: Stored,
        n0: int,
        n: int,
        inner: int,
        level: float,
        alpha: float,
        spent: float,
        seed: int,
        batch_size: int | None,
        precision: Precision,
        speed: Speed | None,
    ) -> None:
        super().__init__(
            GaussianNoise(sigma),
            alpha=alpha,
            seed=seed,
            batch_size=batch_size,
            precision=precision,
            speed=speed,
        )
        if not isinstance(transform, Rotation | Translation):
            raise InputError(
                f"Expected `transform` to be Rotation() or Translation(), whose error is bounded, "
                f"but got {transform!r}."
            )
        self.transform = transform
        self.scale, self.sigma = check_positive("scale", scale), check_positive("sigma", sigma)
        self.radii = tuple(sorted({float(r) for r in radii}))
        self.largest = float(self.radii[-1] if largest is None and self.radii else largest or 0)
        if not self.radii or self.radii[0] < 0 or self.radii[-1] > self.largest:
            raise InputError(
                f"Expected `radii` to be one or more norms of attacks, from 0 to `largest`, "
                f"{self.largest:g}, but got {list(radii)}."
            )
        if not 0 < self.largest <= 90:
            raise InputError(
                f"Expected `largest` above 0 and at most 90, but got {self.largest:g}."
            )
        if not isinstance(preprocessing, Preprocessing | None):
            raise InputError(
                f"Expected `preprocessing` to be Preprocessing or None, but got {preprocessing!r}: "
                "the bounds hold for vignette and blur alone."
            )
        self.preprocessing = preprocessing
        self.stored: Stored = stored
        if stored not in get_args(Stored):
            raise InputError(
                f"Expected `stored` to be exact, float32 or uint8, but got {stored!r}."
            )
        self.n0, self.n = check_count("n0", n0), check_count("n", n)
        self.inner = check_count("inner", inner)
        self.level = check_probability("level", level)
        self._ledger = {"error": spent} if spent else {}
        self._outer = Looks(self.n, self.alpha - spent)
        self._inner = Looks(self.inner, self.level)
        law = GaussianLaw(self.scale)
        self._parameters = ParameterNoise(transform, dict.fromkeys(transform.names, law))
        self._part = 0

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.transform!r}, scale={self.scale:g}, "
            f"sigma={self.sigma:g}, radii={list(self.radii)}, alpha={self.alpha:g})"
        )

    @property
    def draws(self) -> int:
        """Forward passes that one image may take."""
        return CANDIDATES * self.n0 + self.n * self.inner

    @abstractmethod
    def distances(self, image: Tensor, index: int) -> Distances:
        """Measure how far the inner classifier has to hold its class.

        Args:
            image: (C, H, W) float64 in [0, 1], on the CPU.
            index: the image's index in its data set.
        """

    def _settings(self) -> dict[str, Any]:
        return {"method": self.method, **self._own(), "n0": CANDIDATES * self.n0, "n": self.n}

    def _own(self) -> dict[str, Any]:
        return {
            "transform": repr(self.transform),
            "laws": {name: GaussianLaw(self.scale).describe() for name in self.transform.names},
            "scale": self.scale,
            "sigma": self.sigma,
            "radii": list(self.radii),
            "largest": self.largest,
            "preprocessing": None if self.preprocessing is None else repr(self.preprocessing),
            "stored": self.stored,
            "inner": self.inner,
            "level": self.level,
        }

    def _plan(
        self, smoothed: SmoothedClassifier, image: Tensor, *, index: int
    ) -> Plan[Certificate]:
        image = image.double().cpu()
        distances = self.distances(image, index)
        votes0 = yield from self._select(image, index)
        test = OuterTest(self._outer, self.radii, self.scale, distances.rho, self.level)
        hits = drawn = passes = 0
        largest, stop = 0.0, False
        while not stop:
            wanted = test.decider.draws
            for place, seen, far in self._outer_draws(image, index, distances, drawn, wanted):
                # A draw that is not tested is a miss: it may be one, and nothing is won by it.
                if place and test.decider.hopeless(place, hits):
                    break
                key = self._key(index, "inner", place)
                held, made = yield from self._tested(seen, key, int(votes0.argmax()), far)
                hits, passes, largest = hits + held, passes + made, max(largest, far)
            drawn = wanted
            stop = test.decider.observe(hits)
        measured = {**distances.measured, "E": largest, "passes": passes}
        return self._certificate(smoothed, index, votes0, test, measured)

    def _outer_draws(
        self, image: Tensor, index: int, distances: Distances, first: int, end: int
    ) -> Iterator[tuple[int, Tensor, float]]:
        """Number, image and distance of each outer draw; none if nothing can be certified."""
        for start in range(first, end if distances.possible else first, TOGETHER):
            noise = self._drawn(self._key(index, "outer"), start, min(start + TOGETHER, end))
            places = range(start, start + len(noise))
            yield from zip(places, self._shown(image, noise), distances.of(noise), strict=True)

    def _key(self, index: int, stream: Stream, part: int = 0) -> NoiseKey:
        return NoiseKey(self.seed, index, stream, self._part + part)

    def _drawn(self, key: NoiseKey, first: int, end: int) -> Tensor:
        return self._parameters.draws(key, first, end)

    def _shown(self, image: Tensor, noise: Tensor) -> Tensor:
        """What the inner classifier sees for outer draws (N, P): (N, C, H, W) float32."""
        moved = self.transform(image[None], noise)
        seen: Tensor = moved if self.preprocessing is None else self.preprocessing(moved)
        return seen.float()

    def _select(self, image: Tensor, index: int) -> Plan[Tensor]:
        votes = torch.zeros(1, dtype=torch.int64)
        noise = self._drawn(self._key(index, "outer selection"), 0, self.n0)
        for place, seen in enumerate(self._shown(image, noise)):
            inner = self._key(index, "inner selection", place)
            votes = votes + (yield Draws(seen, inner, 0, CANDIDATES))
        return votes

    def _tested(
        self, seen: Tensor, key: NoiseKey, candidate: int, distance: float
    ) -> Generator[Draws, Tensor, tuple[bool, int]]:
        """Whether the class is shown to be held within a distance; draws that it took."""
        needed = gaussian_probability(distance, self.sigma)
        if needed > self._inner.running(self._inner.sizes):
            return False, 0  # no count would show it
        decider, hits, drawn, stop = Thresholds(self._inner, [needed]), 0, 0, False
        while not stop:
            wanted = decider.draws
            hits += int((yield Draws(seen, key, drawn, wanted - drawn))[candidate])
            drawn = wanted
            stop = decider.observe(hits)
        return decider.decisions == [HELD], drawn

    def _certificate(
        self,
        smoothed: SmoothedClassifier,
        index: int,
        votes0: Tensor,
        test: OuterTest,
        measured: dict[str, int | float],
    ) -> Certificate:
        n, hits = test.decider.path[-1]
        p_lower, candidate = test.decider.p_lower, int(votes0.argmax())
        certified = test.certified(p_lower)
        return Certificate(
            index=index,
            label=None,
            candidate=candidate,
            predicted=candidate if certified else ABSTAIN,
            radius=test.radius(p_lower) if certified else 0.0,
            radius_unit=self.transform.parameters[0].unit,
            guarantee="certified",
            hits=hits,
            n=n,
            n0=int(votes0.sum()),
            p_lower=p_lower,
            alpha=self.alpha,
            ledger={**self._ledger, **self._outer.ledger},
            method=self.method,
            parameters={
                **self._own(),
                "n": self.n,
                "rule": "looks",
                **smoothed.drawing,
                "classes": len(votes0),
            },
            seed=self.seed,
            seconds=0.0,
            votes0=sparse(votes0),
            decisions=test.decisions,
            looks=tuple(test.decider.path),
            measured=measured,
        )
