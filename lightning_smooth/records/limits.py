"""What a certifier's settings say about the radii that it can give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from lightning_smooth.errors import InputError
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.radius import gaussian_radius, largest_gaussian_radius
from lightning_smooth.maths.sequential import Rule, stopping
from lightning_smooth.maths.targets import target_from
from lightning_smooth.maths.uniform import largest_uniform_radius

_METHODS = ("gaussian", "gaussian exact", "gaussian adaptive", "uniform")

_DECIDING = ("gaussian sequential", "resolvable sequential", "base spt sequential")


def largest_radius(certifier: Mapping[str, Any], notes: list[str]) -> float | None:
    """The largest radius that n draws can certify; None where it is not known.

    Args:
        certifier: its settings, as a header of records holds them.
        notes: where a sentence goes if settings are missing or wrong.
    """
    method = certifier.get("method")
    if method in ("resolvable", "base spt"):
        return _of_parameters(certifier, notes)
    if method not in _METHODS:
        return None
    width = "lam" if method == "uniform" else "sigma"
    n, alpha, scale = (number(certifier.get(name)) for name in ("n", "alpha", width))
    if n is None or alpha is None or scale is None:
        notes.append(f"The header lacks n, alpha or {width}: the largest radius is unknown.")
        return None
    try:
        if method == "uniform":
            return largest_uniform_radius(int(n), alpha, scale)
        if method in ("gaussian", "gaussian exact"):
            return largest_gaussian_radius(int(n), alpha, scale)
        rule = stopping(cast(Rule, certifier.get("rule")), int(n), alpha)
        return gaussian_radius(rule.running(rule.sizes), scale)
    except InputError as error:
        notes.append(f"The largest radius is unknown: {error}")
        return None


def _of_parameters(certifier: Mapping[str, Any], notes: list[str]) -> float | None:
    n, alpha = number(certifier.get("n")), number(certifier.get("alpha"))
    laws, target = certifier.get("laws"), certifier.get("target")
    if n is None or alpha is None or not isinstance(laws, dict) or not isinstance(target, dict):
        notes.append("The header lacks n, alpha, laws or target: the largest radius is unknown.")
        return None
    try:
        best = clopper_pearson_lower(int(n), int(n), alpha)
        return target_from(laws, target).radius(best)
    except InputError as error:
        notes.append(f"The largest radius is unknown: {error}")
        return None


def targets(certifier: Mapping[str, Any], notes: list[str]) -> tuple[float, ...] | None:
    """Radii that were decided, where nothing was measured between them; None for other methods.

    Args:
        certifier: its settings, as a header of records holds them.
        notes: where a sentence goes about how to read the figures.
    """
    method, asked = certifier.get("method"), certifier.get("radii")
    if method == "gaussian adaptive":
        notes.append(
            f"Draws were stopped at about {certifier.get('fraction')} of the radius that all of "
            "them may give: radii, and ACR with them, are lower than those of a fixed number."
        )
    if method not in _DECIDING or not isinstance(asked, list):
        return None
    radii = tuple(sorted(r for r in map(number, asked) if r is not None))
    if not radii:
        return None
    listed = ", ".join(f"{radius:g}" for radius in radii)
    notes.append(
        f"Decided at radius {listed} alone: certified accuracy is right there and a lower bound "
        "between them; ACR is that of the largest radius held, a lower bound."
    )
    return radii


def number(value: object) -> float | None:
    """A finite number, or None."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if real and math.isfinite(value) else None  # type: ignore[arg-type]
