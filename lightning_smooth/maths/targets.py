"""What is certified of several parameters, as one number: a radius, or how much of a box.

A target turns a lower bound of the class's probability into a radius and back, as a norm does for
pixels; certified accuracy, curves and sequential decisions then are what they are for pixels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from lightning_smooth.errors import InputError
from lightning_smooth.maths.laws import law_from
from lightning_smooth.maths.resolvable import (
    Laws,
    box_needed,
    box_probability,
    joint_radius,
    parameter_radii,
)
from lightning_smooth.maths.shift import check_lower
from lightning_smooth.types import Box

_STEPS = 48
"""Halvings of a radius that is searched; it is rounded down by what they leave."""


class Target(ABC):
    """A family of sets of attacks, one for each radius, growing with it.

    Attributes:
        laws: the noise on each parameter.
        unit: of the radius.
        coupled: names of the brightness b and the log-contrast k of x -> e^k (x + b), or None.
    """

    laws: Laws
    unit: str
    coupled: tuple[str, str] | None = None

    @abstractmethod
    def radius(self, p_lower: float) -> float:
        """The largest radius that a bound certifies, rounded down; 0 unless it is above 1/2.

        Raises:
            InputError: `p_lower` is outside [0, 1).
        """

    @abstractmethod
    def needed(self, radius: float) -> float:
        """The bound that a radius needs, rounded up: above 1/2; 1 where none is enough."""

    def radii(self, p_lower: float) -> dict[str, float]:
        """Radius of each parameter while the others are 0; nothing for one parameter alone."""
        if len(self.laws) < 2:
            return {}
        return parameter_radii(p_lower, self.laws, coupled=self.coupled)

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """In plain types; `target_from` reads it back."""


class Ball(Target):
    """All attacks of an l2 norm below the radius, in the unit of the parameters.

    For one law: all attacks below the radius (from 0 on, if the law is one-sided).

    Args:
        laws: one law of any kind, or Gaussian ones of one scale.
        unit: of the parameters.

    Raises:
        InputError: the laws have no norm in common.

    >>> from lightning_smooth.maths.laws import GaussianLaw
    >>> round(Ball({"angle": GaussianLaw(30.0)}, "degrees").radius(0.9), 4)
    38.4465
    """

    def __init__(self, laws: Laws, unit: str) -> None:
        self.laws, self.unit = dict(laws), unit
        if not self.laws:
            raise InputError("Expected `laws` of one or more parameters, but got none.")
        self._law = next(iter(self.laws.values()))
        if len(self.laws) > 1 and joint_radius(0.6, self.laws) is None:
            raise InputError(
                "Expected a `box` of attacks, as the laws are not all Gaussian of one scale: there "
                f"is no one radius for {', '.join(self.laws)}."
            )

    def radius(self, p_lower: float) -> float:
        """See `Target.radius`."""
        return self._law.radius(p_lower)

    def needed(self, radius: float) -> float:
        """See `Target.needed`."""
        return self._law.needed(radius)

    def describe(self) -> dict[str, Any]:
        """See `Target.describe`."""
        return {"unit": self.unit}


class ScaledBox(Target):
    """A box of attacks, times the radius: certified at 1 is the box itself.

    Args:
        laws: the noise on each parameter.
        box: (least, greatest) attack on each parameter, around 0.
        coupled: names of the brightness b and the log-contrast k of x -> e^k (x + b); None if there
            is no such pair.

    Raises:
        InputError: as for `maths.resolvable.box_probability`; or the box is a point, or is not
            around 0.

    >>> from lightning_smooth.maths.laws import ExponentialLaw, GaussianLaw
    >>> laws = {"variance": ExponentialLaw(10.0), "dx": GaussianLaw(4.0)}
    >>> target = ScaledBox(laws, {"variance": (0, 9), "dx": (-4, 4)})
    >>> round(target.needed(1.0), 6), round(target.radius(0.99), 4)
    (0.935496, 1.6881)
    """

    unit = "box"

    def __init__(self, laws: Laws, box: Box, *, coupled: tuple[str, str] | None = None) -> None:
        self.laws, self.coupled = dict(laws), coupled
        box_probability(0.75, self.laws, box, coupled=coupled)  # checks all three
        ends = {name: (float(low), float(high)) for name, (low, high) in box.items()}
        # In the order of the laws: one box is described in one way.
        self.box = {name: ends[name] for name in self.laws if name in ends}
        if any(low > 0 or high < 0 for low, high in self.box.values()):
            raise InputError(f"Expected every range of `box` to be around 0, but got {self.box}.")
        if all(low == high for low, high in self.box.values()):
            raise InputError("Expected `box` to have a range that is more than the point 0.")

    def radius(self, p_lower: float) -> float:
        """See `Target.radius`."""
        check_lower(p_lower)
        if not p_lower > 0.5 or not self._holds(p_lower, 1e-9):
            return 0.0
        held, above = 1e-9, 1.0
        while self._holds(p_lower, above):
            held, above = above, 2 * above
        for _ in range(_STEPS):
            middle = (held + above) / 2
            if self._holds(p_lower, middle):
                held = middle
            else:
                above = middle
        return held

    def needed(self, radius: float) -> float:
        """See `Target.needed`."""
        if not 0 <= radius < math.inf:
            raise InputError(f"Expected `radius` to be at least 0 and finite, but got {radius!r}.")
        return box_needed(self.laws, self._scaled(radius), coupled=self.coupled)

    def describe(self) -> dict[str, Any]:
        """See `Target.describe`."""
        box: dict[str, Any] = {name: list(ends) for name, ends in self.box.items()}
        return {"box": box, **({"coupled": list(self.coupled)} if self.coupled else {})}

    def _holds(self, p_lower: float, radius: float) -> bool:
        scaled = self._scaled(radius)
        return box_probability(p_lower, self.laws, scaled, coupled=self.coupled) > 0.5

    def _scaled(self, radius: float) -> Box:
        return {name: (radius * low, radius * high) for name, (low, high) in self.box.items()}


def target_from(laws: Mapping[str, Mapping[str, Any]], described: Mapping[str, Any]) -> Target:
    """The target of a description, as `Target.describe` gives it, under described laws.

    Raises:
        InputError: the description is not one of a target.
    """
    try:
        noise = {name: law_from(law) for name, law in laws.items()}
        if "box" not in described:
            return Ball(noise, str(described["unit"]))
        box = {name: (float(low), float(high)) for name, (low, high) in described["box"].items()}
        first, second = described.get("coupled") or (None, None)
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"Expected the description of a target, but got {described!r} under {laws!r}."
        ) from error
    coupled = None if first is None or second is None else (str(first), str(second))
    return ScaledBox(noise, box, coupled=coupled)
