"""SPT: rotations and translations, certified although interpolation keeps them from composing.

Source: Fischer, Baader, Vechev, "Certified Defense to Image Transformations via Randomized
Smoothing", NeurIPS 2020 (DistSPT, sections 4 and 5); THEORY section 6.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_smooth.certify.base import Certifier, sparse
from lightning_smooth.errors import InputError, check_count, check_positive, check_probability
from lightning_smooth.interpolation.measure import (
    ROUNDED,
    MeasuredError,
    Stored,
    bounds_of,
    measure_error,
)
from lightning_smooth.maths.deciding import HELD, Thresholds
from lightning_smooth.maths.laws import GaussianLaw
from lightning_smooth.maths.radius import gaussian_probability
from lightning_smooth.maths.sequential import Looks
from lightning_smooth.maths.spt import OuterTest
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import GaussianNoise
from lightning_smooth.smoothing.parameters import ParameterNoise
from lightning_smooth.smoothing.plans import Draws, Plan
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey, Stream
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.transforms.geometric import Rotation, Translation
from lightning_smooth.transforms.preprocessing import Preprocessing
from lightning_smooth.types import ABSTAIN, Precision

_CANDIDATES = 16
"""Pixel draws for each outer draw that chooses the class."""


class DistSPTxCertifier(Certifier):
    """DistSPT^x: rotations or translations of a clean image, whatever interpolation does.

    The classifier: g(x) = argmax_c P(h(K T_b x) = c), b ~ N(0, scale^2 I), with K the
    preprocessing and h(y) = argmax_c P(f(y + e) = c), e ~ N(0, sigma^2 I), the inner one.

    Guarantee (`certified`): with probability at least 1 - alpha over the draws, g answers
    `predicted` at T_g x for every attack g of l2 norm at most `radius`, or the certifier abstained.
    T is bilinear and 0 outside; `stored` says how T_g x may be rounded. It rests on x being the
    image that is certified: of an image that was attacked already it says nothing. No maximum in it
    is sampled.

    How: E is 1.1 times the largest error of `error_draws[0]` draws of b over all attacks, and rho
    bounds how often the error of another b exceeds it (`interpolation`, `error_draws[1]` fresh
    draws). An outer draw is a hit if h holds the class within E, which an inner test shows.
    `maths.spt` makes radii of the hits.

    Args:
        transform: Rotation or Translation.
        scale: standard deviation of the noise on each parameter, in its unit.
        sigma: standard deviation of the noise on pixels, in units of [0, 1].
        radii: l2 norms of attacks to decide, in the unit of the parameters.
        largest: greatest attack for which the error is bounded: no radius is larger. None for the
            largest of `radii`.
        preprocessing: K; None for nothing.
        error_draws: outer draws that choose E, and that bound rho.
        margin: E is so many times the largest error found.
        stored: how an attack may store its image.
        n0: outer draws that choose the class, each with 16 inner ones.
        n: outer draws at most.
        inner: draws of an inner test at most.
        level: error rate of an inner test, in (0, 1); it costs probability, and no alpha.
        alpha: probability with which a certificate may be wrong: a fifth for rho.
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
        margin: float = 1.1,
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
        self.preprocessing = preprocessing
        self.error_draws = (
            check_count("error_draws", error_draws[0]), check_count("error_draws", error_draws[1])
        )  # fmt: skip
        self.margin = check_positive("margin", margin)
        self.stored: Stored = stored
        if stored not in ROUNDED:
            raise InputError(
                f"Expected `stored` to be exact, float32 or uint8, but got {stored!r}."
            )
        self.n0, self.n = check_count("n0", n0), check_count("n", n)
        self.inner = check_count("inner", inner)
        self.level = check_probability("level", level)
        self._spent = self.alpha / 5
        self._outer = Looks(self.n, self.alpha - self._spent)
        self._inner = Looks(self.inner, self.level)
        law = GaussianLaw(self.scale)
        self._part = 0
        self._parameters = ParameterNoise(transform, dict.fromkeys(transform.names, law))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.transform!r}, scale={self.scale:g}, "
            f"sigma={self.sigma:g}, radii={list(self.radii)}, alpha={self.alpha:g})"
        )

    @property
    def draws(self) -> int:
        """Forward passes that one image may take."""
        return _CANDIDATES * self.n0 + self.n * self.inner

    def for_validation(self, *, n0: int, n: int) -> DistSPTxCertifier:
        """See `Certifier.for_validation`: `n` outer draws at most, and a tenth of the errors."""
        other = type(self)(
            self.transform,
            self.scale,
            self.sigma,
            self.radii,
            self.largest,
            self.preprocessing,
            (max(1, self.error_draws[0] // 10), max(1, self.error_draws[1] // 10)),
            self.margin,
            self.stored,
            max(1, n0 // _CANDIDATES),
            n,
            self.inner,
            self.level,
            self.alpha,
            self.seed,
            self.batch_size,
            self.precision,
            self.speed,
        )
        other._part = _VALIDATION
        return other

    def _settings(self) -> dict[str, Any]:
        return {"method": self.method, **self._own(), "n0": _CANDIDATES * self.n0, "n": self.n}

    def _own(self) -> dict[str, Any]:
        return {
            "transform": repr(self.transform),
            "laws": {name: GaussianLaw(self.scale).describe() for name in self.transform.names},
            "scale": self.scale,
            "sigma": self.sigma,
            "radii": list(self.radii),
            "largest": self.largest,
            "preprocessing": None if self.preprocessing is None else repr(self.preprocessing),
            "error_draws": list(self.error_draws),
            "margin": self.margin,
            "stored": self.stored,
            "inner": self.inner,
            "level": self.level,
        }

    def _plan(
        self, smoothed: SmoothedClassifier, image: Tensor, *, index: int
    ) -> Plan[Certificate]:
        image = image.double().cpu()
        error = self.error(image, index)
        votes0 = yield from self._select(image, index)
        candidate = int(votes0.argmax())
        test = OuterTest(self._outer, self.radii, self.scale, error.rho, self.level)
        needed = gaussian_probability(error.size, self.sigma)
        reachable = needed <= self._inner.running(self._inner.sizes)
        hits = drawn = passes = 0
        stop = False
        while not stop:
            wanted = test.decider.draws
            for seen in self._shown(image, self._key(index, "outer"), drawn, wanted):
                # A draw that is not tested is a miss: it may be one, and nothing is won by it.
                if not reachable or (drawn and test.decider.hopeless(drawn, hits)):
                    break
                key = self._key(index, "inner", drawn)
                held, made = yield from self._tested(seen, key, candidate, needed)
                hits, passes, drawn = hits + held, passes + made, drawn + 1
            drawn = wanted
            stop = test.decider.observe(hits)
        return self._certificate(smoothed, index, votes0, test, error, passes)

    def error(self, image: Tensor, index: int) -> MeasuredError:
        """Bound what interpolation does to an image, by draws of its own.

        Args:
            image: (C, H, W) in [0, 1].
            index: the image's index in its data set.
        """
        chosen, fresh = (
            self._drawn(self._key(index, stream), 0, count).squeeze(1)
            for stream, count in zip(_ERROR_STREAMS, self.error_draws, strict=True)
        )
        engine = bounds_of(image, self.transform, self.largest, self.preprocessing, self.stored)
        return measure_error(engine, chosen, fresh, margin=self.margin, alpha=self._spent)

    def _key(self, index: int, stream: Stream, part: int = 0) -> NoiseKey:
        return NoiseKey(self.seed, index, stream, self._part + part)

    def _drawn(self, key: NoiseKey, first: int, end: int) -> Tensor:
        """Draws `first` to `end` of b: (N, P) float64."""
        theta = torch.cat([
            self._parameters.block(key, block, (1, 1, 1), torch.device("cpu"))
            for block in range(first // BLOCK, (end + BLOCK - 1) // BLOCK)
        ])  # fmt: skip
        return theta[first % BLOCK :][: end - first]

    def _shown(self, image: Tensor, key: NoiseKey, first: int, end: int) -> Tensor:
        """What the inner classifier sees in outer draws `first` to `end`: (N, C, H, W) float32."""
        moved = self.transform(image[None], self._drawn(key, first, end))
        seen: Tensor = moved if self.preprocessing is None else self.preprocessing(moved)
        return seen.float()

    def _select(self, image: Tensor, index: int) -> Plan[Tensor]:
        votes = torch.zeros(1, dtype=torch.int64)
        key = self._key(index, "outer selection")
        for place, seen in enumerate(self._shown(image, key, 0, self.n0)):
            inner = self._key(index, "inner selection", place)
            votes = votes + (yield Draws(seen, inner, 0, _CANDIDATES))
        return votes

    def _tested(
        self, seen: Tensor, key: NoiseKey, candidate: int, needed: float
    ) -> Generator[Draws, Tensor, tuple[bool, int]]:
        """Whether the class is shown to have the needed probability; draws that it took."""
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
        error: MeasuredError,
        passes: int,
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
            ledger={"error": self._spent, **self._outer.ledger},
            method=self.method,
            parameters={
                **self._own(),
                "n": self.n,
                "rule": "looks",
                "block": BLOCK,
                "generator": self.law.generator(smoothed.device),
                **smoothed.arithmetic,
                "classes": len(votes0),
            },
            seed=self.seed,
            seconds=0.0,
            votes0=sparse(votes0),
            decisions=test.decisions,
            looks=tuple(test.decider.path),
            measured={
                "E": error.size, "failures": error.failures, "error_draws": error.draws,
                "rho": error.rho, "passes": passes,
            },
        )  # fmt: skip


_VALIDATION = 1 << 40
"""Streams of validation are numbered from here."""

_ERROR_STREAMS: tuple[Stream, Stream] = ("error size", "error")
