"""Drawings of what covers a range, as inline SVG: parameters along, standard deviations up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.ticker import MaxNLocator

from lightning_smooth.maths.coverage import Range
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.records.anchor import Anchor
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.report.sheet import number

_WIDE, _LEFT, _RIGHT, _TOP, _LANE = 360.0, 38.0, 350.0, 8.0, 18.0
_HIGH, _FLOOR = 214.0, 166.0
"""Size of a drawing, and edges of its plot; attacks have a lane above it."""

_FEW = 24
"""Anchors up to which their dots are large."""

_TINTS = (0.2, 0.5, 0.3, 0.6, 0.4)
"""Tints that tell anchors apart which were tested one after the other."""


@dataclass(frozen=True)
class Axis:
    """A parameter of a range.

    Attributes:
        name: what it is called.
        unit: of its values; empty where it is not known.
        low: its least value.
        high: its greatest.
        identity: the value that changes nothing.
        goal: the part of the range that was asked for, 1 for all of it.
    """

    name: str
    unit: str
    low: float
    high: float
    identity: float
    goal: float

    @property
    def title(self) -> str:
        """What the axis says; escaped."""
        return escape(f"{self.name}, {self.unit}" if self.unit else self.name)

    def part(self, share: float) -> tuple[float, float]:
        """Ends of so much of the range."""
        low, high = (self.identity + share * (end - self.identity) for end in (self.low, self.high))
        return low, high

    def ticks(self) -> list[float]:
        """Some round values, both ends among them where that can be."""
        some = [_ticks(self.low, self.high, most) for most in (6, 5, 4, 7, 8)]
        return next((v for v in some if {self.low, self.high} <= set(v)), some[0])


@dataclass(frozen=True)
class _Scale:
    """Where values between two ends lie on the drawing."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.first + share * (self.last - self.first)


def gaps(
    covers: Iterable[tuple[float, float]], low: float, high: float
) -> list[tuple[float, float]]:
    """What intervals leave open between two ends.

    >>> gaps([(0.0, 2.0), (3.0, 4.0), (1.0, 2.5)], -1.0, 4.0)
    [(-1.0, 0.0), (2.5, 3.0)]
    """
    found, reached = [], low
    for least, most in sorted(covers):
        if least > reached:
            found.append((reached, min(least, high)))
        reached = max(reached, most)
        if reached >= high:
            return found
    return [*found, (reached, high)] if reached < high else found


def line_plot(
    c: Certificate,
    axes: Sequence[Axis],
    columns: Sequence[int],
    marks: Sequence[AttackOutcome],
    description: str,
    *,
    most: float,
) -> str:
    """Draw the anchors of a range of one parameter.

    Args:
        c: a certificate with anchors.
        axes: its parameter.
        columns: its place among an anchor's parameters.
        marks: attacks on the image.
        description: what a screen reader says; already escaped.
        most: the largest budget that the drawing has room for.
    """
    (axis,), (column,) = axes, columns
    budgets = [gaussian_radius(anchor.p_lower, 1.0) for anchor in c.anchors]
    top = _TOP + (_LANE if marks else 0)
    x = _Scale(axis.low, axis.high, _LEFT + 4, _RIGHT - 4)
    y = _Scale(0.0, 1.1 * max(most, 0.5), _FLOOR, top)
    parts = []
    for value in _ticks(0.0, y.high, 4):
        parts.append(f'<path class="rule" d="M{_LEFT:g} {y(value):.2f}H{_RIGHT:g}"/>')
        parts.append(_text(_LEFT - 5, y(value) + 4, "end", value))
    pieces = [(low[0], high[0]) for anchor in c.anchors for low, high in anchor.covers]
    parts += [
        _box("open", x(low), top, x(high), _FLOOR)
        for low, high in gaps(pieces, *axis.part(axis.goal))
    ]
    told = [_told(anchor, axes, columns) for anchor in c.anchors]
    every = list(zip(c.anchors, budgets, told, strict=True))
    parts += [_bars(anchor, x, y, budget, title) for anchor, budget, title in every]
    parts.append(f'<path class="identity" d="M{x(axis.identity):.2f} {top:g}V{_FLOOR:g}"/>')
    parts += [
        _dot(x(a.theta[column]), y(budget), a, title, len(every)) for a, budget, title in every
    ]
    parts += [_mark(c, mark, x(mark.theta[axis.name]), _TOP + 5, (axis,)) for mark in marks]
    parts.append(f'<path class="axis" d="M{_LEFT:g} {_FLOOR:g}H{_RIGHT:g}"/>')
    if not c.abstained and c.radius:
        low, high = axis.part(c.radius)
        parts.append(_box("held", x(low), _FLOOR, x(high), _FLOOR + 4))
    parts += [_text(x(v), _FLOOR + 18, "middle", v) for v in axis.ticks()]
    middle = (_LEFT + _RIGHT) / 2
    parts.append(_words(middle, _HIGH - 8, axis.title))
    parts.append(
        _words(0, 0, "standard deviations", f"translate(11 {(top + _FLOOR) / 2:g}) rotate(-90)")
    )
    return _svg(parts, _WIDE, _HIGH, description)


