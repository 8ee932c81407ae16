"""The part of the page about attacks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from lightning_smooth.report.attack_tables import (
    HEADS,
    AttackFigures,
    certified_words,
    queries,
)
from lightning_smooth.report.attack_words import (
    attack_note,
    below_by_abstentions,
    contradiction_words,
    silent_words,
)
from lightning_smooth.report.tables import count, decimal, interval

ATTACK_STYLE = """
.bug{background:var(--bug);border:2px solid var(--bugline);border-radius:10px;padding:10px 16px;
margin-top:20px}
.bug b{color:var(--bugline)}
:root{--bug:#fdecea;--bugline:#b3261e}
@media (prefers-color-scheme:dark){:root{--bug:#3a1512;--bugline:#ff8a80}}
table.attacks thead th{white-space:normal;min-width:4rem}
table.attacks tbody th{vertical-align:top;min-width:7rem}
table.attacks tr>:nth-child(2){text-align:left;white-space:normal;min-width:11rem}
table.attacks td:nth-child(6) small{white-space:normal;min-width:5.5rem}
@media (max-width:600px){table.attacks tbody th{min-width:5.5rem;max-width:7rem}
table.attacks tr>:nth-child(2){min-width:8.5rem}}
"""
"""Style of the section, for pages that have it."""


def attack_lede(figures: Sequence[AttackFigures]) -> str:
    """HTML of the first words of a page about attacks alone."""
    if len(figures) > 1:
        return (
            f'<p class="lede">{len(figures)} attacks. Accuracy under attack is the fraction of '
            "images that are answered rightly, without the attack and under it.</p>"
        )
    f = figures[0]
    return (
        f'<p class="lede">Of {f.images:,} images, a fraction of <b>{decimal(f.clean)}</b> is '
        f"answered rightly without attack, and of <b>{decimal(f.attacked)}</b> under it "
        f"({escape(f.title)}).</p>"
    )


def attack_warnings(figures: Sequence[AttackFigures]) -> str:
    """HTML of what must not be overlooked: contradictions, then attacks that are incomplete."""
    said = [words for f in figures if (words := contradiction_words(f))]
    bugs = "".join(f"<p><b>Bug.</b> {escape(words)}</p>" for words in said)
    rest = [
        f"<p><b>{escape(_title(f))} is incomplete.</b> {escape(_held(f))}</p>"
        for f in figures
        if f.complete is False
    ]
    rest += [f"<p>{escape(silent_words(f))}</p>" for f in figures if below_by_abstentions(f)]
    return (f'<div class="bug" role="alert">{bugs}</div>' if bugs else "") + (
        f'<div class="warning" role="note">{"".join(rest)}</div>' if rest else ""
    )


def _title(f: AttackFigures) -> str:
    return f"{f.name}, {f.attack.path.name}"


def _held(f: AttackFigures) -> str:
    return f"{f.images:,} of {f.requested:,} images." if f.requested else " ".join(f.attack.notes)


def attack_section(figures: Sequence[AttackFigures]) -> str:
    """HTML of the table of attacks; empty where there is none."""
    if not figures:
        return ""
    note = "</p><p>".join(map(escape, attack_note(figures)))
    head = "".join(f"<th scope=col>{name}</th>" for name in ("run", "attack", *HEADS))
    body = "".join(f"<tr>{_row(f)}</tr>" for f in figures)
    return (
        '<section id="attacks"><h2>Under attack</h2><div class="wide" tabindex="0">'
        f'<table class="attacks"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f'<div class="note"><p>{note}</p><p>All of it in full precision: <code>attacks.csv</code>.'
        "</p></div></section>"
    )


def _row(f: AttackFigures) -> str:
    state = " · incomplete" if f.complete is False else ""
    details = [f.within, *([f"gradient: {f.gradient}"] if f.gradient else []), f"judged: {f.judge}"]
    value, why = certified_words(f)
    cells = [
        escape(f.method) + "".join(f"<small>{escape(detail)}</small>" for detail in details),
        count(f),
        f"{decimal(f.clean)}<small>{interval(*f.clean_interval)}</small>",
        f"{decimal(f.attacked)}<small>{interval(*f.attacked_interval)}</small>",
        f"{value}<small>{escape(why)}</small>",
        *(decimal(value) for value in (f.broken, f.abstention, f.median_distance)),
        queries(f),
    ]
    name = "<wbr>".join(escape(part) for part in re.split(r"(?<=[_/.-])", f.name))
    return (
        f"<th scope=row>{name}<small>{escape(f.attack.path.name)}{state}</small></th>"
        f"{''.join(f'<td>{cell}</td>' for cell in cells)}"
    )


def attack_notes(figures: Sequence[AttackFigures]) -> list[tuple[str, Sequence[str]]]:
    """Faults of each attack's records, under the attack's title; of those that have some."""
    return [(_title(f), f.attack.notes) for f in figures if f.attack.notes]
