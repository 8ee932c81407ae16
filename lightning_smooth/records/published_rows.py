"""The rows of a published log: what each line is, and whether it may be there."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from lightning_smooth.errors import RecordError
from lightning_smooth.types import ABSTAIN

COLUMNS = ("idx", "label", "predict", "radius", "correct", "time")
_TRUTH = {"1": True, "0": False, "True": True, "False": False}
_TIME = re.compile(r"(?:(\d+) days?, )?(\d+):(\d{1,2}):(\d{1,2}(?:\.\d*)?)")


@dataclass(frozen=True)
class Row:
    """One image's row; the radius as printed, the time in seconds (NaN where unknown)."""

    index: int
    label: int
    predicted: int
    radius: float
    correct: bool
    seconds: float


def parse_seconds(text: str) -> float:
    """Seconds of a time as logs print it: a number, `h:mm:ss.ffffff` or `2 days, h:mm:ss`.

    Raises:
        ValueError: it is none of them, or not a finite number of at least 0.

    >>> parse_seconds("0:01:02.5"), parse_seconds("1 day, 0:00:01.5"), parse_seconds("12.25")
    (62.5, 86401.5, 12.25)
    """
    match = _TIME.fullmatch(text.strip())
    if match:
        days, hours, minutes, seconds = match.groups()
        return float(((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60) + float(seconds)
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"not a duration: {text!r}")
    return value


class RowReader:
    """The rows below the header: what each line is, and whether it may be there."""

    def __init__(
        self, path: Path, names: list[str], lines: list[tuple[int, str]], *, ended: bool
    ) -> None:
        self.path, self.names, self.lines, self.ended = path, names, lines, ended
        self.at = {name: k for k, name in enumerate(names)}
        self.notes: list[str] = []
        self.torn = False
        self._surplus: list[int] = []
        self._timeless: list[int] = []

    def read(self) -> list[Row]:
        """The rows, in order; `notes` and `torn` say what was not one."""
        body = self._without_summary()
        rows: dict[int, Row] = {}
        lines: dict[int, int] = {}
        for place, (number, line) in enumerate(body):
            fields = [field.strip() for field in line.split("\t")]
            if fields == self.names:
                self.notes.append(f"Skipped line {number}, which repeats the header.")
                continue
            last = place == len(body) - 1
            row = self._row(number, fields, last=last)
            if row is None:
                continue
            if row.index in rows:
                raise self._fault(
                    number, f"image {row.index} to occur once", f"it also on line "
                    f"{lines[row.index]}", "Two runs in one file? Split them.",
                )  # fmt: skip
            rows[row.index], lines[row.index] = row, number
        self._note_lines(self._surplus, "has more fields than the header; the surplus is ignored")
        self._note_lines(self._timeless, "has no readable time; its time is unknown")
        if not rows:
            self.notes.append("A header without rows: the run never finished its first image.")
        return list(rows.values())

    def _without_summary(self) -> list[tuple[int, str]]:
        """The lines up to the last that starts like a row; what follows them becomes a note."""
        body = list(self.lines)
        while body and not self._looks_like_row(body[-1][1]):
            body.pop()
        for number, line in self.lines[len(body) :]:
            text = line.strip()
            shown = text if len(text) <= 80 else text[:79] + "…"
            self.notes.append(f"Skipped line {number} below the rows: {shown!r}.")
        return body

    def _looks_like_row(self, line: str) -> bool:
        fields = [field.strip() for field in line.split("\t")]
        return fields == self.names or re.fullmatch(r"[+-]?\d+", fields[0]) is not None

    def _row(self, number: int, fields: list[str], *, last: bool) -> Row | None:
        cut = last and not self.ended and number == self.lines[-1][0]
        if len(fields) < len(self.names) and last:
            self._tear(number, fields)
            return None
        if len(fields) < len(self.names):
            raise self._fault(
                number, f"{len(self.names)} tab-separated fields ({' '.join(self.names)})",
                f"{len(fields)}: {' '.join(fields)!r}", "Repair or remove the line.",
            )  # fmt: skip
        if len(fields) > len(self.names):
            self._surplus.append(number)
        try:
            row = self._parse(number, fields)
        except RecordError:
            if not cut:
                raise
            self._tear(number, fields)
            return None
        if cut and "time" in self.at:
            self.notes.append(f"Line {number}, the last, has no line end: its time may be cut.")
        return row

    def _parse(self, number: int, fields: list[str]) -> Row:
        index, label, predicted = (self._integer(number, fields, c) for c in COLUMNS[:3])
        radius = self._radius(number, fields[self.at["radius"]])
        said = fields[self.at["correct"]]
        if said not in _TRUTH:
            raise self._fault(number, "`correct` to be 0 or 1", repr(said), "Repair the line.")
        if _TRUTH[said] != (label == predicted):
            raise self._fault(
                number, "`correct` to say whether `label` is `predict`",
                f"correct {said} for label {label} and predict {predicted}",
                "One of the three is wrong: look at the run that wrote it.",
            )  # fmt: skip
        if predicted == ABSTAIN and radius > 0:
            raise self._fault(
                number, "radius 0 for an abstention (predict -1)", f"{radius:g}",
                "One of the two is wrong: look at the run that wrote it.",
            )  # fmt: skip
        seconds = self._seconds(number, fields)
        return Row(index, label, predicted, radius, _TRUTH[said], seconds)

    def _integer(self, number: int, fields: list[str], column: str) -> int:
        text = fields[self.at[column]]
        least = ABSTAIN if column == "predict" else 0
        if re.fullmatch(r"-?\d+", text) is None or int(text) < least:
            expected = f"`{column}` to be an integer of at least {least}"
            raise self._fault(number, expected, repr(text), "Repair the line.")
        return int(text)

    def _radius(self, number: int, text: str) -> float:
        try:
            radius = float(text)
        except ValueError:
            radius = math.nan
        if not math.isfinite(radius) or radius < 0:
            expected = "`radius` to be a finite number of at least 0"
            raise self._fault(number, expected, repr(text), "Certify the image again.")
        return radius

    def _seconds(self, number: int, fields: list[str]) -> float:
        if "time" not in self.at:
            return math.nan
        try:
            return parse_seconds(fields[self.at["time"]])
        except ValueError:
            self._timeless.append(number)
            return math.nan

    def _tear(self, number: int, fields: list[str]) -> None:
        self.torn = True
        shown = " ".join(fields)
        self.notes.append(f"Left out line {number}, the last, which was cut short: {shown!r}.")

    def _note_lines(self, numbers: list[int], what: str) -> None:
        if numbers:
            more = f" (and {len(numbers) - 1} more)" if len(numbers) > 1 else ""
            self.notes.append(f"Line {numbers[0]}{more} {what}.")

    def _fault(self, number: int, expected: str, got: str, then: str) -> RecordError:
        return RecordError(
            f"{self.path.name}, line {number}: expected {expected}, but got {got}. {then}"
        )
