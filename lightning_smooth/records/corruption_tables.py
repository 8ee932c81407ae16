"""Tables of corruptions on disk: written, read again, gone on with, compared.

A table lies in one JSON file of a run's folder, beside it a CSV of the same, and below it the
certificates of each cell, as ordinary records. It is written whole after every cell, so that an
evaluation that was stopped goes on with the next one.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Final

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.records.corruptions import Cell, CorruptionTable
from lightning_smooth.records.reading import FORMAT, VERSION, differences

KIND: Final = "corruptions"
"""What the header of a table calls it."""

_COUNTED: Final = (
    "corruption",
    "severity",
    "images",
    "correct",
    "accuracy",
    "certified_images",
)
_CERTIFIED: Final = ("smoothed_accuracy", "abstained", "guarantee", "records")


def baseline_of(table: CorruptionTable, file: Path) -> dict[str, Any]:
    """What a table keeps of the evaluation `table`, read from `file`, that it is relative to."""
    return {
        "name": table.name,
        "file": str(file),
        "model": table.model,
        "errors": {name: math.fsum(values) for name, values in table.errors().items()},
    }


def write_table(table: CorruptionTable, path: Path) -> None:
    """Write a table as JSON to `path`, and as CSV beside it, each whole or not at all.

    Raises:
        RecordError: they cannot be written.
    """
    text = json.dumps({"records": FORMAT, "version": VERSION, "kind": KIND, **asdict(table)})
    for file, content in ((path, text + "\n"), (path.with_suffix(".csv"), csv_of(table))):
        fresh = file.with_name(f".{file.name}.new")
        try:
            fresh.write_text(content, encoding="utf-8")
            os.replace(fresh, file)
        except OSError as error:
            raise RecordError(
                f"{file} cannot be written ({error.strerror}): make room and run the same command "
                "again; what is recorded is kept."
            ) from error


def is_table(path: Path) -> bool:
    """Whether a file is a table of corruptions, as its first words say."""
    try:
        with path.open("rb") as file:
            return f'"kind": "{KIND}"'.encode() in file.read(200)
    except OSError:
        return False


def read_table(path: Path) -> CorruptionTable:
    """Read a table.

    Raises:
        RecordError: the file is missing, or is no table of corruptions.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"There is no table of corruptions at {path}.") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read as a table of corruptions: {error}.") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise RecordError(
            f"{path} is no table of corruptions: give the corruptions.json that "
            "`lightning-smooth test --config configs/corruptions/SET.yaml` has written."
        )
    if content.get("version") != VERSION:
        raise RecordError(
            f"{path} has format version {content.get('version')!r}; this package reads {VERSION}."
        )
    known = {one.name for one in fields(CorruptionTable)}
    try:
        cells = [Cell(**cell) for cell in content["cells"]]
        kept = {key: value for key, value in content.items() if key in known}
        table = CorruptionTable(**{**kept, "cells": cells})
        sound = all(map(_possible, cells)) and 0 <= table.clean_correct <= table.clean_images > 0
    except (KeyError, TypeError) as error:
        raise RecordError(f"{path} is damaged ({error}): delete it and test again.") from error
    if not sound:
        raise RecordError(f"{path} is damaged (counts that cannot be): delete it and test again.")
    return table


def csv_of(table: CorruptionTable) -> str:
    """A line for each cell, in full precision; empty where nothing was measured."""
    radii = [f"certified_accuracy@{radius:g}" for radius in table.radii]
    out = io.StringIO()
    lines = csv.DictWriter(
        out,
        ("name", "origin", "digest", *_COUNTED, *_CERTIFIED, *radii),
        restval="",
        lineterminator="\n",
    )
    lines.writeheader()
    for cell in table.cells:
        line: dict[str, Any] = {"name": table.name, "origin": cell.data.get("origin")}
        line["digest"] = cell.data.get("digest")
        line |= {name: getattr(cell, name) for name in _COUNTED}
        if cell.certified_images:
            line |= {name: getattr(cell, name) for name in _CERTIFIED}
            line |= {name: cell.certified_accuracy(place) for place, name in enumerate(radii)}
        lines.writerow(line)
    return out.getvalue()


def continued(fresh: CorruptionTable, old: CorruptionTable, path: Path) -> CorruptionTable:
    """Go on with a table that is on disk.

    Without a certifier its certified figures are kept; where the radii are others, they are left
    out, to be made again from the certificates.

    Args:
        fresh: what is asked for now, without cells.
        old: what lies at `path`.
        path: for messages.

    Raises:
        RecordError: it belongs to another model, set, selection or certifier, or holds cells that
            are not asked for.
    """
    ours = {"model": fresh.model, "set": fresh.title, "selection": fresh.selection}
    theirs = {"model": old.model, "set": old.title, "selection": old.selection}
    if fresh.certifier is not None and old.certifier is not None:
        ours["certifier"], theirs["certifier"] = fresh.certifier, old.certifier
    refuse(path, ours, theirs)
    extra = sorted({f"{c} {s}" for c, s in {cell.key for cell in old.cells} - set(fresh.wanted)})
    if extra:
        raise RecordError(
            f"{path} holds {len(extra)} cells that are not asked for now, {extra[0]} among them: "
            "give the corruptions and severities that it was made with (more of them go on from "
            "there), or another --corruptions.records."
        )
    going = replace(
        fresh,
        cells=old.cells,
        clean_images=old.clean_images,
        clean_correct=old.clean_correct,
    )
    if fresh.certifier is None and old.certifier is not None:
        return replace(going, certifier=old.certifier, radii=old.radii)
    if fresh.radii == old.radii:
        return going
    bare = [
        Cell(
            corruption=cell.corruption,
            severity=cell.severity,
            images=cell.images,
            correct=cell.correct,
            data=cell.data,
        )
        for cell in old.cells
    ]
    return replace(going, cells=bare)


def refuse(path: Path, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Check that a table on disk is of what is measured now.

    Raises:
        RecordError: it is not; the message says in what.
    """
    changed = differences(json.loads(json.dumps(ours)), theirs, place=f"in {path.name}")
    if changed:
        raise RecordError(
            f"The table {path} belongs to something else:\n  "
            + "\n  ".join(changed)
            + "\nGive the settings that it was made with, or another table (--corruptions.records "
            "NAME), or another --output.folder."
        )


def check_baseline(fresh: CorruptionTable, other: CorruptionTable, file: str) -> None:
    """Check that an evaluation can be the baseline of another; its images are checked by cell.

    Raises:
        InputError: it is of another set, of other images, or lacks a corruption or severity.
    """
    ours = {"set": fresh.title, "selection": fresh.selection}
    changed = differences(ours, {"set": other.title, "selection": other.selection}, place="there")
    lacking = [c for c in fresh.corruptions if c not in other.errors()]
    if fresh.severities != other.severities:
        changed.append(f"severities: {other.severities} there, {fresh.severities} now")
    if lacking:
        changed.append(f"corruptions that it lacks: {', '.join(lacking)}")
    if changed:
        raise InputError(
            f"Expected `baseline` to be an evaluation of the same corrupted images, but {file} "
            "differs:\n  " + "\n  ".join(changed) + "\nEvaluate the baseline on these."
        )


def _possible(cell: Cell) -> bool:
    counts = [cell.smoothed, cell.abstained, *cell.certified]
    return 0 <= cell.correct <= cell.images > 0 and all(
        0 <= count <= cell.certified_images for count in counts
    )
