"""The mean of samples that move alike for every pixel: how far it strays from its chord.

A sample t moves over the lattice of whole shifts, and shows what bilinear interpolation of the
shifted images X gives there. On a cell of the lattice with the corner (i, j) that is

    X + (x - i) A + (y - j) D + (x - i)(y - j) T,

A, D the differences of X to the next column and row, T that of both. So along t(s) its second
derivative is x'' A + y'' D + (2 x' y' + x'' (y - j) + y'' (x - i)) T, and where it crosses a column
its first derivative jumps by |x'| times the second difference of X along the row, interpolated
between rows; likewise for rows. With Green's function G of an interval of the width w, a mean of
samples is from the chord of its ends

    - integral of G (second derivative) - sum of G (jump),   G <= w/4, integral of G <= w^2/8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_TOUCH = 1e-13
"""A sample that goes no farther than this beyond a line does not cross it: what it then shows is
by less than 4e-13 of the largest value another."""
_CHUNK = 1 << 21
"""Values of differences of images that are held at once."""


class Span(NamedTuple):
    """Intervals, as their least and greatest values (N, S)."""

    low: Tensor
    high: Tensor

    def __add__(self, other: Span) -> Span:  # type: ignore[override]
        return Span(self.low + other.low, self.high + other.high)

    def __mul__(self, other: Span) -> Span:  # type: ignore[override]
        ends = torch.stack([a * b for a in self for b in other])
        return Span(ends.amin(dim=0), ends.amax(dim=0))

    def __neg__(self) -> Span:
        return Span(-self.high, -self.low)

    @property
    def most(self) -> Tensor:
        """The largest absolute value."""
        return torch.maximum(self.low.abs(), self.high.abs())

    def within(self, start: Tensor) -> Span:
        """What of it is in [start, start + 1], less `start`."""
        return Span((self.low - start).clamp(0, 1), (self.high - start).clamp(0, 1))


@dataclass(frozen=True)
class Moves:
    """How S samples move within N intervals of a parameter s, float64.

    Each of x and y is monotone in s, so that a line is crossed once.

    Attributes:
        widths: (N,) of the intervals.
        x: columns to the right.
        y: rows down.
        speed_x: x'.
        speed_y: y'.
        turn: x'' and y''; None for samples that move straight on.
    """

    widths: Tensor
    x: Span
    y: Span
    speed_x: Span
    speed_y: Span
    turn: tuple[Span, Span] | None = None


@dataclass(frozen=True)
class _Weights:
    """Of each difference of shifted images, those of the integral of G and those of its jumps.

    Attributes:
        low: (N, F) least weight of w^2/8.
        high: (N, F) greatest.
        jumps: (N, K) greatest weight of w/4; the least is 0.
    """

    low: Tensor
    high: Tensor
    jumps: Tensor


def mean_stray(image: Tensor, moves: Moves, half: int) -> Tensor:
    """Bound how far a mean over samples t and -t is from the chord of its ends.

    Weights are only known to be in intervals: what their middles make is added up with signs, and
    what is left without.

    Args:
        image: (C, H, W) float64, which goes on with its edge pixels.
        moves: of the samples t; the mean is over 2 S.
        half: pixels that no sample goes beyond, at least 1.

    Returns:
        (N,) float64, l2.
    """
    weights = _weights(moves, half)
    sums = image.new_zeros(4, len(moves.widths))
    middle, left = (weights.high + weights.low) / 2, (weights.high - weights.low) / 2
    smooth, jumping = (w.abs().amax(dim=0) > 0 for w in (middle.abs() + left, weights.jumps))
    middle, left, jumps = middle[:, smooth], left[:, smooth], weights.jumps[:, jumping] / 2
    for shifted in _shifted(image, half, 2 * moves.x.low.shape[1]):
        across, down = shifted.diff(dim=1), shifted.diff(dim=0)
        bent = torch.cat([d.flatten(0, 1) for d in (across.diff(dim=0), across, down)])[smooth]
        broken = torch.cat([d.flatten(0, 1) for d in (across.diff(dim=1), down.diff(dim=0))])
        broken = broken[jumping]
        parts = middle @ bent, left @ bent.abs(), jumps @ broken, jumps @ broken.abs()
        sums += torch.stack([part.square().sum(dim=1) for part in parts])
    norms, widths = sums.sqrt(), moves.widths
    return widths.square() / 8 * (norms[0] + norms[1]) + widths / 4 * (norms[2] + norms[3])


def _shifted(image: Tensor, half: int, count: int) -> Iterator[Tensor]:
    """(rows, columns, pixels) of each whole shift and its opposite, over `count`; some at a time.

    Samples t and -t of an image are one sample t of these.
    """
    span = 2 * half + 1
    channels, height, width = image.shape
    padded = functional.pad(image, (half,) * 4, mode="replicate")
    rows = max(1, _CHUNK // (span * span * channels * width))
    for start in range(0, height, rows):
        seen = padded[:, start : start + rows + 2 * half]
        shown = seen.unfold(1, seen.shape[1] - 2 * half, 1).unfold(2, width, 1)
        shifted = shown.permute(1, 2, 0, 3, 4).flatten(2)
        yield (shifted + shifted.flip(0, 1)) / count


def _weights(moves: Moves, half: int) -> _Weights:
    """Weights of T, A and D in this order, and of second differences along rows and columns."""
    span = 2 * half + 1
    count = len(moves.widths)
    zeros = moves.widths.new_zeros
    kinds = {"T": (span - 1, span - 1), "A": (span, span - 1), "D": (span - 1, span)}
    low = {kind: zeros(count, a * b) for kind, (a, b) in kinds.items()}
    high = {kind: zeros(count, a * b) for kind, (a, b) in kinds.items()}
    twist = moves.speed_x * moves.speed_y
    twist = twist + twist
    for i, j, there, alone in _cells(moves):
        spans = {"T": twist}
        if moves.turn is not None:
            x, y = moves.turn
            spans = {"A": x, "D": y}
            spans["T"] = twist + x * moves.y.within(j) + y * moves.x.within(i)
        for kind, given in spans.items():
            at = ((j + half) * kinds[kind][1] + i + half).long().where(there, 0)
            least = torch.where(alone, given.low, given.low.clamp_max(0))
            most = torch.where(alone, given.high, given.high.clamp_min(0))
            low[kind].scatter_add_(1, at, torch.where(there, least, 0.0))
            high[kind].scatter_add_(1, at, torch.where(there, most, 0.0))
    along = zeros(count, span * (span - 2))
    for line, row, weight in _crossings(moves.x, moves.y):
        at = (row + half) * (span - 2) + line + half - 1
        _add(along, at, weight * moves.speed_x.most)
    upright = zeros(count, (span - 2) * span)
    for line, column, weight in _crossings(moves.y, moves.x):
        at = (line + half - 1) * span + column + half
        _add(upright, at, weight * moves.speed_y.most)
    return _Weights(
        torch.cat(list(low.values()), dim=1),
        torch.cat(list(high.values()), dim=1),
        torch.cat([along, upright], dim=1),
    )


def _add(table: Tensor, at: Tensor, weight: Tensor) -> None:
    table.scatter_add_(1, torch.where(weight > 0, at, 0.0).long(), weight)


def _cells(moves: Moves) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Corners i, j (N, S) of cells, whether a sample is there, and whether it is there all along.

    A sample that stays on a line is in one of the cells beside it: what it shows is the same.
    """
    ends = []
    for span in (moves.x, moves.y):
        first = (span.low + _TOUCH).floor()
        ends.append((first, torch.maximum((span.high - _TOUCH).ceil() - 1, first)))
    (left, right), (top, bottom) = ends
    alone = (left == right) & (top == bottom)
    for across in range(int((right - left).max()) + 1):
        for down in range(int((bottom - top).max()) + 1):
            i, j = left + across, top + down
            yield i, j, (i <= right) & (j <= bottom), alone


def _crossings(x: Span, y: Span) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Lines of x that samples cross, points of y that they do so near to, and their weights.

    Weights (N, S) are the greatest that a point has in an interpolation there; 0 where a sample
    does not cross the line.
    """
    first, last = (x.low + _TOUCH).floor() + 1, (x.high - _TOUCH).ceil() - 1
    start, stop = y.low.floor(), y.high.ceil()
    for across in range(int((last - first).max()) + 1):
        line = first + across
        for down in range(int((stop - start).max()) + 1):
            point = start + down
            away = torch.maximum(point - y.high, y.low - point).clamp_min(0)
            yield line, point, torch.where(line <= last, (1 - away).clamp_min(0), 0.0)
