"""The part of the page about corrupted images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

from lightning_smooth.records.corruption_runs import Corrupted, different_sets
from lightning_smooth.records.corruptions import CorruptionTable
from lightning_smooth.report.corruption_plots import heat_figure
from lightning_smooth.report.render import inline_svg, save_svg
from lightning_smooth.report.tables import MISSING, cell, decimal, short

CORRUPTION_STYLE = """
table.corruptions tbody th{vertical-align:top}
table.corruptions tr>:nth-child(2){text-align:left;white-space:normal;min-width:11rem}
.heat svg.plot{max-width:none;min-width:0}
"""
"""Style of the section, for pages that have it."""


def corruption_lede(found: Sequence[Corrupted]) -> str:
    """HTML of the first words of a page about corruptions alone."""
    if len(found) > 1:
        return (
            f'<p class="lede">{len(found)} evaluations on corrupted images: accuracy by corruption '
            "and severity.</p>"
        )
    table, figures = found[0].table, found[0].table.figures()
    return (
        f'<p class="lede">The base classifier gets a fraction of '
        f"<b>{decimal(figures['clean_accuracy'])}</b> of {table.clean_images:,} clean images "
        f"right, and of <b>{decimal(figures['mean_accuracy'])}</b> of the same images under "
        f"{len(table.corruptions)} corruptions ({escape(set_words(table))}).</p>"
    )


def corruption_warnings(found: Sequence[Corrupted]) -> str:
    """HTML of what must not be overlooked: incomplete tables, and sets that are not the same."""
    lines = [
        f"<p><b>{escape(one.name)}, {escape(one.path.name)} is incomplete.</b> "
        f"{escape(one.notes[-1])}</p>"
        for one in found
        if not one.table.complete
    ]
    if apart := different_sets(found):
        name, severity = apart[0]
        level = "" if severity is None else f" {severity}"
        lines.append(
            f"<p><b>These evaluations are of different images</b> ({escape(name)}{level}, and "
            f"{len(apart) - 1} more cells): their figures do not compare.</p>"
        )
    return f'<div class="warning" role="note">{"".join(lines)}</div>' if lines else ""


def set_words(table: CorruptionTable) -> str:
    """Which set it was: its name, and where its images come from.

    Where the answers differ among corruptions, each is named with how many cells it is of.
    """
    origins = [str(c.data.get("origin", "unknown")) for c in table.cells]
    if len(table.origins) < 2:
        return f"{table.title}, {origins[0] if origins else 'unknown'}"
    told = "; ".join(f"{origins.count(o)} cells {o}" for o in table.origins)
    return f"{table.title}: {told}"


def corruption_section(found: Sequence[Corrupted]) -> str:
    """HTML of the tables and heat maps; empty where there is none."""
    if not found:
        return ""
    heats = "".join(_heat(place, one) for place, one in enumerate(found))
    beside = _beside(found) if len(found) > 1 else ""
    return (
        '<section id="corruptions"><h2>On corrupted images</h2>'
        f"{_table(found)}{_note(found)}{beside}{heats}</section>"
    )


def corruption_notes(found: Sequence[Corrupted]) -> list[tuple[str, Sequence[str]]]:
    """What is missing of each table, under its title; of those that lack something."""
    return [(f"{one.name}, {one.path.name}", one.notes) for one in found if one.notes]


def _columns(found: Sequence[Corrupted]) -> dict[str, list[str]]:
    """The columns of the table of runs, by their heads: a text for each run."""
    figures = [one.table.figures() for one in found]
    radii = sorted({r for one in found for r in one.table.radii if one.table.certifier is not None})
    columns = {
        "clean": _decimals(figures, "clean_accuracy"),
        "corrupted": _decimals(figures, "mean_accuracy"),
        "mean error": _decimals(figures, "mean_error"),
    }
    if any(f["mce"] is not None for f in figures):
        columns["mCE"] = _decimals(figures, "mce")
    if radii:
        columns["smoothed"] = _decimals(figures, "smoothed_accuracy")
        for r in filter(None, radii):  # at 0 it is that of the smoothed classifier
            columns[f"r = {short(r)}"] = _decimals(figures, f"certified_accuracy@{r:g}")
    return columns


def _decimals(figures: Sequence[Mapping[str, float | None]], key: str) -> list[str]:
    return [decimal(f.get(key)) for f in figures]


def _images(table: CorruptionTable) -> str:
    certified = max((c.certified_images for c in table.cells), default=0)
    more = f", {certified:,} certified" if certified else ""
    return f"{table.selection['images']:,} images of each{more}"


def _table(found: Sequence[Corrupted]) -> str:
    columns = _columns(found)
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in ("run", "set", *columns))
    rows = []
    for place, one in enumerate(found):
        of = f"{escape(set_words(one.table))}<small>{_images(one.table)}</small>"
        texts = [of, *(column[place] for column in columns.values())]
        cells = "".join(f"<td>{text}</td>" for text in texts)
        state = "" if one.table.complete else "<small>incomplete</small>"
        rows.append(f"<tr><th scope=row>{escape(one.name)}{state}</th>{cells}</tr>")
    return (
        '<div class="wide" tabindex="0"><table class="corruptions"><thead><tr>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def corruption_words(found: Sequence[Corrupted]) -> list[str]:
    """What the columns of the table mean, a paragraph each."""
    words = [
        "Clean: accuracy of the base classifier on the same images without corruption. Corrupted: "
        "its accuracy, the mean over corruptions and severities; mean error: 1 minus that."
    ]
    if relative := [one.table.baseline for one in found if one.table.baseline]:
        names = ", ".join(dict.fromkeys(str(b["name"]) for b in relative))
        words.append(
            "mCE: the mean over corruptions of the errors summed over severities, relative to the "
            f"baseline's ({names}); 1 is the baseline itself."
        )
    if any(one.table.certifier for one in found):
        kinds = sorted({c.guarantee for one in found for c in one.table.cells if c.guarantee})
        words.append(
            "Smoothed: accuracy of the smoothed classifier, an abstention counted as wrong; r: the "
            "fraction that is right and certified at radius r around the corrupted image "
            f"(guarantee: {', '.join(kinds) or MISSING}). Both are means over the certified images."
        )
    if any(one.table.title == "MNIST-C" and "made" in set_words(one.table) for one in found):
        words.append("This MNIST-C was made here with the corruptions of CIFAR-10-C.")
    return words


def _note(found: Sequence[Corrupted]) -> str:
    text = "</p><p>".join(map(escape, corruption_words(found)))
    return (
        f'<div class="note"><p>{text}</p><p>Every cell in full precision: '
        "<code>corruptions.csv</code>.</p></div>"
    )


def _beside(found: Sequence[Corrupted]) -> str:
    """HTML of the mean accuracy on each corruption, a column for each run."""
    names = list(dict.fromkeys(c for one in found for c in one.table.corruptions))
    head = "".join(f"<th scope=col>{escape(one.name)}</th>" for one in found)
    rows = "".join(
        f"<tr><th scope=row>{escape(name.replace('_', ' '))}</th>"
        + "".join(f"<td>{decimal(_accuracy(one.table, name))}</td>" for one in found)
        + "</tr>"
        for name in names
    )
    return (
        "<h3>By corruption: accuracy of the base classifier, mean over severities</h3>"
        '<div class="wide" tabindex="0"><table><thead><tr><th scope=col>corruption</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _accuracy(table: CorruptionTable, corruption: str) -> float:
    errors = table.errors().get(corruption)
    return 1 - math.fsum(errors) / len(errors) if errors else math.nan


def _heat(place: int, one: Corrupted) -> str:
    figure = heat_figure(one.table)
    svg, width = save_svg(figure, f"heat{place}"), round(96 * figure.get_figwidth())
    label = f"Accuracy by corruption and severity: {escape(one.name)}"
    drawn = inline_svg(svg, f"heat{place}", label)
    return (
        f'<h3>{escape(one.name)}</h3><figure class="heat"><div class="wide" tabindex="0">'
        f'<div style="width:{width}px">{drawn}</div></div><figcaption>Accuracy on '
        f"{escape(set_words(one.table))}; an empty cell was not measured. "
        "Colours run from dark blue (0) to yellow (1).</figcaption></figure>"
    )


def corruption_markdown(found: Sequence[Corrupted]) -> str:
    """Write the table of runs as GitHub-flavoured Markdown, and the words below it."""
    columns = _columns(found)
    lines = [["run", "set", *columns], ["---", "---", *["---:"] * len(columns)]]
    for place, one in enumerate(found):
        of = f"{set_words(one.table)}; {_images(one.table)}"
        texts = [one.name, of, *(column[place] for column in columns.values())]
        lines.append([cell(text) for text in texts])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return "\n\n".join([table, *corruption_words(found)]) + "\n"


def corruption_frame(found: Sequence[Corrupted]) -> pd.DataFrame:
    """One row a cell of every run, in full precision."""
    rows = []
    for one in found:
        for c in one.table.cells:
            row: dict[str, object] = {"run": one.name, "set": one.table.title}
            row |= {"origin": c.data.get("origin"), "corruption": c.corruption}
            row |= {"severity": c.severity, "images": c.images, "accuracy": c.accuracy}
            row |= {"certified_images": c.certified_images, "guarantee": c.guarantee or None}
            row["smoothed_accuracy"] = c.smoothed_accuracy
            if c.certified_images:
                for place, radius in enumerate(one.table.radii):
                    row[f"certified_accuracy@{short(radius)}"] = c.certified_accuracy(place)
            rows.append(row)
    return pd.DataFrame(rows).astype({"severity": "Int64"})
