"""The literature's log of certified images, read with its real-life faults, and written.

Format of Cohen, Rosenfeld, Kolter 2019 (THEORY section 1): tab-separated columns `idx label
predict radius correct time`, one row an image, predict -1 for an abstention, the radius printed
to three significant digits. Nothing that is skipped or repaired is skipped silently: it is in
`PublishedLog.notes`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

import pandas as pd

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.frames import certificate_frame, verdict_frame
from lightning_smooth.types import ABSTAIN

COLUMNS = ("idx", "label", "predict", "radius", "correct", "time")
_REQUIRED = COLUMNS[:5]
_TRUTH = {"1": True, "0": False, "True": True, "False": False}
_TIME = re.compile(r"(?:(\d+) days?, )?(\d+):(\d{1,2}):(\d{1,2}(?:\.\d*)?)")


@dataclass(frozen=True, kw_only=True)
class PublishedLog:
    """A published log as it was read.

    Attributes:
        frame: the verdicts, with the columns of `records.frames`, in the order of the file.
        notes: what was skipped, repaired or doubtful, one sentence each.
        torn: whether the last row was cut short and left out.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...]
    torn: bool


@dataclass(frozen=True)
class _Row:
    index: int
    label: int
    predicted: int
    radius: float
    correct: bool
    seconds: float


def is_published_header(line: str) -> bool:
    r"""Whether `line` is the header of a log of the literature, of CERTIFY or of PREDICT.

    >>> is_published_header("idx\tlabel\tpredict\tradius\tcorrect\ttime")
    True
    """
    names = [name.strip() for name in line.lstrip("\ufeff").split("\t")]
    return {"idx", "label", "predict"} <= set(names)


def decode_log(raw: bytes, name: str) -> tuple[str, list[str]]:
    """The text of a log and notes on its encoding; line ends become single line feeds.

    Args:
        raw: the bytes of the file.
        name: how messages call the file.

    Raises:
        RecordError: the bytes are neither UTF-8 nor marked UTF-16.
    """
    notes = []
    try:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            text = raw.decode("utf-16")
            notes.append("Encoded as UTF-16; read as such.")
        else:
            text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(
            f"Expected {name} to be UTF-8 text, but byte {error.start} is not. Is it the log that "
            "the certification wrote?"
        ) from error
    if text.startswith("\ufeff"):
        text = text[1:]
        notes.append("Skipped a byte order mark at its start.")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        notes.append("Lines end as on Windows (CRLF); read as such.")
    return text, notes


