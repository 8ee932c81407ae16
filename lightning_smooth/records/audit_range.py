"""Certificates of ranges, computed again: the bound of each anchor, and what the anchors cover.

What an anchor's cells cost follows from the image, the transformation and the surrogate, none of
which is in the record: `cost` and `covers` are taken as they stand there. The bound that has to be
above the cost, and the radius that the cells make, are computed anew; and so is what each test
decided: one that held covers something, and one that did not says what it was to show (`needed`),
from which and its looks follows whether it was given up.

Records from before `measured` had `anchor_alpha`, what each test spends, have no `needed`: whether
what was not held was given up or left undecided is then taken as it stands there.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from lightning_smooth.errors import RecordError
from lightning_smooth.maths.coverage import Origin, Range, check_around, held_radius
from lightning_smooth.maths.deciding import HELD, NOT_HELD, UNDECIDED, Thresholds
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.maths.sequential import Looks
from lightning_smooth.records.anchor import SHARE, Anchor
from lightning_smooth.records.audit_methods import Recomputed, Verdict, audits, number
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.types import Guarantee


@audits("cover")
def cover(c: Certificate) -> Recomputed:
    """A range covered by l2 balls around transformed images."""
    _check_parameters(c, with_=("sigma",), without=("surrogate", "scales"))
    return _range(c, "certified")


@audits("path")
def path(c: Certificate) -> Recomputed:
    """A range covered in a surrogate's latents, of real images."""
    _check_parameters(c, with_=("surrogate", "scales"), without=("best",))
    return _range(c, "certified")


@audits("gsmooth")
def gsmooth(c: Certificate) -> Recomputed:
    """A range covered in a surrogate's latents, of the surrogate's images."""
    _check_parameters(c, with_=("surrogate", "scales", "best", "cells"), without=())
    return _range(c, "surrogate")


def _check_parameters(c: Certificate, *, with_: Sequence[str], without: Sequence[str]) -> None:
    missing = [
        name for name in (*with_, "transform", "stray", "stored") if name not in c.parameters
    ]
    strange = [name for name in without if name in c.parameters]
    if missing or strange:
        said = f"no `{missing[0]}`" if missing else f"`{strange[0]}`"
        raise RecordError(f"There is {said} in `parameters`, of the method {c.method!r}.")


def _range(c: Certificate, guarantee: Guarantee) -> Recomputed:
    tests = number(c.parameters, "anchors", where="parameters")
    most = number(c.parameters, "n", where="parameters")
    if len(c.anchors) > tests or tests != int(tests) or tests < 1 or most != int(most):
        raise RecordError(f"{len(c.anchors)} anchors were tested, with alpha for {tests!r}.")
    if dict(c.ledger) != {"anchors": c.alpha}:
        raise RecordError(f"The ledger is {dict(c.ledger)!r}, not all of alpha for the anchors.")
    if c.n0 < 1 or sum(c.votes0.values()) > c.n0 or c.candidate not in c.votes0:
        raise RecordError(
            f"The class {c.candidate} was chosen by {dict(c.votes0)} of {c.n0} draws."
        )
    box, identity, radii = ranges_asked(c)
    rule = Looks(int(most), c.alpha / int(tests))
    bounds = [_bound(rule, anchor, box) for anchor in c.anchors]
    _check_decisions(c, rule, bounds)
    counted = tuple(sum(anchor.looks[-1][k] for anchor in c.anchors) for k in (0, 1))
    if counted != (c.n, c.hits):
        raise RecordError(f"The anchors have {counted[1]} hits of {counted[0]} draws.")
    used = [p for p, anchor in zip(bounds, c.anchors, strict=True) if anchor.covers]
    p_lower = min(used) if used else min(max(bounds, default=0.0), 0.5)

    def conclude(p: float) -> Verdict:
        covers: list[Range] = []
        lost = list(c.uncovered)
        for bound, anchor in zip(bounds, c.anchors, strict=True):
            budget = gaussian_radius(min(max(bound + (p - p_lower), 0.0), 1 - 2.0**-53), 1.0)
            (covers if anchor.cost < budget else lost).extend(anchor.covers)
        held = held_radius(covers, lost, box, identity, max(radii))
        said = set(c.decisions.values()) - {HELD}
        rest = NOT_HELD if said == {NOT_HELD} else UNDECIDED
        return Verdict(
            certified=held is not None,
            radius=held or 0.0,
            decisions={repr(r): HELD if held is not None and held >= r else rest for r in radii},
        )

    return Recomputed(
        p_lower=p_lower,
        conclude=conclude,
        guarantee=guarantee,
        radius_unit="box",
        stops_early=True,
    )


