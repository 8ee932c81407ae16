"""The literature's log of certified images, read with its real-life faults, and written.

Format of Cohen, Rosenfeld, Kolter 2019 (THEORY section 1): tab-separated columns `idx label
predict radius correct time`, one row an image, predict -1 for an abstention, the radius printed
to three significant digits. Nothing that is skipped or repaired is skipped silently: it is in
`PublishedLog.notes`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

import pandas as pd

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.frames import certificate_frame, verdict_frame
from lightning_smooth.records.published_rows import COLUMNS, Row, RowReader
from lightning_smooth.types import ABSTAIN

_REQUIRED = COLUMNS[:5]

_FIRST = 4096
"""Bytes within which a file says what it is."""


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
    reader = RowReader(path, names, lines[1:], ended=text.endswith("\n"))
    rows = reader.read()
    notes += reader.notes
    notes += _coverage_notes([row.index for row in rows])
    return PublishedLog(frame=_frame(rows), notes=tuple(notes), torn=reader.torn)


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


def _frame(rows: list[Row]) -> pd.DataFrame:
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


def published_text(rows: pd.DataFrame | Iterable[Certificate]) -> str:
    """Verdicts in the literature's format, radii rounded down, times as h:mm:ss.ffffff.

    A radius of three significant digits is never above the certified one, so that at every radius
    the certified accuracy of the log is at most that of the certificates, and equal at radii of
    three digits themselves.

    Args:
        rows: certificates, or the frame of a run (`Run.frame`). An unknown time is written as
            nan; where all are unknown, the column `time` is left out.

    Raises:
        InputError: an image has no label or no radius.
    """
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
    return "\n".join(lines) + "\n"


def write_published(rows: pd.DataFrame | Iterable[Certificate], path: str | Path) -> None:
    """Write `published_text` to a file.

    Args:
        rows: certificates, or the frame of a run (`Run.frame`).
        path: the log to write; replaced where it exists.

    Raises:
        InputError: an image has no label or no radius, or the file cannot be written.
    """
    path, text = Path(path), published_text(rows)
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
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


def first_line(path: Path) -> str:
    """The first line of a file that says something, of its first 4096 bytes; empty without one.

    Raises:
        RecordError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            text, _ = decode_log(_whole_characters(file.read(_FIRST)), path.name)
    except OSError as error:
        raise RecordError(
            f"Expected {path} to be readable, but: {error.strerror}. Check its permissions."
        ) from error
    return next((line for line in text.split("\n") if line.strip()), "").strip()


def _whole_characters(head: bytes) -> bytes:
    """Cut a line off that the end of the buffer may have split inside a character."""
    end = head.rfind(b"\n")
    if len(head) < _FIRST or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head
    return head[: end + 1] if end >= 0 else head.decode("utf-8", "ignore").encode()
