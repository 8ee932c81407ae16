"""Accuracy on a corrupted set, a cell for each corruption and severity, and figures of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lightning_smooth.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What was counted on one corruption at one severity.

    Attributes:
        corruption: its name.
        severity: 1..5; None where the set does not say.
        images: images that the base classifier saw.
        correct: those of them that it got right.
        data: fingerprint of these images' split: name, origin, digest.
        certified_images: images that were certified, 0 for none.
        smoothed: those of them that the smoothed classifier got right; an abstention is wrong.
        certified: of those, the ones certified at each radius of the table.
        abstained: images that it abstained on.
        guarantee: what the certificates claim, empty without any.
        records: file of the certificates, relative to the table; empty without any.
    """

    corruption: str
    severity: int | None
    images: int
    correct: int
    data: dict[str, Any]
    certified_images: int = 0
    smoothed: int = 0
    certified: list[int] = field(default_factory=list)
    abstained: int = 0
    guarantee: str = ""
    records: str = ""

    @property
    def key(self) -> tuple[str, int | None]:
        """Corruption and severity."""
        return self.corruption, self.severity

    @property
    def accuracy(self) -> float:
        """Of the base classifier."""
        return self.correct / self.images

    @property
    def smoothed_accuracy(self) -> float:
        """Of the smoothed classifier; NaN where nothing was certified."""
        return self.smoothed / self.certified_images if self.certified_images else math.nan

    def certified_accuracy(self, place: int) -> float:
        """At the radius of this place in the table's; NaN where nothing was certified."""
        return self.certified[place] / self.certified_images if self.certified_images else math.nan


@dataclass(frozen=True, kw_only=True)
class CorruptionTable:
    """Every cell of an evaluation, and what it was of.

    Attributes:
        name: name of the run.
        title: name of the corrupted set, for people.
        model: fingerprint of the base classifier.
        certifier: settings of the certifier; None for none.
        radii: radii of the certified accuracy, in the certificates' unit.
        selection: which images: `skip`, `limit`, and their number `images`.
        corruptions: those that were asked for, in the order of the table.
        severities: likewise.
        left_out: why corruptions of the benchmark were not asked for.
        clean_images: the same images without corruption.
        clean_correct: those of them that the base classifier got right.
        cells: what is done, in the order of the table.
        baseline: name, file, model and, for each corruption, the sum of errors over severities of
            the evaluation that corruption errors are relative to; None for none.
        environment: what else figures depend on.
    """

    name: str
    title: str
    model: dict[str, Any]
    certifier: dict[str, Any] | None
    radii: list[float]
    selection: dict[str, Any]
    corruptions: list[str]
    severities: list[int | None]
    left_out: dict[str, str]
    clean_images: int
    clean_correct: int
    cells: list[Cell]
    baseline: dict[str, Any] | None = None
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def wanted(self) -> list[tuple[str, int | None]]:
        """Corruption and severity of every cell that was asked for, in order."""
        return [(c, s) for c in self.corruptions for s in self.severities]

    @property
    def complete(self) -> bool:
        """Whether every cell is there."""
        return {cell.key for cell in self.cells} >= set(self.wanted)

    @property
    def clean_accuracy(self) -> float:
        """Of the base classifier on the same images without corruption."""
        return self.clean_correct / self.clean_images

    @property
    def origins(self) -> list[str]:
        """Where the corrupted images come from, each answer once."""
        return list(dict.fromkeys(str(cell.data.get("origin", "unknown")) for cell in self.cells))

    def cell(self, corruption: str, severity: int | None) -> Cell | None:
        """One cell, None where it is not done."""
        return next((c for c in self.cells if c.key == (corruption, severity)), None)

    def errors(self) -> dict[str, list[float]]:
        """Error of the base classifier by severity, of each corruption whose cells are all there.

        An error is 1 minus the accuracy.
        """
        found = {}
        for corruption in self.corruptions:
            cells = [self.cell(corruption, severity) for severity in self.severities]
            done = [1 - cell.accuracy for cell in cells if cell is not None]
            if len(done) == len(self.severities):
                found[corruption] = done
        return found

    def add(self, cell: Cell) -> CorruptionTable:
        """The table with one more cell, in place of an earlier one of the same key."""
        cells = {one.key: one for one in (*self.cells, cell)}
        return replace(self, cells=[cells[key] for key in self.wanted if key in cells])

    def figures(self) -> dict[str, Any]:
        """Headline figures, means over all cells that are there; None where there is none."""
        cells, errors = self.cells, self.errors()
        of_certified = [cell for cell in cells if cell.certified_images]
        accuracy = _mean([cell.accuracy for cell in cells])
        found: dict[str, Any] = {
            "clean_accuracy": self.clean_accuracy,
            "mean_accuracy": accuracy,
            "mean_error": None if accuracy is None else 1 - accuracy,
            "mce": None,
            "complete": self.complete,
        }
        if self.baseline is not None and errors:
            found["mce"] = mean_corruption_error(errors, self.baseline["errors"])
        if of_certified:
            found["smoothed_accuracy"] = _mean([cell.smoothed_accuracy for cell in of_certified])
            for place, radius in enumerate(self.radii):
                rates = [cell.certified_accuracy(place) for cell in of_certified]
                found[f"certified_accuracy@{radius:g}"] = _mean(rates)
        return found


def mean_corruption_error(
    errors: Mapping[str, Sequence[float]], baseline: Mapping[str, float]
) -> float | None:
    """Mean over corruptions of the sum of errors, relative to a baseline's.

    Args:
        errors: error in [0, 1] at each severity, by corruption; at least one corruption.
        baseline: sum of the baseline's errors over the same severities, by corruption.

    Returns:
        mCE, 1 for the baseline itself; None where the baseline makes no error on a corruption.

    Raises:
        InputError: the baseline lacks a corruption.

    Source: Hendrycks and Dietterich 2019, section 4.1.

    >>> mean_corruption_error({"fog": [0.1, 0.2], "snow": [0.3, 0.3]}, {"fog": 0.6, "snow": 0.4})
    1.0
    """
    lacking = [name for name in errors if name not in baseline]
    if lacking:
        raise InputError(f"Expected `baseline` with {', '.join(lacking)}, but it has none of it.")
    if any(not baseline[name] > 0 for name in errors):
        return None
    return math.fsum(math.fsum(errors[c]) / baseline[c] for c in errors) / len(errors)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
