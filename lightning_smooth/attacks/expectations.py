"""Gradients over draws: of what is random (EOT), and of a smoothed classifier's score.

Source: Athalye, Carlini, Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018;
SmoothAdv: Salman et al. 2019; THEORY section 10.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_smooth.attacks.gradients import log_odds, noise, perturbed
from lightning_smooth.attacks.random import uniform_parameters
from lightning_smooth.attacks.strategies import (
    At,
    Change,
    Gradient,
    PlainGradient,
    Scores,
    Slope,
    derivative,
)
from lightning_smooth.errors import check_count
from lightning_smooth.smoothing.laws import PixelLaw
from lightning_smooth.smoothing.rng import training_seed
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box


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
            "of": self.gradient.describe(),
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
