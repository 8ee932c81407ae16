"""Runs in the published log format, so that other people's scripts can read them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from lightning_smooth.errors import InputError
from lightning_smooth.records.published import published_text
from lightning_smooth.records.runs import Run

FORMATS = ("tsv",)
"""Formats that runs can be exported to."""


def export_logs(runs: Sequence[Run], folder: Path, *, form: str = "tsv") -> dict[Path, str]:
    """The log of each run in the published format, by the file to write it to.

    The files are `log-NAME.tsv` in `folder`, numbered where two names would be one file, here or
    where file names ignore case. A file that one of the runs was read from is never among them. A
    run that is a published log itself is written as it was read: without what was skipped in it or
    left out of it. The format says nothing of the guarantee.

    Args:
        runs: the runs, as they are reported.
        folder: where the logs will lie.
        form: one of `FORMATS`.

    Raises:
        InputError: `form` is not known, an image has no label or no radius, or radii are not in l2,
            in which logs of this format are read.
    """
    if form not in FORMATS:
        raise InputError(f"Expected `export` to be one of {', '.join(FORMATS)}, but got {form!r}.")
    taken = {file.resolve() for run in runs for file in run.files}
    names: set[str] = set()
    logs: dict[Path, str] = {}
    for run in runs:
        for number in itertools.count(1):
            path = folder / f"log-{_plain(run.name)}{f'-{number}' * (number > 1)}.tsv"
            if path.name.lower() not in names and path.resolve() not in taken:
                break
        names.add(path.name.lower())
        logs[path] = _text(run)
    return logs


def _text(run: Run) -> str:
    unit = run.measure.unit
    if unit != "l2":
        raise InputError(
            f"{run.path} cannot be exported: its radii are in {unit}, and a log of this format, "
            "which does not say its unit, is read as one of l2 radii."
        )
    try:
        return published_text(run.frame)
    except InputError as error:
        raise InputError(f"{run.path} cannot be exported: {error}") from error


def _plain(name: str) -> str:
    """Make a file name of a run's name: letters, digits, `.`, `_` and `-`, at most 80 of them.

    >>> _plain("mnist (runs/a b)")
    'mnist-runs-a-b'
    """
    return re.sub(r"[^\w.]+", "-", name).strip("-.")[:80] or "run"
