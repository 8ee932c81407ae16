"""Write a report: the page, the tables and the curve, into one folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.records.attack_runs import alone, load_attacked
from lightning_smooth.records.corruption_runs import Corrupted, corruptions_alone, load_corrupted
from lightning_smooth.records.runs import Run, each_once, load_runs, on_common_images
from lightning_smooth.report.attack_tables import (
    AttackFigures,
    attack_figures,
    attack_markdown,
    attack_table,
)
from lightning_smooth.report.attack_words import attack_note
from lightning_smooth.report.corruptions import (
    corruption_frame,
    corruption_markdown,
)
from lightning_smooth.report.curves import curve_figure, distribution_figure
from lightning_smooth.report.export import export_logs
from lightning_smooth.report.page import page
from lightning_smooth.report.pictures import load_pictures
from lightning_smooth.report.ranges import asked_parts, load_covers
from lightning_smooth.report.render import inline_svg, save_png, save_svg
from lightning_smooth.report.sheet import load_sheet
from lightning_smooth.report.tables import (
    MOST_RADII,
    Figures,
    check_radii,
    default_radii,
    figures_of,
    markdown,
    table,
)


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """Where a report lies, and its figures.

    Attributes:
        folder: the folder that holds it.
        page: the HTML page; it needs no other file.
        table_md: the table as Markdown.
        table_csv: the table in full precision, with intervals.
        curve_svg: certified accuracy against radius, as SVG; None without certificates.
        curve_png: the same, as PNG.
        attacks_md: the table of attacks as Markdown; None where there is none.
        attacks_csv: the same in full precision.
        logs: each run as a published log, where asked for, in the order given.
        figures: the figures of each certified run, in the order given.
        notes: faults and repairs of each, in the same order.
        attacks: the figures of each attack.
        corruptions_md: the table of corruptions as Markdown; None where there is none.
        corruptions_csv: every cell of them in full precision.
        corruptions: each table of corruptions.
    """

    folder: Path
    page: Path
    table_md: Path
    table_csv: Path
    curve_svg: Path | None
    curve_png: Path | None
    attacks_md: Path | None
    attacks_csv: Path | None
    logs: tuple[Path, ...]
    figures: tuple[Figures, ...]
    notes: tuple[tuple[str, ...], ...]
    attacks: tuple[AttackFigures, ...]
    corruptions_md: Path | None
    corruptions_csv: Path | None
    corruptions: tuple[Corrupted, ...]


def write_report(
    paths: Iterable[str | Path],
    out: str | Path,
    *,
    radii: Iterable[float] | None = None,
    title: str | None = None,
    common: bool = False,
    export: str | None = None,
) -> ReportFiles:
    """Report runs in one folder, with the attacks and tables of corruptions that theirs hold.

    Where there are no certificates, `table.md` and `table.csv` are those of the attacks, or else
    of the corruptions.

    Args:
        paths: run folders, records files or published logs, in the order to show them.
        out: the folder to write; made where missing, its report replaced where there is one.
        radii: radii of the tables, in the unit of the runs' radii; by default an even grid up to
            the largest radius seen, or the radii that were decided.
        title: title of the page.
        common: whether to keep only the images that every certified run has; attacks are shown as
            they are, and compared with what is kept.
        export: `tsv` writes each run, as it is reported, as a published log as well (`log-*.tsv`,
            radii rounded down; see `report.export`).

    Raises:
        InputError: no run is given, `radii` are not radii, `out` cannot be written, or a run
            cannot be exported (an image has no label, or it is attacks alone).
        RecordError: a run cannot be read, has no radii, or none of them has an image.
    """
    given = each_once(paths)
    measured = [path for path in given if not corruptions_alone(path)]
    certified = [path for path in measured if not alone(path)]
    runs = load_runs(certified) if certified else []
    if common and runs:
        runs = on_common_images(runs)
    attacks = attack_figures(load_attacked(measured, runs))
    corruptions = load_corrupted(given)
    _check_reportable(runs, attacks, corruptions)
    if export is not None and len(runs) < len(given):
        raise InputError(
            "Expected certified runs to `export`, but some hold attacks alone, or corruptions."
        )
    wanted = _usual_radii(runs) if radii is None else check_radii(radii)
    folder = Path(out)
    logs = {} if export is None else export_logs(runs, folder, form=export)
    figures = tuple(figures_of(run, wanted) for run in runs)
    loaded = [load_pictures(run) for run in runs]
    sheets = [load_sheet(run) for run in runs]
    covers = [load_covers(run) for run in runs]
    notes = tuple(
        (*run.notes, *found, *more, *last)
        for run, (_, found), (_, more), (_, last) in zip(runs, loaded, sheets, covers, strict=True)
    )
    curve, curve_png, distribution = _plots(runs) if runs else ("", b"", "")
    names = escape(", ".join(run.name for run in runs))
    html = page(
        title or _title(runs, attacks, corruptions),
        runs,
        figures,
        curve=curve and inline_svg(curve, "curve", f"Certified accuracy against radius: {names}"),
        distribution=distribution
        and inline_svg(distribution, "distribution", f"Distribution of p_lower or radius: {names}"),
        pictures=[pictures for pictures, _ in loaded],
        sheets=[sheet for sheet, _ in sheets],
        covers=[cover for cover, _ in covers],
        attacks=attacks,
        corruptions=corruptions,
        notes=notes,
    )
    tables = _tables(figures, attacks, corruptions)
    _make(folder)
    files = {name: _write(folder / name, text) for name, text in tables.items()}
    return ReportFiles(
        folder=folder,
        table_md=files["table.md"],
        table_csv=files["table.csv"],
        curve_svg=_write(folder / "curve.svg", curve) if runs else None,
        curve_png=_write(folder / "curve.png", curve_png) if runs else None,
        attacks_md=files.get("attacks.md"),
        attacks_csv=files.get("attacks.csv"),
        page=_write(folder / "index.html", html),
        logs=tuple(_write(path, text) for path, text in logs.items()),
        figures=figures,
        notes=notes,
        attacks=attacks,
        corruptions_md=files.get("corruptions.md"),
        corruptions_csv=files.get("corruptions.csv"),
        corruptions=corruptions,
    )


def _plots(runs: Sequence[Run]) -> tuple[str, bytes, str]:
    """The curve, as SVG and as PNG, and the distribution, as SVG, if there is one."""
    plot = curve_figure(runs)
    curve = save_svg(plot, "curve")
    drawn = [run for run in runs if not run.deterministic]
    distribution = save_svg(distribution_figure(drawn), "distribution") if drawn else ""
    return curve, save_png(plot), distribution


def _tables(
    figures: Sequence[Figures], attacks: Sequence[AttackFigures], corruptions: Sequence[Corrupted]
) -> dict[str, str]:
    """The tables, by the names of their files."""
    found: dict[str, str] = {}
    if attacks:
        found["attacks.md"] = attack_markdown(attacks, attack_note(attacks))
        found["attacks.csv"] = attack_table(attacks).to_csv(index=False, lineterminator="\n")
    if corruptions:
        found["corruptions.md"] = corruption_markdown(corruptions)
        frame = corruption_frame(corruptions)
        found["corruptions.csv"] = frame.to_csv(index=False, lineterminator="\n")
    if not figures:
        first = "attacks" if attacks else "corruptions"
        return found | {f"table.{kind}": found[f"{first}.{kind}"] for kind in ("md", "csv")}
    found["table.md"] = markdown(figures)
    found["table.csv"] = table(figures).to_csv(index=False, lineterminator="\n")
    return found


def _check_reportable(
    runs: Sequence[Run], attacks: Sequence[AttackFigures], corruptions: Sequence[Corrupted]
) -> None:
    for run in runs:
        without = int(run.frame["radius"].isna().sum())
        if without:
            raise RecordError(
                f"Expected a radius for every image of {run.path}, but {without} of "
                f"{len(run.frame)} have none (only decisions were made), so there is no certified "
                "accuracy to draw. Report runs that certify radii."
            )
    measured = {run.measure.below("r"): run.name for run in runs}
    if len(measured) > 1:
        listed = ", ".join(f"{which} ({name})" for which, name in sorted(measured.items()))
        raise InputError(
            f"Expected runs whose radii measure the same, but got {listed}: report them apart."
        )
    if any(one.table.cells for one in corruptions):
        return
    if not runs and not any(f.images for f in attacks):
        files = ", ".join(str(f.attack.path) for f in attacks)
        raise RecordError(f"Expected at least one attacked image in {files}, but there is none.")
    if runs and all(run.frame.empty for run in runs):
        files = ", ".join(str(run.path) for run in runs)
        raise RecordError(
            f"Expected at least one certified image in {files}, but there is none. The run was "
            "stopped before its first image: start it again."
        )


def _title(
    runs: Sequence[Run], attacks: Sequence[AttackFigures], corruptions: Sequence[Corrupted]
) -> str:
    if not runs and not attacks:
        of = corruptions[0].name if len(corruptions) == 1 else f"{len(corruptions)} runs"
        return f"On corrupted images: {of}"
    if not runs:
        names = list(dict.fromkeys(f.name for f in attacks))
        return f"Under attack: {names[0] if len(names) == 1 else f'{len(names)} runs'}"
    if len(runs) == 1:
        return f"Certified robustness: {runs[0].name}"
    return f"Certified robustness of {len(runs)} runs"


def _usual_radii(runs: Sequence[Run]) -> tuple[float, ...]:
    """The radii that runs decided, where one decided some and they fit; else an even grid."""
    decided = {radius for run in runs for radius in run.targets or asked_parts(run)}
    if decided and len(decided) <= MOST_RADII:
        return tuple(sorted(decided))
    largest = (float(run.frame["radius"].max()) for run in runs if len(run.frame))
    return default_radii(max(largest, default=0.0))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Expected `out` to be a folder that can be made, but {folder} cannot: "
            f"{error.strerror}. Choose another with --out."
        ) from error


def _write(path: Path, content: str | bytes) -> Path:
    """Write a file whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(fresh, path)
    except OSError as error:
        raise InputError(
            f"Expected `out` to be a folder that can be written, but {path} cannot: "
            f"{error.strerror}. Choose another with --out."
        ) from error
    return path