def read_published(path: str | Path) -> PublishedLog:
    """Read a log of CERTIFY in the literature's format.

    Accepted, each with a note: other line ends, a byte order mark, blank lines, further columns,
    no `time` column, a header alone, an empty file, a repeated header, text after the last row,
    a last row that was cut short. Times are seconds, `h:mm:ss.ffffff` or `1 day, 0:00:01.5`.

    Args:
        path: the log.

    Raises:
        RecordError: the file cannot be read, is a log of PREDICT, misses a column, or a row
            contradicts itself, occurs twice or has no valid radius; the line is named.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecordError(
            f"Expected {path} to be a readable log, but: {error.strerror}. Check the path."
        ) from error
    text, notes = decode_log(raw, path.name)
    lines = [(k, line) for k, line in enumerate(text.split("\n"), 1) if line.strip()]
    blank = text.count("\n") + bool(text and not text.endswith("\n")) - len(lines)
    if not lines:
        notes.append("The file is empty: the run that wrote it never reached its first image.")
        return PublishedLog(frame=_frame([]), notes=tuple(notes), torn=False)
    if blank:
        notes.append(f"Skipped {blank} blank line{'s' * (blank > 1)}.")
    names = [name.strip() for name in lines[0][1].split("\t")]
    _check_columns(names, path)
    notes += _column_notes(names)
    reader = _Reader(path, names, lines[1:], ended=text.endswith("\n"))
    rows = reader.read()
    notes += reader.notes
    notes += _coverage_notes([row.index for row in rows])
    return PublishedLog(frame=_frame(rows), notes=tuple(notes), torn=reader.torn)


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


class _Reader:
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

    def read(self) -> list[_Row]:
        """The rows, in order; `notes` and `torn` say what was not one."""
        body = self._without_summary()
        rows: dict[int, _Row] = {}
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

    def _row(self, number: int, fields: list[str], *, last: bool) -> _Row | None:
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

    def _parse(self, number: int, fields: list[str]) -> _Row:
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
        return _Row(index, label, predicted, radius, _TRUTH[said], seconds)

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


def _check_columns(names: list[str], path: Path) -> None:
    if "radius" not in names and "basePredict" in names:
        raise RecordError(
            f"{path.name} is a log of PREDICT (a column `basePredict`, none called `radius`): it "
            "holds predictions without certified radii, so there is no certified accuracy to "
            "report. Give the log of a CERTIFY run."
        )
    missing = [name for name in _REQUIRED if name not in names]
    if missing or len(set(names)) < len(names):
        problem = f"{' and '.join(missing)} missing" if missing else "a name occurs twice"
        raise RecordError(
            f"{path.name}, line 1: expected the tab-separated header `{' '.join(COLUMNS)}` (time "
            f"may be missing), but got `{' '.join(names)}`: {problem}. Is it the log of a CERTIFY "
            "run?"
        )


def _column_notes(names: list[str]) -> list[str]:
    extra = [name for name in names if name not in COLUMNS]
    notes = [f"Ignored further columns: {', '.join(extra)}."] if extra else []
    if "time" not in names:
        notes.append("No column `time`: times are unknown.")
    return notes


def _coverage_notes(indices: list[int]) -> list[str]:
    if not indices:
        return []
    steps = {b - a for a, b in itertools.pairwise(indices)}
    even = ""
    if len(steps) > 1:
        even = ", unevenly spaced"
    elif len(steps) == 1:
        even = f" in steps of {steps.pop()}"
    return [
        f"A log of this format does not say how many images it should hold; this one holds "
        f"{len(indices):,}, index {indices[0]} to {indices[-1]}{even}."
    ]


def _frame(rows: list[_Row]) -> pd.DataFrame:
    columns: dict[str, Sequence[object]] = {
        "index": [row.index for row in rows],
        "label": [row.label for row in rows],
        "predicted": [row.predicted for row in rows],
        "correct": [row.correct for row in rows],
        "radius": [row.radius for row in rows],
        "abstained": [row.predicted == ABSTAIN for row in rows],
        "seconds": [row.seconds for row in rows],
    }
    return verdict_frame(columns)


def round_down(radius: float, digits: int = 3) -> str:
    """`radius` to `digits` significant digits, never above its value, as the logs print it.

    Raises:
        InputError: `radius` is not a finite number of at least 0.

    >>> round_down(0.95289), round_down(1.9999), round_down(0.0)
    ('0.952', '1.99', '0.0')
    """
    if not math.isfinite(radius) or radius < 0:
        raise InputError(f"Expected `radius` to be a finite number of at least 0, got {radius!r}.")
    if radius == 0:
        return "0.0"
    shortest = Decimal(repr(float(radius)))  # what was read from a log is written back as it was
    unit = Decimal(1).scaleb(shortest.adjusted() - digits + 1)
    return format(shortest.quantize(unit, rounding=ROUND_FLOOR), "f")


def write_published(rows: pd.DataFrame | Iterable[Certificate], path: str | Path) -> None:
    """Write verdicts in the literature's format, radii rounded down, times as h:mm:ss.ffffff.

    Args:
        rows: certificates, or the frame of a run (`Run.frame`). An unknown time is written as
            nan; where all are unknown, the column `time` is left out.
        path: the log to write; replaced where it exists.

    Raises:
        InputError: an image has no label or no radius, or the file cannot be written.
    """
    path = Path(path)
    frame = rows if isinstance(rows, pd.DataFrame) else certificate_frame(rows)
    for column in ("label", "radius"):
        lacking = frame.loc[frame[column].isna(), "index"]
        if len(lacking):
            raise InputError(
                f"Expected every image to have a `{column}`, but image {lacking.iloc[0]} has none "
                f"({len(lacking)} in all). This format cannot hold them: leave them out."
            )
    timed = bool(frame["seconds"].notna().any()) or frame.empty
    lines = ["\t".join(COLUMNS if timed else _REQUIRED)]
    wanted = frame[["index", "label", "predicted", "radius", "correct", "seconds"]]
    for index, label, predicted, radius, correct, seconds in wanted.itertuples(index=False):
        fields = [str(index), str(label), str(predicted), round_down(radius), str(int(correct))]
        lines.append("\t".join([*fields, _clock(seconds)] if timed else fields))
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(
            f"Expected to be able to write {path}, but: {error.strerror}. Give another path."
        ) from error


def _clock(seconds: float) -> str:
    if math.isnan(seconds):
        return "nan"
    whole, micro = divmod(round(seconds * 1_000_000), 1_000_000)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}.{micro:06}"
