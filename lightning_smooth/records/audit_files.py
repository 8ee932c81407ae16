"""What is checked of a run's files as a whole: lines, parts, headers, and which images they hold.

What a header tells of the images that were wanted: `selection.skip`, `selection.limit` and
`data.images` (the size of the test split) give their indices: 0, skip, 2 skip, ..., at most
`limit` of them. Where the data could not tell those, `selection.images` is their number, and only
that is checked; where it is missing too, nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeGuard

from lightning_smooth.errors import RecordError
from lightning_smooth.records.audit_lines import Content, Entry, Fault, Kind, read_lines
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.reading import fingerprint, kind_of
from lightning_smooth.records.runs import PARTS, RECORDS

_TOLD: Final = {
    "model": "the network",
    "certifier": "what certified it, with its settings",
    "attack": "the attack, with its settings",
    "data": "the images' data set",
    "selection": "which of its images were chosen",
}
"""What the parts of a header tell, without which its records cannot be made again."""


@dataclass(frozen=True)
class Files:
    """The files of one run.

    Attributes:
        path: what was given: its folder or its records file.
        contents: what each file holds.
        header: the first header with the largest selection; empty where every one is torn.
        entries: the first record of each image, by index.
    """

    path: Path
    contents: Sequence[Content]
    header: Mapping[str, Any]
    entries: Mapping[int, Entry]


@dataclass(frozen=True)
class Outcome:
    """How a check went: how often it passed, and what it found."""

    passed: int
    faults: list[Fault] = field(default_factory=list)
    unchecked: int = 0


def read_files(path: Path) -> Files:
    """Read the files of the run at `path`: its records, and the parts they are split into.

    Raises:
        RecordError: there are none, or one is no records file.
    """
    contents = [read_lines(file) for file in _find(path)]
    headers = [content.header for content in contents if content.header]
    entries: dict[int, Entry] = {}
    for entry in (entry for content in contents for entry in content.entries):
        entries.setdefault(entry.record.index, entry)
    header = max(headers, key=_asked_for) if headers else {}
    return Files(path, contents, header, dict(sorted(entries.items())))


def part_of(header: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A mapping in a header; empty where there is none."""
    part = header.get(key)
    return part if isinstance(part, Mapping) else {}


def wanted_images(header: Mapping[str, Any]) -> range | None:
    """Indices of the images that a header's selection asks for; None where it does not tell.

    >>> wanted_images({"selection": {"skip": 20, "limit": 3}, "data": {"images": 10000}})
    range(0, 60, 20)
    """
    selection = part_of(header, "selection")
    skip, limit = selection.get("skip"), selection.get("limit")
    size = part_of(header, "data").get("images")
    if not _is_count(skip) or not skip or not _is_count(size):
        return None
    if limit is not None and not _is_count(limit):
        return None
    return range(0, size, skip)[:limit]


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _asked_for(header: Mapping[str, Any]) -> int:
    images = part_of(header, "selection").get("images")
    return images if _is_count(images) else 0


def _find(path: Path) -> list[Path]:
    if path.is_dir():
        merged, parts = path / RECORDS, path / PARTS
    elif path.exists() or path.with_name(f"{path.stem}.parts").is_dir():
        merged, parts = path, path.with_name(f"{path.stem}.parts")
    else:
        raise RecordError(
            f"Expected a run folder or a records file (.jsonl) at {path}, but nothing is there. "
            "Check the path; run folders lie in runs/<experiment>/."
        )
    files = [merged] if merged.exists() else []
    files += sorted(file for file in parts.glob("*.jsonl") if file.stat().st_size)
    if files:
        return files
    below = {*path.glob("*.jsonl"), *path.glob(f"*/{RECORDS}"), *path.glob(f"*/*/{RECORDS}")}
    if below:
        names = ", ".join(str(file) for file in sorted(below)[:5])
        more = f" and {len(below) - 5} more" if len(below) > 5 else ""
        raise RecordError(
            f"Expected {path} to be a run folder with {RECORDS}, but it holds {names}{more}. Give "
            "one or several of them."
        )
    raise RecordError(
        f"Looked for {RECORDS} and {PARTS}/*.jsonl in {path}, but neither is there. Certify first "
        "(`lightning-smooth certify`), or give the path of a records file."
    )


def _lines(files: Files) -> Outcome:
    read = sum(len(content.entries) for content in files.contents)
    faults = [fault for content in files.contents for fault in content.faults]
    if not read and not faults:
        faults = [_fault("lines", "incomplete", files, "no record", "at least one")]
    return Outcome(read, faults)


def _merged(files: Files) -> Outcome:
    parts = [c.file for c in files.contents if c.file.parent.suffix == ".parts"]
    faults = [
        Fault(
            check="merged",
            kind="incomplete",
            index=None,
            recorded=f"a part in {file.parent.name}/",
            expected="one merged file: certify again",
            file=file,
        )
        for file in parts
    ]
    return Outcome(len(files.contents) - len(parts), faults)


