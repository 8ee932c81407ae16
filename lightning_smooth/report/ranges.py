"""How certificates of a range cover it: for a few images, the points that were tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.maths.coverage import box_norm
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.attack_runs import read_outcomes
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.limits import number as finite
from lightning_smooth.records.measure import attacked_range
from lightning_smooth.records.reading import gather
from lightning_smooth.records.runs import Run, run_folder
from lightning_smooth.report.pictures import claim_words, class_of
from lightning_smooth.report.range_plots import KEYS, Axis, line_plot, plane_plot
from lightning_smooth.types import ABSTAIN

_MOST = 3

RANGE_STYLE = """
.ranges{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,320px),1fr));
gap:22px 26px;margin-top:.9rem}
.ranges>div{display:flex;flex-direction:column;justify-content:space-between}
.ranges p{margin:0 0 .3rem;font-size:.875rem;line-height:1.4}
.ranges svg{display:block;width:100%;height:auto}
svg.cover{font-family:inherit;font-size:11px;fill:var(--ink);overflow:visible}
svg.cover .rule{stroke:var(--line);stroke-width:.8}
svg.cover .axis{stroke:var(--muted);stroke-width:.8}
svg.cover .unit{fill:var(--muted)}
svg.cover .spent{fill:var(--link);fill-opacity:.24}
svg.cover .budget{stroke:var(--link);stroke-width:2}
svg.cover .anchor{fill:var(--link);stroke:var(--paper);stroke-width:.6}
svg.cover .vain{fill:var(--paper);stroke:var(--link);stroke-width:1.4}
svg.cover .open{fill:url(#uncovered)}
svg.cover .identity{stroke:var(--ink);stroke-width:1;stroke-dasharray:3 2.5;fill:none}
svg.cover .ground{fill:var(--paper)}
svg.cover .edge{stroke:var(--link);stroke-width:2;fill:none}
svg.cover .held{fill:var(--link)}
svg.cover .kept{fill:var(--ink)}
svg.cover .silent{fill:var(--paper);stroke:var(--ink);stroke-width:1.2}
svg.cover .broken{stroke:var(--wrong);stroke-width:2.2;fill:none}
.hatch{stroke:var(--wrong);stroke-width:1.3;opacity:.6}
.keys{display:flex;flex-wrap:wrap;gap:.25rem 1.15rem;list-style:none;padding:0;margin:.7rem 0 0;
font-size:.85rem}
.keys li{display:flex;align-items:center;gap:.45rem}
.keys svg{flex:none}
"""
"""Style of the section, for pages that have it."""


@dataclass(frozen=True, kw_only=True)
class Covers:
    """Images of a run, and what covers their range.

    Attributes:
        axes: the parameters of the range, one or two.
        columns: their places among the parameters of an anchor.
        certificates: those shown, the largest radius first.
        attacks: outcomes of attacks on each of them.
        total: certificates of the run that have anchors.
    """

    axes: tuple[Axis, ...]
    columns: tuple[int, ...]
    certificates: tuple[Certificate, ...]
    attacks: tuple[tuple[AttackOutcome, ...], ...]
    total: int


def load_covers(run: Run) -> tuple[Covers | None, list[str]]:
    """Choose images of a run that covers a range, and read the attacks that lie beside it.

    Attacks are the files `attack*.jsonl` of the run's folder, of `lightning-smooth attack` and of
    `scripts/attack_range`; only those on the smoothed classifier of this very certifier are taken.

    Returns:
        None where the run's certificates have no anchors; and notes on what could not be read, and
        on attacks that contradict a certificate.
    """
    header = run.header or {}
    settings = header.get("certifier")
    if not isinstance(settings, Mapping) or not attacked_range(settings):
        return None, []
    kept = set(run.frame["index"])
    files = [file for file in run.files if b"\n" in file.read_bytes()]
    _, certificates, _ = gather(files)
    found = [c for c in certificates if c.anchors and c.index in kept]
    if not found:
        return None, []
    try:
        axes, columns = _axes(found[0])
        attacks, notes = _attacks(run, settings)
        contradicted = {}
        for c in found:
            for outcome in attacks.get(c.index, []):
                if _contradicts(c, outcome, axes):
                    contradicted[c.index] = _contradiction(c, outcome)
    except (AttributeError, InputError, KeyError, TypeError, ValueError) as error:
        return None, [f"The anchors are not shown, as their range cannot be read: {error}"]
    chosen = choose(found, axes[0].goal, sorted(contradicted))
    shown = Covers(
        axes=axes,
        columns=columns,
        certificates=tuple(chosen),
        attacks=tuple(tuple(attacks.get(c.index, [])) for c in chosen),
        total=len(found),
    )
    return shown, [*notes, *(contradicted[index] for index in sorted(contradicted))]


def asked_parts(run: Run) -> tuple[float, ...]:
    """The parts of a range that a run was asked to decide; none for other runs."""
    settings = (run.header or {}).get("certifier")
    asked = settings.get("radii") if isinstance(settings, Mapping) else None
    if not run.measure.of_range or not isinstance(asked, list):
        return ()
    return tuple(part for part in map(finite, asked) if part is not None and part >= 0)


def choose(
    certificates: Sequence[Certificate], goal: float, first: Sequence[int] = ()
) -> list[Certificate]:
    """Choose up to three certificates that tell the most, the largest radius first.

    Args:
        certificates: some with anchors.
        goal: the largest radius that was asked for.
        first: indices of images to show before all others.

    Returns:
        One held over all of the range, with the most anchors; the smallest radius above 0 that is
        less, and the largest. Where there are no such ones, one without a radius, and those held
        with the fewest anchors and a middling number. Of equals, the least index.
    """
    held = [c for c in certificates if (c.radius or 0.0) >= goal and not c.abstained]
    held.sort(key=lambda c: (-len(c.anchors), c.index))
    part = sorted(
        (c for c in certificates if 0 < (c.radius or 0.0) < goal),
        key=lambda c: (-(c.radius or 0.0), c.index),
    )
    none = [c for c in certificates if not c.radius and c not in held]
    none.sort(key=lambda c: (-len(c.anchors), c.index))
    easy = sorted(held, key=lambda c: (len(c.anchors), c.index))
    ladder = [c for index in first for c in certificates if c.index == index]
    ladder += [*held[:1], *part[-1:], *part[:1], *none[:1], *easy[:1], *held[len(held) // 2 :]]
    ladder += [*part[1:], *none[1:]]
    chosen = list({c.index: c for c in ladder}.values())[:_MOST]
    return sorted(chosen, key=lambda c: (-(c.radius or 0.0), -len(c.anchors), c.index))


def cover_section(runs: Sequence[Run], covers: Sequence[Covers | None]) -> str:
    """HTML of how certificates cover their range; empty where none has anchors."""
    blocks = [
        (f"<h3>{escape(run.name)}</h3>" if len(runs) > 1 else "") + _figure(run, cover)
        for run, cover in zip(runs, covers, strict=True)
        if cover is not None
    ]
    if not blocks:
        return ""
    some = [cover for cover in covers if cover is not None]
    told = {"both"} | {"line" for cover in some if len(cover.axes) == 1}
    told |= {"attack" for cover in some if any(cover.attacks)}
    keys = "".join(f"<li>{drawing}{words}</li>" for of, drawing, words in KEYS if of in told)
    bars = (
        " Its line is at that height. The bar below spans the parameters that the anchor covers, "
        "and is as high as the most that any of them costs, those between grid points included. "
        "Every bar ends below its line, so the class holds in all of it."
    )
    return (
        "<section><h2>How a certificate covers its range</h2><p>Each dot is an anchor: the image "
        "at one parameter, tested under noise. The class was found so probable there that the "
        "image may change by so many standard deviations of the noise before another class can "
        f"win: that is the anchor's budget.{bars if 'line' in told else ''}</p>"
        f'<ul class="keys">{keys}</ul>{"".join(blocks)}</section>'
    )


def _figure(run: Run, cover: Covers) -> str:
    shown = cover.certificates
    most = max(gaussian_radius(a.p_lower, 1.0) for c in shown for a in c.anchors)
    plots = "".join(
        _plot(run, cover, c, marks, most) for c, marks in zip(shown, cover.attacks, strict=True)
    )
    surrogate = any(c.guarantee == "surrogate" for c in shown)
    words = [
        f"{len(shown)} of {cover.total:,} images. The rule: of those held over all of the range, "
        "the one with the most anchors; of those held over less, the ones held over the most of "
        "it and the least; where there are such."
    ]
    if surrogate:
        words.append(
            "Every parameter is one of the surrogate network, which imitates the transformation: "
            "nothing here is certified for the real one."
        )
    if cover.axes[0].goal < 1:
        words.append(f"Only {cover.axes[0].goal:g} times the range was asked for.")
    if len(cover.axes) > 1:
        words.append(
            "A tint is what one anchor covers: all of it costs less than its budget. Outlined: "
            "what is certified."
        )
    return (
        f'<figure><div class="ranges">{plots}</div><figcaption>{" ".join(words)}</figcaption>'
        "</figure>"
    )


def _plot(
    run: Run, cover: Covers, c: Certificate, marks: Sequence[AttackOutcome], most: float
) -> str:
    verdict = "abstained" if c.abstained else "right" if c.correct else "wrong"
    whole = not c.abstained and c.radius == 1
    words = claim_words(verdict, c.radius or 0.0, run.measure)
    claim = "held over all of the range" if whole else words
    drawing = line_plot if len(cover.axes) == 1 else plane_plot
    label = f"image {c.index} ({class_of(run, c.index)})"
    drawn = drawing(c, cover.axes, cover.columns, marks, escape(f"{label}, {claim}"), most=most)
    return (
        f'<div><p><span class="pill {verdict}">{verdict.capitalize()}</span>: {escape(label)}, '
        f"{escape(claim)}<br>"
        f'<span class="small">{_count(len(c.anchors), "anchor")}, {c.n:,} draws in all</span></p>'
        f"{drawn}</div>"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _axes(c: Certificate) -> tuple[tuple[Axis, ...], tuple[int, ...]]:
    """The axes of a certificate's range, and the columns of an anchor's parameters."""
    box: Mapping[str, Any] = c.parameters["box"]
    units: Mapping[str, str] = c.parameters.get("units", {})
    goal = max(map(float, c.parameters["radii"]))
    axes = tuple(
        Axis(str(name), str(units.get(name, "")), float(low), float(high), float(identity), goal)
        for (name, (low, high)), identity in zip(box.items(), c.parameters["identity"], strict=True)
    )
    if not 1 <= len(axes) <= 2:
        raise ValueError(f"{len(axes)} parameters")
    if not units and len(c.anchors[0].theta) > len(axes):
        raise ValueError("the record does not name the parameters of an anchor")
    places = list(units or box)
    return axes, tuple(places.index(axis.name) for axis in axes)


def _attacks(
    run: Run, settings: Mapping[str, Any]
) -> tuple[dict[int, list[AttackOutcome]], list[str]]:
    """Outcomes of attacks on the classifier of `settings`, by image; and notes."""
    folder = run_folder(run)
    found: dict[int, list[AttackOutcome]] = {}
    notes = []
    for path in sorted(folder.glob("attack*.jsonl")) if folder else []:
        try:
            outcomes = read_outcomes(path)
        except (OSError, RecordError, UnicodeDecodeError) as error:
            notes.append(f"{path.name} is not shown, as it cannot be read: {error}")
            continue
        smoothed = [o for o in outcomes if o.parameters.get("classifier") == "smoothed"]
        own = [o for o in smoothed if o.parameters.get("certifier") == settings]
        if len(own) < len(smoothed):
            notes.append(
                f"{path.name} has {len(smoothed) - len(own)} attacks on the classifier of another "
                "certifier; they are not shown."
            )
        for outcome in own:
            found.setdefault(outcome.index, []).append(outcome)
    return found, notes


def _contradicts(c: Certificate, outcome: AttackOutcome, axes: Sequence[Axis]) -> bool:
    """Whether the attack found another class where the certificate says that there is none."""
    if c.abstained or outcome.predicted in (c.predicted, ABSTAIN):
        return False
    if c.image and outcome.image and c.image != outcome.image:
        return False
    at = [[outcome.theta[axis.name] for axis in axes]]
    ends, identity = [(axis.low, axis.high) for axis in axes], [axis.identity for axis in axes]
    return float(box_norm(at, at, ends, identity)[0]) <= (c.radius or 0.0)


def _contradiction(c: Certificate, outcome: AttackOutcome) -> str:
    at = ", ".join(f"{name} {value:.6g}" for name, value in outcome.theta.items())
    return (
        f"An attack contradicts the certificate of image {c.index}: {c.predicted} is certified "
        f"within {c.radius:.6g} times the range, but {outcome.predicted} was answered at {at}."
    )
