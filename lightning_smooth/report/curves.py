"""The plots: certified accuracy against radius, and what the radii come from.

Every curve is the exact step function of its run. Each is one model under one noise: the best of
several runs at each radius, chosen on the images shown, is never drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.special import ndtri

from lightning_smooth.maths.certified import certified_accuracy
from lightning_smooth.records.runs import UNKNOWN, Run
from lightning_smooth.report.render import INK, LINE, MUTED, PAPER, style
from lightning_smooth.report.tables import band

RUN_COLOURS = ("#2e75b8", "#d6604d", "#1b9e77", "#9467bd", "#c58c00", "#17a2b8", "#7f7f7f")
VERDICT_COLOURS = {"wrong": "#d1603d", "right": "#2f83b7", "abstained": "#9aa5b4"}

_DASHES = ("-", (0, (5, 1.5)), (0, (2, 1)))
_FINEST = 1 / 4000
"""Steps closer than this fraction of both axes are drawn as one: a tenth of a point."""

_TICKS = (0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999, 0.9999, 0.99999)
_LOWEST = 0.01


def run_colour(place: int) -> str:
    """Colour of the run at `place`, the same in every plot and table."""
    return RUN_COLOURS[place % len(RUN_COLOURS)]


def curve_figure(runs: Sequence[Run]) -> Figure:
    """Draw certified accuracy against radius, with its pointwise 95 % band, of every run."""
    with style():
        rows = 0.19 * len(runs)
        figure = Figure(figsize=(7.4, 4.1 + rows), facecolor=PAPER)
        axes = figure.subplots()
        figure.subplots_adjust(left=0.085, right=0.985, bottom=0.5 / (4.1 + rows))
        figure.subplots_adjust(top=1 - (0.06 + rows) / (4.1 + rows))
        limits = [run.largest_radius for run in runs if run.largest_radius]
        seen = [float(run.frame["radius"].max()) for run in runs if len(run.frame)]
        end = max([*limits, *seen, 1e-6]) * (1.08 if limits else 1.03)
        for place, run in enumerate(runs):
            _draw_curve(axes, run, place, end)
        _draw_limits(axes, runs)
        axes.set(xlim=(0, end), ylim=(0, 1.005), ylabel="certified accuracy")
        axes.set_xlabel(runs[0].measure.axis)
        axes.set_yticks(np.linspace(0, 1, 11))
        _plain(axes)
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.01, 1.0), frameon=False, borderaxespad=0.2,
            handlelength=2.4, labelspacing=0.35,
        )  # fmt: skip
        return figure


def steps(run: Run, end: float) -> np.ndarray:
    """Radii at which the certified accuracy of `run` falls, the last of them `end`.

    Up to each of them, and down to the one before, certified accuracy is constant. Where there
    are more than can be told apart in print, those closer than 1/4000 of both axes to their
    neighbour are left out.
    """
    right = run.frame["radius"].to_numpy()[run.frame["correct"].to_numpy()]
    distinct = np.unique(right)
    distinct = distinct[distinct < end]
    if distinct.size > 2000:
        heights = certified_accuracy(run.frame["correct"], run.frame["radius"], distinct)
        kept, last = [], (-math.inf, math.inf)
        for radius, height in zip(distinct.tolist(), heights.tolist(), strict=True):
            if radius - last[0] >= end * _FINEST or last[1] - height >= _FINEST:
                kept.append(radius)
                last = (radius, height)
        distinct = np.unique([*kept, distinct[-1]])
    return np.append(distinct, end)


def _draw_curve(axes: Axes, run: Run, place: int, end: float) -> None:
    colour, dash = run_colour(place), _DASHES[place // len(RUN_COLOURS) % len(_DASHES)]
    label = f"{shorten(run.name)}  ·  {guarantee_words(run)}"
    label += "  ·  incomplete" if run.complete is False else ""
    if run.frame.empty:
        axes.plot([], [], color=colour, linestyle=dash, label=f"{label}  ·  no images")
        return
    correct, radius = run.frame["correct"].to_numpy(), run.frame["radius"].to_numpy()
    falls = steps(run, end)
    low, high = band(correct, radius, falls)
    x = np.concatenate([[0.0], np.repeat(falls, 2)[:-1]])
    axes.fill_between(
        x, np.repeat(low, 2), np.repeat(high, 2), color=colour, alpha=0.18, linewidth=0
    )
    y = np.repeat(certified_accuracy(correct, radius, falls), 2)
    axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.3, label=label)


def _draw_limits(axes: Axes, runs: Sequence[Run]) -> None:
    """Mark the largest radius that n draws allow, once for the runs that share it."""
    shared: dict[tuple[str, str], list[int]] = {}
    for place, run in enumerate(runs):
        if run.largest_radius is None or run.header is None:
            continue
        draws = f"{int(run.header['certifier']['n']):,}"
        shared.setdefault((f"{run.largest_radius:.6g}", draws), []).append(place)
    for (radius, draws), places in shared.items():
        colour = run_colour(places[0]) if len(places) == 1 else INK
        axes.axvline(float(radius), color=colour, linestyle=(0, (4, 3)), linewidth=1)
        axes.annotate(
            f"n = {draws} draws allow at most {float(radius):.3g}", (float(radius), 0.985),
            xytext=(4, 0), textcoords="offset points", rotation=90, va="top", ha="left",
            fontsize=8, color=colour,
        )  # fmt: skip


def distribution_figure(runs: Sequence[Run]) -> Figure:
    """Draw how p_lower (or the radius, where p_lower is not known) is distributed in each run."""
    with style():
        columns = 1 if len(runs) == 1 else 2
        rows = -(-len(runs) // columns)
        height = 2.35 * rows + 0.3
        figure = Figure(figsize=(7.4, height), facecolor=PAPER)
        panels = figure.subplots(rows, columns, squeeze=False)
        figure.subplots_adjust(
            left=0.085, right=0.985, wspace=0.16, hspace=0.68,
            bottom=0.5 / height, top=1 - 0.62 / height,
        )  # fmt: skip
        for place, axes in enumerate(panels.flat):
            if place < len(runs):
                _draw_distribution(axes, runs[place])
                axes.set_ylabel("" if place % columns else "fraction of images")
            else:
                axes.set_visible(False)
        handles = [Patch(color=c, label=v) for v, c in VERDICT_COLOURS.items()]
        figure.legend(
            handles=handles, loc="upper right", ncols=3, frameon=False, borderaxespad=0.1,
            bbox_to_anchor=(0.99, 1.0), handlelength=1, columnspacing=1.2,
        )  # fmt: skip
        return figure


def _draw_distribution(axes: Axes, run: Run) -> None:
    frame = run.frame
    known = bool(frame["p_lower"].notna().all()) and len(frame) > 0
    if known:
        values = ndtri(np.clip(frame["p_lower"].to_numpy(), _LOWEST, 1 - 1e-9))
        least = math.floor(values.min() * 10) / 10
        edges = np.arange(min(least, 0.0), values.max() + 0.1, 0.1).round(10)
        edges = edges if len(edges) > 1 else np.array([0.0, 0.1])  # every p_lower is 0.5
    else:
        values = frame["radius"].to_numpy()
        edges = np.linspace(0, max(float(values.max()) if values.size else 0.0, 1e-6), 41)
    right, gone = frame["correct"].to_numpy(), frame["abstained"].to_numpy()
    groups = {"wrong": ~right & ~gone, "right": right, "abstained": gone}
    floor = np.zeros(len(edges) - 1)
    for verdict, members in groups.items():
        height = np.histogram(values[members], edges)[0] / max(len(frame), 1)
        axes.bar(
            edges[:-1], height, np.diff(edges), floor, align="edge",
            color=VERDICT_COLOURS[verdict], edgecolor=VERDICT_COLOURS[verdict], linewidth=0.4,
        )  # fmt: skip
        floor = floor + height
    if known:
        ticks = [p for p in _TICKS if edges[0] - 0.01 <= ndtri(p) <= edges[-1]]
        axes.set_xticks(ndtri(ticks), [_probability(p) for p in ticks])
        axes.axvline(0, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_xlabel("p_lower" if known else "radius")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, max(float(floor.max()) * 1.04, 1e-6))
    axes.set_title(f"{shorten(run.name, 40)}\n{guarantee_words(run)}", loc="left", fontsize=9)
    _plain(axes)


def _probability(p: float) -> str:
    return f"{p:g}".lstrip("0")


def guarantee_words(run: Run) -> str:
    """What legends call the guarantee of `run`."""
    return "guarantee unknown" if run.guarantee == UNKNOWN else run.guarantee


def shorten(text: str, most: int = 52) -> str:
    """Cut the middle out of a long name.

    >>> shorten("a" * 30, 9)
    'aaaa…aaaa'
    """
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}…{text[-((most - 1) // 2) :]}"


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=3)
