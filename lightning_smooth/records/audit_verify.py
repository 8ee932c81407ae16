"""Certificates of deterministic verifiers, computed again from what they left uncovered.

That bounds hold in the parts that were held, no record can show: that follows from the image and
the network. What the record says must agree: the radius and the decisions follow from `uncovered`
and the nearest counterexample, which must not lie within what is held.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lightning_smooth.errors import RecordError
from lightning_smooth.maths.coverage import Ends, Flags, Origin, box_norm, held_radius, rounding_to
from lightning_smooth.maths.deciding import HELD, NOT_HELD, UNDECIDED
from lightning_smooth.records.audit_methods import Recomputed, Verdict, audits, number
from lightning_smooth.records.audit_range import ranges_asked
from lightning_smooth.records.certificate import Certificate

_CHOICES: Final = {
    "stored": ("exact", "float32", "uint8"),
    "bound": ("interval", "crown"),
    "intermediate": ("interval", "crown"),
}

_WHOLE: Final = {"Occlusion": ("side", "x", "y")}
"""Parameters that a transformation rounds to whole numbers."""

_PLACES: Final = {"Occlusion": ("x", "y")}
"""Parameters that say where something is done, and have no identity."""


@audits("interval")
def interval(c: Certificate) -> Recomputed:
    """Parts of a range, by the range of each pixel."""
    return _verified(c, bounds=_CHOICES["bound"])


@audits("linear")
def linear(c: Certificate) -> Recomputed:
    """Parts of a range, by linear forms of each pixel in the parameters."""
    return _verified(c, bounds=("crown",))


@audits("semantify")
def semantify(c: Certificate) -> Recomputed:
    """Parts of a range, by the transformation as layers before the network."""
    return _verified(c, bounds=("crown",))


def _verified(c: Certificate, *, bounds: Sequence[str]) -> Recomputed:
    if c.n or c.n0 or c.hits or c.alpha or c.ledger or c.votes or c.votes0 or c.looks or c.anchors:
        raise RecordError("There are draws or a share of alpha, though the method needs none.")
    for name, known in {**_CHOICES, "bound": tuple(bounds)}.items():
        if c.parameters.get(name) not in known:
            raise RecordError(f"`{name}` is {c.parameters.get(name)!r}, not one of {known}.")
    classes = _count(c.parameters, "classes", "parameters")
    if not 0 <= c.candidate < classes:
        raise RecordError(f"The answer {c.candidate!r} is none of {classes} classes.")
    name = str(c.parameters.get("transform")).partition("(")[0]
    box, identity, radii = ranges_asked(c, _PLACES.get(name, ()))
    rounds = [one for one in c.parameters["box"] if one in _WHOLE.get(name, ())]
    if c.parameters.get("whole", []) != rounds:
        raise RecordError(f"`whole` is {c.parameters.get('whole')!r}, not {rounds} of {name!r}.")
    whole = [one in rounds for one in c.parameters["box"]]
    for low, high in c.uncovered:
        inside = all(
            least <= a <= b <= most for a, b, (least, most) in zip(low, high, box, strict=True)
        )
        if not inside:
            raise RecordError(f"{(low, high)!r} is uncovered, which is not in the box {box!r}.")
    ends = tuple(low for low, _ in box), tuple(high for _, high in box)
    held = held_radius([ends], c.uncovered, box, identity, max(radii))
    nearest = _nearest(c, box, identity, whole, classes)
    if held is not None and held > nearest:
        raise RecordError(f"An answer at the norm {nearest!r} contradicts those held to {held!r}.")
    _check_counts(c, box, whole, held or 0.0)
    decisions = {repr(radius): _decision(radius, held, nearest) for radius in radii}
    verdict = Verdict(certified=held is not None, radius=held or 0.0, decisions=decisions)
    return Recomputed(p_lower=0.0, conclude=lambda p: verdict, radius_unit="box")


def _decision(radius: float, held: float | None, nearest: float) -> str:
    if held is not None and held >= radius:
        return HELD
    return NOT_HELD if nearest < radius or nearest == radius == 1 else UNDECIDED


def _nearest(c: Certificate, box: Ends, identity: Origin, whole: Flags, classes: int) -> float:
    """Norm of the nearest counterexample; infinite where there is none."""
    names = [*c.parameters["box"]]
    own = {"nearest", "nearest_class", *(f"nearest_{name}" for name in names)}
    if not own & set(c.measured):
        return math.inf
    norm = number(c.measured, "nearest", where="measured")
    answer = number(c.measured, "nearest_class", where="measured")
    theta = [number(c.measured, f"nearest_{name}", where="measured") for name in names]
    if any(rounded and x != int(x) for x, rounded in zip(theta, whole, strict=True)):
        raise RecordError(f"The answer at {theta} is not at whole numbers.")
    low, high = rounding_to(theta, theta, box, whole)
    found = float(box_norm([low], [high], box, identity)[0])
    if not math.isclose(norm, found, rel_tol=1e-9, abs_tol=1e-12):
        raise RecordError(f"The norm of the answer at {theta} is {found!r}, not {norm!r}.")
    if answer == c.candidate or answer != int(answer) or not -1 <= answer < classes:
        raise RecordError(f"{answer!r} is no other class than {c.candidate}.")
    return norm


def _check_counts(c: Certificate, box: Ends, whole: Flags, held_to: float) -> None:
    """Check the parts that were examined: halves of others, of which there were some first."""
    examined, held, timed_out, depth = (
        _count(c.measured, name, "measured") for name in ("boxes", "held", "timed_out", "depth")
    )
    parts, most = (_count(c.parameters, name, "parameters") for name in ("parts", "boxes"))
    if examined > most or held > examined or (held_to and not held):
        raise RecordError(
            f"{held} of {examined} parts were held, of at most {most}, up to {held_to!r}."
        )
    first = math.prod(
        min(parts, round(high) - round(low) + 1) if rounded else parts
        for (low, high), rounded in zip(box, whole, strict=True)
        if low < high
    )
    # Of every depth down to it there was a part, and no more than halving makes.
    if depth >= max(examined, 1) or (depth < 64 and examined > first * (2 ** (depth + 1) - 1)):
        raise RecordError(f"{examined} parts of a range of {parts} are not halved {depth} times.")
    # All of the range is held: each part that was not is its two halves.
    if not c.uncovered and examined != 2 * held - first:
        raise RecordError(f"{held} parts of {examined} do not make up a range of {first} parts.")
    if timed_out > (c.parameters.get("seconds") is not None):
        raise RecordError("The time ended the search, which had no limit.")


def _count(part: Mapping[str, Any], name: str, where: str) -> int:
    value = number(part, name, where=where)
    if value < 0 or value != int(value):
        raise RecordError(f"`{name}` in `{where}` is {value!r}, not a number of parts.")
    return int(value)
