"""What an attack found: for one image, the worst of the points or parameters that were tried."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lightning_smooth.errors import RecordError
from lightning_smooth.types import ABSTAIN


@dataclass(frozen=True, kw_only=True)
class AttackOutcome:
    """The worst of the changed images that an attack tried, and what was answered there.

    The worst is that of the largest loss (of a model that draws, of most wrong answers); the
    answer is one on the changed image. That an attack found nothing proves nothing.

    Attributes:
        index: the image's index in its data set; it keys what was drawn.
        label: the true class.
        clean: the class without attack, or -1 for an abstention.
        theta: parameters of the worst, by name; none for an attack on pixels.
        predicted: the class at the worst, or -1 for an abstention.
        loss: cross-entropy of the label there; of a smoothed classifier, as `method` estimates it.
        tried: parameters, or points, that were tried.
        wrong: how many of them were answered with another class than the label; of a smoothed
            classifier, by the draws that rank them. More than 0 where the worst is answered rightly
            means that the largest loss was not the best choice.
        method: the attack's name.
        parameters: its settings.
        seed: seed of what it draws.
        seconds: time that the image took.
        image: 16 hex digits over the pixels of the image without attack.
        norm: of an attack on pixels, the norm of `bound` and `distance`: linf, l2 or l1.
        bound: largest distance that was allowed, pixels in [0, 1]; None for any.
        distance: that of the worst from the image; None for an attack on parameters.
        queries: forward passes of the search.
        evaluations: fresh evaluations of the worst that `predicted` rests on.
        misses: how many of them answered with a class other than the label.
    """

    plural: ClassVar[str] = "outcomes"

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
    norm: str = ""
    bound: float | None = None
    distance: float | None = None
    queries: int = 0
    evaluations: int = 1
    misses: int = 0

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
        missing = sorted(known - set(fields) - _LATER)
        if unknown or missing:
            raise RecordError(f"unknown fields {unknown}, missing fields {missing}")
        outcome = cls(**fields)
        _check_types(outcome)
        return outcome


_LATER = {"parameters", "image", "norm", "bound", "distance", "queries", "evaluations", "misses"}
"""Fields that a line may lack."""


def _check_types(outcome: AttackOutcome) -> None:
    counts = ("tried", "wrong", "seed", "queries", "evaluations", "misses")
    for name in ("index", "label", "clean", "predicted", *counts):
        value = getattr(outcome, name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise RecordError(f"`{name}` is {value!r}, not an integer")
    theta = outcome.theta if isinstance(outcome.theta, Mapping) else {"": None}
    real = {"loss": outcome.loss, "seconds": outcome.seconds, **theta}
    real |= {k: v for k in ("bound", "distance") if (v := getattr(outcome, k)) is not None}
    for name, value in real.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise RecordError(f"`{name or 'theta'}` is {value!r}, not a finite number")
    if not 0 <= outcome.wrong <= outcome.tried:
        raise RecordError(f"wrong = {outcome.wrong} of tried = {outcome.tried}")
    if not 0 <= outcome.misses <= outcome.evaluations:
        raise RecordError(f"misses = {outcome.misses} of evaluations = {outcome.evaluations}")
    if outcome.bound is not None and not (outcome.distance or 0.0) <= outcome.bound:
        raise RecordError(f"distance = {outcome.distance} beyond bound = {outcome.bound}")
