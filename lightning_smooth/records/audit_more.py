"""Methods beside Gaussian votes: exact noise, soft scores, l1, Lipschitz, enumeration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from lightning_smooth.errors import RecordError
from lightning_smooth.maths.bernstein import empirical_bernstein_lower
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.lipschitz import lipschitz_radius
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.maths.rounded import BITS, GRID, clip_range
from lightning_smooth.maths.uniform import uniform_radius
from lightning_smooth.records.audit_methods import Recomputed, Verdict, audits, gaussian, number
from lightning_smooth.records.certificate import Certificate


@audits("gaussian exact", counted=True)
def gaussian_exact(c: Certificate) -> Recomputed:
    """As for fixed draws of a Gaussian, of the law that `maths.rounded` draws (section 12)."""
    low, high = clip_range(number(c.parameters, "sigma", where="parameters"))
    law = {"generator": "numpy-philox", "grid": GRID, "clip": [low, high], "bits": BITS}
    for name, value in law.items():
        if c.parameters.get(name) != value:
            raise RecordError(f"`{name}` of an exact law is {value}, not {c.parameters.get(name)}.")
    return gaussian(c)


@audits("gaussian soft")
def gaussian_soft(c: Certificate) -> Recomputed:
    """The empirical Bernstein bound of the mean score, from its whole sums (section 2)."""
    sigma = number(c.parameters, "sigma", where="parameters")
    scale = max(1, _whole(c.parameters, "scale", where="parameters"))
    alpha = number(c.ledger, "estimation", where="ledger")
    total, squares, total0, rival0 = (
        _whole(c.measured, name, where="measured") for name in ("sum", "squares", "sum0", "rival0")
    )
    if c.looks:
        raise RecordError("There are `looks`, though the method draws a fixed number.")
    if c.hits != total // scale:
        raise RecordError(f"hits = {c.hits}, but the scores add up to {total} / {scale}.")
    if not 0 <= rival0 <= total0 or total0 + rival0 > c.n0 * scale:
        raise RecordError(f"Sums {total0} and {rival0} of the n0 draws contradict themselves.")
    return Recomputed(
        p_lower=empirical_bernstein_lower(total, squares, c.n, alpha, scale=scale),
        conclude=lambda p: Verdict(certified=p > 0.5, radius=gaussian_radius(p, sigma)),
    )


@audits("uniform", counted=True)
def uniform(c: Certificate) -> Recomputed:
    """Clopper and Pearson's bound, and the l1 radius of uniform noise (section 4)."""
    if c.looks:
        raise RecordError("There are `looks`, though the method draws a fixed number.")
    lam = number(c.parameters, "lam", where="parameters")
    alpha = number(c.ledger, "estimation", where="ledger")
    return Recomputed(
        p_lower=clopper_pearson_lower(c.hits, c.n, alpha),
        conclude=lambda p: Verdict(certified=p > 0.5, radius=uniform_radius(p, lam)),
        radius_unit="l1",
    )


@audits("lipschitz")
def lipschitz(c: Certificate) -> Recomputed:
    """The radius of the margin of two scores, which no bound has a part in (section 2)."""
    if c.n or c.n0 or c.hits or c.alpha or c.ledger or c.votes or c.votes0 or c.looks:
        raise RecordError("There are draws or a share of alpha, though the method needs none.")
    unit = c.parameters.get("norm")
    if unit not in ("l2", "l1", "linf"):
        raise RecordError(f"`norm` is {unit!r}, not l2, l1 or linf.")
    top, second = (number(c.measured, name, where="measured") for name in ("top", "second"))
    rounding = number(c.parameters, "rounding", where="parameters")
    bf16 = c.parameters.get("precision") == "bf16"
    dtype = "bfloat16" if bf16 else str(c.parameters.get("dtype", "float64"))
    # Half a unit in the last place of a score; of the finest where records do not say which.
    least = {"bfloat16": 2.0**-8, "float16": 2.0**-11}.get(dtype, 2.0**-53)
    if rounding < least * max(abs(top), abs(second)) and (rounding or least > 2.0**-24):
        raise RecordError(f"`rounding` is {rounding!r}, less than scores {top!r} lose in {dtype}.")
    radius = lipschitz_radius(
        top, second, number(c.parameters, "lipschitz", where="parameters"), rounding=rounding
    )
    return Recomputed(p_lower=0.0, conclude=partial(_margin_verdict, radius), radius_unit=unit)


