"""A certification, or an attack, checked again from its records alone.

Everything that follows from the counts is computed again and compared (`audit_checks`), and the
files are checked for what they should hold (`audit_files`). That the counts are those of the
draws, no record can show: certify an image again with the seed of its record, and compare the
votes. Nor does a single file tell whether its labels are right; two files of the same images do
(`audit_compare`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning_smooth.errors import InputError
from lightning_smooth.records.anchor import SHARE
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.attack_runs import alone, attack_files
from lightning_smooth.records.audit_attacks import ATTACK_FILE_CHECKS, OUTCOME_CHECKS
from lightning_smooth.records.audit_case import Problem, subject
from lightning_smooth.records.audit_checks import CHECKS
from lightning_smooth.records.audit_files import FILE_CHECKS, Files, read_files
from lightning_smooth.records.audit_lines import Entry, Fault
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.reading import kind_of


@dataclass
class Tally:
    """How often a check passed, failed, or could not be made."""

    passed: int = 0
    failed: int = 0
    unchecked: int = 0


@dataclass(frozen=True)
class Audit:
    """What the audit of one run found.

    Attributes:
        path: the run: its folder or its records file.
        files: the files that were read.
        header: the header, with the largest selection of all; empty where every one is torn.
        entries: the first record of each image, by index.
        certificates: number of certificates, or of outcomes, that were read.
        tallies: for each check, how it went: of the files' first, then of each record's, whose
            numbers are numbers of records.
        faults: what is wrong, in the order of the checks and the files.
        notes: what is odd, yet may be right, a sentence each.
    """

    path: Path
    files: tuple[Path, ...]
    header: Mapping[str, Any]
    entries: Mapping[int, Entry]
    certificates: int
    tallies: Mapping[str, Tally]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What was audited: `certificates`, or `outcomes` of an attack."""
        return kind_of(self.header)

    @property
    def name(self) -> str:
        """The run's name in its header, or else that of its file."""
        return str(self.header.get("name") or self.path.stem)


def audit(path: str | Path) -> Audit:
    """Audit one run: a run folder, or a records file; with its parts where it is split.

    Of a folder its certificates are audited; of a file what it holds.

    Raises:
        RecordError: there are no records at `path`, or a file is none of this format. What is
            wrong inside a records file is a fault, and raises nothing.
    """
    files = read_files(Path(path))
    tallies: dict[str, Tally] = {}
    faults: list[Fault] = []
    attack = kind_of(files.header) == AttackOutcome.plural
    for name, (_, check) in (ATTACK_FILE_CHECKS if attack else FILE_CHECKS).items():
        outcome = check(files)
        tallies[name] = Tally(outcome.passed, len(outcome.faults), outcome.unchecked)
        faults += outcome.faults
    of_each = _check_records(files, tallies, OUTCOME_CHECKS if attack else CHECKS)
    order = list(tallies)
    faults += sorted(of_each, key=lambda fault: order.index(fault.check))
    return Audit(
        path=files.path,
        files=tuple(content.file for content in files.contents),
        header=files.header,
        entries=files.entries,
        certificates=sum(len(content.entries) for content in files.contents),
        tallies=tallies,
        faults=tuple(faults),
        notes=tuple(_notes(files)),
    )


def _notes(files: Files) -> Iterator[str]:
    """Equal images: data sets have some, and so has a file whose lines were copied.

    And certificates of ranges from before what each anchor spends was recorded.
    """
    first: dict[str, int] = {}
    equal = [
        (seen, index)
        for index, entry in files.entries.items()
        if entry.record.image and (seen := first.setdefault(entry.record.image, index)) != index
    ]
    if equal:
        one, other = equal[0]
        more = f" (and {len(equal) - 1:,} more pairs)" if len(equal) > 1 else ""
        yield f"Images {one} and {other} have the same digest{more}: are they equal in the data?"
    certificates = [e.record for e in files.entries.values() if isinstance(e.record, Certificate)]
    bare = sum(bool(c.anchors) and SHARE not in c.measured for c in certificates)
    if bare:
        yield (
            f"{bare:,} certificates hold draws and hits at each look of their anchors, but neither "
            "the votes nor what each anchor spends of alpha and was to show: they are from before "
            "these were recorded."
        )


def _check_records(
    files: Files, tallies: dict[str, Tally], checks: Mapping[str, Any]
) -> list[Fault]:
    found: list[Fault] = []
    tallies |= {name: Tally() for name in checks}
    for content in files.contents:
        for entry in content.entries:
            for name, problems in _problems(entry, content.header).items():
                tally = tallies.setdefault(name, Tally())
                if problems is None:
                    tally.unchecked += 1
                elif problems:
                    tally.failed += 1
                else:
                    tally.passed += 1
                found += [
                    Fault(
                        check=name,
                        kind=problem.kind,
                        index=entry.record.index,
                        recorded=problem.recorded,
                        expected=problem.expected,
                        file=entry.file,
                        line=entry.line,
                    )
                    for problem in problems or ()
                ]
    return found


def _problems(entry: Entry, header: Mapping[str, Any]) -> dict[str, list[Problem] | None]:
    """What each check of a record found."""
    if isinstance(entry.record, AttackOutcome):
        outcome = entry.record
        return {name: check(outcome, header) for name, (_, check) in OUTCOME_CHECKS.items()}
    case = subject(entry.record, header)
    return {name: check(case) for name, (_, check) in CHECKS.items()}


def audit_all(paths: Iterable[str | Path]) -> list[Audit]:
    """Audit several runs; of a folder its certificates, and every attack that it holds.

    Raises:
        InputError: no path is given, or a file is given twice.
        RecordError: as for `audit`.
    """
    audits = [audit(one) for path in paths for one in _audited(Path(path))]
    if not audits:
        raise InputError("Expected at least one records file to audit, but got none.")
    seen: dict[Path, Path] = {}
    for one in audits:
        for file in one.files:
            other = seen.setdefault(file.resolve(), one.path)
            if other is not one.path:
                raise InputError(
                    f"Expected each file once, but {file} is read for {other} and for {one.path}. "
                    "Give one of them."
                )
    return audits


def _audited(path: Path) -> list[Path]:
    """A folder's certificates, where it has some or nothing at all, and its attacks."""
    if not path.is_dir():
        return [path]
    return [*([] if alone(path) else [path]), *attack_files(path)]


def audit_json(found: Audit) -> dict[str, Any]:
    """What was found, in the plain types of JSON."""
    return {
        "name": found.name,
        "path": str(found.path),
        "kind": found.kind,
        "files": [str(file) for file in found.files],
        "certificates": found.certificates,
        "checks": {name: asdict(tally) for name, tally in found.tallies.items()},
        "faults": [fault_json(fault) for fault in found.faults],
        "notes": list(found.notes),
    }


def fault_json(fault: Fault) -> dict[str, Any]:
    """A fault, in the plain types of JSON."""
    return asdict(fault) | {"file": str(fault.file)}
