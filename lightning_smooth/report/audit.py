"""The command `lightning-smooth audit`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_smooth.errors import InputError
from lightning_smooth.records.audit import Audit, audit_all, audit_json
from lightning_smooth.records.audit_attacks import ATTACK_FILE_CHECKS, OUTCOME_CHECKS
from lightning_smooth.records.audit_checks import CHECKS
from lightning_smooth.records.audit_compare import Comparison, compare, comparison_json
from lightning_smooth.records.audit_files import FILE_CHECKS, part_of
from lightning_smooth.records.audit_lines import KINDS, Fault

_MEND = (
    "Running the same command again makes what is missing, and keeps the rest; delete a "
    "wrong line first, and its image is measured anew."
)
_WORDS = {name: what for checks in (FILE_CHECKS, CHECKS) for name, (what, _) in checks.items()}
_ATTACK_WORDS = {
    name: what
    for checks in (ATTACK_FILE_CHECKS, OUTCOME_CHECKS)
    for name, (what, _) in checks.items()
}

_EXAMPLES = """\
examples:
  lightning-smooth audit runs/mnist/2026-01-31_120000
  lightning-smooth audit runs/mnist/* docs/results/mnist/records.jsonl
  lightning-smooth audit runs/mnist/*/records.jsonl --json > audit.json

Exit status: 0 all right, 1 faults found (an unknown method is one), 2 no records to audit.

Bound, radius and verdict of every certificate are computed again from its votes and compared. Of
an attack's records, which a run folder may hold as well, it is checked that their figures go
together, with the header and with summary.json. What records alone can't show: that the votes are
those of the draws (certify an image again with the seed of its record, and audit both files: votes
are compared), and that the labels are right (audit a second file of the same images).
"""

_OPTIONAL = ("decisions", "radii", "within")
"""Checks of what not every method has."""


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: arguments after `audit`.

    Returns:
        0 where all is right, 1 where a fault was found.

    Raises:
        SmoothError: there are no records to audit.
    """
    arguments = _parser().parse_intermixed_args(list(argv))
    if arguments.faults < 0:
        raise InputError(f"Expected `--faults` to be at least 0, but got {arguments.faults}.")
    audits = audit_all(arguments.records)
    certified = [audit for audit in audits if audit.kind == "certificates"]
    comparison = compare(certified) if len(certified) > 1 else None
    faults = [fault for audit in audits for fault in audit.faults]
    faults += comparison.faults if comparison else ()
    status = 1 if faults else 0
    if arguments.json:
        print(json.dumps(_as_json(audits, comparison, status), indent=1))
    else:
        console = Console(highlight=False)
        with console.capture() as text:
            _print(console, audits, comparison, arguments.faults)
        print(text.get(), end="")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightning-smooth audit",
        description="Check certificates and attacks again, from their records alone.\n"
        "Several files are also compared: whether they hold the same images, labels and digests.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "records",
        nargs="+",
        metavar="RECORDS",
        type=Path,
        help="a records file (.jsonl), or a run folder with records.jsonl or records.parts/, and "
        "with attacks",
    )
    parser.add_argument(
        "--faults",
        metavar="N",
        type=int,
        default=5,
        help="list at most N faults of each check and kind (default: 5)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object with every fault instead"
    )
    return parser


def _as_json(audits: Sequence[Audit], comparison: Comparison | None, status: int) -> dict[str, Any]:
    return {
        "status": status,
        "runs": [audit_json(audit) for audit in audits],
        "comparison": None if comparison is None else comparison_json(comparison),
    }


def _print(
    console: Console, audits: Sequence[Audit], comparison: Comparison | None, most: int
) -> None:
    for audit in audits:
        console.print(f"[bold]{escape(str(audit.path))}[/bold]", soft_wrap=True)
        console.print(escape(_subject(audit)), soft_wrap=True)
        if audit.faults or len(audits) == 1:
            console.print(_checks(audit))
        _print_faults(console, audit.faults, most)
        for note in audit.notes:
            console.print(f"[yellow]{escape(note)}[/yellow]", soft_wrap=True)
        console.print(_conclusion(audit), soft_wrap=True)
        if audit.faults:
            console.print(f"[dim]{_MEND}[/dim]", soft_wrap=True)
        if audit is not audits[-1] or comparison is not None:
            console.print()
    if comparison is not None:
        certified = [audit for audit in audits if audit.kind == "certificates"]
        console.print(f"[bold]{len(certified)} runs compared[/bold]")
        console.print(_statements(comparison))
        _print_faults(console, comparison.faults, most)


