"""Lines of a records file as an audit reads them: what is damaged is a fault, and the rest is read.

`records.reading` refuses a damaged file, so that nothing is built on it; an audit goes on, to say
all that is wrong.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from lightning_smooth.errors import RecordError
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.published import is_published_header
from lightning_smooth.records.reading import FORMAT, VERSION, kind_of
from lightning_smooth.types import ABSTAIN

Kind = Literal["unsound", "contradiction", "not reproducible", "unknown", "incomplete"]

KINDS: Final[Mapping[Kind, str]] = {
    "unsound": "claims more than its counts give",
    "contradiction": "two statements of which one must be wrong",
    "not reproducible": "claims less than its counts give: true, but not what was computed",
    "unknown": "cannot be checked by this version",
    "incomplete": "something is missing",
}
"""What each kind of fault means, the worst first."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        check: name of the check that found it.
        kind: see `KINDS`.
        index: the image's index; None where it concerns no single image.
        recorded: what the records say.
        expected: what they should say.
        file: the file that says so.
        line: the line in it, from 1; None where it is no single line.
    """

    check: str
    kind: Kind
    index: int | None
    recorded: Any
    expected: Any
    file: Path
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A certificate, or an outcome of an attack, and where it stands."""

    record: Certificate | AttackOutcome
    file: Path
    line: int

    @property
    def certificate(self) -> Certificate:
        """`record`, where it is a certificate.

        Raises:
            TypeError: it is none.
        """
        if not isinstance(self.record, Certificate):
            raise TypeError(f"{self.file}, line {self.line} is no certificate")
        return self.record


