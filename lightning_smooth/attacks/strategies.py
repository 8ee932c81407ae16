"""How an attack takes its gradient: plainly, around what has none (BPDA), over draws (EOT).

Source: Athalye, Carlini, Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018;
SmoothAdv: Salman et al. 2019; THEORY section 10.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_smooth.attacks.gradients import log_odds, noise, perturbed
from lightning_smooth.attacks.losses import Loss
from lightning_smooth.attacks.random import uniform_parameters
from lightning_smooth.attacks.replaced import Rules, replaced
from lightning_smooth.errors import check_count
from lightning_smooth.smoothing.laws import PixelLaw
from lightning_smooth.smoothing.rng import NoiseKey, training_seed
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box

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
        return {"gradient": "BPDA", "rules": self.replaced.describe(), "of": _of(self.gradient)}


class EOT(Gradient):
    """Expectation over Transformation: the mean of a gradient over draws of what is random.

    What is random may be layers of the model itself, which draw anew in each forward pass; a
    transformation with parameters uniform in a box; and noise on pixels: in this order they
    follow the image. The gradient is that of the mean of the loss, and unbiased.

    Args:
        draws: forward and backward passes of a gradient.
        noise: noise added to what the model sees; None for none.
        transform: what is done to images; None for nothing.
        box: (least, greatest) of each of its parameters, which are uniform there.
        gradient: how a draw's gradient is taken; None for plainly.

    Raises:
        InputError: a number is out of range, or the box does not fit the transformation.
    """

    def __init__(
        self,
        draws: int = 30,
        noise: PixelLaw | None = None,
        transform: Transform | None = None,
        box: Box | None = None,
        gradient: Gradient | None = None,
    ) -> None:
        self.draws = check_count("draws", draws)
        self.noise = noise
        self.transform = transform
        self.box = {} if transform is None else transform.check_box(box or {})
        self.gradient = gradient or PlainGradient()

    @property
    def passes(self) -> int:
        """See `Gradient.passes`."""
        return self.draws * self.gradient.passes

    @property
    def copies(self) -> int:
        """See `Gradient.copies`."""
        return self.gradient.copies

    @contextmanager
    def installed(self, model: nn.Module) -> Iterator[None]:
        """See `Gradient.installed`."""
        with self.gradient.installed(model):
            yield

    def slope(self, scores: Scores, points: Tensor, at: At, change: Change) -> Slope:
        """See `Gradient.slope`."""
        losses, likely = [], []
        mean, squares = torch.zeros_like(points), points.new_zeros(len(points))
        noises, thetas = self._drawn(at, points, change)
        for number in range(self.draws):
            moved = self._moved(change, noises, thetas, number)
            step = at.step * self.draws + number
            one = self.gradient.slope(scores, points, At(at.labels, at.loss, at.keys, step), moved)
            away = one.gradient - mean
            mean += away / (number + 1)  # Welford: mean and sum of squares in one go
            squares += (away * (one.gradient - mean)).flatten(1).sum(dim=1)
            losses.append(one.loss)
            likely.append(one.scores.log_softmax(dim=1))
        few = self.draws * (self.draws - 1)
        together = torch.stack(likely).logsumexp(dim=0)
        variance = squares / few if few else None
        return Slope(torch.stack(losses).mean(dim=0), mean, variance, together)

    def describe(self) -> dict[str, Any]:
        """See `Gradient.describe`."""
        return {
            "gradient": "EOT",
            "draws": self.draws,
            "noise": None if self.noise is None else repr(self.noise),
            "transform": None if self.transform is None else repr(self.transform),
            "box": {name: list(ends) for name, ends in self.box.items()},
            "of": _of(self.gradient),
        }

    @torch.no_grad()
    def _drawn(self, at: At, points: Tensor, change: Change) -> tuple[Tensor | None, Tensor | None]:
        """Noise (draws, N, C, H, W) and parameters (draws, N, P) of a gradient."""
        noises = thetas = None
        if self.noise is not None:
            shape = tuple(change(points[:1]).shape[1:])
            noises = torch.stack(
                [noise(self.noise, k, at.step, self.draws, shape, points.device) for k in at.keys],
                dim=1,
            )
        if self.transform is not None:
            drawn = [
                uniform_parameters(
                    self.transform,
                    self.box,
                    self.draws,
                    seed=training_seed(key.seed, key.part, at.step),
                    index=key.index,
                )
                for key in at.keys
            ]
            thetas = torch.stack(drawn, dim=1)
        return noises, thetas

    def _moved(
        self, change: Change, noises: Tensor | None, thetas: Tensor | None, number: int
    ) -> Change:
        def moved(points: Tensor) -> Tensor:
            seen = change(points)
            if self.transform is not None and thetas is not None:
                seen = self.transform(seen, thetas[number])
            if noises is not None:
                seen = seen + noises[number].to(seen)
            return seen

        return moved


class SmoothedGradient(Gradient):
    """SmoothAdv's gradient: of the mean softmax score of the label under noise.

    With q the mean over `draws` of the model's softmax score of the label, the loss is
    ln((1 - q) / q), whatever loss the attack has: it grows with SmoothAdv's -ln q, has its
    direction, and does not become flat where q is 1 to within rounding.

    Args:
        law: the noise.
        draws: draws of a gradient; the points of one image share them in each step.

    Raises:
        InputError: `draws` is below 1.
    """

    def __init__(self, law: PixelLaw, draws: int = 16) -> None:
        self.law = law
        self.draws = check_count("draws", draws)

    @property
    def passes(self) -> int:
        """See `Gradient.passes`."""
        return self.draws

    @property
    def copies(self) -> int:
        """See `Gradient.copies`."""
        return self.draws

    def slope(self, scores: Scores, points: Tensor, at: At, change: Change) -> Slope:
        """See `Gradient.slope`."""
        leaf = points.detach().clone().requires_grad_()
        images = change(leaf)
        shape = tuple(images.shape[1:])
        noisy = [
            perturbed(self.law, one, noise(self.law, key, at.step, self.draws, shape, one.device))
            for one, key in zip(images, at.keys, strict=True)
        ]
        values = scores(torch.cat(noisy).to(images.dtype))
        values = values.reshape(len(points), self.draws, -1)
        loss = log_odds(values, at.labels)
        likely = values.detach().log_softmax(dim=2).logsumexp(dim=1)
        return Slope(loss.detach().float(), derivative(loss, leaf), None, likely)

    def describe(self) -> dict[str, Any]:
        """See `Gradient.describe`."""
        return {"gradient": "smoothed", "law": repr(self.law), "draws": self.draws}


def _of(gradient: Gradient) -> dict[str, Any]:
    return gradient.describe()


def derivative(loss: Tensor, leaf: Tensor) -> Tensor:
    """D sum(loss) / d leaf; 0 where nothing comes back, or what comes is not a number."""
    if not loss.requires_grad:
        return torch.zeros_like(leaf)
    (slope,) = torch.autograd.grad(loss.sum(), leaf, allow_unused=True)
    if slope is None:
        return torch.zeros_like(leaf)
    return slope.detach().nan_to_num(0.0, 0.0, 0.0)
