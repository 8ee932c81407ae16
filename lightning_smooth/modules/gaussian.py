"""Training on Gaussian-augmented images (Cohen et al. 2019, section 3.3; THEORY section 1)."""

from __future__ import annotations

from typing import Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_smooth.models.weights import Head
from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.smoothing.laws import GaussianNoise


class GaussianAugmentation(SmoothingModule):
    """Cross-entropy on x + e, e ~ N(0, sigma^2 I): one fresh draw an image, a step and a rank.

    Args:
        model: base classifier: (B, C, H, W) in [0, 1] -> logits (B, K). Normalisation is its
            first layer, so that noise is added to images in [0, 1].
        sigma: standard deviation of the noise, in units of pixels in [0, 1].
        optimizer: from parameters to an optimizer.
        scheduler: from the optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether the scheduler steps after each epoch or each step.
        weights: file of weights that training starts from, or that are certified where there is no
            checkpoint; None for the model as it was built. See `SmoothingModule`.
        weights_head: keep the file's last layer; or leave the model's new one, which may be of
            another size.

    Raises:
        InputError: sigma is not above 0.
    """

    def __init__(
        self,
        model: nn.Module,
        sigma: float,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=1e-4
        ),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        super().__init__(model, optimizer, scheduler, scheduler_interval, weights, weights_head)
        self.save_hyperparameters(ignore=["model", "optimizer", "scheduler"])
        self._law = GaussianNoise(sigma)
        self.sigma = self._law.sigma

    @property
    def law(self) -> GaussianNoise:
        """The noise that the model is trained for."""
        return self._law

    def loss(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.loss`."""
        logits = self(self.law.perturbed(images, generator))
        return self.cross_entropy(logits, labels), logits
