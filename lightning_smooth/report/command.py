"""The command `lightning-smooth report`."""

from __future__ import annotations

import argparse
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_smooth.records.corruption_runs import Corrupted
from lightning_smooth.records.runs import UNKNOWN
from lightning_smooth.report.attack_tables import AttackFigures, certified_words
from lightning_smooth.report.attack_words import (
    below_by_abstentions,
    contradiction_words,
    silent_words,
)
from lightning_smooth.report.attacks import attack_notes
from lightning_smooth.report.corruption_plots import shown_radius
from lightning_smooth.report.corruptions import corruption_notes, set_words
from lightning_smooth.report.export import FORMATS
from lightning_smooth.report.tables import MISSING, Figures, count, decimal, short
from lightning_smooth.report.write import ReportFiles, write_report

_EXAMPLES = """\
examples:
  lightning-smooth report runs/mnist/2026-01-31_120000
  lightning-smooth report runs/mnist/* published.tsv --common --out comparison
  lightning-smooth report runs/mnist/STAMP --export tsv
  lightning-smooth report runs/mnist/* --radii 0 0.5 1 --title "MNIST, sigma 0.5"

It writes index.html (one page that needs no other file), table.md, table.csv (full precision, with
intervals), curve.svg and curve.png; attacks.md and attacks.csv where a folder holds attacks,
corruptions.md and corruptions.csv where it holds an evaluation on corrupted images. A run that is
still going on is shown as far as it has come.

Exit status: 0, or 1 where an attack on a smoothed classifier contradicts its certificates.
"""


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: arguments after `report`.

    Returns:
        0, or 1 where an attack contradicts certificates.

    Raises:
        SmoothError: a run cannot be read or the report cannot be written.
    """
    arguments = _parser().parse_intermixed_args(list(argv))
    out = arguments.out or _default_folder(arguments.runs[0])
    files = write_report(
        arguments.runs,
        out,
        radii=arguments.radii,
        title=arguments.title,
        common=arguments.common,
        export=arguments.export,
    )
    _print(files)
    if arguments.open:
        webbrowser.open(files.page.resolve().as_uri())
    return 1 if any(f.beside.contradicted for f in files.attacks) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightning-smooth report",
        description="Report certified and attacked runs: tables, curves with confidence bands, and "
        "one HTML page.\nSeveral runs are shown side by side.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        type=Path,
        help="a run folder, a records file (.jsonl) of certificates or of an attack, a "
        "corruptions.json, or a "
        "published log (tab-separated: idx label predict radius correct time)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="folder to write (default: report/ in the first run folder, else ./report)",
    )
    parser.add_argument(
        "--radii",
        nargs="+",
        metavar="R",
        type=float,
        help="radii of the tables, norm of pixels in [0, 1] (default: 0 0.25 0.5 ... up to the "
        "largest radius seen)",
    )
    parser.add_argument(
        "--common",
        action="store_true",
        help="keep only the images that every run has, so that runs on different subsets of a test "
        "set compare like with like",
    )
    parser.add_argument(
        "--export",
        choices=FORMATS,
        help="also write each run as a published log, log-NAME.tsv beside the report; radii are "
        "rounded down to three digits",
    )
    parser.add_argument("--title", help="title of the page")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    return parser


def _default_folder(first: Path) -> Path:
    return first / "report" if first.is_dir() else Path("report")


def _print(files: ReportFiles) -> None:
    console = Console(highlight=False)
    if files.figures:
        console.print(terminal_table(files.figures, console.width))
    if files.attacks:
        console.print(attack_terminal_table(files.attacks))
    if files.corruptions:
        console.print(corruption_terminal_table(files.corruptions))
    for f, notes in zip(files.figures, files.notes, strict=True):
        for note in notes:
            console.print(f"[dim]{escape(f.name)}: {escape(note)}[/dim]", soft_wrap=True)
    for title, found in (*attack_notes(files.attacks), *corruption_notes(files.corruptions)):
        for note in found:
            console.print(f"[dim]{escape(title)}: {escape(note)}[/dim]", soft_wrap=True)
    for attack in files.attacks:
        if words := contradiction_words(attack):
            console.print(f"[bold red]BUG[/bold red]: {escape(words)}", soft_wrap=True)
        if below_by_abstentions(attack):
            console.print(f"[yellow]{escape(silent_words(attack))}[/yellow]", soft_wrap=True)
    console.print(f"Report: {escape(str(files.page))}", soft_wrap=True)
    for f, log in zip(files.figures, files.logs, strict=False):
        other = f.guarantee not in ("certified", UNKNOWN)
        warning = f" [yellow](its radii are {escape(f.guarantee)}, which a log does not say)[/]"
        console.print(f"Log: {escape(str(log))}{warning if other else ''}", soft_wrap=True)


def terminal_table(figures: Sequence[Figures], width: int = 80) -> Table:
    """Build the headline figures for a terminal: as many radii as fit, evenly chosen."""
    radii = figures[0].radii
    named = max(min(max(len(f.name), len(f.guarantee) + 11) for f in figures), 20)
    named = min(named, 40, max(20, width - 50))
    fitting = max(2, min(len(radii), (width - named - 30) // 8))
    shown = sorted({round(k * (len(radii) - 1) / (fitting - 1)) for k in range(fitting)})
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, title_justify="left",
        title=f"Certified accuracy at radius r ({figures[0].measure.axis})",
    )  # fmt: skip
    table.add_column("run, guarantee", overflow="fold", width=named)
    table.add_column("images", justify="right")
    for place in shown:
        table.add_column(f"r={short(radii[place])}", justify="right", no_wrap=True)
    for name in ("ACR", "abstain"):
        table.add_column(name, justify="right", no_wrap=True)
    for f in figures:
        state = ", incomplete" if f.complete is False else ""
        cells = [f"{escape(f.name)}\n[dim]{escape(f.guarantee)}{state}[/dim]", count(f)]
        cells += [decimal(f.accuracy[place]) for place in shown]
        table.add_row(*cells, decimal(f.acr), decimal(f.abstention))
    return table


def attack_terminal_table(figures: Sequence[AttackFigures]) -> Table:
    """Build the table of attacks for a terminal."""
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, title_justify="left", title="Accuracy under attack"
    )
    table.add_column("run, attack, judged", overflow="fold", min_width=24)
    for name in ("images", "without", "under", "broken", "certified"):
        table.add_column(name, justify="right", no_wrap=True)
    for f in figures:
        state = ", incomplete" if f.complete is False else ""
        judge = f"{escape(f.attack.path.name)}: {escape(f.judge)}{state}"
        name = f"{escape(f.name)}: {escape(f.title)}\n[dim]{judge}[/dim]"
        rates = [decimal(rate) for rate in (f.clean, f.attacked, f.broken)]
        table.add_row(name, count(f), *rates, certified_words(f)[0])
    return table


def corruption_terminal_table(found: Sequence[Corrupted]) -> Table:
    """Build the table of corruptions for a terminal."""
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, title_justify="left", title="On corrupted images"
    )
    table.add_column("run, set", overflow="fold", min_width=16)
    for name in ("images", "clean", "corrupted", "mCE", "smoothed", "certified"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found:
        figures = one.table.figures()
        radius = one.table.radii[shown_radius(one.table)]
        keys = ("clean_accuracy", "mean_accuracy", "mce", "smoothed_accuracy")
        cells = [decimal(figures.get(key)) for key in (*keys, f"certified_accuracy@{radius:g}")]
        if cells[-1] != MISSING:
            cells[-1] += f"\n[dim]r={short(radius)}[/dim]"
        name = f"{escape(one.name)}\n[dim]{escape(set_words(one.table))}[/dim]"
        table.add_row(name, f"{one.table.selection['images']:,}", *cells)
    return table
