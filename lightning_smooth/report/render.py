"""Figures as bytes: PNG and SVG that depend on nothing but what is drawn."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INK, MUTED, LINE, PAPER = "#1b2330", "#626d7c", "#dfe3e8", "#ffffff"

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "svg.fonttype": "none",
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "path.simplify": False,
    "text.parse_math": False,
}


def save_png(figure: Figure) -> bytes:
    """Render `figure` as PNG, 200 dots an inch; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def save_svg(figure: Figure, salt: str) -> str:
    """Render `figure` as SVG, coordinates to a hundredth of a point, with neither date nor chance.

    Args:
        figure: what to render.
        salt: name of the plot, from which its identifiers are made.
    """
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with style(), mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", buffer.getvalue(), flags=re.DOTALL)
    return re.sub(r' d="[^"]*"', lambda path: _round_path(path.group()), text)


def inline_svg(svg: str, name: str, description: str) -> str:
    """Turn a whole SVG file into an element of a page that follows the page's colours.

    Args:
        svg: what `save_svg` returned.
        name: prefix of its identifiers, unique on the page.
        description: what a screen reader says; already escaped.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = body.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    box = re.search(r'viewBox="[^"]*"', body)
    opening = (
        f'<svg class="plot" {box.group() if box else ""} role="img" aria-label="{description}">'
    )
    body = opening + body[body.index(">") + 1 :]
    for colour, variable in ((INK, "ink"), (MUTED, "muted"), (LINE, "line"), (PAPER, "paper")):
        body = body.replace(colour, f"var(--{variable})")
    return body.replace("'DejaVu Sans'", "inherit").strip()


def _round_path(path: str) -> str:
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number.group()):.2f}", path)


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the report, whatever the user has set; put that back afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield
