"""What an algorithm of certification asks of a model: draws, counted.

A plan is a generator: it yields the draws that it wants counted, is sent the tally, and returns
its result. So the algorithm says what it needs and when it stops, and not who draws, in which
batch, or on which machine.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from lightning_smooth.smoothing.rng import NoiseKey

T = TypeVar("T")


@dataclass(frozen=True)
class Draws:
    """Asks for the tally of draws `first` to `first + count` of a stream.

    Attributes:
        image: (C, H, W) in [0, 1], to which the noise is added.
        key: names the stream.
        first: number of the first draw, from 0.
        count: how many, at least 1.
    """

    image: Tensor
    key: NoiseKey
    first: int
    count: int


Plan = Generator[Draws, Tensor, T]
"""Yields `Draws`, is sent (D,) int64 tallies on the CPU, returns a T."""

Tally = Callable[[Tensor], Tensor]
"""From scores (B, K) to int64 (B, D): what each draw adds to the sums that a plan is sent."""


def votes(scores: Tensor) -> Tensor:
    """One vote a draw, for the class of its highest score; none where a score is not finite.

    Args:
        scores: (B, K).

    Returns:
        (B, K) int64 of zeros and ones.

    >>> votes(torch.tensor([[0.0, 2.0, 1.0], [0.0, float("nan"), 1.0]])).tolist()
    [[0, 1, 0], [0, 0, 0]]
    """
    counts = torch.zeros(scores.shape, dtype=torch.int64, device=scores.device)
    finite = scores.isfinite().all(dim=1, keepdim=True).long()
    return counts.scatter_(1, scores.argmax(dim=1, keepdim=True), finite)
