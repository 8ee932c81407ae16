"""Smoothing over the parameters of a transformation.

Sources: Fischer, Baader, Vechev, "Certified Defense to Image Transformations via Randomized
Smoothing", NeurIPS 2020 (SPT); Li et al., "TSS", CCS 2021; Hao et al., "GSmooth", ICML 2022,
theorem 1. THEORY sections 4 to 6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from lightning_smooth.certify.stopping import Deciding
from lightning_smooth.certify.voting import VotingCertifier
from lightning_smooth.errors import InputError
from lightning_smooth.maths.sequential import Rule
from lightning_smooth.maths.shift import ParameterLaw
from lightning_smooth.maths.targets import Ball, ScaledBox, Target
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.parameters import ParameterNoise
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box, Guarantee, Precision

T = TypeVar("T", bound="ParameterCertifier")


class ParameterCertifier(VotingCertifier):
    """What certifiers share that draw parameters; a subclass says what it guarantees.

    Args:
        transform: what is done to images.
        laws: law of each parameter that is drawn; the others stay at their identity, and no attack
            on them is certified.
        box: (least, greatest) attack on each parameter, as what is added to its identity: the
            radius is then in units of the box, 1 for the box itself. None for a radius in the unit
            of the parameters.
        n0: draws that choose the class to certify.
        n: fresh draws that bound its probability.
        alpha: probability with which a certificate may be wrong.
        seed: seed of the noise.
        batch_size: transformed copies in a forward pass; None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run, as for `GaussianCertifier`.

    Raises:
        InputError: as for `GaussianCertifier`; or laws, box and transformation do not fit.
    """

    guarantee: ClassVar[Guarantee] = "estimated"
    law: ParameterNoise

    def __init__(
        self,
        transform: Transform,
        laws: Mapping[str, ParameterLaw],
        box: Box | None = None,
        n0: int = 100,
        n: int = 10_000,
        alpha: float = 0.001,
        seed: int = 0,
        batch_size: int | None = None,
        precision: Precision = "float32",
        speed: Speed | None = None,
    ) -> None:
        super().__init__(
            ParameterNoise(transform, laws),
            n0=n0,
            n=n,
            alpha=alpha,
            seed=seed,
            batch_size=batch_size,
            precision=precision,
            speed=speed,
        )
        self.transform = transform
        self.laws = self.law.laws
        self.box = box
        self.target = self._target(box)

    @property
    def radius_unit(self) -> str:
        """See `VotingCertifier.radius_unit`: the unit of the parameters, or `box`."""
        return self.target.unit

    def radius_of(self, p_lower: float) -> float:
        """See `VotingCertifier.radius_of`."""
        return self.target.radius(p_lower)

    def probability_for(self, radius: float) -> float:
        """See `VotingCertifier.probability_for`."""
        return self.target.needed(radius)

    def _target(self, box: Box | None) -> Target:
        coupled = self.transform.coupled
        if coupled is not None and not set(coupled) & set(self.laws):
            coupled = None  # neither is drawn, and no attack on either is certified
        if box is not None:
            return ScaledBox(self.laws, box, coupled=coupled)
        units = {p.unit for p in self.transform.parameters if p.name in self.laws}
        if len(units) > 1 or coupled:
            raise InputError(
                f"Expected a `box` of attacks, as {', '.join(self.laws)} have no unit in common: "
                "give (least, greatest) for each."
            )
        return Ball(self.laws, units.pop())

    def _radii(self, p_lower: float) -> dict[str, float]:
        return self.target.radii(p_lower)

    def _own(self) -> dict[str, Any]:
        return {
            "transform": repr(self.transform),
            "laws": {name: law.describe() for name, law in self.laws.items()},
            "target": self.target.describe(),
        }

    def _like(self, kind: type[T], n0: int, n: int) -> T:
        return kind(
            self.transform,
            self.laws,
            self.box,
            n0,
            n,
            self.alpha,
            self.seed,
            self.batch_size,
            self.precision,
            self.speed,
        )


class ResolvableCertifier(ParameterCertifier):
    """Certifies transformations that compose: blur, translation, brightness, contrast.

    Guarantee (`certified`): with probability at least 1 - alpha over the draws, the smoothed
    classifier g(x) = argmax_c P(f(tau(theta, x)) = c) answers `predicted` at tau(xi, x) for every
    attack xi of a norm below `radius` (or in the box times it), or the certifier abstained. It
    rests on tau composing exactly (`Transform.composition`; up to float32 rounding), on attacks
    that are not clipped or rounded to 8 bits after, and of integer translations on attacks by
    whole pixels.

    Sources: Li et al. 2021 (TSS), resolvable transformations; Hao et al. 2022, theorem 1; THEORY
    sections 4 and 5. Arguments: see `ParameterCertifier`.

    Raises:
        InputError: as for `ParameterCertifier`; or the transformation does not compose.
    """

    method = "resolvable"
    guarantee = "certified"

    def _fixed(self, n0: int, n: int) -> ResolvableCertifier:
        return self._like(ResolvableCertifier, n0, n)

    def _target(self, box: Box | None) -> Target:
        if self.transform.composition == "none":
            raise InputError(
                f"Expected a transformation that composes, but {self.transform!r} does not: "
                "smoothing over its parameters proves nothing by itself. BaseSPTCertifier gives an "
                "estimate; integer translations of other paddings can be enumerated."
            )
        coupled = set(self.transform.coupled or ())
        if self.transform.composition != "additive" and not coupled:
            raise InputError(
                "Expected a transformation whose parameters add, or e^k (x + b), but "
                f"{self.transform!r} composes in another way, for which there is no radius here."
            )
        if 0 < len(coupled & set(self.laws)) < len(coupled):
            raise InputError(
                f"Expected laws of both {' and '.join(sorted(coupled))}, which act on each other, "
                f"but got {sorted(self.laws)}: take Brightness or Contrast for one alone."
            )
        return super()._target(box)


class BaseSPTCertifier(ParameterCertifier):
    """What smoothing would certify if the transformation composed; rotation does not.

    Guarantee (`estimated`): none. Interpolation keeps rotations and translations by parts of a
    pixel from composing, and the radius leaves its error out: BaseSPT of Fischer, Baader, Vechev,
    NeurIPS 2020, section 4; THEORY section 6. It is a heuristic to compare with, and the first
    stage of the methods that bound that error. Arguments: see `ParameterCertifier`.

    Raises:
        InputError: as for `ParameterCertifier`.
    """

    method = "base spt"

    def _fixed(self, n0: int, n: int) -> BaseSPTCertifier:
        return self._like(BaseSPTCertifier, n0, n)


class DecidingParameters(Deciding, ParameterCertifier):
    """Decides radii fixed beforehand with as few draws as that takes.

    A radius is `held`, `not held` or `undecided`, as for `SequentialGaussianCertifier`; the radius
    of a certificate is the largest that is held. With a `box`, radius 1 is the box:
    `radii: [0, 1]`.

    Args:
        transform: see `ParameterCertifier`.
        laws: see `ParameterCertifier`.
        radii: radii to decide; 0 asks for the prediction alone.
        box: see `ParameterCertifier`.
        n0: draws that choose the class to certify.
        n: draws at most.
        alpha: probability with which a certificate may be wrong.
        seed: seed of the noise.
        batch_size: transformed copies in a forward pass; None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run, as for `GaussianCertifier`.
        rule: as for `SequentialGaussianCertifier`.

    Raises:
        InputError: as for `ParameterCertifier`; or a radius is below 0, beyond what `n` draws can
            certify, or none is given.
    """

    def __init__(
        self,
        transform: Transform,
        laws: Mapping[str, ParameterLaw],
        radii: Sequence[float],
        box: Box | None = None,
        n0: int = 100,
        n: int = 100_000,
        alpha: float = 0.001,
        seed: int = 0,
        batch_size: int | None = None,
        precision: Precision = "float32",
        speed: Speed | None = None,
        rule: Rule = "looks",
    ) -> None:
        super().__init__(transform, laws, box, n0, n, alpha, seed, batch_size, precision, speed)
        self._decide(radii, rule)


class SequentialResolvableCertifier(DecidingParameters, ResolvableCertifier):
    """`ResolvableCertifier` at radii fixed beforehand, with as few draws as they take.

    Guarantee (`certified`): as for `ResolvableCertifier`. Arguments and errors: see
    `DecidingParameters`.
    """

    method = "resolvable sequential"


class SequentialBaseSPTCertifier(DecidingParameters, BaseSPTCertifier):
    """`BaseSPTCertifier` at radii fixed beforehand, with as few draws as they take.

    Guarantee (`estimated`): as for `BaseSPTCertifier`. Arguments and errors: see
    `DecidingParameters`.
    """

    method = "base spt sequential"
