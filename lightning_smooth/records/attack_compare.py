"""Attacks beside certificates of the same images: what is certified, and whether both can be true.

A certificate is of a smoothed classifier: only an attack that this very classifier answered can
contradict it. An abstention of PREDICT contradicts nothing: the class may be the likeliest, and the
draws too few to tell.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lightning_smooth.errors import InputError
from lightning_smooth.maths.coverage import Origin, box_norm
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.attack_runs import AttackRun
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.measure import NORMS, attacked_range
from lightning_smooth.records.summary import claim
from lightning_smooth.types import ABSTAIN

_NOISE: Final = ("sigma", "lam", "laws", "scale", "scales", "surrogate", "preprocessing")
_LARGE: Final = 2.0**64
"""Multiple of a box within which any attack on its parameters lies."""

Ends = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What certificates say of the images of an attack.

    Attributes:
        radius: certified radius that rules out all that the attack may do; None without one.
        why: why there is none, or why nothing is compared; else empty.
        images: attacked images that are certified as well.
        held: how many of them are right and certified at `radius`.
        withstood: how many of them are answered rightly, without attack and under it.
        same: whether the attack was answered by the classifier that is certified.
        contradicted: images whose certificate, true of each one with probability 1 - alpha, says
            otherwise than an answer within it; by index.
        doubted: the same, of certificates that claim less.
        silent: images certified at `radius`, of the classifier that is attacked, on which it
            abstained, and which gave no other class; no contradiction.
    """

    radius: float | None = None
    why: str = ""
    images: int = 0
    held: int = 0
    withstood: int = 0
    same: bool = False
    contradicted: tuple[int, ...] = ()
    doubted: tuple[int, ...] = ()
    silent: tuple[int, ...] = ()

    @property
    def certified(self) -> float | None:
        """Certified accuracy at `radius` on the images of both; None where not known."""
        return None if self.radius is None or not self.images else self.held / self.images


def beside(
    attack: AttackRun, header: Mapping[str, Any], certificates: Sequence[Certificate]
) -> Beside:
    """Compare an attack with the certificates of its folder.

    Args:
        attack: the attack.
        header: header of the certificates.
        certificates: of one unit.
    """
    known = {c.index: c for c in certificates}
    both = [(known[o.index], o) for o in attack.outcomes if o.index in known]
    why = _strangers(attack, header, both)
    if why:
        return Beside(why=why)
    settings = _part(header, "certifier")
    unit = both[0][0].radius_unit
    radius, why = ruled_out(attack.parts, settings, unit)
    same = attack.smoothed and same_classifier(_part(attack.parts, "certifier"), settings)
    same |= _bare(settings) and attack.parts.get("judge") == "model" and _once(both)
    wrong: set[int] = set()
    silent: set[int] = set()
    if same:
        wrong = {o.index for c, o in both if _contradicts(c, o, attack.parts, settings)}
        at_bound = [(c, o) for c, o in both if radius is not None and c.holds_at(radius)]
        lost = [(c, o) for c, o in at_bound if not _right(o)]
        wrong |= {o.index for c, o in lost if _other(c, o.predicted) or _other(c, o.clean)}
        silent = {o.index for _, o in lost} - wrong
    firm = {index for index in wrong if claim(known[index]) == "certified"}
    return Beside(
        radius=radius,
        why=why,
        images=len(both),
        held=0 if radius is None else sum(c.holds_at(radius) for c, _ in both),
        withstood=sum(_right(o) for _, o in both),
        same=same,
        contradicted=tuple(sorted(firm)),
        doubted=tuple(sorted(wrong - firm)),
        silent=tuple(sorted(silent)),
    )


