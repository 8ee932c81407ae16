"""The certificate: what was measured for one image, and what follows from it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

from lightning_smooth.errors import RecordError
from lightning_smooth.maths.coverage import Range
from lightning_smooth.records.anchor import Anchor, anchor_from, ranges_from
from lightning_smooth.types import ABSTAIN, Guarantee


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What was measured for one image, and the verdict that follows.

    Every verdict can be computed again from what is here: `hits` of `n` draws voted for
    `candidate`, the bound `p_lower` follows from them and the ledger, the radius from the bound
    and `parameters`.

    Attributes:
        index: the image's index in its data set; it keys the noise.
        label: the true class, or None where it is not known.
        candidate: the class that the selection draws chose and the other draws tested.
        predicted: `candidate`, or -1 for an abstention.
        radius: certified radius in `radius_unit`, rounded down; 0 for an abstention; None where
            only decisions were made.
        radius_unit: the norm over all pixels and channels, in units of pixels in [0, 1]: `l2`
            (Euclidean), `l1` (sum of changes) or `linf` (largest change).
        guarantee: `certified`, `surrogate` or `estimated` (see `lightning_smooth.types`).
        hits: draws, of the `n`, that voted for `candidate`; of soft scores, their sum, rounded
            down.
        n: draws that the bound was computed from; 0 for a method that draws nothing: `hits`,
            `p_lower` and `alpha` are then 0 and the ledger is empty.
        n0: draws that chose the candidate, none of them among the `n`.
        p_lower: lower confidence bound of the candidate's probability, or of its mean score.
        alpha: failure probability of the certificate as a whole.
        ledger: alpha, by the random steps that spend it.
        method: the certifier's name.
        parameters: its settings: what, beside the model and the image, the draws depend on.
        seed: seed of the noise.
        seconds: wall time that the image took.
        image: 16 hex digits over the image's pixels; empty where not known.
        votes: class -> count over the `n` draws; classes without votes are left out. A draw whose
            scores are not finite has no vote, and is no hit.
        votes0: the same over the `n0` draws.
        decisions: for each target asked for: `held`, `not held` or `undecided`.
        looks: (draws, hits) at every look of a sequential method, up to the `n` and `hits` at
            which it stopped; `p_lower` is then the largest of their bounds. Empty for a fixed n.
        radii: parameter -> certified radius in its unit while all others are at their identity, for
            methods with noise on several; they do not hold together. Left out where empty.
        measured: what else the verdict follows from, by name, where votes are not all; the method
            says what. Numbers below 2^63; whole ones keep every digit. Left out where empty.
        anchors: the points at which the class was tested, for methods that cover a range of
            parameters from several; `n` and `hits` are then their sums, `p_lower` the least bound
            of those that cover something, `votes` of all their draws. Left out where empty.
        uncovered: boxes of parameters, of those asked about, that no anchor covers. Left out where
            empty.
    """

    plural: ClassVar[str] = "certificates"

    index: int
    label: int | None
    candidate: int
    predicted: int
    radius: float | None
    radius_unit: str
    guarantee: Guarantee
    hits: int
    n: int
    n0: int
    p_lower: float
    alpha: float
    ledger: Mapping[str, float]
    method: str
    parameters: Mapping[str, Any]
    seed: int
    seconds: float
    image: str = ""
    votes: Mapping[int, int] = field(default_factory=dict)
    votes0: Mapping[int, int] = field(default_factory=dict)
    decisions: Mapping[str, str] = field(default_factory=dict)
    looks: tuple[tuple[int, int], ...] = ()
    radii: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, int | float] = field(default_factory=dict)
    anchors: tuple[Anchor, ...] = ()
    uncovered: tuple[Range, ...] = ()

    @property
    def abstained(self) -> bool:
        """Whether the smoothed classifier abstained."""
        return self.predicted == ABSTAIN

    @property
    def correct(self) -> bool:
        """Whether the certified class is the label; False where there is no label."""
        return self.label is not None and self.predicted == self.label

    def holds_at(self, radius: float) -> bool:
        """Whether the prediction is right and certified at `radius`, as the tables count it."""
        return self.correct and self.radius is not None and self.radius >= radius

    def to_json(self) -> str:
        """One line of JSON, without its line end; floats keep every bit."""
        fields = dataclasses.asdict(self)
        for name in ("looks", "radii", "measured", "anchors", "uncovered"):
            if not fields[name]:
                del fields[name]
        if self.anchors:
            fields["anchors"] = [anchor.to_plain() for anchor in self.anchors]
        return json.dumps(fields, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Certificate:
        """Read what `to_json` wrote.

        Raises:
            RecordError: the line is not JSON, or its fields are not those of a certificate.
        """
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise RecordError(f"not JSON: {error.msg} at column {error.colno}") from error
        if not isinstance(fields, dict):
            raise RecordError("not a JSON object")
        known = {f.name: f for f in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - set(known))
        missing = sorted(
            name
            for name, f in known.items()
            if name not in fields
            and f.default is dataclasses.MISSING
            and f.default_factory is dataclasses.MISSING
        )
        if unknown or missing:
            raise RecordError(f"unknown fields {unknown}, missing fields {missing}")
        for name in ("votes", "votes0"):
            fields[name] = _counts(name, fields.get(name, {}))
        fields["looks"] = _looks(fields.get("looks", ()))
        if "measured" in fields:
            _check_measured(fields["measured"])
        if "anchors" in fields:
            fields["anchors"] = tuple(map(anchor_from, _entries("anchors", fields["anchors"])))
        if "uncovered" in fields:
            fields["uncovered"] = ranges_from(_entries("uncovered", fields["uncovered"]))
        certificate = cls(**fields)
        _check_types(certificate)
        return certificate


def _counts(name: str, value: Any) -> dict[int, int]:
    try:
        return {int(k): int(v) for k, v in value.items()}
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"`{name}` is {value!r}, not class -> count") from error


def _looks(value: Any) -> tuple[tuple[int, int], ...]:
    try:
        return tuple((int(n), int(hits)) for n, hits in value)
    except (TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"`looks` is {value!r}, not pairs of draws and hits") from error


def _entries(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise RecordError(f"`{name}` is {value!r}, not a list of entries")
    return value


def _check_measured(value: Any) -> None:
    if not isinstance(value, dict) or not value or not all(map(_is_number, value.values())):
        raise RecordError(f"`measured` is {value!r}, not name -> number of at most 63 bits")


def _is_number(value: Any) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and -(2**63) < value < 2**63


def _check_types(c: Certificate) -> None:
    whole = {"index": c.index, "candidate": c.candidate, "predicted": c.predicted}
    whole |= {"hits": c.hits, "n": c.n, "n0": c.n0, "seed": c.seed}
    for name, value in whole.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise RecordError(f"`{name}` is {value!r}, not an integer")
    real = {"p_lower": c.p_lower, "alpha": c.alpha, "seconds": c.seconds, "radius": c.radius or 0}
    for name, number in real.items():
        if not isinstance(number, int | float) or not math.isfinite(number):
            raise RecordError(f"`{name}` is {number!r}, not a finite number")
    if not 0 <= c.hits <= c.n or c.predicted not in (c.candidate, ABSTAIN):
        raise RecordError("hits, n, candidate and predicted contradict each other")
    if c.guarantee not in get_args(Guarantee):
        raise RecordError(f"`guarantee` is {c.guarantee!r}, none of {get_args(Guarantee)}")
