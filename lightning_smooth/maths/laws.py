"""Laws of noise on one real parameter that composes by addition (THEORY section 4).

Each class derives its bound in a sentence, from the sets that `shift` describes.

Sources: Cohen, Rosenfeld, Kolter, ICML 2019 (Gaussian); Yang et al., "Randomized Smoothing of All
Shapes and Sizes", ICML 2020 (Laplace, uniform); Li et al., "TSS", CCS 2021 (exponential, folded
Gaussian).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, erfinv, ndtri

from lightning_smooth.errors import InputError
from lightning_smooth.maths.radius import gaussian_probability, gaussian_radius
from lightning_smooth.maths.shift import SLACK, ParameterLaw, gaussian_after
from lightning_smooth.maths.uniform import uniform_radius

__all__ = [
    "LAWS",
    "ExponentialLaw",
    "FoldedGaussianLaw",
    "GaussianLaw",
    "LaplaceLaw",
    "OneSidedUniformLaw",
    "ParameterLaw",
    "UniformLaw",
    "law_from",
]

_QUARTER: Final = 0.6744897501960818
"""PPF(3/4), rounded up."""


@dataclass(frozen=True)
class GaussianLaw(ParameterLaw):
    """N(0, scale^2): the ratio grows along the shift, so S is a half-line.

    Hence after(p, d) = CDF(PPF(p) - d / scale), and the radius is scale PPF(p) (Cohen et al. 2019,
    theorem 1).

    >>> law = GaussianLaw(30.0)
    >>> round(law.radius(0.9), 4), round(law.after(0.9, 30.0), 6), round(law.needed(30.0), 6)
    (38.4465, 0.610856, 0.841345)
    """

    kind: ClassVar[str] = "gaussian"
    one_sided: ClassVar[bool] = False
    scale: float

    def _quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.scale * ndtri(u))

    def _rate(self, p: float) -> float:
        return math.exp(-0.5 * float(ndtri(p)) ** 2) / (math.sqrt(2 * math.pi) * self.scale)

    def _radius(self, p: float) -> float:
        return gaussian_radius(p, self.scale)

    def _after(self, p: float, shift: float) -> float:
        return gaussian_after(p, shift / self.scale)

    def _needed(self, shift: float) -> float:
        return gaussian_probability(shift, self.scale)


@dataclass(frozen=True)
class LaplaceLaw(ParameterLaw):
    """Density exp(-|x| / scale) / (2 scale): the ratio is least and constant up to 0, then grows.

    S is part of (-inf, 0] where p <= 1/2, which loses the factor exp(-d / scale), and else a
    half-line (-inf, t], t = -scale ln(2 (1 - p)), whose mass after the shift is that of
    (-inf, t - d] (Yang et al. 2020).

    >>> law = LaplaceLaw(2.0)
    >>> round(law.radius(0.9), 6), round(law.after(0.9, 1.0), 6), round(law.after(0.4, 2.0), 6)
    (3.218876, 0.835128, 0.147152)
    """

    kind: ClassVar[str] = "laplace"
    one_sided: ClassVar[bool] = False
    scale: float

    def _quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(-np.sign(u - 0.5) * self.scale * np.log(2 * np.minimum(u, 1 - u)))

    def _rate(self, p: float) -> float:
        return min(p, 1 - p) / self.scale

    def _radius(self, p: float) -> float:
        return _exponential_radius(p, self.scale)

    def _after(self, p: float, shift: float) -> float:
        steps = shift / self.scale
        if p > 0.5 and (kept := _exponential_after(p, steps)) >= 0.5:
            return kept
        # Beyond t the half-line ends left of the centre of the moved law.
        mass = p if p <= 0.5 else 0.25 / (1 - p)
        return math.nextafter(mass * math.exp(-steps) * (1 - SLACK * (1 + steps)), -math.inf)

    def _needed(self, shift: float) -> float:
        return _exponential_needed(shift, self.scale)


@dataclass(frozen=True)
class UniformLaw(ParameterLaw):
    """Uniform on [-half_width, half_width]: S takes the end that the shift leaves, of ratio 0.

    There lies a mass of d / (2 half_width); elsewhere the ratio is 1 (Yang et al. 2020).

    >>> law = UniformLaw(0.5)
    >>> round(law.radius(0.9), 6), round(law.after(0.9, 0.25), 6)
    (0.4, 0.65)
    """

    kind: ClassVar[str] = "uniform"
    one_sided: ClassVar[bool] = False
    half_width: float

    def _quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.half_width * (2 * u - 1))

    def _rate(self, p: float) -> float:
        return 1 / (2 * self.half_width)

    def _radius(self, p: float) -> float:
        return uniform_radius(p, self.half_width)

    def _after(self, p: float, shift: float) -> float:
        return _minus(p, shift / self.half_width / 2)

    def _needed(self, shift: float) -> float:
        return 0.5 + shift / self.half_width / 2


@dataclass(frozen=True)
class ExponentialLaw(ParameterLaw):
    """Density exp(-x / mean) / mean from 0 on: the usual noise on the variance of a blur.

    S takes [0, d) first, which the moved law leaves, of mass 1 - exp(-d / mean); above, the ratio
    is exp(d / mean) throughout. Hence after(p, d) = 1 - (1 - p) exp(d / mean) (Li et al. 2021).

    >>> law = ExponentialLaw(10.0)
    >>> round(law.radius(0.9), 6), round(law.after(0.9, 4.0), 6)
    (16.094379, 0.850818)
    """

    kind: ClassVar[str] = "exponential"
    one_sided: ClassVar[bool] = True
    mean: float

    def _quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(-self.mean * np.log1p(-u))

    def _rate(self, p: float) -> float:
        return (1 - p) / self.mean

    def _radius(self, p: float) -> float:
        return _exponential_radius(p, self.mean)

    def _after(self, p: float, shift: float) -> float:
        return _exponential_after(p, shift / self.mean)

    def _needed(self, shift: float) -> float:
        return _exponential_needed(shift, self.mean)


@dataclass(frozen=True)
class OneSidedUniformLaw(ParameterLaw):
    """Uniform on [0, width]: S takes [0, d), which the moved law leaves, of mass d / width.

    >>> law = OneSidedUniformLaw(10.0)
    >>> round(law.radius(0.9), 6), round(law.after(0.9, 3.0), 6)
    (4.0, 0.6)
    """

    kind: ClassVar[str] = "one-sided uniform"
    one_sided: ClassVar[bool] = True
    width: float

    def _quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.width * u)

    def _rate(self, p: float) -> float:
        return 1 / self.width

    def _radius(self, p: float) -> float:
        return uniform_radius(p, self.width / 2)

    def _after(self, p: float, shift: float) -> float:
        return _minus(p, shift / self.width)

    def _needed(self, shift: float) -> float:
        return 0.5 + shift / self.width


@dataclass(frozen=True)
class FoldedGaussianLaw(ParameterLaw):
    """|N(0, scale^2)|: the ratio is 0 up to d and grows from there, so S is an interval [0, t].

    t = scale PPF((1 + p) / 2), and the moved law gives it 2 CDF((t - d) / scale) - 1, or nothing
    (Li et al. 2021).

    >>> law = FoldedGaussianLaw(10.0)
    >>> round(law.radius(0.9), 6), round(law.after(0.9, 4.0), 6)
    (9.703639, 0.786814)
    """

    kind: ClassVar[str] = "folded gaussian"
    one_sided: ClassVar[bool] = True
    scale: float

    def _quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self.scale * math.sqrt(2) * erfinv(u))

    def _rate(self, p: float) -> float:
        return math.sqrt(2 / math.pi) * math.exp(-(float(erfinv(p)) ** 2)) / self.scale

    def _radius(self, p: float) -> float:
        room = _folded_end(p) - _QUARTER
        return math.nextafter(self.scale * math.nextafter(room, -math.inf), -math.inf)

    def _after(self, p: float, shift: float) -> float:
        z = math.nextafter(_folded_end(p) - shift / self.scale * (1 + SLACK), -math.inf)
        return float(erf(z / math.sqrt(2) * (1 - SLACK))) * (1 - SLACK) if z > 0 else 0.0

    def _needed(self, shift: float) -> float:
        return float(erf((shift / self.scale + _QUARTER) / math.sqrt(2)))


def law_from(described: Mapping[str, float | str]) -> ParameterLaw:
    """The law of a description, as `ParameterLaw.describe` gives it.

    Raises:
        InputError: the kind is unknown, or its parameters are not those of the kind.

    >>> law_from({"kind": "exponential", "mean": 10.0})
    ExponentialLaw(mean=10.0)
    """
    values = dict(described)
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in LAWS:
        raise InputError(f"Expected `kind` to be one of {sorted(LAWS)}, but got {kind!r}.")
    law = LAWS[kind]
    names = [field.name for field in fields(law)]
    if sorted(values) != sorted(names):
        raise InputError(f"Expected {kind} noise to have {names}, but got {sorted(values)}.")
    return law(**values)


LAWS: Final[dict[str, type[ParameterLaw]]] = {
    law.kind: law
    for law in (
        GaussianLaw,
        LaplaceLaw,
        UniformLaw,
        ExponentialLaw,
        OneSidedUniformLaw,
        FoldedGaussianLaw,
    )
}
"""Every law by its kind."""


def _exponential_radius(p: float, scale: float) -> float:
    # 2 (1 - p) is exact above 1/2.
    return math.nextafter(-scale * math.log(2 * (1 - p)) * (1 - SLACK), 0.0)


def _exponential_after(p: float, steps: float) -> float:
    """1 - (1 - p) exp(steps), rounded down."""
    if steps > 700:
        return 0.0
    lost = (1 - p) * math.exp(steps) * (1 + SLACK * (1 + steps))
    return math.nextafter(1 - lost, -math.inf)


def _exponential_needed(shift: float, scale: float) -> float:
    return 1 - 0.5 * math.exp(-shift / scale)


def _minus(p: float, lost: float) -> float:
    return math.nextafter(p - math.nextafter(lost, math.inf), -math.inf)


def _folded_end(p: float) -> float:
    """PPF((1 + p) / 2), rounded down."""
    # (1 - p) / 2 is exact above 1/2, where (1 + p) / 2 is not.
    end = -float(ndtri((1 - p) / 2)) if p > 0.5 else math.sqrt(2) * float(erfinv(p))
    return end * (1 - SLACK)
