"""What is checked of a certificate without its bound: whether its counts and settings agree."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lightning_smooth.errors import SmoothError
from lightning_smooth.maths.ledger import check_ledger
from lightning_smooth.records.anchor import SHARE
from lightning_smooth.records.audit_case import Problem, Subject
from lightning_smooth.records.audit_methods import counted
from lightning_smooth.records.certificate import Certificate

_BINDING: Final = ("sigma", "lam", "precision", "block", "rule", "n", "transform", "box", "norm")
"""Settings that stand in each certificate, so that it says by itself what was certified."""

_SCALES: Final = ("sigma", "lam", "laws", "target", "transform", "precision")
"""Settings that are one for all images: chosen for each image, they would be chosen by it."""


def hits(case: Subject) -> list[Problem] | None:
    """Hits are the candidate's votes, and looks go on from one another and end at them."""
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


def votes(case: Subject) -> list[Problem] | None:
    """Draws have votes, at most one each, for classes that there are."""
    c = case.certificate
    told = c.votes or c.votes0 or counted(c)
    return [*_compare_votes(c, case.header)] if told else None


def _compare_votes(c: Certificate, header: Mapping[str, Any]) -> Iterator[Problem]:
    classes, names = c.parameters.get("classes"), header.get("class_names")
    # One more than the names: the class by which a model rejects an image.
    named = len(names) if isinstance(names, list) else 0
    if named and isinstance(classes, int) and classes not in (named, named + 1):
        yield Problem("contradiction", f"{classes} classes", f"{named} class names")
    listed = counted(c)
    if listed and not c.n0:
        yield Problem("unsound", "n0 = 0", "draws that chose the class before the others")
    if listed and c.n0 and not c.votes0:
        yield Problem("incomplete", "no votes0", f"those of n0 = {c.n0} draws")
    if listed and c.n and not c.votes:
        yield Problem("incomplete", "no votes", f"those of n = {c.n} draws")
    for name, votes, most in (("n", c.votes, c.n), ("n0", c.votes0, c.n0)):
        total = sum(votes.values())
        if total > most:
            yield Problem("contradiction", f"{total} votes", f"at most {name} = {most}")
        beyond = [k for k in votes if isinstance(classes, int) and k >= classes]
        if beyond:
            yield Problem("contradiction", f"votes for class {beyond[0]}", f"{classes} classes")


def candidate(case: Subject) -> list[Problem] | None:
    """The candidate has the most of the n0 votes, and is the first class of those that have."""
    c = case.certificate
    if not c.votes0:
        return None
    most = max(c.votes0.values())
    chosen = min(k for k, count in c.votes0.items() if count == most)
    if c.candidate == chosen:
        return []
    return [Problem("contradiction", c.candidate, f"{chosen}, by the votes of n0 draws")]


def ledger(case: Subject) -> list[Problem] | None:
    """The steps of the ledger spend at most alpha, and so do the anchors together."""
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
    share, tests = c.measured.get(SHARE, 0.0), c.parameters.get("anchors")
    if share and isinstance(tests, int) and not 0 < share * tests <= c.alpha + math.ulp(c.alpha):
        most = f"at most alpha = {c.alpha!r} together"
        return [Problem("unsound", f"{tests} anchors of {share!r} each", most)]
    return []


def settings(case: Subject) -> list[Problem] | None:
    """Counts, alpha, seed and parameters are those of the header's settings."""
    given = case.header.get("certifier")
    if not isinstance(given, Mapping) or not given:
        return None
    early = case.recomputed is None or case.recomputed.stops_early
    return [*_compare_settings(case.certificate, given, early)]


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
        if name in _BINDING and name not in own and name not in c.parameters and c.n:
            yield Problem("incomplete", f"no {name}", f"{set_to!r:.60} (header)")
    if c.alpha and counted(c):
        for name in ("alpha", "seed", "n0", "n"):
            if name not in settings:
                own_value = f"{name} = {getattr(c, name)!r}, of this image alone"
                yield Problem("incomplete", own_value, f"{name} in the header's settings")
        for name in _SCALES:
            if name in c.parameters and name not in settings:
                own_value = f"{name} = {c.parameters[name]!r:.60}, of this image alone"
                yield Problem("incomplete", own_value, f"{name} in the header's settings")
    radii = settings.get("radii")
    if isinstance(radii, list) and c.decisions and {*map(str, radii)} != c.decisions.keys():
        decided = ", ".join(c.decisions)
        yield Problem("contradiction", f"decisions of {decided:.60}", f"{radii!r:.60} (header)")


def label(case: Subject) -> list[Problem] | None:
    """The label is one of the classes."""
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


def digest(case: Subject) -> list[Problem] | None:
    """The image's digest is 16 hex digits."""
    image = case.certificate.image
    if not image:
        return None
    known = re.fullmatch(r"[0-9a-f]{16}", image) is not None
    return [] if known else [Problem("contradiction", image, "16 hex digits")]
