"""What is answered at points, and which of an image's points is the worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_smooth.errors import InputError


@dataclass(frozen=True)
class Verdict:
    """What is answered at B points, over repeated evaluations.

    Attributes:
        predicted: (B,) the class answered most often, another than the label if as often; -1 for
            an abstention, or where most evaluations reject.
        misses: (B,) evaluations that answered a class other than the label; no rejection is one.
        loss: (B,) float64, the mean cross-entropy of the label; of a smoothed classifier
            -ln((votes of the label + 1) / (n + 1)).
        evaluations: how many, fresh ones for each point.
        classes: number of the model's classes.
    """

    predicted: Tensor
    misses: Tensor
    loss: Tensor
    evaluations: int
    classes: int

    def missed(self, labels: Tensor) -> Tensor:
        """Where a class other than the label (B,) is answered; an abstention is none."""
        return (self.predicted != labels.cpu()) & (self.predicted >= 0)

    def worth(self) -> Tensor:
        """(B,) what a point is worth to an attacker: misses first, then the loss, below 1."""
        return self.misses.double() + 1 - 1 / (1 + self.loss.clamp_min(0))


def chosen(verdicts: Sequence[Verdict], worst: Tensor) -> Verdict:
    """The verdict at each image's worst point, number `worst` (B,) of R."""

    def pick(values: list[Tensor]) -> Tensor:
        return torch.stack(values).gather(0, worst[None])[0]

    return replace(
        verdicts[0],
        predicted=pick([v.predicted for v in verdicts]),
        misses=pick([v.misses for v in verdicts]),
        loss=pick([v.loss for v in verdicts]),
    )


def check_settled(first: Verdict, second: Verdict) -> None:
    """Check that a model that says nothing of draws answers a second time as it did at first.

    Raises:
        InputError: it does not.
    """
    apart = (first.loss - second.loss).abs() > 1e-3 * (1 + first.loss.abs())
    if bool(apart.any()):
        raise InputError(
            "The model answers the same images differently each time, but none of its modules "
            "says that it draws: set `stochastic = True` on the module's class that does, so that "
            "it is judged over repeated evaluations and not by one lucky pass."
        )