@dataclass(frozen=True)
class Content:
    """What one file holds: its header (empty where that is torn), records and faults."""

    file: Path
    header: Mapping[str, Any]
    entries: list[Entry] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def read_lines(file: Path) -> Content:
    """Read a records file, whatever its lines below the header are like.

    Raises:
        RecordError: it cannot be read, is empty, or is no records file of this format.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise RecordError(
            f"Expected {file} to be readable, but: {error.strerror}. Check the path."
        ) from error
    if not raw:
        raise RecordError(f"{file} is empty: nothing was certified into it.")
    first, *lines = raw.split(b"\n")
    torn = lines.pop() if lines else None
    header = _header(file, first, whole=torn is not None)
    content = Content(file, header or {})
    for line, text in enumerate(lines, 2):
        _read(content, line, text)
    if torn is None or torn:
        last = first if torn is None else torn
        line = 1 if torn is None else len(lines) + 2
        fault = _fault(content, line, _short(last), "a whole line", kind="incomplete")
        content.faults.append(fault)
    return content


def _header(file: Path, line: bytes, *, whole: bool) -> dict[str, Any] | None:
    text = line.decode("utf-8", errors="replace").strip()
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if isinstance(header, dict) and header.get("records") == FORMAT:
        if header.get("version") == VERSION:
            return header
        raise RecordError(
            f"{file} has format version {header.get('version')!r}; this package audits {VERSION}."
        )
    start = f'{{"records":"{FORMAT}"'
    if not whole and header is None and (start.startswith(text) or text.startswith(start)):
        return None
    if is_published_header(text):
        raise RecordError(
            f"{file} is a log in the published format: it holds radii without the counts that they "
            "follow from, so there is nothing to compute again. Give records (.jsonl)."
        )
    raise RecordError(
        f"Expected {file} to be a records file, whose first line is its header, but it starts with "
        f"{text[:60]!r}. Give a run folder, or the records.jsonl that a certification wrote."
    )


class _Wrong(Exception):
    """A line that is no certificate: what it says, and what was expected."""

    def __init__(self, recorded: str, expected: str) -> None:
        super().__init__(recorded, expected)
        self.recorded, self.expected = recorded, expected


def _read(content: Content, line: int, raw: bytes) -> None:
    index = None
    try:
        fields = _fields(raw)
        index = fields["index"] if _is_whole(fields.get("index")) else None
        kind = AttackOutcome if kind_of(content.header) == AttackOutcome.plural else Certificate
        if kind is Certificate:
            _check_fields(fields)
        record = kind.from_json(raw.decode("utf-8"))
    except _Wrong as wrong:
        content.faults.append(_fault(content, line, wrong.recorded, wrong.expected, index=index))
    except (RecordError, TypeError) as error:
        expected = f"the fields of one of the {kind_of(content.header)}"
        content.faults.append(_fault(content, line, str(error), expected, index=index))
    else:
        content.entries.append(Entry(record=record, file=content.file, line=line))


def _fault(
    content: Content,
    line: int,
    recorded: str,
    expected: str,
    *,
    kind: Kind = "contradiction",
    index: int | None = None,
) -> Fault:
    return Fault(
        check="lines",
        kind=kind,
        index=index,
        recorded=recorded,
        expected=expected,
        file=content.file,
        line=line,
    )


def _short(raw: bytes) -> str:
    text = raw.decode("utf-8", errors="replace").strip()
    return text if len(text) <= 40 else f"{text[:39]}…"


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise _Wrong(_short(raw), "JSON") from None
    if not isinstance(fields, dict):
        raise _Wrong(_short(raw), "a JSON object")
    return fields


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            raise _Wrong(f"`{name}` {times} times", f"`{name}` once")
    return dict(pairs)


def _no_number(name: str) -> float:
    raise _Wrong(name, "a finite number")


def _check_fields(fields: Mapping[str, Any]) -> None:
    """Check what the audit computes with; `Certificate.from_json` checks which fields there are."""
    for name, (expected, holds) in _TYPES.items():
        if name in fields and not holds(fields[name]):
            raise _Wrong(f"{name} = {fields[name]!r:.60}", f"{name}: {expected}")
    hits, n = fields.get("hits", 0), fields.get("n", 0)
    if hits > n:
        raise _Wrong(f"hits = {hits}", f"hits of at most n = {n}")
    candidate, predicted = fields.get("candidate"), fields.get("predicted")
    if predicted not in (candidate, ABSTAIN):
        raise _Wrong(f"predicted = {predicted}", f"the candidate {candidate}, or {ABSTAIN}")


def _is_whole(value: Any) -> bool:
    # Beyond 2^63 no counts are, and floating point overflows.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_real(value: Any) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and abs(value) < 2**63 and math.isfinite(value)


def _is_votes(value: Any) -> bool:
    return isinstance(value, dict) and all(
        re.fullmatch(r"0|[1-9]\d{0,8}", key) and _is_whole(count) for key, count in value.items()
    )


def _is_looks(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(look, list) and len(look) == 2 and all(map(_is_whole, look)) for look in value
    )


def _is_class(value: Any) -> bool:
    return value == ABSTAIN or _is_whole(value)


def _is_named(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(map(holds, value.values()))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_COUNT = ("an integer of at least 0", _is_whole)
_NUMBER = ("a finite number", _is_real)
_TEXT = ("text", _is_text)
_VOTES = ("class -> count, integers of at least 0", _is_votes)
_TYPES: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    **dict.fromkeys(("index", "candidate", "hits", "n", "n0", "seed"), _COUNT),
    **dict.fromkeys(("p_lower", "alpha"), _NUMBER),
    "seconds": ("a number of at least 0", lambda value: _is_real(value) and value >= 0),
    **dict.fromkeys(("radius_unit", "guarantee", "method", "image"), _TEXT),
    **dict.fromkeys(("votes", "votes0"), _VOTES),
    "predicted": ("a class, or -1", _is_class),
    "label": ("a class, or null", lambda value: value is None or _is_whole(value)),
    "radius": ("a number, or null", lambda value: value is None or _is_real(value)),
    "ledger": ("name -> number", lambda value: _is_named(value, _is_real)),
    "parameters": ("name -> value", lambda value: isinstance(value, dict)),
    "decisions": ("target -> text", lambda value: _is_named(value, _is_text)),
    "radii": ("parameter -> number", lambda value: _is_named(value, _is_real)),
    "looks": ("a list of [draws, hits]", _is_looks),
}