def same_classifier(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether two certifiers' settings describe one smoothed classifier of a model.

    That is a matter of the noise and the arithmetic, and of what an answer is (most votes, or the
    largest mean score); how many draws are made of it, and by which rule, is not.

    >>> one = {"method": "gaussian", "sigma": 0.5, "n": 1000}
    >>> same_classifier(one, {"method": "gaussian exact", "sigma": 0.5, "n": 10})
    True
    >>> same_classifier(one, {"method": "gaussian soft", "sigma": 0.5, "n": 1000})
    False
    """
    names = [*_NOISE, "precision", *(["transform"] if "laws" in theirs else [])]
    scores = [{"soft", "lipschitz"} & {*str(one.get("method")).split()} for one in (ours, theirs)]
    alike = all(ours.get(name) == theirs.get(name) for name in names) and scores[0] == scores[1]
    return alike and any(name in theirs for name in _NOISE)


def ruled_out(
    parts: Mapping[str, Any], certifier: Mapping[str, Any], unit: str
) -> tuple[float | None, str]:
    """The certified radius that an attack cannot break.

    Args:
        parts: the attack's settings, as a header of records has them.
        certifier: the certifier's.
        unit: the certificates' `radius_unit`.

    Returns:
        The radius, and nothing; or None, and why no radius is enough.
    """
    if "norm" in parts:
        bound = parts.get("bound")
        if parts["norm"] != unit:
            own = f"{NORMS[unit]} norm" if unit in NORMS else "parameters"
            return None, f"certified in {own}"
        return (float(bound), "") if bound is not None else (None, "no bound")
    if unit in NORMS:
        return None, f"certified in {NORMS[unit]} norm"
    if parts.get("transform") != certifier.get("transform"):
        return None, "another transformation is certified"
    try:
        if "box" in parts:
            box = {str(name): (float(a), float(b)) for name, (a, b) in parts["box"].items()}
            return _reach(box, certifier, unit)
        return _ball(float(parts["radius"]), certifier, unit)
    except (AttributeError, InputError, KeyError, TypeError, ValueError):
        return None, "the range cannot be read"


def _ball(radius: float, certifier: Mapping[str, Any], unit: str) -> tuple[float | None, str]:
    """As `ruled_out`, for an l2 ball around the identity."""
    if unit != "box":
        return radius, ""
    ends, identity, _ = _certified_box(certifier)
    # In a norm of ranges a ball reaches as far as the box around it; that of places is around 0.
    origins = [o or 0.0 for o in identity]
    around = {n: (o - radius, o + radius) for n, o in zip(ends, origins, strict=True)}
    return _reach(around, certifier, unit)


def _reach(attacked: Ends, certifier: Mapping[str, Any], unit: str) -> tuple[float | None, str]:
    """As `ruled_out`, for a box: the largest norm of its corners, as the certificates measure."""
    if unit == "box":
        ends, identity, scale = _certified_box(certifier)
        names = list(ends)
    else:
        names = [*_part(certifier, "laws")] or [str(n) for n in certifier.get("names") or ()]
        ends, identity, scale = {}, [0.0] * len(names), 1.0
    beyond = [name for name in attacked if name not in names]
    if beyond:
        return None, f"{beyond[0]} is not certified"
    sides = [attacked.get(n, (o or 0.0,) * 2) for n, o in zip(names, identity, strict=True)]
    corners = [list(corner) for corner in itertools.product(*sides)]
    if unit != "box":
        return max(math.hypot(*corner) for corner in corners), ""
    norm = scale * float(box_norm(corners, corners, [*ends.values()], identity).max())
    return (norm, "") if norm < math.inf else (None, "beyond the range that is certified")


def _certified_box(
    certifier: Mapping[str, Any],
) -> tuple[dict[str, tuple[float, float]], Origin, float]:
    """The box that a radius is a part of, its identity, and what the norm in it is multiplied by.

    A range is certified as far as it goes; of a box that laws of noise certify, every multiple may
    be.
    """
    covered = attacked_range(certifier)
    scale = 1.0 if covered else _LARGE
    box = covered or _part(_part(certifier, "target"), "box")
    ends = {str(n): (scale * float(low), scale * float(high)) for n, (low, high) in box.items()}
    if not ends:
        raise KeyError("box")
    own = certifier["identity"] if covered else [0.0] * len(ends)
    identity = [None if o is None else float(o) for o in own]
    return ends, identity, scale


def _contradicts(
    c: Certificate, o: AttackOutcome, parts: Mapping[str, Any], settings: Mapping[str, Any]
) -> bool:
    """Whether a certificate denies an answer: to the image itself, or within its radius."""
    if c.abstained or not c.radius:
        return False
    if _other(c, o.clean):
        return True
    if not _other(c, o.predicted):
        return False
    if "norm" in parts:
        return c.radius_unit == o.norm and o.distance is not None and o.distance < c.radius
    changed = [name for name in o.theta if name in parts.get("box", o.theta)]
    at = {"box": {name: (o.theta[name], o.theta[name]) for name in changed}}
    norm, _ = ruled_out({"transform": parts.get("transform"), **at}, settings, c.radius_unit)
    if norm is None:
        return False
    closed = bool(attacked_range(settings))  # a range is covered by finitely many closed boxes
    return norm < c.radius or (closed and norm == c.radius)


def _strangers(
    attack: AttackRun,
    header: Mapping[str, Any],
    both: Sequence[tuple[Certificate, AttackOutcome]],
) -> str:
    """Why certificates and outcomes are not of the same network and images; empty if they are."""
    for part, named in (("model", "weights"), ("data", "data")):
        ours, theirs = _part(attack.header, part), _part(header, part)
        if any(ours[key] != theirs[key] for key in ours.keys() & theirs.keys()):
            return f"other {named} are certified"
    if any(c.image and o.image and c.image != o.image for c, o in both):
        return "other images are certified"
    return "" if both else "none of the images is certified"


def _bare(certifier: Mapping[str, Any]) -> bool:
    """Whether certificates are of the model itself, without noise, in the dtype of its weights."""
    return (
        certifier.get("method") == "lipschitz" and certifier.get("precision", "float32") != "bf16"
    )


def _once(both: Sequence[tuple[Certificate, AttackOutcome]]) -> bool:
    """Whether the model answers by one evaluation: it does not draw."""
    return all(o.evaluations == 1 for _, o in both)


def _right(o: AttackOutcome) -> bool:
    return o.clean == o.label and o.withstood


def _other(c: Certificate, answer: int) -> bool:
    return answer not in (c.predicted, ABSTAIN)


def _part(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = settings.get(name)
    return part if isinstance(part, Mapping) else {}