def _header(files: Files) -> Outcome:
    headed = [content for content in files.contents if content.header]
    faults = []
    for content in headed[1:]:
        ours, theirs = _flat(fingerprint(headed[0].header)), _flat(fingerprint(content.header))
        for name in sorted({*ours, *theirs}):
            if ours.get(name) != theirs.get(name):
                said = f"{name} = {theirs.get(name)!r:.60}"
                expected = f"{ours.get(name)!r:.60} ({headed[0].file.name})"
                faults.append(
                    _fault("header", "contradiction", files, said, expected, content.file)
                )
    wanted, images = wanted_images(files.header), part_of(files.header, "selection").get("images")
    if wanted is not None and images is not None and images != len(wanted):
        said = f"selection.images = {images!r:.60}"
        expected = f"{len(wanted)}, by skip, limit and size"
        faults.append(_fault("header", "contradiction", files, said, expected))
    for content in headed:
        made = "certifier" if kind_of(content.header) == Certificate.plural else "attack"
        faults += [
            _fault("header", "incomplete", files, f"no {part}", _TOLD[part], content.file)
            for part in ("model", made, "data", "selection")
            if not content.header.get(part)
        ]
    wrong = {fault.file for fault in faults}
    return Outcome(len(headed) - len(wrong), faults, unchecked=len(files.contents) - len(headed))


def _flat(part: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots."""
    found: dict[str, Any] = {}
    for key, value in part.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _once(files: Files) -> Outcome:
    faults = []
    for content in files.contents:
        seen: set[int] = set()
        for entry in content.entries:
            first = files.entries[entry.record.index]
            if entry.record.index in seen:
                faults.append(_duplicate(first, entry, "twice"))
            elif entry is not first and (named := _difference(first, entry)):
                faults.append(_duplicate(first, entry, named))
            seen.add(entry.record.index)
    again = {fault.index for fault in faults}
    return Outcome(len(files.entries.keys() - again), faults)


def _duplicate(first: Entry, entry: Entry, said: str) -> Fault:
    named = _difference(first, entry) or "the same"
    return Fault(
        check="once",
        kind="contradiction",
        index=entry.record.index,
        recorded=f"twice, {named}" if said == "twice" else said,
        expected=f"once; first in {first.file.name}, line {first.line}",
        file=entry.file,
        line=entry.line,
    )


def _difference(first: Entry, entry: Entry) -> str:
    """The first field in which two records differ, but for the time they took."""
    if type(first.record) is not type(entry.record):
        return "of another kind"
    for name in (f.name for f in fields(first.record) if f.name != "seconds"):
        one, other = getattr(first.record, name), getattr(entry.record, name)
        if one != other:
            return f"{name} = {other!r:.60} instead of {one!r:.60}"
    return ""


def _complete(files: Files) -> Outcome:
    wanted = wanted_images(files.header)
    held = files.entries.keys()
    images = part_of(files.header, "selection").get("images")
    if wanted is None:
        if not _is_count(images):
            return Outcome(0, unchecked=1)
        if len(held) == images:
            return Outcome(len(held))
        said = f"{len(held)} images"
        return Outcome(0, [_fault("complete", "incomplete", files, said, f"{images} images")])
    faults = [*_missing(files, wanted), *_extra(files, wanted)]
    return Outcome(sum(index in wanted for index in held), faults)


def _missing(files: Files, wanted: range) -> Iterator[Fault]:
    for index in wanted:
        if index not in files.entries:
            yield _fault("complete", "incomplete", files, "none", "a record", index=index)


def _extra(files: Files, wanted: range) -> Iterator[Fault]:
    chosen = f"one of {wanted[0]}, {wanted[1]}, ..., {wanted[-1]}" if len(wanted) > 2 else "none"
    for index, entry in files.entries.items():
        if index not in wanted:
            yield Fault(
                check="complete",
                kind="contradiction",
                index=index,
                recorded="a record",
                expected=chosen,
                file=entry.file,
                line=entry.line,
            )


def _fault(
    check: str,
    kind: Kind,
    files: Files,
    recorded: str,
    expected: str,
    file: Path | None = None,
    *,
    index: int | None = None,
) -> Fault:
    """A fault that is in no single line but, if at all, in a header."""
    return Fault(
        check=check,
        kind=kind,
        index=index,
        recorded=recorded,
        expected=expected,
        file=file or files.contents[0].file,
        line=1 if check == "header" else None,
    )


FILE_CHECKS: Final[Mapping[str, tuple[str, Callable[[Files], Outcome]]]] = {
    "lines": ("each line is a whole record", _lines),
    "merged": ("nothing is left in a *.parts folder", _merged),
    "header": ("headers are whole, and agree", _header),
    "once": ("each image has one record", _once),
    "complete": ("all images of the selection", _complete),
}
"""Checks of a run's files, with a word on each."""
