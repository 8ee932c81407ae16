"""One HTML page that holds everything: plots, tables, images, notes, and what they rest on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from lightning_smooth._version import __version__
from lightning_smooth.records.corruption_runs import Corrupted
from lightning_smooth.records.runs import Run
from lightning_smooth.report.attack_tables import AttackFigures
from lightning_smooth.report.attacks import (
    ATTACK_STYLE,
    attack_lede,
    attack_notes,
    attack_section,
    attack_warnings,
)
from lightning_smooth.report.corruptions import (
    CORRUPTION_STYLE,
    corruption_lede,
    corruption_notes,
    corruption_section,
    corruption_warnings,
)
from lightning_smooth.report.curves import run_colour
from lightning_smooth.report.facts import fact_section
from lightning_smooth.report.pictures import Picture, sample_section, transformation, with_unit
from lightning_smooth.report.ranges import RANGE_STYLE, Covers, cover_section
from lightning_smooth.report.sheet import Sheet, sheet_section
from lightning_smooth.report.style import STYLE
from lightning_smooth.report.tables import (
    CONFIDENCE,
    Figures,
    count,
    decimal,
    duration,
    interval,
    short,
    whole,
)

_PERCENT = f"{CONFIDENCE:.0%}".replace("%", " %")


def page(
    title: str,
    runs: Sequence[Run],
    figures: Sequence[Figures],
    *,
    curve: str,
    distribution: str,
    pictures: Sequence[Sequence[Picture]],
    sheets: Sequence[Sheet | None],
    covers: Sequence[Covers | None],
    attacks: Sequence[AttackFigures],
    corruptions: Sequence[Corrupted],
    notes: Sequence[Sequence[str]],
) -> str:
    """Compose the page.

    Args:
        title: its title, plain text.
        runs: the runs; none where there are attacks alone.
        figures: the figures of each.
        curve: inline SVG of certified accuracy against radius.
        distribution: inline SVG of what the radii come from.
        pictures: sample images of each run.
        sheets: contact sheet of each run that transforms images.
        covers: how certificates of each run cover a range, if they do.
        attacks: the figures of each attack.
        corruptions: the tables of corruptions.
        notes: faults and repairs of each run, plain text.

    Returns:
        A page without any reference to something outside it.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        _first_words(figures, attacks, corruptions),
        attack_warnings(attacks),
        corruption_warnings(corruptions),
        _warnings(runs, notes),
        _cards(figures[0]) if len(figures) == 1 else "",
        *([_curve_section(runs, curve), _table_section(runs, figures)] if runs else []),
        attack_section(attacks),
        corruption_section(corruptions),
        cover_section(runs, covers),
        _distribution_section(runs, distribution) if runs else "",
        sample_section(runs, pictures),
        sheet_section(runs, sheets),
        _note_section(runs, notes, (*attack_notes(attacks), *corruption_notes(corruptions))),
        fact_section(runs, figures, attacks, corruptions),
        _closing(),
    ]
    body = "\n".join(part for part in parts if part)
    style = STYLE + (RANGE_STYLE if any(covers) else "") + (ATTACK_STYLE if attacks else "")
    style += CORRUPTION_STYLE if corruptions else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _first_words(
    figures: Sequence[Figures], attacks: Sequence[AttackFigures], corruptions: Sequence[Corrupted]
) -> str:
    if figures:
        return _lede(figures)
    return attack_lede(attacks) if attacks else corruption_lede(corruptions)


def _lede(figures: Sequence[Figures]) -> str:
    if len(figures) > 1:
        some = any(f.draws != 0 for f in figures)
        who, noise = ("smoothed classifier", " under one noise") if some else ("classifier", "")
        return (
            f'<p class="lede">{len(figures)} runs, each of one model{noise}. Certified '
            f"accuracy at radius r is the fraction of images that the {who} gets "
            f"right and for which no {escape(figures[0].measure.below('r'))} alters the "
            "answer, as far as the guarantee of the run goes.</p>"
        )
    f = figures[0]
    place = _headline(f)
    radius = short(f.radii[place])
    claim = "" if f.guarantee == "certified" else f" (guarantee: {escape(f.guarantee)})"
    if f.guarantee == "surrogate":
        claim = ", as the surrogate network has it, not as it really is (guarantee: surrogate)"
    return (
        f'<p class="lede">Of {f.images:,} images, the {f.classifier} gets a fraction of '
        f"<b>{decimal(f.clean)}</b> right; a fraction of <b>{decimal(f.accuracy[place])}</b> is "
        f"right and certified at radius {radius}: no "
        f"{escape(f.measure.below(radius))} alters the answer{claim}.</p>"
    )


def _headline(f: Figures) -> int:
    """The radius of `f` that stands for all: of a range the largest, elsewhere the middle one."""
    return len(f.radii) - 1 if f.measure.of_range else len(f.radii) // 2


def _warnings(runs: Sequence[Run], notes: Sequence[Sequence[str]]) -> str:
    lines = []
    for run, found in zip(runs, notes, strict=True):
        if run.complete is False:
            held = f"{len(run.frame):,} of {run.requested:,} images. " if run.requested else ""
            why = held or " ".join(found)
            lines.append(f"<p><b>{escape(run.name)} is incomplete.</b> {escape(why)}</p>")
    return f'<div class="warning" role="note">{"".join(lines)}</div>' if lines else ""


