"""What an attack found: for one image, the worst of the parameters that were tried."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning_smooth.errors import RecordError
from lightning_smooth.types import ABSTAIN


@dataclass(frozen=True, kw_only=True)
class AttackOutcome:
    """The worst of the transformed images that an attack tried, and what was answered there.

    The worst is that of the largest loss; the answer is one on the transformed image. That an
    attack found nothing proves nothing.

    Attributes:
        index: the image's index in its data set; it keys what was drawn.
        label: the true class.
        clean: the class without attack, or -1 for an abstention.
        theta: parameters of the worst, by name.
        predicted: the class at the worst, or -1 for an abstention.
        loss: cross-entropy of the label there; of a smoothed classifier, as `method` estimates it.
        tried: parameters that were tried.
        wrong: how many of them were answered with another class than the label; of a smoothed
            classifier, by the draws that rank them. More than 0 where the worst is answered rightly
            means that the largest loss was not the best choice.
        method: the attack's name.
        parameters: its settings.
        seed: seed of what it draws.
        seconds: time that the image took.
        image: 16 hex digits over the pixels of the image without attack.
    """

    index: int
    label: int
    clean: int
    theta: Mapping[str, float]
    predicted: int
    loss: float
    tried: int
    wrong: int
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int
    seconds: float
    image: str = ""

    @property
    def withstood(self) -> bool:
        """Whether the label is answered on the attacked image: attacked accuracy counts these."""
        return self.predicted == self.label

    @property
    def broken(self) -> bool:
        """Whether another class is answered on the attacked image; an abstention is not one."""
        return self.predicted not in (self.label, ABSTAIN)

    @property
    def abstained(self) -> bool:
        """Whether a smoothed classifier abstained on the attacked image."""
        return self.predicted == ABSTAIN

    def to_json(self) -> str:
        """One line of JSON, without its line end; floats keep every bit."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> AttackOutcome:
        """Read what `to_json` wrote.

        Raises:
            RecordError: the line is not JSON, or its fields are not those of an outcome.
        """
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise RecordError(f"not JSON: {error.msg} at column {error.colno}") from error
        if not isinstance(fields, dict):
            raise RecordError("not a JSON object")
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known)
        missing = sorted(known - set(fields) - {"parameters", "image"})
        if unknown or missing:
            raise RecordError(f"unknown fields {unknown}, missing fields {missing}")
        outcome = cls(**fields)
        _check_types(outcome)
        return outcome


def _check_types(outcome: AttackOutcome) -> None:
    for name in ("index", "label", "clean", "predicted", "tried", "wrong", "seed"):
        value = getattr(outcome, name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise RecordError(f"`{name}` is {value!r}, not an integer")
    theta = outcome.theta if isinstance(outcome.theta, Mapping) else {"": None}
    real = {"loss": outcome.loss, "seconds": outcome.seconds, **theta}
    for name, value in real.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise RecordError(f"`{name or 'theta'}` is {value!r}, not a finite number")
    if not 0 <= outcome.wrong <= outcome.tried:
        raise RecordError(f"wrong = {outcome.wrong} of tried = {outcome.tried}")
