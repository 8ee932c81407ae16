"""A network behind a defence, and what attacks ask of one: does it draw, can it reject.

Convention: a module that draws has the class attribute `stochastic = True`. It draws from torch's
global generator of its input's device, in eval mode too, as dropout does in training: an attack
repeats draws with `torch.random.fork_rng` and `torch.manual_seed`. A network that can reject an
input has the attribute `rejection_class`: the index of the last column of its scores.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.stochastic import is_stochastic


class Defended(nn.Module):
    """A network that sees what a defence makes of each image.

    Takes images (B, C, H, W) in [0, 1] and returns scores (B, K). Gradients are those of its parts;
    `defense` and `model` are the names by which an attack replaces them.

    Args:
        defense: from images (B, C, H, W) to what the network takes.
        model: network, to scores (B, K).
        passes: how often a stochastic one is asked: above 1, scores are the logarithm of the mean
            softmax over that many passes with fresh draws (Guo et al. 2018 average 30 crops). Where
            nothing draws, one pass is made.

    Raises:
        InputError: `passes` is not a whole number of at least 1.

    >>> Defended(nn.ReLU(), nn.Flatten())(torch.tensor([-1.0, 2.0]).view(1, 1, 1, 2))
    tensor([[0., 2.]])
    """

    holds_network = True
    """A file of weights may be of the network inside, `model`."""

    def __init__(self, defense: nn.Module, model: nn.Module, passes: int = 1) -> None:
        super().__init__()
        self.defense = defense
        self.model = model
        self.passes = check_count("passes", passes)

    def extra_repr(self) -> str:
        """What decides the function beside its parts."""
        return f"passes={self.passes}"

    def forward(self, images: Tensor) -> Tensor:
        """Scores (B, K) of images (B, C, H, W)."""
        if self.passes == 1 or not is_stochastic(self):
            return self._scores(images)
        passes = [self._scores(images).log_softmax(dim=1) for _ in range(self.passes)]
        return torch.stack(passes).logsumexp(dim=0) - math.log(self.passes)

    def _scores(self, images: Tensor) -> Tensor:
        scores: Tensor = self.model(self.defense(images))
        return scores


def rejection_class(module: nn.Module) -> int | None:
    """Index of the column of scores that says an input is rejected; None where there is none.

    The outermost module with an attribute `rejection_class` decides.

    >>> rejection_class(nn.Identity()) is None
    True
    """
    found = (getattr(inner, "rejection_class", None) for inner in module.modules())
    return next((k for k in found if isinstance(k, int) and not isinstance(k, bool)), None)


def check_batch(images: Tensor) -> Tensor:
    """Return a batch of images, if it has the shape and type of one.

    Values are not looked at: it is in [0, 1] that each defence means something.

    Raises:
        InputError: it is not (B, C, H, W) in floating point.
    """
    if images.ndim != 4 or not images.is_floating_point():
        raise InputError(
            "Expected `images` to be (B, C, H, W) in floating point, but got "
            f"{tuple(images.shape)} of {images.dtype}: add a batch axis, and divide 8-bit images "
            "by 255."
        )
    return images


def check_share(name: str, value: float) -> float:
    """Return `value` as a float.

    Raises:
        InputError: `value` is not above 0 and at most 1.

    >>> check_share("keep", 1)
    1.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise InputError(f"Expected `{name}` to be above 0 and at most 1, but got {value!r}.")
    return float(value)
