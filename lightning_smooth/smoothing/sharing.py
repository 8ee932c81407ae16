"""Sharing the draws of one image among processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Share:
    """One process's part of every ask.

    Every process runs the same plans in the same order and is sent the same totals, so all of them
    reach the same verdicts; which draws there are does not depend on who makes them.

    Attributes:
        rank: number of this process, from 0.
        world: number of processes.
        total: sums a (D,) int64 tensor over all processes, and returns the sum to each.
    """

    rank: int
    world: int
    total: Callable[[Tensor], Tensor]

    def part(self, first: int, end: int) -> tuple[int, int]:
        """The draws of [first, end) that are this process's: consecutive, none left out.

        >>> [Share(rank, 3, lambda counts: counts).part(0, 100) for rank in range(3)]
        [(0, 33), (33, 66), (66, 100)]
        """
        count = end - first
        return (
            first + count * self.rank // self.world,
            first + count * (self.rank + 1) // self.world,
        )
