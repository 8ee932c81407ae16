"""One of several points at which a class was tested, and the parameters that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from lightning_smooth.errors import RecordError
from lightning_smooth.maths.coverage import Range

SHARE: Final = "anchor_alpha"
"""In `measured` of a certificate: what the test of each anchor spends of alpha."""


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """A point at which a class was tested.

    Attributes:
        theta: its parameters, all of the transformation's.
        looks: (draws, hits) at every look.
        p_lower: lower bound of the class's probability there.
        cost: what it costs at most, in standard deviations, to go from here to any image of
            `covers`: below PPF(p_lower), or nothing is covered.
        covers: boxes of parameters at which the class is held because of it, in the order of the
            certificate's `box`.
        needed: the probability that was to be shown here, where it was not: the test was given up,
            or out of draws. None where it was shown.
    """

    theta: tuple[float, ...]
    looks: tuple[tuple[int, int], ...]
    p_lower: float
    cost: float
    covers: tuple[Range, ...]
    needed: float | None = None

    def to_plain(self) -> dict[str, Any]:
        """Plain types, as JSON has them; without `needed` where it is None."""
        plain = asdict(self)
        if self.needed is None:
            del plain["needed"]
        return plain


def anchor_from(value: Any) -> Anchor:
    """Read an anchor from plain types, as JSON has it.

    Raises:
        RecordError: it is not one.
    """
    names = {field.name for field in fields(Anchor)}
    if not isinstance(value, Mapping) or not names - {"needed"} <= set(value) <= names:
        raise RecordError(f"an entry of `anchors` is {value!r}, not one of {sorted(names)}")
    try:
        return Anchor(
            theta=tuple(float(t) for t in value["theta"]),
            looks=tuple((int(n), int(hits)) for n, hits in value["looks"]),
            p_lower=float(value["p_lower"]),
            cost=float(value["cost"]),
            covers=ranges_from(value["covers"]),
            needed=float(value["needed"]) if "needed" in value else None,
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"an entry of `anchors` is {value!r}: {error}") from error


def ranges_from(value: Any) -> tuple[Range, ...]:
    """Read boxes of parameters from plain types.

    Raises:
        RecordError: they are not boxes.
    """
    try:
        found = tuple((tuple(map(float, low)), tuple(map(float, high))) for low, high in value)
    except (TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"{value!r} are not boxes of parameters: {error}") from error
    for low, high in found:
        if len(low) != len(high) or not all(a <= b for a, b in zip(low, high, strict=True)):
            raise RecordError(f"{(low, high)!r} is not a box of parameters.")
    return found