def _subject(audit: Audit) -> str:
    certified = audit.kind == "certificates"
    settings = part_of(audit.header, "certifier" if certified else "attack")
    names = ("sigma", "n", "alpha") if certified else ("norm", "bound", "judge", "classifier")
    told = [f"{name} {settings[name]}" for name in names if name in settings]
    method = [str(settings["method"])] if "method" in settings else []
    count = f"{audit.certificates:,} {'certificate' if certified else 'outcome'}"
    count += "s" * (audit.certificates != 1)
    return ", ".join([f"{audit.name}: {count}", *method, *told])


def _checks(audit: Audit) -> Table:
    words = _WORDS if audit.kind == "certificates" else _ATTACK_WORDS
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("what holds where it passed")
    for name in ("passed", "failed", "unchecked"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, tally in audit.tallies.items():
        if name in _OPTIONAL and not tally.passed + tally.failed:
            continue
        failed = f"[bold red]{tally.failed:,}[/bold red]" if tally.failed else "[dim]0[/dim]"
        left = f"[yellow]{tally.unchecked:,}[/yellow]" if tally.unchecked else "[dim]0[/dim]"
        table.add_row(name, words[name], f"{tally.passed:,}", failed, left)
    return table


def _print_faults(console: Console, faults: Sequence[Fault], most: int) -> None:
    several = len({fault.file for fault in faults}) > 1
    for kind, meaning in KINDS.items():
        of_kind = [fault for fault in faults if fault.kind == kind]
        if not of_kind:
            continue
        console.print(f"[bold red]{kind}[/bold red] ({len(of_kind):,}): {meaning}", soft_wrap=True)
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in ("image", "check", "recorded", "expected", "line"):
            table.add_column(name, overflow="fold")
        for cells in _rows(of_kind, most, several=several):
            table.add_row(*map(escape, cells))
        if table.rows:
            console.print(table)


def _rows(faults: Sequence[Fault], most: int, *, several: bool) -> Iterator[tuple[str, ...]]:
    for check in dict.fromkeys(fault.check for fault in faults):
        found = [fault for fault in faults if fault.check == check]
        for fault in found[:most]:
            image = "" if fault.index is None else str(fault.index)
            recorded, expected = str(fault.recorded), str(fault.expected)
            yield image, check, recorded, expected, _where(fault, several=several)
        if most and len(found) > most:
            yield "...", check, f"{len(found) - most:,} more", "", ""


def _where(fault: Fault, *, several: bool) -> str:
    line = "" if fault.line is None else str(fault.line)
    if not several:
        return line
    return f"{fault.file.name}:{line}" if line else fault.file.name


def _conclusion(audit: Audit) -> str:
    left = [name for name, tally in audit.tallies.items() if tally.unchecked]
    named = ", ".join(name for name in left if name not in _OPTIONAL)
    rest = f" Unchecked where the records do not tell enough: {named}." if named else ""
    if not audit.faults:
        made = sum(tally.passed > 0 for tally in audit.tallies.values())
        return f"[bold green]All right:[/bold green] {made} checks passed, none failed.{rest}"
    images = {fault.index for fault in audit.faults} - {None}
    counts = {kind: sum(fault.kind == kind for fault in audit.faults) for kind in KINDS}
    said = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    where = f"; {len(images):,} image{'s' * (len(images) != 1)}" if images else ""
    return f"[bold red]Faults:[/bold red] {said}{where}.{rest}"


def _statements(comparison: Comparison) -> Table:
    shown = {True: "[green]yes[/green]", False: "[yellow]no[/yellow]", None: "[dim]not told[/dim]"}
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("the same", no_wrap=True)
    table.add_column("")
    table.add_column("")
    for statement in comparison.statements:
        table.add_row(statement.what, shown[statement.same], escape(statement.said))
    return table
