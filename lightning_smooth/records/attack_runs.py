"""Attacks as a report reads them: every file of outcomes in a run's folder, with its parts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_smooth.errors import RecordError
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.reading import FORMAT, gather_kind, has_header, kind_of, read_kind
from lightning_smooth.records.runs import PARTS, RECORDS, Run, completeness, run_folder

_TORN = '"kind":"outcomes"'
"""What a header of outcomes says within its first words, even where it is cut off."""


@dataclass(frozen=True, kw_only=True)
class AttackRun:
    """One attack, as far as it has come.

    Attributes:
        path: its records file, which may still be in parts.
        files: the files whose lines these are.
        header: header of the records; empty where every one is torn.
        outcomes: one an image, by index.
        complete: whether every requested image is there; None where not known.
        requested: number of images asked for; None where not known.
        notes: faults found, one sentence each.
    """

    path: Path
    files: tuple[Path, ...]
    header: Mapping[str, Any]
    outcomes: tuple[AttackOutcome, ...]
    complete: bool | None
    requested: int | None
    notes: tuple[str, ...]

    @property
    def parts(self) -> Mapping[str, Any]:
        """The attack's settings, as its header has them."""
        return _part(self.header, "attack")

    @property
    def name(self) -> str:
        """The run's name in the header, or else that of the file."""
        return str(self.header.get("name") or self.path.stem)

    @property
    def on_pixels(self) -> bool:
        """Whether pixels were changed, within a norm; else parameters of a transformation."""
        return "norm" in self.parts

    @property
    def smoothed(self) -> bool:
        """Whether a smoothed classifier was judged; else the bare network."""
        return "smoothed" in (self.parts.get("judge"), self.parts.get("classifier"))


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """What was attacked: a name, the attacks, and the certified run of the same folder, if any."""

    name: str
    run: Run | None
    attacks: tuple[AttackRun, ...]


def load_attacks(path: str | Path) -> tuple[AttackRun, ...]:
    """Load the attacks of a run folder, or that of one file of outcomes.

    A file belongs here by its header, whatever its name; files of other kinds are passed over.

    Raises:
        RecordError: a file is damaged beyond a torn last line.
    """
    return tuple(_load(merged, files) for merged, files in attack_files(Path(path)).items())


def attack_files(path: Path) -> dict[Path, list[Path]]:
    """Files of the attacks of a folder, or of one file: those that exist, by the merged one."""
    found = {path}
    if path.is_dir():
        parts = (part.parent.with_suffix(".jsonl") for part in path.glob("*.parts/*.jsonl"))
        found = {*path.glob("*.jsonl"), *parts}
    groups = {merged: _files(merged) for merged in sorted(found, key=lambda file: file.stem)}
    return {merged: files for merged, files in groups.items() if files}


def alone(path: str | Path) -> bool:
    """Whether there are attacks at `path`, and no certificates."""
    path = Path(path)
    if not path.is_dir():
        return path.is_file() and is_attack(path)
    certified = (path / RECORDS).exists() or any((path / PARTS).glob("*.jsonl"))
    return not certified and bool(attack_files(path))


def load_attacked(paths: Iterable[Path], runs: Iterable[Run]) -> list[Attacked]:
    """Load the attacks of every path, in this order.

    Args:
        paths: run folders, and files of any kind.
        runs: what is certified of them, in the same order, without the paths of attacks alone.

    Returns:
        One for each path that has attacks, each of a name of its own.

    Raises:
        RecordError: as for `load_attacks`.
    """
    certified = list(runs)
    rest = iter(certified)
    loaded = []
    for path in paths:
        if alone(path):
            attacks = load_attacks(path)
            loaded.append((path, Attacked(name=_headed(attacks), run=None, attacks=attacks)))
            continue
        run = next(rest)
        folder = run_folder(run)
        own = load_attacks(folder) if folder is not None else ()
        loaded.append((path, Attacked(name=run.name, run=run, attacks=own)))
    for label in (_stamp, str):
        times = Counter(one.name for _, one in loaded)
        loaded = [
            (path, replace(one, name=f"{one.name} ({label(path)})"))
            if times[one.name] > 1 and one.run is None
            else (path, one)
            for path, one in loaded
        ]
    return [one for _, one in loaded if one.attacks]


def read_outcomes(file: Path) -> list[AttackOutcome]:
    """Read one file of outcomes, with a header or, as `scripts/attack_range` writes it, without.

    Raises:
        RecordError: a line is damaged; of a file with a header, another than the last.
        OSError: the file cannot be read.
    """
    if is_attack(file):
        return read_kind(file, AttackOutcome).results
    lines = file.read_text(encoding="utf-8").split("\n")
    return [AttackOutcome.from_json(line) for line in lines if line]


def is_attack(file: Path) -> bool:
    """Whether a file holds outcomes, as its header says."""
    try:
        with file.open("rb") as content:
            line = content.readline().decode("utf-8", errors="replace")
    except OSError as error:
        raise RecordError(f"{file} cannot be read: {error.strerror}. Check it.") from error
    if not line.startswith("{"):
        return False
    try:
        header = json.loads(line)
    except ValueError:
        return line.startswith(f'{{"records":"{FORMAT}"') and _TORN in line
    of_ours = isinstance(header, dict) and header.get("records") == FORMAT
    return of_ours and kind_of(header) == AttackOutcome.plural


def _files(merged: Path) -> list[Path]:
    parts = sorted(merged.with_suffix(".parts").glob("*.jsonl"))
    return [file for file in (merged, *parts) if file.exists() and is_attack(file)]


def _load(path: Path, files: Sequence[Path]) -> AttackRun:
    notes: list[str] = []
    readable = [file for file in files if has_header(file, notes)]
    header, outcomes, torn = gather_kind(readable, AttackOutcome)
    for file in torn:
        notes.append(
            f"The last line of {file.name} is torn (it was being written when the attack was "
            "stopped) and left out; attacking again with the same command makes it anew."
        )
    requested = _part(header or {}, "selection").get("images")
    known = requested if isinstance(requested, int) and not isinstance(requested, bool) else None
    running = header is None or any(file.parent.suffix == ".parts" for file in readable)
    return AttackRun(
        path=path,
        files=tuple(files),
        header=header or {},
        outcomes=tuple(outcomes),
        complete=completeness(len(outcomes), known, notes, running=running),
        requested=known,
        notes=tuple(notes),
    )


def _headed(attacks: Sequence[AttackRun]) -> str:
    return next((one.name for one in attacks if one.header), attacks[0].name)


def _stamp(path: Path) -> str:
    return (path if path.is_dir() else path.parent).resolve().name


def _part(header: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = header.get(key)
    return part if isinstance(part, Mapping) else {}