def plane_plot(
    c: Certificate,
    axes: Sequence[Axis],
    columns: Sequence[int],
    marks: Sequence[AttackOutcome],
    description: str,
    *,
    most: float,
) -> str:
    """Draw the boxes that the anchors of a range of two parameters cover: see `line_plot`."""
    del most
    across, up = axes
    floor = _TOP + _RIGHT - _LEFT
    x = _Scale(across.low, across.high, _LEFT + 8, _RIGHT)
    y = _Scale(up.low, up.high, floor, _TOP)
    wanted = [axis.part(axis.goal) for axis in axes]
    parts = [_plane_box("open", (tuple(w[0] for w in wanted), tuple(w[1] for w in wanted)), x, y)]
    for place, anchor in enumerate(c.anchors):
        tint = f' style="fill-opacity:{_TINTS[place % len(_TINTS)]}"'
        inside = "".join(
            _plane_box("ground", box, x, y) + _plane_box("spent", box, x, y, tint)
            for box in anchor.covers
        )
        parts.append(f"<g>{_told(anchor, axes, columns)}{inside}</g>")
    if not c.abstained and c.radius:
        ends = [axis.part(c.radius) for axis in axes]
        box = (tuple(e[0] for e in ends), tuple(e[1] for e in ends))
        parts.append(_plane_box("edge", box, x, y))
    parts.append(
        f'<path class="identity" d="M{x(across.identity):.2f} {_TOP:g}V{floor:g}'
        f'M{_LEFT + 8:g} {y(up.identity):.2f}H{_RIGHT:g}"/>'
    )
    for anchor in c.anchors:
        at = [anchor.theta[column] for column in columns]
        parts.append(_dot(x(at[0]), y(at[1]), anchor, _told(anchor, axes, columns), len(c.anchors)))
    parts += [_mark(c, m, x(m.theta[across.name]), y(m.theta[up.name]), axes) for m in marks]
    parts += [_text(x(v), floor + 16, "middle", v) for v in across.ticks()]
    parts += [_text(_LEFT + 3, y(v) + 4, "end", v) for v in up.ticks()]
    parts.append(_words((_LEFT + _RIGHT) / 2, floor + 36, across.title))
    parts.append(_words(0, 0, up.title, f"translate(9 {(_TOP + floor) / 2:g}) rotate(-90)"))
    return _svg(parts, _WIDE, floor + 42, description)


def _bars(anchor: Anchor, x: _Scale, y: _Scale, budget: float, title: str) -> str:
    inside = ""
    for (low,), (high,) in anchor.covers:
        gap = min(0.4, (x(high) - x(low)) / 8)
        left, right = x(low) + gap, x(high) - gap
        inside += _box("spent", left, y(anchor.cost), right, _FLOOR)
        inside += f'<path class="budget" d="M{left:.2f} {y(budget):.2f}H{right:.2f}"/>'
    return f"<g>{title}{inside}</g>" if inside else ""


def _dot(x: float, y: float, anchor: Anchor, title: str, among: int) -> str:
    kind, size = "anchor" if anchor.covers else "vain", 2.8 if among <= _FEW else 2.0
    return f'<circle class="{kind}" cx="{x:.2f}" cy="{y:.2f}" r="{size:g}">{title}</circle>'


