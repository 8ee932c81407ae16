"""Tables of corruptions as a report reads them: those of run folders, or single files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_smooth.records.attack_runs import attack_files
from lightning_smooth.records.corruption_tables import is_table, read_table
from lightning_smooth.records.corruptions import CorruptionTable
from lightning_smooth.records.runs import PARTS, RECORDS


@dataclass(frozen=True, kw_only=True)
class Corrupted:
    """One table, under a name of its own.

    Attributes:
        name: what tables and figures call it.
        path: its file.
        table: what it holds.
        notes: what is missing of it, one sentence each.
    """

    name: str
    path: Path
    table: CorruptionTable
    notes: tuple[str, ...]


def corruption_files(path: Path) -> list[Path]:
    """The tables of corruptions of a run folder, or of one file."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    return [file for file in files if file.suffix == ".json" and is_table(file)]


def corruptions_alone(path: Path) -> bool:
    """Whether there are tables of corruptions at `path`, and neither certificates nor attacks."""
    if not corruption_files(path):
        return False
    certified = (path / RECORDS).exists() or any((path / PARTS).glob("*.jsonl"))
    return not certified and not (path.is_dir() and attack_files(path))


def load_corrupted(paths: Iterable[Path]) -> tuple[Corrupted, ...]:
    """Load the tables of every path, in this order; names that are equal get their folder's.

    Raises:
        RecordError: a table is damaged.
    """
    found = [(file, read_table(file)) for path in paths for file in corruption_files(path)]
    times = Counter(table.name for _, table in found)
    return tuple(
        Corrupted(
            name=_named(file, table, several=times[table.name] > 1),
            path=file,
            table=table,
            notes=_notes(table),
        )
        for file, table in found
    )


def _named(file: Path, table: CorruptionTable, *, several: bool) -> str:
    if not several:
        return table.name
    stem = "" if file.stem == "corruptions" else f", {file.stem}"
    return f"{table.name} ({file.resolve().parent.name}{stem})"


def _notes(table: CorruptionTable) -> tuple[str, ...]:
    notes = [f"{name} is left out: {why}." for name, why in table.left_out.items()]
    if not table.complete:
        notes.append(
            f"Holds {len(table.cells)} of {len(table.wanted)} cells: the evaluation is still going "
            "on or was stopped; the same command goes on where it stopped."
        )
    return tuple(notes)


def different_sets(found: Sequence[Corrupted]) -> list[tuple[str, int | None]]:
    """Corruptions and severities of which tables tested different images."""
    digests: dict[tuple[str, int | None], set[tuple[str, str]]] = {}
    for one in found:
        for cell in one.table.cells:
            told = (str(cell.data.get("digest")), str(one.table.selection))
            digests.setdefault(cell.key, set()).add(told)
    return [key for key, told in digests.items() if len(told) > 1]
