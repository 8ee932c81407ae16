"""Reading records files: lines into certificates or outcomes, several files into one run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from lightning_smooth.errors import RecordError
from lightning_smooth.records.certificate import Certificate

FORMAT: Final = "lightning_smooth"
VERSION: Final = 1
FINGERPRINT: Final = ("model", "certifier", "attack", "data")
"""Parts of the header that must agree before records may share a file."""

_LONGEST, _SHOWN = 40, 24
"""Characters of a value that messages show whole, and of a longer one."""


class Record(Protocol):
    """A line of a records file: what was measured for one image."""

    plural: ClassVar[str]
    """What several are called; files of another kind than certificates say it in their header."""

    @property
    def index(self) -> int:
        """The image's index in its data set."""

    @property
    def label(self) -> int | None:
        """Its class, if it is known."""

    @property
    def image(self) -> str:
        """Digest of its pixels, empty where it is not known."""

    def to_json(self) -> str:
        """One line of JSON, without its line end."""


R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class RecordFile(Generic[R]):
    """What one records file holds.

    Attributes:
        header: its first line.
        results: every whole line after it, in the order of the file.
        torn: the last line, if it was cut off while being written; else empty.
    """

    header: dict[str, Any]
    results: list[R]
    torn: str = ""

    @property
    def certificates(self) -> list[R]:
        """`results`, where they are certificates."""
        return self.results


def kind_of(header: Mapping[str, Any]) -> str:
    """What the lines of a file are, in the plural: `certificates`, or what its header says."""
    return str(header.get("kind", Certificate.plural))


def samples_path(records: Path) -> Path:
    """Where the pictures of a records file lie: `samples.npz` for `records.jsonl`."""
    stem = records.stem
    return records.with_name("samples.npz" if stem == "records" else f"{stem}-samples.npz")


def read_records(path: Path) -> RecordFile[Certificate]:
    """Read a file of certificates, whole or cut off.

    Raises:
        RecordError: the file is missing or empty, holds no certificates, or a line other than the
            last is damaged (the message names the line).
    """
    return read_kind(path, Certificate)


def read_kind(path: Path, kind: type[R]) -> RecordFile[R]:
    """Read a records file of a kind, whole or cut off; errors as those of `read_records`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecordError(f"There are no records at {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"The records {path} cannot be read: {error}.") from error
    *lines, torn = text.split("\n")
    if not lines:
        raise RecordError(f"{path} has no header line: delete it and certify again.")
    header = _read_header(path, lines[0])
    if kind_of(header) != kind.plural:
        raise RecordError(f"{path} holds {kind_of(header)}, not {kind.plural}.")
    results = [_read_line(path, number, line, kind) for number, line in enumerate(lines[1:], 2)]
    return RecordFile(header, results, torn)


def _read_header(path: Path, line: str) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except json.JSONDecodeError:
        header = None
    if not isinstance(header, dict) or header.get("records") != FORMAT:
        raise RecordError(f"{path} does not start with the header of a records file.")
    if header.get("version") != VERSION:
        raise RecordError(
            f"{path} has format version {header.get('version')!r}; this package reads {VERSION}."
        )
    return header


def _read_line(path: Path, number: int, line: str, kind: type[R]) -> R:
    try:
        made: R = kind.from_json(line)  # type: ignore[attr-defined]
        return made
    except RecordError as error:
        raise RecordError(
            f"{path}, line {number} is damaged ({error}). Delete that line and run the same "
            "command again: its image will be measured anew, the others are kept."
        ) from error


def has_header(file: Path, notes: list[str]) -> bool:
    """Whether a records file holds more than a part of its header; else a note says so."""
    try:
        whole = b"\n" in file.read_bytes()
    except OSError as error:
        raise RecordError(f"{file} cannot be read: {error.strerror}. Check it.") from error
    if not whole:
        notes.append(f"{file.name} ends within its header and holds no image.")
    return whole


def differences(
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    *,
    place: str = "in the records",
    prefix: str = "",
) -> list[str]:
    """List what differs between two nested mappings, a line each; `place` is where theirs are.

    >>> differences({"certifier": {"sigma": 0.5}}, {"certifier": {"sigma": 0.25}})
    ['certifier.sigma: 0.25 in the records, 0.5 now']
    >>> differences({"law": "N(0, 1)" * 9 + "+ 2"}, {"law": "N(0, 1)" * 9 + "+ 3"})
    ['law: ...(0, 1)+ 3 in the records, ...(0, 1)+ 2 now']
    """
    found: list[str] = []
    for key in sorted({*ours, *theirs}):
        now, then = ours.get(key), theirs.get(key)
        if isinstance(now, Mapping) and isinstance(then, Mapping):
            found += differences(now, then, place=place, prefix=f"{prefix}{key}.")
        elif now != then:
            there, here = _excerpts(then, now)
            found.append(f"{prefix}{key}: {there} {place}, {here} now")
    return found


def _excerpts(*values: Any) -> list[str]:
    """Texts of values that differ; of a long one what is near the first difference."""
    texts = [value if isinstance(value, str) else repr(value) for value in values]
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    start = max(0, len(list(same)) - 8)
    end = start + _SHOWN
    return [
        text
        if len(text) <= _LONGEST
        else "..." * (start > 0) + text[start:end] + "..." * (end < len(text))
        for text in texts
    ]


def gather(
    files: Iterable[Path],
) -> tuple[dict[str, Any] | None, list[Certificate], list[Path]]:
    """Read the certificates of one run into one list; see `gather_kind`."""
    return gather_kind(files, Certificate)


def gather_kind(
    files: Iterable[Path], kind: type[R]
) -> tuple[dict[str, Any] | None, list[R], list[Path]]:
    """Read the files of one run into one list.

    Args:
        files: the merged file and those of single ranks, any of them or none.
        kind: class of their lines.

    Returns:
        The header (None without files): the first file's, with the largest selection of all; the
        results by index, each image once; and the files whose last line is torn.

    Raises:
        RecordError: a file is damaged, files belong to different runs, or two records of an image
            differ in more than their time.
    """
    header: dict[str, Any] | None = None
    first: Path | None = None
    found: dict[int, R] = {}
    torn: list[Path] = []
    for file in files:
        content = read_kind(file, kind)
        if header is None:
            header, first = dict(content.header), file
        if _asked_for(content.header) > _asked_for(header):
            header["selection"] = content.header["selection"]
        changed = differences(fingerprint(content.header), fingerprint(header))
        if changed:
            raise RecordError(
                f"{file} and {first} belong to different runs:\n  "
                + "\n  ".join(changed)
                + "\nMove one of them away."
            )
        if content.torn:
            torn.append(file)
        for one in content.results:
            _add(found, one, file)
    return header, [found[index] for index in sorted(found)], torn


def fingerprint(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a header that records of one file share."""
    return {key: header.get(key, {}) for key in FINGERPRINT}


def _asked_for(header: Mapping[str, Any]) -> int:
    selection = header.get("selection")
    images = selection.get("images") if isinstance(selection, Mapping) else None
    return images if isinstance(images, int) else 0


def _add(found: dict[int, R], one: R, file: Path) -> None:
    known = found.setdefault(one.index, one)
    if replace(known, seconds=0.0) != replace(one, seconds=0.0):  # type: ignore[type-var]
        raise RecordError(
            f"{file} has a second record of image {one.index} that contradicts the first: "
            "delete one of them."
        )