def _bound(rule: Looks, anchor: Anchor, box: Sequence[tuple[float, float]]) -> float:
    sizes = tuple(draws for draws, _ in anchor.looks)
    hits = [count for _, count in anchor.looks]
    steps = zip((0, *sizes), sizes, (0, *hits), hits, strict=False)
    if not sizes or sizes != rule.sizes[: len(sizes)]:
        raise RecordError(f"An anchor was looked at after {sizes} draws, not {rule.sizes}.")
    if not all(0 <= new - old <= last - first for first, last, old, new in steps):
        raise RecordError(f"An anchor has hits {hits} after {sizes} draws.")
    bound = rule.running(hits)
    if not math.isclose(anchor.p_lower, bound, rel_tol=1e-9, abs_tol=1e-12):
        raise RecordError(
            f"An anchor's `p_lower` is {anchor.p_lower!r}, but its looks give {bound!r}."
        )
    if not 0 <= anchor.cost < math.inf or (anchor.covers and bound <= 0.5):
        raise RecordError(
            f"An anchor with the bound {bound!r} and the cost {anchor.cost!r} covers something."
        )
    for low, high in anchor.covers:
        within = len(low) == len(box) and all(
            least <= a <= b <= most for a, b, (least, most) in zip(low, high, box, strict=True)
        )
        if not within:
            raise RecordError(f"An anchor covers {(low, high)!r}, which is not in the box {box!r}.")
    return bound


def _check_decisions(c: Certificate, rule: Looks, bounds: Sequence[float]) -> None:
    """Check what each test decided, in records that say what each spends."""
    if SHARE not in c.measured:
        if any(anchor.needed is not None for anchor in c.anchors):
            raise RecordError(f"There is no `{SHARE}` in `measured`, and an anchor's `needed`.")
        return
    share = number(c.measured, SHARE, where="measured")
    if share != rule.alpha:
        raise RecordError(f"An anchor spends {share!r}, and not {rule.alpha!r} of alpha.")
    decisions = [_decision(rule, a, p) for a, p in zip(c.anchors, bounds, strict=True)]
    if NOT_HELD in c.decisions.values() and decisions[-1:] != [NOT_HELD]:
        raise RecordError("Something is not held, and the last test was not given up.")


def _decision(rule: Looks, anchor: Anchor, bound: float) -> str:
    if anchor.needed is None:
        if not anchor.covers:
            raise RecordError("An anchor's test is said to have held, and covers nothing.")
        return HELD
    if bound >= anchor.needed or not anchor.needed > 0.5:
        raise RecordError(f"A test was to show {anchor.needed!r}, and its looks give {bound!r}.")
    test, ended = Thresholds(rule, [anchor.needed]), False
    for _, hits in anchor.looks:
        if ended:
            raise RecordError(f"A test goes on after it was given up: {anchor.looks}.")
        ended = test.observe(hits)
    return test.decisions[0]


def ranges_asked(
    c: Certificate, places: Collection[str] = ()
) -> tuple[list[tuple[float, float]], Origin, list[float]]:
    """The box of attacks, its identity and the radii that a certificate's settings name.

    Args:
        c: the certificate.
        places: names of the parameters that have no identity; all others have one.

    Raises:
        RecordError: they are not there, or contradict each other.
    """
    box, identity = c.parameters.get("box"), c.parameters.get("identity")
    radii = c.parameters.get("radii")
    try:
        if not isinstance(box, Mapping) or not isinstance(radii, Sequence) or not radii:
            raise TypeError
        ends = [(float(low), float(high)) for low, high in box.values()]
        at = [None if x is None else float(x) for x in identity or ()]
        parts = [float(r) for r in radii]
        if len(at) != len(ends) or not all(0 <= r <= 1 for r in parts):
            raise ValueError
        if [x is None for x in at] != [name in places for name in box]:
            raise ValueError
        check_around(ends, at)
        if any(len(low) != len(ends) for low, _ in c.uncovered):
            raise ValueError
    except (TypeError, ValueError) as error:
        raise RecordError(
            f"`box` is {box!r}, `identity` {identity!r} and `radii` {radii!r}: not ranges, their "
            "identity and parts of them."
        ) from error
    return ends, at, parts