def _cards(f: Figures) -> str:
    cards = [(decimal(f.clean), f"right at radius 0 ({f.classifier})")]
    place = _headline(f)
    if f.radii[place] > 0:
        at = escape(with_unit(f"{f.radii[place]:g}", f.measure))
        cards.append((decimal(f.accuracy[place]), f"certified accuracy at r = {at}"))
    cards += [
        (decimal(f.acr), "average certified radius (ACR)"),
        (decimal(f.abstention), "abstained"),
        (duration(f.seconds_per_image), "per image"),
    ]
    inner = "".join(f'<div class="card"><b>{v}</b><span>{k}</span></div>' for v, k in cards)
    return f'<div class="cards">{inner}</div>'


def _curve_section(runs: Sequence[Run], curve: str) -> str:
    limits = any(run.largest_radius is not None for run in runs)
    line = (
        " Dashed: the largest radius that n draws can certify, every one of them a hit; beyond it "
        "the curve is 0 whatever the model."
        if limits
        else ""
    )
    several = (
        " Each curve is one run; the best of them at each radius would be a choice made on these "
        "very images, and is not drawn."
        if len(runs) > 1
        else ""
    )
    return (
        f'<section><h2>Certified accuracy against radius</h2><figure><div class="wide">{curve}'
        f"</div><figcaption>Bands: pointwise {_PERCENT} Clopper-Pearson intervals, one radius at a "
        "time, for the distribution that the images were drawn from. The curve is the exact step "
        f"function of the images certified.{line}{several}</figcaption></figure></section>"
    )


def _table_section(runs: Sequence[Run], figures: Sequence[Figures]) -> str:
    noisy = "transformed" if any(map(transformation, runs)) else "noisy"
    radii = [f"r = {short(r)}" for r in figures[0].radii]
    others = ["ACR", "abstained", "mean radius of right", "images", "draws", "time", "per image"]
    accuracies = [
        [
            f"{decimal(a)}<small>{interval(low, high)}</small>"
            for a, low, high in zip(f.accuracy, f.low, f.high, strict=True)
        ]
        for f in figures
    ]
    rest = [
        [
            *(decimal(value) for value in (f.acr, f.abstention, f.mean_radius)),
            *(count(f), whole(f.draws), duration(f.seconds), duration(f.seconds_per_image)),
        ]
        for f in figures
    ]
    return (
        f"<section><h2>Figures</h2>{_table(figures, radii, accuracies)}"
        f'<p class="note">Certified accuracy at radius r ({escape(figures[0].measure.axis)}), and '
        f"its pointwise {_PERCENT} interval. "
        "r = 0: the images that the classifier gets right.</p>"
        f"{_table(figures, others, rest)}"
        '<p class="note">ACR: average certified radius over all images, 0 for those that are not '
        "right. The mean radius of the right ones is secondary: it rewards giving up on hard "
        f"images. Draws: {noisy} images classified, n₀ and n together. All of it in full "
        "precision: <code>table.csv</code>.</p></section>"
    )


def _table(figures: Sequence[Figures], heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th scope=col>{name}</th>" for name in ("run", *heads))
    rows = "".join(
        f"<tr>{_row_head(f, place)}{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
        for place, (f, row) in enumerate(zip(figures, cells, strict=True))
    )
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row_head(f: Figures, place: int) -> str:
    state = " · incomplete" if f.complete is False else ""
    name = "<wbr>".join(escape(part) for part in re.split(r"(?<=[_/.-])", f.name))
    return (
        f'<th scope=row><span class="swatch" style="background:{run_colour(place)}"></span>'
        f"{name}<small>guarantee: {escape(f.guarantee)}{state}</small></th>"
    )


def _distribution_section(runs: Sequence[Run], distribution: str) -> str:
    runs = [run for run in runs if not run.deterministic]
    if not runs:
        return ""
    known = [bool(run.frame["p_lower"].notna().all()) and len(run.frame) > 0 for run in runs]
    words = []
    if any(known):
        steps, ranges = "as Gaussian noise has it", runs[0].measure.of_range
        if not ranges and not any(map(transformation, runs)):  # laws and boxes have other steps
            steps = "so that equal steps are equal steps of radius"
        words.append(
            "p_lower is the lower confidence bound of the probability that the base classifier "
            f"gives the certified class under noise. The axis is stretched {steps}; at and below "
            "0.5 (dotted line) the classifier abstains."
        )
        if ranges:
            words.append("Of an image's anchors, the least that covers something is shown.")
    if not all(known):
        words.append("Published logs hold no p_lower: for them the radius itself is shown.")
    name = "p_lower" if all(known) else "the radius" if not any(known) else "p_lower and radius"
    return (
        f'<section><h2>Distribution of {name}</h2><figure><div class="wide">{distribution}</div>'
        f"<figcaption>{' '.join(words)}</figcaption></figure></section>"
    )


def _note_section(
    runs: Sequence[Run],
    notes: Sequence[Sequence[str]],
    others: Sequence[tuple[str, Sequence[str]]],
) -> str:
    named = [(run.name, found) for run, found in zip(runs, notes, strict=True) if found]
    blocks = []
    for name, found in (*named, *others):
        lines = "".join(f"<li>{escape(note)}</li>" for note in found)
        blocks.append(f"<h3>{escape(name)}</h3><ul>{lines}</ul>")
    return f"<section><h2>Notes</h2>{''.join(blocks)}</section>" if blocks else ""


def _closing() -> str:
    return (
        f'<p class="small">Made by <code>lightning-smooth report</code> {escape(__version__)} from '
        "the files named above alone; the same files give the same page, byte for byte.</p>"
    )
