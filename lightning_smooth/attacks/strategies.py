"""How an attack takes its gradient: plainly, or around what has none (BPDA).

Source: Athalye, Carlini, Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018;
THEORY section 10. Over draws: `attacks.expectations`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_smooth.attacks.losses import Loss
from lightning_smooth.attacks.replaced import Rules, replaced
from lightning_smooth.smoothing.rng import NoiseKey

Scores = Callable[[Tensor], Tensor]
"""From images (B, C, H, W) to scores (B, K)."""

Change = Callable[[Tensor], Tensor]
"""What is done to the points before the model sees them, row by row and differentiable."""


@dataclass(frozen=True)
class Slope:
    """A loss at N points, and how it changes there.

    Attributes:
        loss: (N,).
        gradient: as the points are, (N, ...); 0 where none comes back.
        variance: (N,) of the estimate: the sum, over its entries, of the variance of the mean over
            draws, as those draws show it; None of a single draw.
        scores: (N, K): of several draws the logarithm of their mean softmax.
    """

    loss: Tensor
    gradient: Tensor
    variance: Tensor | None
    scores: Tensor


@dataclass(frozen=True)
class At:
    """Where and for what a gradient is taken.

    Attributes:
        labels: (N,) true classes.
        loss: from scores and labels to losses, to be made large.
        keys: a key for each point; points of one key share their draws.
        step: number of the gradient; with the key it decides the draws.
    """

    labels: Tensor
    loss: Loss
    keys: Sequence[NoiseKey]
    step: int


class Gradient(ABC):
    """A way to take gradients of a model's loss with respect to its images."""

    @property
    def passes(self) -> int:
        """Forward passes of a point that a gradient costs."""
        return 1

    @property
    def copies(self) -> int:
        """Rows of a batch that a point takes."""
        return 1

    @contextmanager
    def installed(self, model: nn.Module) -> Iterator[None]:
        """Change a model's backward passes, and put them back."""
        del model
        yield

    @abstractmethod
    def slope(self, scores: Scores, points: Tensor, at: At, change: Change) -> Slope:
        """Take the gradient of a loss at points.

        Call it where gradients are on, and within `installed`.

        Args:
            scores: the model.
            points: (N, ...), from which `change` makes images (N, C, H, W).
            at: labels, loss and draws.
            change: what is done to points first.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The settings on which gradients depend, in plain types."""

    def __repr__(self) -> str:
        said = {k: v for k, v in self.describe().items() if k != "gradient" and v}
        own = ", ".join(f"{k}={v!r}" for k, v in said.items())
        return f"{type(self).__name__}({own})"


class PlainGradient(Gradient):
    """The gradient as backpropagation gives it."""

    def slope(self, scores: Scores, points: Tensor, at: At, change: Change) -> Slope:
        """See `Gradient.slope`."""
        leaf = points.detach().clone().requires_grad_()
        values = scores(change(leaf))
        loss = at.loss(values, at.labels)
        return Slope(loss.detach(), derivative(loss, leaf), None, values.detach())

    def describe(self) -> dict[str, Any]:
        """See `Gradient.describe`."""
        return {"gradient": "plain"}


class BPDA(Gradient):
    """Backward Pass Differentiable Approximation: real modules forward, others backward.

    Each module that `rules` names is run as it is, and a gradient comes back through what takes
    its place: `identity`, or a differentiable module g~ with g~(x) close to g(x). The model is not
    edited: rules hold while a gradient is taken.

    Args:
        rules: name of a module, as `model.named_modules()` has it -> `identity`, or the module that
            is differentiated instead. The empty name is the whole model.
        gradient: how the gradient is taken with the rules in place; None for plainly.

    Raises:
        InputError: there is no rule. When a gradient is taken: no module of the model has a name
            that is given, or what takes a module's place gives another shape.
    """

    def __init__(self, rules: Rules, gradient: Gradient | None = None) -> None:
        self.replaced = replaced(rules)
        self.gradient = gradient or PlainGradient()

    @property
    def passes(self) -> int:
        """See `Gradient.passes`."""
        return self.gradient.passes

    @property
    def copies(self) -> int:
        """See `Gradient.copies`."""
        return self.gradient.copies

    @contextmanager
    def installed(self, model: nn.Module) -> Iterator[None]:
        """See `Gradient.installed`."""
        with self.replaced.installed(model), self.gradient.installed(model):
            yield

    def slope(self, scores: Scores, points: Tensor, at: At, change: Change) -> Slope:
        """See `Gradient.slope`."""
        return self.gradient.slope(scores, points, at, change)

    def describe(self) -> dict[str, Any]:
        """See `Gradient.describe`."""
        return {
            "gradient": "BPDA",
            "rules": self.replaced.describe(),
            "of": self.gradient.describe(),
        }


def derivative(loss: Tensor, leaf: Tensor) -> Tensor:
    """D sum(loss) / d leaf; 0 where nothing comes back, or what comes is not a number."""
    if not loss.requires_grad:
        return torch.zeros_like(leaf)
    (slope,) = torch.autograd.grad(loss.sum(), leaf, allow_unused=True)
    if slope is None:
        return torch.zeros_like(leaf)
    return slope.detach().nan_to_num(0.0, 0.0, 0.0)
