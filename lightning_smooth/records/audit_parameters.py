"""Methods that draw parameters of a transformation, computed again (THEORY sections 4 to 6)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from lightning_smooth.errors import RecordError
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.targets import Target, target_from
from lightning_smooth.records.audit_methods import Recomputed, Verdict, audits, number
from lightning_smooth.records.audit_sequential import decided
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.types import Guarantee


@audits("resolvable", counted=True)
def resolvable(c: Certificate) -> Recomputed:
    """The radius of the laws, from the bound of Clopper and Pearson."""
    return _fixed(c, "certified")


@audits("base spt", counted=True)
def base_spt(c: Certificate) -> Recomputed:
    """As for a transformation that composes, which this one does not: an estimate."""
    return _fixed(c, "estimated")


@audits("resolvable sequential", counted=True)
def resolvable_sequential(c: Certificate) -> Recomputed:
    """Decisions of radii, or of a box, by the looks that the certificate lists."""
    return _sequential(c, "certified")


@audits("base spt sequential", counted=True)
def base_spt_sequential(c: Certificate) -> Recomputed:
    """As for a transformation that composes, which this one does not: an estimate."""
    return _sequential(c, "estimated")


def _sequential(c: Certificate, guarantee: Guarantee) -> Recomputed:
    target = _target(c)
    if guarantee == "certified":
        _composing(c, target)
    found = decided(c, target.needed)
    return Recomputed(
        p_lower=found.p_lower,
        conclude=lambda p: replace(found.conclude(p), radii=_radii(target, p)),
        guarantee=guarantee,
        radius_unit=target.unit,
        stops_early=True,
    )


def _fixed(c: Certificate, guarantee: Guarantee) -> Recomputed:
    if c.looks:
        raise RecordError("There are `looks`, though the method draws a fixed number.")
    target, alpha = _target(c), number(c.ledger, "estimation", where="ledger")
    if guarantee == "certified":
        _composing(c, target)
    return Recomputed(
        p_lower=clopper_pearson_lower(c.hits, c.n, alpha),
        conclude=lambda p: Verdict(
            certified=p > 0.5, radius=target.radius(p), radii=_radii(target, p)
        ),
        guarantee=guarantee,
        radius_unit=target.unit,
    )


def _radii(target: Target, p_lower: float) -> dict[str, float]:
    return target.radii(p_lower) if p_lower > 0.5 else {}


_COMPOSING: Final = {
    "Brightness", "BrightnessContrast", "Commuting", "Contrast", "GaussianBlur", "Hue",
    "IntegerTranslation", "Saturation",
}  # fmt: skip
"""Transformations that compose; integer translations do with cyclic padding."""

_COUPLED: Final = {"BrightnessContrast": ["brightness", "contrast"]}
"""Parameters of a transformation that act on each other."""


def _composing(c: Certificate, target: Target) -> None:
    """Check that a radius is claimed of a transformation which has one, by the rule for it."""
    transform = str(c.parameters.get("transform"))
    names = set(re.findall(r"(\w+)\(", transform))
    paddings = set(re.findall(r"padding='(\w+)'", transform))
    if not names or names - _COMPOSING or paddings - {"cyclic"}:
        raise RecordError(
            f"{transform} is none of the transformations that are known to compose: what its draws "
            "give is no more than `estimated`."
        )
    for name in names & _COUPLED.keys():
        pair = _COUPLED[name]
        if set(pair) & set(target.laws) and list(target.coupled or ()) != pair:
            raise RecordError(f"`target` has not `coupled` {pair}, which act on each other.")


def _target(c: Certificate) -> Target:
    parts = {name: c.parameters.get(name) for name in ("laws", "target")}
    for name, part in parts.items():
        if not isinstance(part, Mapping):
            raise RecordError(f"There is no `{name}` in `parameters`.")
    return _read(json.dumps(parts))


@lru_cache(maxsize=64)
def _read(described: str) -> Target:
    parts: dict[str, dict[str, Any]] = json.loads(described)
    return target_from(parts["laws"], parts["target"])
