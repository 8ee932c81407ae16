"""Runs as a report reads them: a run folder, a records file, or a log of the literature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.records.audit_checks import overclaiming
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.frames import certificate_frame
from lightning_smooth.records.limits import largest_radius, number, targets
from lightning_smooth.records.measure import Measure, measure
from lightning_smooth.records.published import first_line, is_published_header, read_published
from lightning_smooth.records.reading import gather, has_header
from lightning_smooth.records.summary import claim

RECORDS = "records.jsonl"
PARTS = "records.parts"
UNKNOWN = "unknown"
"""Guarantee of a log that does not state one."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What was measured on one model, ready to be tabulated.

    Attributes:
        name: what tables and legends call it.
        path: what was read: a folder or a file.
        files: the files whose lines these are.
        frame: one row an image, with the columns of `lightning_smooth.records.frames`.
        header: header of the records; None for a published log.
        guarantee: `certified`, `surrogate` or `estimated`, with the fraction of the distribution
            that it is about where it is about one (several are joined by commas), or `unknown`
            where the log does not say.
        measure: what its radii are radii of.
        largest_radius: the largest radius that n draws can certify; None where not known.
        targets: radii that were decided, where nothing was measured between them; else None.
        sigma: standard deviation of the noise, pixels in [0, 1]; None where not known.
        complete: whether every requested image is there; None where not known.
        requested: number of images asked for; None where not known.
        notes: faults found and repairs made, one sentence each.
    """

    name: str
    path: Path
    files: tuple[Path, ...]
    frame: pd.DataFrame
    header: Mapping[str, Any] | None
    guarantee: str
    measure: Measure
    largest_radius: float | None
    targets: tuple[float, ...] | None
    sigma: float | None
    complete: bool | None
    requested: int | None
    notes: tuple[str, ...]

    @property
    def deterministic(self) -> bool:
        """Whether nothing was drawn for any of its images, of which there are some."""
        return len(self.frame) > 0 and bool((self.frame["n"] == 0).all())


def load_run(path: str | Path) -> Run:
    """Load one run; what kind it is, its content says.

    Args:
        path: a run folder (with `records.jsonl`, or `records.parts/` of a run that was stopped or
            still goes on), a records file, or a published log.

    Raises:
        RecordError: there is nothing to read at `path`, or it is damaged beyond a torn last line.
    """
    path = Path(path)
    if path.is_dir():
        return _load_folder(path)
    if not path.exists():
        raise RecordError(
            f"Expected a run folder, a records file (.jsonl) or a published log (.tsv) at {path}, "
            "but nothing is there. Check the path; run folders lie in runs/<experiment>/."
        )
    first = first_line(path)
    if first.startswith("{"):
        return _from_records(path, [path])
    if not first or is_published_header(first):
        return _from_published(path)
    raise RecordError(
        f"Expected {path} to be a records file or a published log, but it starts with "
        f"{first[:60]!r}. A records file starts with a JSON object, a published log with the "
        "tab-separated names idx label predict radius correct time."
    )


def load_runs(paths: Iterable[str | Path]) -> list[Run]:
    """Load several runs and give each a name of its own.

    Runs of one name are told apart by their folder (its stamp), or else by their path.

    Raises:
        InputError: no path is given, or one is given twice.
        RecordError: as for `load_run`.
    """
    runs = [load_run(path) for path in each_once(paths)]
    for label in (_stamp, lambda run: str(run.path)):
        common = {name for name, times in Counter(run.name for run in runs).items() if times > 1}
        runs = [
            replace(run, name=f"{run.name} ({label(run)})") if run.name in common else run
            for run in runs
        ]
    return runs


def each_once(paths: Iterable[str | Path]) -> list[Path]:
    """Check that some path is given, and each once; errors as those of `load_runs`."""
    given = [Path(path) for path in paths]
    if not given:
        raise InputError("Expected at least one run to report, but got none. Give a run folder.")
    twice = [p for p, times in Counter(p.resolve() for p in given).items() if times > 1]
    if twice:
        raise InputError(f"Expected each run once, but {twice[0]} is given twice. Give it once.")
    return given


def on_common_images(runs: Sequence[Run]) -> list[Run]:
    """Keep of each run the images that every run has, so that the runs can be compared.

    An image is known by its data set index alone: that the runs are of one data set is the
    caller's knowledge, checked where the headers say it.

    Raises:
        InputError: headers name different data sets, or no image is common to all runs.
    """
    named = {str(_part(run.header or {}, "data").get("digest")) for run in runs if run.header}
    if len(named) > 1:
        raise InputError("Expected runs on one data set to compare image by image, got several.")
    common = set.intersection(*(set(run.frame["index"]) for run in runs))
    if not common:
        raise InputError("No image is common to all runs: give runs on the same images.")
    kept = []
    for run in runs:
        frame = run.frame[run.frame["index"].isin(common)].reset_index(drop=True)
        left = len(run.frame) - len(frame)
        note = f"{left:,} images that not every run has are left out; {len(frame):,} are compared."
        kept.append(replace(run, frame=frame, notes=(*run.notes, note) if left else run.notes))
    return kept


def run_folder(run: Run) -> Path | None:
    """The folder that holds what else the run left (samples, configuration), if it has one."""
    if run.header is None:
        return None
    return run.path if run.path.is_dir() else run.path.parent


def _stamp(run: Run) -> str:
    folder = run_folder(run) or run.path.parent
    return folder.resolve().name


def _from_published(path: Path) -> Run:
    log = read_published(path)
    return Run(
        name=path.stem,
        path=path,
        files=(path,),
        frame=log.frame,
        header=None,
        guarantee=UNKNOWN,
        largest_radius=None,
        targets=None,
        measure=measure("l2", {}),
        sigma=None,
        complete=False if log.torn or log.frame.empty else None,
        requested=None,
        notes=log.notes,
    )


def _load_folder(folder: Path) -> Run:
    merged = folder / RECORDS
    parts = sorted((folder / PARTS).glob("*.jsonl"))
    files = ([merged] if merged.exists() else []) + parts
    if files:
        return _from_records(folder, files)
    below = ("*", "*/*")
    found = {p.parent for depth in below for p in folder.glob(f"{depth}/{RECORDS}")}
    found |= {p.parent.parent for depth in below for p in folder.glob(f"{depth}/{PARTS}/*.jsonl")}
    inside = sorted(found)
    if inside:
        names = ", ".join(str(p) for p in inside[:5])
        more = f" and {len(inside) - 5} more" if len(inside) > 5 else ""
        raise RecordError(
            f"Expected {folder} to be a run folder, but it holds run folders: {names}{more}. "
            "Give one or several of them."
        )
    if others := sorted(folder.glob("*.jsonl")):
        raise RecordError(
            f"Expected {folder} to hold {RECORDS}, but its records have other names: "
            f"{', '.join(map(str, others[:5]))}. Give one or several of them."
        )
    raise RecordError(
        f"Looked for {RECORDS} and {PARTS}/*.jsonl in {folder}, but neither is there. Certify "
        "first (`lightning-smooth certify`), or give the path of a published log."
    )


def _from_records(path: Path, files: Sequence[Path]) -> Run:
    notes: list[str] = []
    readable = [file for file in files if has_header(file, notes)]
    header, certificates, torn = gather(readable)
    if header is None:
        raise RecordError(
            f"The records of {path} end before their first line does: no image was certified yet. "
            "Run the certification again; it starts over."
        )
    for file in torn:
        notes.append(
            f"The last line of {file.name} is torn (it was being written when the run was "
            "stopped) and left out; certifying again with the same command makes it anew."
        )
    requested = _whole(_part(header, "selection").get("images"))
    running = any(file.parent.name == PARTS for file in readable)
    complete = completeness(len(certificates), requested, notes, running=running)
    return Run(
        name=str(header.get("name") or path.stem),
        path=path,
        files=tuple(files),
        frame=certificate_frame(certificates),
        header=header,
        guarantee=_guarantee(header, certificates, notes),
        measure=measure(_unit(path, certificates), _part(header, "certifier")),
        largest_radius=largest_radius(_part(header, "certifier"), notes),
        targets=targets(_part(header, "certifier"), notes),
        sigma=number(_part(header, "certifier").get("sigma")),
        complete=complete,
        requested=requested,
        notes=tuple(notes),
    )


def completeness(
    held: int, requested: int | None, notes: list[str], *, running: bool
) -> bool | None:
    """Whether all images asked for are there, None where that is not known; and a note if not."""
    if requested is None:
        if running:
            notes.append(f"The run is still going on or was stopped; it holds {held:,} images.")
        return False if running else None
    if held < requested:
        notes.append(
            f"Holds {held:,} of {requested:,} images: the run is still going on or was stopped; "
            "the same command goes on where it stopped."
        )
    return held >= requested


def _unit(path: Path, certificates: Sequence[Certificate]) -> str:
    units = sorted({c.radius_unit for c in certificates})
    if len(units) > 1:
        raise RecordError(
            f"Expected the radii of {path} to be of one unit, but they are of {', '.join(units)}: "
            "the file was put together from several. Audit it."
        )
    return units[0] if units else "l2"


def _guarantee(
    header: Mapping[str, Any], certificates: Sequence[Certificate], notes: list[str]
) -> str:
    false = overclaiming(header, certificates)
    if false:
        notes.append(
            f"{len(false):,} of {len(certificates):,} certificates claim more than their counts "
            f"give, that of image {false[0]} first: nothing here counts as certified. "
            "`lightning-smooth audit` says what is wrong."
        )
        return "unknown"
    counts = Counter(claim(c) for c in certificates)
    if len(counts) > 1:
        listed = ", ".join(f"{counts[name]} {name}" for name in sorted(counts))
        notes.append(f"The guarantees differ from image to image: {listed}.")
    return ", ".join(sorted(counts)) or UNKNOWN


def _part(header: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = header.get(key)
    return part if isinstance(part, Mapping) else {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
