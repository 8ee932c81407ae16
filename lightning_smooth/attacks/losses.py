"""What attacks make large: losses of single images, from their scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from lightning_smooth.errors import InputError

LossName = Literal["cross_entropy", "margin"]
Loss = Callable[[Tensor, Tensor], Tensor]
"""From scores (B, K) and labels (B,) to losses (B,)."""


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """-ln softmax(scores)[label], (B,): flat where the label's probability is 1 to rounding."""
    return functional.cross_entropy(scores, labels, reduction="none")


def margin(scores: Tensor, labels: Tensor) -> Tensor:
    """The greatest score of another class, less the label's, (B,): above 0 where it is fooled.

    Source: Carlini and Wagner, "Towards evaluating the robustness of neural networks", 2017
    (section V, f6 without its confidence).

    >>> margin(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([1]))
    tensor([-1.])
    """
    own = functional.one_hot(labels, scores.shape[1]).bool()
    others = scores.masked_fill(own, -math.inf).amax(dim=1)
    return others - scores.gather(1, labels[:, None])[:, 0]


LOSSES: Final[dict[str, Loss]] = {"cross_entropy": cross_entropy, "margin": margin}


def check_loss(name: str) -> LossName:
    """Return the name of a loss, if it is one.

    Raises:
        InputError: it is not.
    """
    for known in get_args(LossName):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise InputError(
        f"Expected `loss` to be one of {', '.join(get_args(LossName))}, but got {name!r}."
    )


def fooled(scores: Tensor, labels: Tensor) -> Tensor:
    """Whether another class has the greatest score, (B,) bool; scores that are not finite: no."""
    return (scores.argmax(dim=1) != labels) & torch.isfinite(scores).all(dim=1)
