"""How the verdict of each method follows from its counts: computed again, by maths alone.

A method is one function from a certificate to what its counts give, entered under the method's
name with `audits`. It reads the counts, the ledger and the parameters of the certificate, never
its bound, radius or decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from lightning_smooth.errors import RecordError
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.types import Guarantee


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a lower bound of the candidate's probability says.

    Attributes:
        certified: whether the candidate is the answer; otherwise the classifier abstains.
        radius: the radius, in the method's unit, 0 for an abstention; None where only decisions
            are made.
        decisions: for each target asked for: `held`, `not held` or `undecided`.
        radii: each parameter's own radius, where several have noise.
    """

    certified: bool
    radius: float | None
    decisions: Mapping[str, str] = field(default_factory=dict)
    radii: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recomputed:
    """What the counts of a certificate give.

    Attributes:
        p_lower: the bound.
        conclude: the verdict that follows from a bound in [0, 1). It never says less for a larger
            bound: the audit also asks it for bounds that differ by rounding.
        guarantee: what the method's radii rest on.
        radius_unit: the unit of its radii.
        stops_early: whether it may stop before the `n` draws of the header's settings.
    """

    p_lower: float
    conclude: Callable[[float], Verdict]
    guarantee: Guarantee = "certified"
    radius_unit: str = "l2"
    stops_early: bool = False


Method = Callable[[Certificate], Recomputed]

_METHODS: dict[str, Method] = {}
_COUNTED: set[str] = set()


def audits(name: str, *, counted: bool = False) -> Callable[[Method], Method]:
    """Enter a function as the recomputation of the method `name` (`Certificate.method`).

    `counted`: its hits are votes of draws, all of which a certificate lists.

    The function raises a `SmoothError` where the certificate lacks what the method needs or
    contradicts itself; the audit reports its message as a fault of the bound.
    """

    def enter(method: Method) -> Method:
        _METHODS[name] = method
        if counted:
            _COUNTED.add(name)
        return method

    return enter


def known_methods() -> tuple[str, ...]:
    """Names of the methods that can be computed again."""
    return tuple(sorted(_METHODS))


def method_of(certificate: Certificate) -> Method | None:
    """The recomputation of the certificate's method; None where it is not known here."""
    return _METHODS.get(certificate.method)


def counted(certificate: Certificate) -> bool:
    """Whether the certificate's method lists the votes of its draws."""
    return certificate.method in _COUNTED


def number(part: Mapping[str, Any], key: str, *, where: str) -> float:
    """A number that a method needs from the `parameters` or the `ledger` of a certificate.

    Raises:
        RecordError: it is missing, or no number.

    >>> number({"sigma": 0.5}, "sigma", where="parameters")
    0.5
    """
    value = part.get(key)
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if real and abs(value) < 2**63:  # type: ignore[arg-type]
        return float(value)  # type: ignore[arg-type]
    raise RecordError(f"There is no number `{key}` in `{where}`.")


@audits("gaussian", counted=True)
def gaussian(certificate: Certificate) -> Recomputed:
    """CERTIFY with a fixed number of draws (Cohen et al. 2019, section 3.2.2; THEORY section 1).

    The bound is that of Clopper and Pearson at the ledger's `estimation`, the radius
    sigma PPF(bound), and the answer an abstention unless the bound is above 1/2.
    """
    if certificate.looks:
        raise RecordError("There are `looks`, though the method draws a fixed number.")
    sigma = number(certificate.parameters, "sigma", where="parameters")
    alpha = number(certificate.ledger, "estimation", where="ledger")
    return Recomputed(
        p_lower=_clopper_pearson(certificate.hits, certificate.n, alpha),
        conclude=partial(_gaussian_verdict, sigma),
    )


def _gaussian_verdict(sigma: float, p_lower: float) -> Verdict:
    return Verdict(certified=p_lower > 0.5, radius=gaussian_radius(p_lower, sigma))


@lru_cache(maxsize=65536)
def _clopper_pearson(hits: int, n: int, alpha: float) -> float:
    return clopper_pearson_lower(hits, n, alpha)
