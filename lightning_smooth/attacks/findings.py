"""What a diagnosis of masked gradients finds: signs, the figures they rest on, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

_WIDTH: Final = 44
"""Of a column of the table."""


@dataclass(frozen=True)
class Figure:
    """How many images an attack broke.

    Attributes:
        attack: its name and bound.
        broken: images that it broke.
        of: images that it was tried on, all of them right without attack.
        low: lower end of the Clopper-Pearson interval of the share broken, for all such images.
        high: upper end.
    """

    attack: str
    broken: int
    of: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.attack} {self.broken}/{self.of}"


@dataclass(frozen=True)
class Sign:
    """One sign of masked gradients.

    Attributes:
        name: what it is.
        found: whether it is there, beyond what so few images can show by chance.
        weaker: the attack that should break no more (for a bound: the smaller).
        stronger: the attack that should break more.
        evidence: the test and its figure, in words.
    """

    name: str
    found: bool
    weaker: Figure
    stronger: Figure
    evidence: str


@dataclass(frozen=True)
class Diagnosis:
    """What was found about a model's gradients.

    Attributes:
        signs: the five of them.
        images: images that are right without attack, on which the signs rest.
        zero: share of all images whose gradient is 0 in every pixel.
        verdict: in words.
    """

    signs: Sequence[Sign]
    images: int
    zero: float
    verdict: str

    @property
    def found(self) -> bool:
        """Whether there is a sign of masked gradients."""
        return any(sign.found for sign in self.signs)

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain types."""
        return {**asdict(self), "signs": [asdict(sign) for sign in self.signs]}

    def __str__(self) -> str:
        heads = ("", "sign of masked gradients", "weaker attack broke", "stronger attack broke")
        rows = [heads]
        for sign in self.signs:
            mark = "yes" if sign.found else "no"
            rows.append((mark, sign.name, str(sign.weaker), str(sign.stronger)))
        widths = [min(_WIDTH, max(len(row[k]) for row in rows)) for k in range(4)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            + (f"  ({self.signs[number - 1].evidence})" if number else "")
            for number, row in enumerate(rows)
        ]
        zero = f"Images whose gradient is 0 in every pixel: {self.zero:.1%}."
        return "\n".join([*lines, zero, self.verdict])


def verdict(signs: Sequence[Sign]) -> str:
    """Say in words what the signs show."""
    found = [sign.name for sign in signs if sign.found]
    if not found:
        return "No sign of masked gradients; that proves nothing: a better attack may break more."
    return (
        f"Masked gradients: {'; '.join(found)}. What PGD leaves is no robustness: attack with BPDA "
        "past layers without a derivative, with EOT over what is drawn, or by reparameterisation."
    )
