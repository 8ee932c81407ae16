"""Heat maps of accuracy by corruption and severity."""

from __future__ import annotations

import math
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_smooth.records.corruptions import Cell, CorruptionTable
from lightning_smooth.report.render import LINE, MUTED, PAPER, style
from lightning_smooth.report.tables import short

DARK, LIGHT = "#101418", "#fdfdfd"
"""Text on cells: colours that do not follow the page's, as those of the cells do not."""

_CELL, _ROW, _LABELS, _GAP, _HEAD = 0.47, 0.26, 1.45, 0.28, 0.62

Panel = tuple[str, Callable[[Cell], float]]


def shown_radius(table: CorruptionTable) -> int:
    """Place of the radius whose certified accuracy is drawn: the middle one."""
    return len(table.radii) // 2


def panels(table: CorruptionTable) -> list[Panel]:
    """What is drawn of a table: a title, and the accuracy of a cell."""
    found: list[Panel] = [("base classifier", lambda cell: cell.accuracy)]
    if any(cell.certified_images for cell in table.cells):
        place = shown_radius(table)
        radius = short(table.radii[place])
        found.append(("smoothed classifier", lambda cell: cell.smoothed_accuracy))
        found.append((f"certified at r = {radius}", lambda cell: cell.certified_accuracy(place)))
    return found


def heat_figure(table: CorruptionTable) -> Figure:
    """Draw accuracy in every cell, a panel for each of `panels`; the colours are from 0 to 1.

    The last column of a panel with several severities is their mean.
    """
    drawn = panels(table)
    several = len(table.severities) > 1
    columns = len(table.severities) + (1.3 if several else 0)
    one = max(columns * _CELL, 1.55 if len(drawn) > 1 else 1.2)
    width = _LABELS + len(drawn) * one + (len(drawn) - 1) * _GAP + 0.1
    height = _HEAD + len(table.corruptions) * _ROW + (0.35 if several else 0.1)
    with style():
        figure = Figure(figsize=(max(width, 5.2), height), facecolor=PAPER)
        total = figure.get_figwidth()
        for place, (title, value) in enumerate(drawn):
            left = _LABELS + place * (one + _GAP)
            bottom = 0.3 if several else 0.05
            box = (left / total, bottom / height, one / total, 1 - (bottom + _HEAD - 0.2) / height)
            axes = figure.add_axes(box)
            _draw(axes, table, value, labels=place == 0)
            axes.set_title(title, loc="left", fontsize=9, pad=18)
        return figure


def _draw(
    axes: Axes, table: CorruptionTable, value: Callable[[Cell], float], *, labels: bool
) -> None:
    several = len(table.severities) > 1
    for row, corruption in enumerate(table.corruptions):
        cells = [table.cell(corruption, severity) for severity in table.severities]
        values = [math.nan if cell is None else value(cell) for cell in cells]
        for column, number in enumerate(values):
            _cell(axes, column, row, number)
        if several:
            whole = not any(map(math.isnan, values))
            mean = float(np.mean(values)) if whole else math.nan
            _cell(axes, len(values) + 0.3, row, mean)
    heads = ["" if level is None else str(level) for level in table.severities]
    places = [column + 0.5 for column in range(len(heads))]
    if several:
        heads, places = [*heads, "mean"], [*places, len(heads) + 0.8]
        axes.set_xlabel("severity", fontsize=8, color=MUTED, labelpad=4)
    elif heads[0]:
        heads = [f"severity {heads[0]}"]
    axes.set(xlim=(0, places[-1] + 0.5), ylim=(len(table.corruptions), 0))
    axes.set_xticks(places, heads)
    axes.xaxis.tick_top()
    names = [name.replace("_", " ") for name in table.corruptions] if labels else []
    axes.set_yticks([row + 0.5 for row in range(len(names))], names)
    axes.tick_params(length=0, pad=3)
    axes.spines[:].set_visible(False)


def _cell(axes: Axes, left: float, top: float, value: float) -> None:
    """A cell, with its value in it: coloured, or empty where there is none."""
    if math.isnan(value):
        axes.add_patch(
            mpl.patches.Rectangle((left, top), 1, 1, facecolor=PAPER, edgecolor=LINE, linewidth=0.8)
        )
        return
    colour = mpl.colormaps["cividis"](value)
    axes.add_patch(
        mpl.patches.Rectangle((left, top), 1, 1, facecolor=colour, edgecolor=PAPER, linewidth=0.8)
    )
    red, green, blue = colour[:3]
    bright = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    text = "1" if value == 1 else f"{value:.3f}".removeprefix("0")
    axes.text(
        left + 0.5, top + 0.53, text, ha="center", va="center", fontsize=8,
        color=DARK if bright > 0.18 else LIGHT,
    )  # fmt: skip
