"""What is checked of each certificate: against its own counts, and against its file's header."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from lightning_smooth.records import audit_counts
from lightning_smooth.records.audit_case import (
    ABOVE,
    BELOW,
    Check,
    Problem,
    Subject,
    limits,
    subject,
)
from lightning_smooth.records.audit_lines import Kind
from lightning_smooth.records.audit_methods import Recomputed, known_methods, method_of
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.types import ABSTAIN

_STRENGTH: Final = ("estimated", "surrogate", "certified")


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


def _guarantee(case: Subject) -> list[Problem] | None:
    given = case.recomputed
    return None if given is None else [*_compare_guarantee(case.certificate, given)]


def _compare_guarantee(c: Certificate, given: Recomputed) -> Iterator[Problem]:
    if c.guarantee != given.guarantee:
        stronger = _STRENGTH.index(c.guarantee) > _STRENGTH.index(given.guarantee)
        yield Problem("unsound" if stronger else "not reproducible", c.guarantee, given.guarantee)
    if c.radius_unit != given.radius_unit:
        yield Problem("unsound", f"unit {c.radius_unit}", f"unit {given.radius_unit}")


CHECKS: Final[Mapping[str, tuple[str, Check]]] = {
    "method": ("the method can be computed again", _method),
    "bound": ("p_lower follows from the counts", _bound),
    "verdict": ("predicted follows from the bound", _verdict),
    "radius": ("the radius follows from the bound", _radius),
    "radii": ("each parameter's radius follows from the bound", _radii),
    "decisions": ("the decisions follow from the bound", _decisions),
    "ledger": ("the ledger adds up to at most alpha", audit_counts.ledger),
    "guarantee": ("guarantee and unit fit the method", _guarantee),
    "hits": ("hits are the candidate's votes", audit_counts.hits),
    "votes": ("votes are at most the draws", audit_counts.votes),
    "candidate": ("the candidate leads the n0 votes", audit_counts.candidate),
    "settings": ("settings are those of the header", audit_counts.settings),
    "label": ("the label is a class", audit_counts.label),
    "digest": ("the image's digest is well formed", audit_counts.digest),
}
"""Checks of each certificate, with a word on each."""


def overclaiming(header: Mapping[str, Any], certificates: Sequence[Certificate]) -> list[int]:
    """Indices of the images whose bound, answer or radius is more than their counts give.

    Certificates of many anchors are left to the audit, which takes longer over them.
    """
    checks = (_bound, _verdict, _radius)
    found = []
    for case in (subject(c, header) for c in certificates if not c.anchors):
        if any(problem.kind == "unsound" for check in checks for problem in check(case) or ()):
            found.append(case.certificate.index)
    return found