def _told(anchor: Anchor, axes: Sequence[Axis], columns: Sequence[int]) -> str:
    """What a pointer on an anchor is told."""
    at = ", ".join(
        f"{escape(axis.name)} {number(anchor.theta[column])}"
        for axis, column in zip(axes, columns, strict=True)
    )
    draws, hits = anchor.looks[-1] if anchor.looks else (0, 0)
    budget = gaussian_radius(anchor.p_lower, 1.0)
    spent = f"spent at most {anchor.cost:.3f}" if anchor.covers else "covers nothing"
    return f"<title>{at}: {hits:,} of {draws:,} draws, budget {budget:.3f}, {spent}</title>"


def _mark(c: Certificate, o: AttackOutcome, x: float, y: float, axes: Sequence[Axis]) -> str:
    at = ", ".join(f"{escape(axis.name)} {number(o.theta[axis.name])}" for axis in axes)
    answer = "abstained" if o.abstained else f"answered {o.predicted}"
    kind = "silent" if o.abstained else "kept" if o.predicted == c.candidate else "broken"
    return _symbol(kind, x, y, f"<title>attack at {at}: {answer}</title>")


def _symbol(kind: str, x: float, y: float, inside: str = "") -> str:
    if kind == "broken":
        drawn = f"M{x - 4.5:.2f} {y - 4.5:.2f}l9 9m0 -9l-9 9"
    else:
        drawn = f"M{x:.2f} {y + 5:.2f}l-5 -9h10z"
    return f'<path class="{kind}" d="{drawn}">{inside}</path>'


def _plane_box(kind: str, box: Range, x: _Scale, y: _Scale, more: str = "") -> str:
    (left, least), (right, most) = box
    return _box(kind, x(left), y(most), x(right), y(least), more)


def _box(kind: str, left: float, top: float, right: float, floor: float, more: str = "") -> str:
    return (
        f'<rect class="{kind}" x="{left:.2f}" y="{top:.2f}" width="{right - left:.2f}" '
        f'height="{floor - top:.2f}"{more}/>'
    )


def _text(x: float, y: float, anchor: str, value: float) -> str:
    return f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}">{number(value)}</text>'


def _words(x: float, y: float, words: str, transform: str = "") -> str:
    moved = f' transform="{transform}"' if transform else ""
    return f'<text class="unit" x="{x:g}" y="{y:g}" text-anchor="middle"{moved}>{words}</text>'


def _svg(parts: Iterable[str], wide: float, high: float, description: str) -> str:
    return (
        f'<svg class="cover" viewBox="0 0 {wide:g} {high:g}" role="img" aria-label="{description}">'
        f"{''.join(parts)}</svg>"
    )


def _ticks(low: float, high: float, most: int) -> list[float]:
    values = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(v) for v in values if low <= v <= high]


def _key(inside: str, wide: float = 22) -> str:
    return f'<svg class="cover" width="{wide:g}" height="14" aria-hidden="true">{inside}</svg>'


_HATCH = (
    '<defs><pattern id="uncovered" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><path class="hatch" d="M0 0V6"/></pattern></defs>'
)

KEYS = (
    ("both", _key('<circle class="anchor" cx="11" cy="7" r="3.5"/>'), "anchor"),
    ("both", _key('<circle class="vain" cx="11" cy="7" r="3.5"/>'), "anchor that covers nothing"),
    ("line", _key('<path class="budget" d="M1 7H21"/>'), "its budget"),
    ("line", _key('<rect class="spent" x="1" y="1" width="20" height="12"/>'), "spent at most"),
    ("both", _key(_HATCH + '<rect class="open" width="22" height="14"/>'), "not covered"),
    ("both", _key('<path class="identity" d="M11 0V14"/>'), "no transformation"),
    ("line", _key('<rect class="held" y="5" width="22" height="4"/>'), "certified"),
    ("attack", _key(_symbol("kept", 11, 7)), "attack, same answer"),
    ("attack", _key(_symbol("silent", 11, 7)), "attack, abstained"),
    ("attack", _key(_symbol("broken", 11, 7)), "attack, another answer"),
)
"""What drawings mean: of which it is told, a small drawing, and words."""
