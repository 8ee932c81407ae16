"""What a radius measures, in the words of tables, axes and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NORMS = {"l2": "ℓ₂", "l1": "ℓ₁", "linf": "ℓ∞"}  # noqa: RUF001


@dataclass(frozen=True)
class Measure:
    """What the radii of a run are radii of; only runs of one measure can be compared.

    Attributes:
        unit: the certificates' `radius_unit`.
        axis: label of an axis of radii.
        attacks: the attacks that a radius rules out, with `{r}` for the radius.
        words: what is said after a radius; nothing for norms of pixels.
        of_range: whether radii are parts of a range that is covered, 1 all of it.
    """

    unit: str
    axis: str
    attacks: str
    words: str = ""
    of_range: bool = False

    def below(self, radius: str) -> str:
        """The attacks that this radius rules out.

        >>> measure("l2", {}).below("0.5")
        'change of ℓ₂ norm below 0.5'
        """
        attacks = self.attacks.replace("{r}", radius)
        return attacks.replace("within 1 times", "within") if self.of_range else attacks


def measure(unit: str, certifier: Mapping[str, Any]) -> Measure:
    """What radii of a unit measure.

    Args:
        unit: the certificates' `radius_unit`.
        certifier: the certifier's settings, as a header of records holds them.

    >>> laws = {"angle": {"kind": "gaussian", "scale": 30.0}}
    >>> measure("degrees", {"transform": "Rotation()", "laws": laws}).below("10")
    'Rotation() of an angle below 10 degrees'
    """
    if unit in NORMS:
        norm = NORMS[unit]
        return Measure(
            unit, f"{norm} radius, pixels in [0, 1]", f"change of {norm} norm below {{r}}"
        )
    laws, target = (_part(certifier, name) for name in ("laws", "target"))
    transform = str(certifier.get("transform", "attack"))
    if unit == "box" and (covered := attacked_range(certifier)):
        identity = certifier.get("identity")
        known = identity if isinstance(identity, list) else []
        places = {name for name, at in zip(covered, known, strict=False) if at is None}
        ends = boxed({name: reach for name, reach in covered.items() if name not in places})
        if places:
            ends += f", anywhere in {boxed({n: r for n, r in covered.items() if n in places})}"
        attacks = f"{transform} within {{r}} times the range ({ends})"
        axis = f"part of the range: {ends}"
        return Measure(unit, axis, attacks, "times the range", of_range=True)
    if unit == "box":
        box = boxed(_part(target, "box"))
        attacks = f"{transform} within {{r}} times the box ({box})"
        return Measure(unit, f"multiple of the box: {box}", attacks, "times the box")
    attacked = [*laws] or [str(name) for name in certifier.get("names") or ["parameter"]]
    names = ", ".join(attacked)
    if len(attacked) > 1:
        attacks = f"{transform} of ({names}) of ℓ₂ norm below {{r}} {unit}"
        return Measure(unit, f"ℓ₂ norm of ({names}), {unit}", attacks, unit)
    article = "an" if names[0] in "aeiou" else "a"
    attacks = f"{transform} of {article} {names} below {{r}} {unit}"
    return Measure(unit, f"{names}, {unit}", attacks, unit)


def attacked_range(certifier: Mapping[str, Any]) -> Mapping[str, Any]:
    """The range that a certifier covers by anchors or by boxes; empty for other certifiers.

    Args:
        certifier: its settings, as a header of records holds them.
    """
    return _part(certifier, "box") if {"anchors", "boxes"} & set(certifier) else {}


def boxed(box: Mapping[str, Any]) -> str:
    """Ranges of parameters, in words.

    >>> boxed({"angle": [-20.0, 20.0], "scale": [0.7, 1.3]})
    'angle ±20, scale 0.7 to 1.3'
    """
    return ", ".join(f"{name} {_range(ends)}" for name, ends in box.items())


def _range(ends: Any) -> str:
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        return str(ends)
    low, high = ends
    if not all(isinstance(end, int | float) for end in ends):
        return f"{low} to {high}"
    return f"±{high:g}" if low == -high else f"{low:g} to {high:g}"


def _part(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = settings.get(name)
    return part if isinstance(part, Mapping) else {}
