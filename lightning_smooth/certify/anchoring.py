"""Where to test a class next, so that few tests cover a range of a transformation's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lightning_smooth.maths.coverage import Range
from lightning_smooth.maths.deciding import HELD, NOT_HELD, UNDECIDED
from lightning_smooth.maths.radius import gaussian_probability, gaussian_radius
from lightning_smooth.records.anchor import Anchor

Array = NDArray[np.float64]

_LESS, _MORE = 0.9, 1.25
"""After a test that failed so much of what it did show is asked, and after one that did not."""

_PATIENCE = 1024
"""Draws of a test after which another place is tried, if there is one."""


@dataclass(frozen=True)
class Wanted:
    """A test that is to be made.

    Attributes:
        vertex: its row.
        needed: the probability to show, above 1/2.
        draws: after so many it may be given up.
    """

    vertex: int
    needed: float
    draws: int


@dataclass
class Tested:
    """A vertex that was tested, and the cells that it covers.

    Attributes:
        vertex: its row.
        looks: (draws, hits) at every look.
        p_lower: lower bound of the class's probability there.
        cells: rows of the cells that it covers and none before it did.
        needed: the probability that it was to show, if it did not.
    """

    vertex: int
    looks: tuple[tuple[int, int], ...]
    p_lower: float
    cells: list[int] = field(default_factory=list)
    needed: float | None = None


class Anchoring:
    """Chooses vertices to test, and knows what the tests cover.

    Which vertex is next depends on the outcomes so far, which costs nothing: every test has a
    budget of its own, and draws that no other test has.

    Args:
        cost: (V, M) what it costs at most to go from each vertex to any image of each cell.
        norms: (M,) least norm of an attack in each cell; cells beyond `goal` are left alone.
        goal: the norm up to which cells are to be covered.
        reach: what a test is asked for: PPF of the probability that it is to show.
        most: tests at most.
        draws: of a test, at most.
        best: the largest probability that so many draws show.
    """

    def __init__(
        self,
        cost: Array,
        norms: Array,
        *,
        goal: float,
        reach: float,
        most: int,
        draws: int,
        best: float,
    ) -> None:
        self.cost = cost
        self.reach = reach
        self.most = most
        self.draws = draws
        self.best = best
        self.tested: list[Tested] = []
        self.outcome = UNDECIDED
        self._order = np.argsort(norms, kind="stable")
        self._wanted = norms <= goal
        self._open = self._wanted.copy()
        self._asked = reach
        self._last = False

    @property
    def frontier(self) -> int | None:
        """The cell of the least norm that is not covered; None where all are."""
        left = self._order[self._open[self._order]]
        return int(left[0]) if len(left) else None

    def next(self) -> Wanted | None:
        """The test to make next; None where it ends here."""
        cell = self.frontier
        if cell is None:
            self.outcome = HELD
            return None
        if len(self.tested) >= self.most:
            self.outcome = UNDECIDED
            return None
        column = self.cost[:, cell]
        least = float(column.min())
        self._last = self._asked <= least
        if self._last:  # the vertex that is nearest to all of the cell
            vertex, asked = int(column.argmin()), least
        else:
            near = np.flatnonzero(column < self._asked)
            gain = (self.cost[near] < self._asked) @ self._open.astype(np.float64)
            vertex = int(near[gain.argmax()])
            covered = (self.cost[vertex] < self._asked) & self._open
            asked = float(self.cost[vertex][covered].max())
        # More than it costs, as what is covered has to cost less.
        needed = gaussian_probability(asked * (1 + 1e-9) + 1e-9, 1.0)
        if needed > self.best:
            self.outcome = UNDECIDED
            return None
        final = self._last or len(self.tested) + 1 == self.most
        draws = self.draws if final else min(self.draws, _PATIENCE)
        return Wanted(vertex, needed, draws)

    def observe(
        self, wanted: Wanted, looks: Sequence[tuple[int, int]], p_lower: float, *, ended: bool
    ) -> bool:
        """Take the outcome of a test; return whether to go on.

        Args:
            wanted: the test.
            looks: (draws, hits) at every look.
            p_lower: the bound that they give.
            ended: whether it was given up, and not stopped for want of draws.
        """
        frontier = self.frontier
        budget = gaussian_radius(p_lower, 1.0)
        cells = np.flatnonzero((self.cost[wanted.vertex] < budget) & self._open)
        self._open[cells] = False
        needed = None if p_lower >= wanted.needed else wanted.needed
        tested = Tested(wanted.vertex, tuple(looks), p_lower, cells.tolist(), needed)
        self.tested.append(tested)
        if frontier is None or not self._open[frontier]:
            self._asked = min(self.reach, self._asked * _MORE)
            return True
        if self._last:
            self.outcome = NOT_HELD if ended else UNDECIDED
            return False
        self._asked = _LESS * min(self._asked, budget)
        return True

    def uncovered(self, low: Array, high: Array) -> tuple[Range, ...]:
        """Boxes of the cells up to the goal that no test covers."""
        return tuple(runs(low[self._open], high[self._open]))

    def anchors(self, theta: Array, low: Array, high: Array) -> tuple[Anchor, ...]:
        """Write the tests down.

        Args:
            theta: (V, all parameters) of the vertices.
            low: (M, P) least parameters of the cells.
            high: (M, P) greatest parameters.
        """
        return tuple(
            Anchor(
                theta=tuple(theta[tested.vertex].tolist()),
                looks=tested.looks,
                p_lower=tested.p_lower,
                cost=float(self.cost[tested.vertex][tested.cells].max()) if tested.cells else 0.0,
                covers=tuple(runs(low[tested.cells], high[tested.cells])),
                needed=tested.needed,
            )
            for tested in self.tested
        )


def runs(low: Array, high: Array) -> list[Range]:
    """Boxes (N, P) as fewer boxes: those that go on where another ends become one.

    >>> runs(np.array([[1.0], [0.0], [3.0]]), np.array([[2.0], [1.0], [4.0]]))
    [((0.0,), (2.0,)), ((3.0,), (4.0,))]
    """
    boxes = sorted(zip(map(tuple, low.tolist()), map(tuple, high.tolist()), strict=True))
    for axis in reversed(range(low.shape[1])):
        merged: list[Range] = []
        boxes.sort(key=lambda box: (_without(box[0], axis), _without(box[1], axis), box[0][axis]))
        for least, most in boxes:
            last = merged[-1] if merged else None
            if (
                last is not None
                and last[1][axis] >= least[axis]
                and _without(last[0], axis) == _without(least, axis)
                and _without(last[1], axis) == _without(most, axis)
            ):
                end = max(last[1][axis], most[axis])
                merged[-1] = (last[0], (*most[:axis], end, *most[axis + 1 :]))
            else:
                merged.append((least, most))
        boxes = merged
    return boxes


def _without(values: tuple[float, ...], axis: int) -> tuple[float, ...]:
    return values[:axis] + values[axis + 1 :]
