"""Which parts of a range are to be examined next, and what is left of it in the end."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lightning_smooth.maths.coverage import Ends, Flags, Origin, Range, box_norm, rounding_to

_BEYOND: Final = 2.0**-20
"""How much farther than the largest radius is looked, so that a radius, reduced, reaches it."""

_RESOLVED: Final = 2.0**-22
"""Least width of a part, of the largest value of its parameter: float32 has few values within."""

_CLOSE: Final = 2.0**-10
"""How near to a counterexample is near enough, of the range."""

_LISTED: Final = 32
"""Boxes that a record lists of what is left."""


@dataclass(frozen=True, order=True)
class Part:
    """A box of parameters that is to be examined.

    Attributes:
        norm: the least of its attacks.
        serial: parts that were made earlier come first.
        low: its least parameters; whole numbers, of those that are rounded to some.
        high: its greatest.
        depth: how many times it was halved.
        center: its middle, whole where parameters are.
    """

    norm: float
    serial: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    depth: int
    center: tuple[float, ...]


class Splitting:
    """Cuts a range into parts, from the identity outward, until each is held or it is enough.

    A part that is handed out must come back by `hold` or `split`. Whatever was not held, however
    the search ended, is in `uncovered`.

    Where parameters are rounded to whole numbers, parts are of these, from one to another, and cut
    between two; a part of one number is not cut any more. Norms, and what is uncovered, are of all
    real parameters that round to them.

    Args:
        box: of all attacks, around `identity`.
        identity: (P,) the parameters that change nothing; None for places.
        radii: parts of the box that are asked about; nothing is examined beyond the largest.
        parts: equal parts along each parameter that there are first; no more than whole numbers.
        most: parts that may be examined.
        whole: (P,) which parameters are rounded to the nearest whole number, halves to the even
            one; none where it is empty.
    """

    def __init__(
        self,
        box: Ends,
        identity: Origin,
        *,
        radii: Sequence[float],
        parts: int,
        most: int,
        whole: Flags = (),
    ) -> None:
        self.box = [(float(least), float(end)) for least, end in box]
        self.identity = [None if at is None else float(at) for at in identity]
        self.whole = tuple(whole) or (False,) * len(self.box)
        self.radii = tuple(radii)
        self.most = most
        self.examined = 0
        self.held = 0
        self.depth = 0
        self.nearest = float("inf")
        self._serial = itertools.count()
        self._stuck: list[Part] = []
        self._open: list[Part] = []
        reach = min(1.0, max(self.radii) * (1 + _BEYOND))
        self._inner = self._scaled(reach)
        if reach > 0:
            axes = [
                _cut(ends, parts, whole=whole)
                for ends, whole in zip(self._inner, self.whole, strict=True)
            ]
            low, high = [axis[0][0] for axis in axes], [axis[-1][1] for axis in axes]
            self._inner = [*zip(*rounding_to(low, high, self.box, self.whole), strict=True)]
            self._add([(tuple(e[0] for e in ends), tuple(e[1] for e in ends))
                       for ends in itertools.product(*axes)], 0)  # fmt: skip

    @property
    def limit(self) -> float:
        """The norm from which on no attack can be held, for what is known."""
        return min([self.nearest, *(part.norm for part in self._stuck)])

    @property
    def reached(self) -> float:
        """The norm below which every attack is held so far, of those that are asked about."""
        return min(self.limit, self._open[0].norm if self._open else 1.0)

    def first(self) -> list[Part]:
        """All parts that are open, from small attacks to large ones."""
        return sorted(self._open)

    def next(self, count: int) -> list[Part]:
        """Up to `count` parts to examine, of the smallest attacks; none where it ends here."""
        chosen: list[Part] = []
        while (
            len(chosen) < count
            and self.examined < self.most
            and self._open
            and self._open[0].norm < self.limit
            and (chosen or not self._near())
        ):
            chosen.append(heapq.heappop(self._open))
            self.examined += 1
        return chosen

    def _near(self) -> bool:
        """Whether all that is asked is known, and the nearest counterexample is close."""
        low, high = self.reached, self.nearest
        asked = any(radius > 0 and low <= radius <= high for radius in self.radii)
        return high - low <= _CLOSE and not asked

    def found(self, norm: float) -> None:
        """Take a counterexample of a norm: beyond it nothing is examined any more."""
        self.nearest = min(self.nearest, norm)

    def hold(self, part: Part) -> None:
        """Take a part as held."""
        self.held += 1
        self.depth = max(self.depth, part.depth)

    def split(self, part: Part) -> None:
        """Halve a part along the parameter that is widest in its range, if float32 resolves it."""
        self.depth = max(self.depth, part.depth)
        widths = [
            (most - least) / (end - first) if end > first else 0.0
            for least, most, (first, end) in zip(part.low, part.high, self.box, strict=True)
        ]
        along = int(np.argmax(widths))
        least, most = part.low[along], part.high[along]
        resolved = 0.0 if self.whole[along] else _RESOLVED * max(map(abs, self.box[along]))
        if most - least <= resolved:
            self._stuck.append(part)
            return
        middle = part.center[along]
        upper, lower = list(part.low), list(part.high)
        lower[along] = middle
        upper[along] = middle + 1 if self.whole[along] else middle
        self._add([(part.low, tuple(lower)), (tuple(upper), part.high)], part.depth + 1)

    def uncovered(self) -> tuple[Range, ...]:
        """Boxes that hold every attack of the range that is in no held part, few of them."""
        parts = (*self._open, *self._stuck)
        left = [rounding_to(part.low, part.high, self.box, self.whole) for part in parts]
        listed = merged([*left, *_around(self.box, self._inner)])
        if len(listed) <= _LISTED:
            return tuple(listed)
        norms = box_norm(*_ends(listed), self.box, self.identity)
        inner = self._scaled(float(norms.min()) * (1 - 2.0**-40))
        return tuple(_around(self.box, inner))

    def _scaled(self, norm: float) -> list[tuple[float, float]]:
        """The attacks up to a norm; all of them at 1."""
        if norm >= 1:
            return list(self.box)
        return [
            (least, most) if at is None else (at + norm * (least - at), at + norm * (most - at))
            for (least, most), at in zip(self.box, self.identity, strict=True)
        ]

    def _add(self, ranges: Sequence[Range], depth: int) -> None:
        for (low, high), norm in zip(ranges, self.norms(ranges), strict=True):
            ends = zip(low, high, self.whole, strict=True)
            center = tuple((a + b) // 2 if whole else (a + b) / 2 for a, b, whole in ends)
            part = Part(norm, next(self._serial), low, high, depth, center)
            heapq.heappush(self._open, part)

    def norms(self, ranges: Sequence[Range]) -> list[float]:
        """The least norm of an attack in each of some parts."""
        reals = [rounding_to(low, high, self.box, self.whole) for low, high in ranges]
        found: list[float] = box_norm(*_ends(reals), self.box, self.identity).tolist()
        return found


def _cut(ends: tuple[float, float], parts: int, *, whole: bool) -> list[tuple[float, float]]:
    """Equal parts of a range, or of the whole numbers that it is rounded to."""
    low, high = ends
    if whole:
        first, count = round(low), round(high) - round(low) + 1
        parts = min(parts, count)
        edges = [first + count * k // parts for k in range(parts + 1)]
        return [(float(a), float(b - 1)) for a, b in itertools.pairwise(edges)]
    cuts: list[float] = np.linspace(low, high, 1 + (parts if low < high else 1)).tolist()
    return [*itertools.pairwise(cuts)]


def merged(ranges: Sequence[Range]) -> list[Range]:
    """The same set of parameters by fewer boxes: neighbours that make up a box are joined.

    Args:
        ranges: boxes that overlap in their faces at most.

    >>> merged([((0.0, 0.0), (1.0, 1.0)), ((1.0, 1.0), (2.0, 2.0)), ((1.0, 0.0), (2.0, 1.0))])
    [((0.0, 0.0), (2.0, 1.0)), ((1.0, 1.0), (2.0, 2.0))]
    """
    found, before = list(ranges), len(ranges) + 1
    while len(found) < before:
        before = len(found)
        for along in range(len(found[0][0]) if found else 0):
            found = _joined(found, along)
    return sorted(found)


def _joined(ranges: Sequence[Range], along: int) -> list[Range]:
    """Join boxes that meet along an axis and agree in all others."""

    def others(one: Range) -> Range:
        low, high = one
        return low[:along] + low[along + 1 :], high[:along] + high[along + 1 :]

    found: list[Range] = []
    for low, high in sorted(ranges, key=lambda one: (others(one), one[0][along])):
        last = found[-1] if found else None
        if last and others(last) == others((low, high)) and last[1][along] == low[along]:
            found[-1] = (last[0], high)
        else:
            found.append((low, high))
    return found


def _around(box: Ends, inner: Ends) -> list[Range]:
    """What is in a box and not inside another one within it: two boxes a parameter at most."""
    found: list[Range] = []
    ends = list(box)
    for place, ((least, most), (low, high)) in enumerate(zip(box, inner, strict=True)):
        for part in ((least, low), (high, most)):
            if part[0] < part[1]:
                around = [*ends[:place], part, *ends[place + 1 :]]
                found.append((tuple(e[0] for e in around), tuple(e[1] for e in around)))
        if low == high and least < most:  # nothing is inside: these two are all of the box
            break
        ends[place] = (low, high)
    return found


def _ends(ranges: Sequence[Range]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([low for low, _ in ranges]), np.array([high for _, high in ranges])
