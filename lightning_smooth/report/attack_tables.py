"""The figures of each attack, and the tables that hold them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lightning_smooth.maths.confidence import clopper_pearson_interval
from lightning_smooth.records.attack_compare import Beside, beside
from lightning_smooth.records.attack_runs import Attacked, AttackRun
from lightning_smooth.records.attacked import summarise_attack
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.measure import NORMS, boxed
from lightning_smooth.records.reading import gather
from lightning_smooth.report.tables import CONFIDENCE, MISSING, cell, count, decimal, short


@dataclass(frozen=True, kw_only=True)
class AttackFigures:
    """What the tables say about one attack; NaN where it is not known.

    Attributes:
        name: name of the run.
        attack: what was read.
        method: name of the attack.
        within: what it may do: a norm and its bound, or a transformation and its box.
        gradient: how gradients are taken; empty for an attack on parameters.
        judge: who answers.
        images: number of images attacked.
        requested: number of images asked for; None where not known.
        complete: whether all of them are there; None where not known.
        clean: fraction that is answered rightly without attack; and its Clopper-Pearson interval.
        attacked: fraction that is answered rightly without attack and under it; the same.
        broken: fraction that is answered with another class under attack.
        abstention: fraction on which the classifier abstains under attack.
        median_distance: of those that are broken, in the attack's norm.
        queries: forward passes of the search, an image.
        seconds: wall time of all images together.
        beside: what certificates say of the same images.
    """

    name: str
    attack: AttackRun
    method: str
    within: str
    gradient: str
    judge: str
    images: int
    requested: int | None
    complete: bool | None
    clean: float
    clean_interval: tuple[float, float]
    attacked: float
    attacked_interval: tuple[float, float]
    broken: float
    abstention: float
    median_distance: float
    queries: float
    seconds: float
    beside: Beside

    @property
    def title(self) -> str:
        """The attack in a line."""
        return f"{self.method}, {self.within}"


def attack_figures(attacked: Iterable[Attacked]) -> tuple[AttackFigures, ...]:
    """Compute the figures of every attack, and compare each with the certificates of its folder."""
    found = []
    for one in attacked:
        header, certificates = _certificates(one)
        for attack in one.attacks:
            compared = (
                Beside(why="there are no certificates")
                if header is None or not certificates
                else beside(attack, header, certificates)
            )
            found.append(_figures(one.name, attack, compared))
    return tuple(found)


def _certificates(one: Attacked) -> tuple[Mapping[str, Any] | None, list[Certificate]]:
    run = one.run
    if run is None or run.header is None:
        return None, []
    header, certificates, _ = gather(file for file in run.files if b"\n" in file.read_bytes())
    kept = set(run.frame["index"])
    return header, [c for c in certificates if c.index in kept]


def _figures(name: str, attack: AttackRun, compared: Beside) -> AttackFigures:
    found = summarise_attack(attack.outcomes)
    images, parts = found["images"], attack.parts
    rates = {
        key: found[key] if images else math.nan
        for key in ("clean_accuracy", "attacked_accuracy", "broken", "abstention")
    }
    median = found["median_distance"]
    return AttackFigures(
        name=name,
        attack=attack,
        method=str(parts.get("method", MISSING)),
        within=_within(attack),
        gradient=_gradient(parts),
        judge=_judge(attack, found["evaluations"]),
        images=images,
        requested=attack.requested,
        complete=attack.complete,
        clean=rates["clean_accuracy"],
        clean_interval=_interval(rates["clean_accuracy"], images),
        attacked=rates["attacked_accuracy"],
        attacked_interval=_interval(rates["attacked_accuracy"], images),
        broken=rates["broken"],
        abstention=rates["abstention"],
        median_distance=math.nan if median is None else median,
        queries=found["queries"] / images if images and attack.on_pixels else math.nan,
        seconds=found["seconds"],
        beside=compared,
    )


def _interval(rate: float, images: int) -> tuple[float, float]:
    if not images:
        return math.nan, math.nan
    low, high = clopper_pearson_interval(round(rate * images), images, CONFIDENCE)
    return float(low), float(high)


def _within(attack: AttackRun) -> str:
    parts = attack.parts
    if attack.on_pixels:
        norm, bound = str(parts["norm"]), parts.get("bound")
        shown = NORMS.get(norm, norm)
        return f"{shown}, no bound" if bound is None else f"{shown} \u2264 {short(float(bound))}"
    transform = str(parts.get("transform", MISSING))
    if isinstance(parts.get("box"), Mapping):
        return f"{transform}, {boxed(parts['box'])}"
    return f"{transform}, ball of radius {parts['radius']}" if "radius" in parts else transform


def _gradient(parts: Mapping[str, Any]) -> str:
    """How gradients are taken, in words.

    >>> _gradient({"gradient": "EOT", "draws": 30, "of": {"gradient": "BPDA"}})
    'EOT of 30 draws, BPDA'
    """
    kind = str(parts.get("gradient", ""))
    words = {"smoothed": "SmoothAdv"}.get(kind, kind)
    if "draws" in parts and kind in ("EOT", "smoothed"):
        words += f" of {parts['draws']} draws"
    of = parts.get("of")
    inner = _gradient(of) if isinstance(of, Mapping) else ""
    return words if inner in ("", "plain") else f"{words}, {inner}"


def _judge(attack: AttackRun, evaluations: int) -> str:
    if attack.smoothed:
        draws = attack.parts.get("n", MISSING)
        return f"smoothed, PREDICT with {draws:,} draws" if isinstance(draws, int) else "smoothed"
    return f"model, {evaluations} evaluations" if evaluations > 1 else "model"


def certified_words(f: AttackFigures) -> tuple[str, str]:
    """Certified accuracy on the attacked images, or a dash; and at which radius, or why not."""
    b = f.beside
    if b.certified is None:
        return MISSING, b.why
    some = "" if b.images == f.images else f", {b.images:,} of them"
    return decimal(b.certified), f"r = {short(b.radius or 0.0)}{some}"


HEADS = (
    *("images", "without attack", "under attack", "certified", "broken", "abstained"),
    *("median distance", "queries an image"),
)
"""Columns of the tables for the eye."""


def attack_markdown(figures: Sequence[AttackFigures], note: Sequence[str]) -> str:
    """Write the table as GitHub-flavoured Markdown, and notes below it."""
    head = ["run", "attack", "gradient", "judged", *HEADS]
    lines = [head, [*["---"] * 4, *["---:"] * len(HEADS)]]
    for f in figures:
        value, why = certified_words(f)
        cells = [f.name, f.title, f.gradient or MISSING, f.judge, count(f)]
        for rate, interval in ((f.clean, f.clean_interval), (f.attacked, f.attacked_interval)):
            low, high = map(decimal, interval)
            cells.append(decimal(rate) if math.isnan(rate) else f"{decimal(rate)} ({low}, {high})")
        cells.append(f"{value} ({why})" if why else value)
        cells += [decimal(f.broken), decimal(f.abstention), decimal(f.median_distance), queries(f)]
        lines.append([cell(one) for one in cells])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return "\n\n".join([table, *note]) + "\n"


def queries(f: AttackFigures) -> str:
    """Write the queries of an image, or a dash."""
    return MISSING if math.isnan(f.queries) else f"{f.queries:,.0f}"


def attack_table(figures: Sequence[AttackFigures]) -> pd.DataFrame:
    """One row an attack, every figure in full precision, with intervals."""
    rows = []
    for f in figures:
        parts, b = f.attack.parts, f.beside
        rows.append(
            {
                "run": f.name,
                "records": f.attack.path.name,
                "method": f.method,
                "within": f.within,
                "norm": parts.get("norm"),
                "bound": parts.get("bound"),
                "gradient": f.gradient or None,
                "judge": f.judge,
                "images": f.images,
                "requested": f.requested,
                "complete": f.complete,
                "accuracy": f.clean,
                "accuracy_low": f.clean_interval[0],
                "accuracy_high": f.clean_interval[1],
                "attacked_accuracy": f.attacked,
                "attacked_low": f.attacked_interval[0],
                "attacked_high": f.attacked_interval[1],
                "broken": f.broken,
                "abstention": f.abstention,
                "median_distance": f.median_distance,
                "queries_per_image": f.queries,
                "seconds": f.seconds,
                "certified_radius": b.radius,
                "certified_images": b.images,
                "certified_accuracy": b.certified,
                "not_compared": b.why or None,
                "contradicted": " ".join(map(str, b.contradicted)),
            }
        )
    frame = pd.DataFrame(rows)
    whole_numbers = dict.fromkeys(("images", "requested", "certified_images"), "Int64")
    return frame.astype({**whole_numbers, "complete": "boolean"})
