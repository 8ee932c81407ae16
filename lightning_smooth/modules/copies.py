"""What the methods share that look at several noisy copies of an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional

from lightning_smooth.errors import check_count, check_positive
from lightning_smooth.models.weights import Head
from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.smoothing.checks import check_logits
from lightning_smooth.smoothing.laws import GaussianNoise
from lightning_smooth.smoothing.smoothed import evaluating


class NoisyCopies(SmoothingModule):
    """Training on `copies` draws of x + e, e ~ N(0, sigma^2 I). A subclass writes `loss`.

    Args:
        model: see `SmoothingModule`.
        sigma: standard deviation of the noise, in units of pixels in [0, 1].
        copies: noisy copies of an image in a step.
        optimizer: see `SmoothingModule`.
        scheduler: see `SmoothingModule`.
        scheduler_interval: see `SmoothingModule`.
        weights: see `SmoothingModule`.
        weights_head: see `SmoothingModule`.

    Raises:
        InputError: sigma is not above 0, or there is no copy.
    """

    not_saved: ClassVar[tuple[str, ...]] = ("model", "optimizer", "scheduler")
    """Arguments that are no plain hyperparameters."""

    def __init__(
        self,
        model: nn.Module,
        sigma: float,
        copies: int,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None,
        scheduler_interval: Literal["epoch", "step"],
        weights: str | None,
        weights_head: Head,
    ) -> None:
        super().__init__(model, optimizer, scheduler, scheduler_interval, weights, weights_head)
        self.save_hyperparameters(ignore=self.not_saved)
        self._law = GaussianNoise(sigma)
        self.sigma = self._law.sigma
        self.copies = check_count("copies", copies)

    @property
    def law(self) -> GaussianNoise:
        """The noise that the model is trained for."""
        return self._law

    def noise(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw noise (M, B, C, H, W) for the M copies of images (B, C, H, W)."""
        stacked = images.expand(self.copies, *images.shape)
        return self.law.like(stacked, generator)

    def copied(self, images: Tensor, noise: Tensor) -> Tensor:
        """Logits (M, B, K) in float32 of images (B, C, H, W) + noise (M, B, C, H, W).

        All copies go through the model at once, so that batch normalisation sees them together.

        Raises:
            InputError: the model does not answer with a score for each class.
        """
        noisy = (images + noise).flatten(0, 1)
        logits = check_logits(self(noisy), len(noisy)).float()
        return logits.reshape(*noise.shape[:2], -1)

    def slope(self, images: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        """Gradient of -ln q(x)[label], q(x) the mean of the predictions for noisy copies of x.

        Args:
            images: (B, C, H, W), at which it is taken.
            labels: (B,) classes.
            noise: (M, B, C, H, W), the draws that stand for all noise.

        Returns:
            (B, C, H, W), for each image by itself: take it within `searching`.
        """
        start = images.detach().requires_grad_()
        scores = self.copied(start, noise).log_softmax(dim=2)
        # ln q up to a constant, which a log-softmax takes away; a sum, as images are apart.
        loss = len(images) * self.cross_entropy(scores.logsumexp(dim=0), labels)
        (slope,) = torch.autograd.grad(loss, start)
        return slope

    def copied_cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of logits (M, B, K) and labels (B,) over images and copies."""
        return self.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)))

    def warmup(self, epochs: int) -> float:
        """The part of `epochs` that is done with this epoch, above 0 and at most 1."""
        return min(1.0, (self.current_epoch + 1) / epochs)

    def log_terms(self, images: Tensor, **terms: Tensor) -> None:
        """Log the terms of the loss as `train/NAME`, where a Trainer is training."""
        if self._trainer is not None and self._trainer.training:
            figures = {f"train/{name}": term.detach() for name, term in terms.items()}
            self.log_dict(figures, on_step=True, on_epoch=False, batch_size=len(images))


def agreement(logits: Tensor) -> tuple[Tensor, Tensor]:
    """How much copies disagree, and how unsure their mean is.

    Args:
        logits: (M, B, K) of M copies of B images.

    Returns:
        The mean over images and copies of KL(mean prediction || prediction), and the mean over
        images of the entropy of the mean prediction: both scalars, in nats.
    """
    mean = logits.softmax(dim=2).mean(dim=0)
    return divergence(mean, logits).mean(), entropy(mean).mean()


@contextmanager
def searching(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode, with gradients, and back as it was."""
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        yield


def held(images: Tensor, center: Tensor, max_norm: float | None) -> Tensor:
    """Images (B, C, H, W), brought back to [0, 1] and to an l2 distance from `center` in [0, 1].

    >>> center, far = torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[0.5, 9.0]]]])
    >>> held(far, center, 0.25).flatten(), held(far, center, None).flatten()
    (tensor([0.5000, 0.7500]), tensor([0.5000, 1.0000]))
    """
    if max_norm is not None:
        images = center + (images - center).renorm(p=2, dim=0, maxnorm=max_norm)
    return images.clamp(0, 1)


def check_weight(name: str, value: float) -> float:
    """Return the weight of a term in a loss as a float.

    Raises:
        InputError: `value` is not 0 or a finite number above it.

    >>> check_weight("mixing", 0)
    0.0
    """
    return 0.0 if value == 0 and not isinstance(value, bool) else check_positive(name, value)


def entropy(probabilities: Tensor) -> Tensor:
    """Entropies (...,) in nats of distributions (..., K); 0 ln 0 is 0.

    >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]])).abs()
    tensor([0.6931, 0.0000])
    """
    return -(probabilities * probabilities.clamp(min=1e-20).log()).sum(dim=-1)


def divergence(probabilities: Tensor, logits: Tensor) -> Tensor:
    """KL(p || softmax(z)) in nats, (...,), of distributions p and logits z, both (..., K).

    >>> divergence(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]).log())
    tensor(0.1438)
    """
    cross = -(probabilities * functional.log_softmax(logits, dim=-1)).sum(dim=-1)
    return cross - entropy(probabilities)
