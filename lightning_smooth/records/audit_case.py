"""A certificate under audit, and how near a figure has to be to the recomputed one.

Floating point: the bound and the radius are computed again in float64, and another scipy may round
them otherwise. A figure counts as the same where it is above the recomputed one by at most 1e-12
of it, or below by at most 1e-9, and for the bound p of min(p, 1 - p) and four roundings more: near
1 it is 1 - p that decides the radius. The radius is compared with those of the bounds within these
limits. Above is `unsound`, however little; below is true, but `not reproducible`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from lightning_smooth.errors import SmoothError
from lightning_smooth.records import (  # noqa: F401 - enter their methods
    audit_more,
    audit_parameters,
    audit_range,
    audit_sequential,
    audit_spt,
    audit_verify,
)
from lightning_smooth.records.audit_lines import Kind
from lightning_smooth.records.audit_methods import Recomputed, Verdict, method_of
from lightning_smooth.records.certificate import Certificate

ABOVE: Final = 1e-12
"""By how much, relatively, a figure may be above the recomputed one."""

BELOW: Final = 1e-9
"""By how much, relatively, a figure may be below the recomputed one."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a certificate: its kind, what is recorded and what was expected."""

    kind: Kind
    recorded: Any
    expected: Any


@dataclass(frozen=True)
class Subject:
    """A certificate, and what it is checked against.

    Attributes:
        certificate: what is recorded.
        header: header of its file.
        recomputed: what its counts give; None where that cannot be told.
        failure: why it cannot be told though the method is known; else empty.
    """

    certificate: Certificate
    header: Mapping[str, Any]
    recomputed: Recomputed | None
    failure: str = ""

    @cached_property
    def verdicts(self) -> tuple[Verdict, Verdict, Verdict] | None:
        """The verdicts of the least, the recomputed and the largest bound that count as it."""
        if self.recomputed is None:
            return None
        low, high = limits(self.recomputed.p_lower)
        least, exact, most = map(self.recomputed.conclude, (low, self.recomputed.p_lower, high))
        return least, exact, most


def subject(certificate: Certificate, header: Mapping[str, Any]) -> Subject:
    """Compute a certificate's bound and verdict again, where its method is known."""
    method = method_of(certificate)
    if method is None:
        return Subject(certificate, header, None)
    try:
        case = Subject(certificate, header, method(certificate))
        _ = case.verdicts
    except SmoothError as error:
        return Subject(certificate, header, None, str(error))
    return case


def limits(p: float) -> tuple[float, float]:
    """The bounds that count as the recomputed bound `p`: see the head of this module.

    >>> low, high = limits(0.75)
    >>> f"{low - 0.75:.1e} {high - 0.75:.1e}"
    '-2.5e-10 2.5e-13'
    """
    near, roundings = min(p, 1 - p), 4 * sys.float_info.epsilon * p
    high = min(p + ABOVE * near + roundings, math.nextafter(1.0, 0.0))
    return max(p - BELOW * near - roundings, 0.0), high


Check = Callable[[Subject], list[Problem] | None]
"""The problems of a certificate; None where its record does not tell what the check needs."""
