"""What is checked of each certificate: against its own counts, and against its file's header.

Floating point: the bound and the radius are computed again in float64, and another scipy may round
them otherwise. A figure counts as the same where it is above the recomputed one by at most 1e-12
of it, or below by at most 1e-9, and for the bound p of min(p, 1 - p) and four roundings more: near
1 it is 1 - p that decides the radius. The radius is compared with those of the bounds within these
limits. Above is `unsound`, however little; below is true, but `not reproducible`.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from lightning_smooth.errors import SmoothError
from lightning_smooth.maths.ledger import check_ledger
from lightning_smooth.records import (  # noqa: F401 - enter their methods
    audit_more,
    audit_parameters,
    audit_range,
    audit_sequential,
    audit_spt,
    audit_verify,
)
from lightning_smooth.records.audit_lines import Kind
from lightning_smooth.records.audit_methods import Recomputed, Verdict, known_methods, method_of
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.types import ABSTAIN

ABOVE: Final = 1e-12
"""By how much, relatively, a figure may be above the recomputed one."""

BELOW: Final = 1e-9
"""By how much, relatively, a figure may be below the recomputed one."""

_STRENGTH: Final = ("estimated", "surrogate", "certified")


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


def _method(case: Subject) -> list[Problem] | None:
    if method_of(case.certificate) is not None:
        return []
    known = ", ".join(known_methods())
    return [Problem("unknown", case.certificate.method, f"a known method: {known}")]


def _bound(case: Subject) -> list[Problem] | None:
    if case.failure:
        return [Problem("contradiction", case.failure, "what a bound follows from")]
    if case.recomputed is None:
        return None
    low, high = limits(case.recomputed.p_lower)
    return [*_compare(case.certificate.p_lower, low, case.recomputed.p_lower, high)]


def _compare(
    recorded: float | None, low: float | None, exact: float | None, high: float | None
) -> Iterator[Problem]:
    if recorded is None and exact is None:
        return
    if exact is None or high is None or low is None:
        yield Problem("unsound", recorded, "none: only decisions are made")
    elif recorded is None:
        yield Problem("not reproducible", None, exact)
    elif not recorded <= high:
        yield Problem("unsound", recorded, exact)
    elif not recorded >= low:
        yield Problem("not reproducible", recorded, exact)


def _verdict(case: Subject) -> list[Problem] | None:
    if case.verdicts is None:
        return None
    least, _, most = case.verdicts
    c = case.certificate
    if c.abstained and least.certified:
        return [Problem("not reproducible", c.predicted, c.candidate)]
    if not c.abstained and not most.certified:
        return [Problem("unsound", c.predicted, ABSTAIN)]
    return []


def _radius(case: Subject) -> list[Problem] | None:
    c = case.certificate
    if c.abstained:
        none = c.radius is None or c.radius == 0
        return [] if none else [Problem("contradiction", c.radius, "0 for an abstention")]
    if case.verdicts is None:
        return None
    least, exact, most = (verdict.radius for verdict in case.verdicts)
    low = None if least is None else least * (1 - BELOW)
    high = None if most is None else most * (1 + ABOVE)
    return [*_compare(c.radius, low, exact, high)]


def _radii(case: Subject) -> list[Problem] | None:
    recorded = case.certificate.radii
    if case.certificate.abstained or case.verdicts is None:
        return [Problem("contradiction", recorded, "none for an abstention")] if recorded else None
    low, exact, high = (verdict.radii for verdict in case.verdicts)
    if set(recorded) != set(exact):
        return [Problem("contradiction", f"radii of {sorted(recorded)}", f"of {sorted(exact)}")]
    if not recorded:
        return None
    return [
        problem
        for name, radius in recorded.items()
        for problem in _compare(
            radius, low.get(name, 0.0) * (1 - BELOW), exact[name], high[name] * (1 + ABOVE)
        )
    ]


def _decisions(case: Subject) -> list[Problem] | None:
    recorded = case.certificate.decisions
    if case.verdicts is None:
        return None
    allowed = [verdict.decisions for verdict in case.verdicts]
    targets = {*recorded, *allowed[1]}
    if not targets:
        return None
    return [*_compare_decisions(recorded, sorted(targets), allowed)]


def _compare_decisions(
    recorded: Mapping[str, str], targets: list[str], allowed: list[Mapping[str, str]]
) -> Iterator[Problem]:
    for target in targets:
        said = recorded.get(target)
        if said not in [decisions.get(target) for decisions in allowed]:
            kind: Kind = "unsound" if said == "held" else "not reproducible"
            yield Problem(kind, f"{target}: {said}", f"{target}: {allowed[1].get(target)}")


def _hits(case: Subject) -> list[Problem] | None:
    c = case.certificate
    return [*_compare_hits(c)] if c.votes or c.looks or c.anchors else None


def _compare_hits(c: Certificate) -> Iterator[Problem]:
    voted = c.votes.get(c.candidate, 0)
    if c.votes and c.hits != voted:
        yield Problem("contradiction", c.hits, f"{voted}, votes of class {c.candidate}")
    if c.looks and tuple(c.looks[-1]) != (c.n, c.hits):
        yield Problem("contradiction", f"last look {c.looks[-1]}", f"(n, hits) = {(c.n, c.hits)}")
    ends = [anchor.looks[-1] for anchor in c.anchors if anchor.looks]
    summed = sum(n for n, _ in ends), sum(hits for _, hits in ends)
    if c.anchors and summed != (c.n, c.hits):
        yield Problem("contradiction", f"anchors' looks end at {summed} in all", f"{c.n, c.hits}")
    for looks in (c.looks, *(anchor.looks for anchor in c.anchors)):
        for (n, hits), (later, more) in zip(((0, 0), *looks), looks, strict=False):
            if not 0 <= more - hits <= later - n or later == n:
                after = f"to go on from {(n, hits)}"
                yield Problem("contradiction", f"look {(later, more)}", after)


def _votes(case: Subject) -> list[Problem] | None:
    c = case.certificate
    return [*_compare_votes(c)] if c.votes or c.votes0 else None


def _compare_votes(c: Certificate) -> Iterator[Problem]:
    classes = c.parameters.get("classes")
    for name, votes, most in (("n", c.votes, c.n), ("n0", c.votes0, c.n0)):
        total = sum(votes.values())
        if total > most:
            yield Problem("contradiction", f"{total} votes", f"at most {name} = {most}")
        beyond = [k for k in votes if isinstance(classes, int) and k >= classes]
        if beyond:
            yield Problem("contradiction", f"votes for class {beyond[0]}", f"{classes} classes")


def _candidate(case: Subject) -> list[Problem] | None:
    c = case.certificate
    if not c.votes0:
        return None
    most = max(c.votes0.values())
    if c.votes0.get(c.candidate, 0) == most:
        return []
    chosen = " or ".join(str(k) for k, count in c.votes0.items() if count == most)
    return [Problem("contradiction", c.candidate, f"{chosen}, by the votes of n0 draws")]


def _ledger(case: Subject) -> list[Problem] | None:
    c = case.certificate
    if c.n == 0 and c.alpha == 0 and not c.ledger:  # nothing was drawn
        return []
    if not 0 < c.alpha < 1:
        return [Problem("contradiction", f"alpha = {c.alpha!r}", "alpha in (0, 1)")]
    if not c.ledger:
        return [Problem("contradiction", "an empty ledger", "the steps that spend alpha")]
    try:
        check_ledger(c.ledger, c.alpha)
    except SmoothError:
        spent = " + ".join(f"{name} {value!r}" for name, value in c.ledger.items())
        return [Problem("unsound", spent, f"at most alpha = {c.alpha!r}, none below 0")]
    share, tests = c.measured.get(audit_range.SHARE, 0.0), c.parameters.get("anchors")
    if share and isinstance(tests, int) and not 0 < share * tests <= c.alpha + math.ulp(c.alpha):
        most = f"at most alpha = {c.alpha!r} together"
        return [Problem("unsound", f"{tests} anchors of {share!r} each", most)]
    return []


def _guarantee(case: Subject) -> list[Problem] | None:
    given = case.recomputed
    return None if given is None else [*_compare_guarantee(case.certificate, given)]


def _compare_guarantee(c: Certificate, given: Recomputed) -> Iterator[Problem]:
    if c.guarantee != given.guarantee:
        stronger = _STRENGTH.index(c.guarantee) > _STRENGTH.index(given.guarantee)
        yield Problem("unsound" if stronger else "not reproducible", c.guarantee, given.guarantee)
    if c.radius_unit != given.radius_unit:
        yield Problem("unsound", f"unit {c.radius_unit}", f"unit {given.radius_unit}")


def _settings(case: Subject) -> list[Problem] | None:
    settings = case.header.get("certifier")
    if not isinstance(settings, Mapping) or not settings:
        return None
    early = case.recomputed is None or case.recomputed.stops_early
    return [*_compare_settings(case.certificate, settings, early)]


def _compare_settings(
    c: Certificate, settings: Mapping[str, Any], early: bool
) -> Iterator[Problem]:
    own = {name: getattr(c, name) for name in ("method", "n", "n0", "alpha", "seed")}
    for name, set_to in settings.items():
        if name in own and own[name] != set_to:
            most = set_to * (len(c.anchors) or 1) if isinstance(set_to, int) else -1
            stopped = name == "n" and early and c.n <= most
            if not stopped:
                yield Problem("contradiction", f"{name} = {own[name]!r}", f"{set_to!r} (header)")
        if name in c.parameters and c.parameters[name] != set_to:
            value = c.parameters[name]
            yield Problem("contradiction", f"{name} = {value!r:.60}", f"{set_to!r:.60} (header)")


def _label(case: Subject) -> list[Problem] | None:
    label = case.certificate.label
    if label is None:
        return None
    names = case.header.get("class_names")
    classes = [len(names)] if isinstance(names, list) and names else []
    own = case.certificate.parameters.get("classes")
    classes += [own] if isinstance(own, int) else []
    if all(label < count for count in classes):
        return []
    return [Problem("contradiction", label, f"0 to {min(classes) - 1}")]


def _digest(case: Subject) -> list[Problem] | None:
    image = case.certificate.image
    if not image:
        return None
    known = re.fullmatch(r"[0-9a-f]{16}", image) is not None
    return [] if known else [Problem("contradiction", image, "16 hex digits")]


Check = Callable[[Subject], list[Problem] | None]
"""The problems of a certificate; None where its record does not tell what the check needs."""

CHECKS: Final[Mapping[str, tuple[str, Check]]] = {
    "method": ("the method can be computed again", _method),
    "bound": ("p_lower follows from the counts", _bound),
    "verdict": ("predicted follows from the bound", _verdict),
    "radius": ("the radius follows from the bound", _radius),
    "radii": ("each parameter's radius follows from the bound", _radii),
    "decisions": ("the decisions follow from the bound", _decisions),
    "ledger": ("the ledger adds up to at most alpha", _ledger),
    "guarantee": ("guarantee and unit fit the method", _guarantee),
    "hits": ("hits are the candidate's votes", _hits),
    "votes": ("votes are at most the draws", _votes),
    "candidate": ("the candidate leads the n0 votes", _candidate),
    "settings": ("settings are those of the header", _settings),
    "label": ("the label is a class", _label),
    "digest": ("the image's digest is well formed", _digest),
}
"""Checks of each certificate, with a word on each."""