_ENUMERATED: Final = {
    "IntegerTranslation": ("whole pixels", True),
    "LevelBrightness": ("levels", True),
    "NearestRotation": ("degrees", False),
    "Occlusion": ("pixels a side", True),
    "Pixelate": ("share of pixels", False),
}
"""Unit of an attack's size; whether one of just the size of a shell gives an image of it."""


@audits("enumeration")
def enumeration(c: Certificate) -> Recomputed:
    """Up to the nearest image of another answer, which no bound has a part in (section 9)."""
    if c.n or c.n0 or c.hits or c.alpha or c.ledger or c.votes or c.votes0 or c.looks:
        raise RecordError("There are draws or a share of alpha, though the method needs none.")
    transform = str(c.parameters.get("transform"))
    name = transform.partition("(")[0]
    if name not in _ENUMERATED:
        raise RecordError(f"{transform} is none of the transformations that can be enumerated.")
    unit, attained = _ENUMERATED[name]
    radius = number(c.parameters, "largest", where="parameters")
    listed, agreed = (_whole(c.measured, name, where="measured") for name in ("listed", "agreed"))
    least = _least_listed(name, c.parameters, radius)
    if listed < least:
        raise RecordError(f"{listed} images are listed of {transform}: there are {least} at least.")
    if not 1 <= agreed <= listed or (agreed == listed) != ("nearest" not in c.measured):
        raise RecordError(f"{agreed} of {listed} images agreed: `nearest` contradicts that.")
    if "nearest" in c.measured:
        nearest = number(c.measured, "nearest", where="measured")
        radius = min(radius, math.nextafter(nearest, 0.0) if attained else nearest)
    return Recomputed(
        p_lower=0.0,
        conclude=partial(_margin_verdict, radius),
        radius_unit=unit,
    )


def _least_listed(name: str, parameters: Mapping[str, Any], largest: float) -> int:
    """How many images attacks up to `largest` make at least: those that certainly differ."""
    size = parameters.get("size")
    if not (isinstance(size, Sequence) and len(size) == 2 and all(_is_side(s) for s in size)):
        raise RecordError(f"`size` is {size!r}, not the height and width of the images.")
    height, width = int(size[0]), int(size[1])
    if name == "LevelBrightness":
        return 1 + 2 * math.floor(min(largest, 255))
    if name == "Occlusion":
        sides = range(1, min(math.floor(largest), height, width) + 1)
        return 1 + sum((height - side + 1) * (width - side + 1) for side in sides)
    if name == "IntegerTranslation":
        # Shifts by less than half an image, which differ whatever comes in from the border.
        half, across = (height - 1) // 2, (width - 1) // 2
        exact = largest == math.floor(largest)
        squared = math.floor(largest**2 if exact else largest**2 * (1 - 1e-12))
        up = range(min(half, math.isqrt(squared)) + 1)
        rows = [2 * min(math.isqrt(squared - dy**2), across) + 1 for dy in up]
        return 2 * sum(rows) - rows[0]
    return 1


def _is_side(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1 << 16


def _margin_verdict(radius: float | None, p_lower: float) -> Verdict:
    del p_lower
    return Verdict(certified=radius is not None, radius=radius or 0.0)


def _whole(part: Mapping[str, Any], key: str, *, where: str) -> int:
    value = part.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise RecordError(f"There is no whole number `{key}` in `{where}`.")
