"""Consistency regularisation (Jeong and Shin 2020)."""

from __future__ import annotations

from typing import Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_smooth.errors import check_count
from lightning_smooth.models.weights import Head
from lightning_smooth.modules.copies import NoisyCopies, agreement, check_weight


class ConsistencyRegularization(NoisyCopies):
    """Cross-entropy, and predictions that agree under noise.

    With p_i the prediction for copy i of an image, i = 1..m, and q the mean of the p_i, the loss is
    the mean over images of

        mean_i -ln p_i[label]  +  consistency * mean_i KL(q || p_i)  +  entropy * H(q).

    The gradient goes through q too, as in the authors' code.

    Source: Jeong and Shin 2020, "Consistency regularization for certified robustness of smoothed
    classifiers", section 3; the settings are those of the authors' scripts and logs
    (github.com/jh-jeong, smoothing-consistency and smoothmix). m = 2 and eta = .5 throughout;
    MNIST: lambda = 10 at sigma .25, 5 at .5 and 1 (an earlier version of the scripts: 20 at all
    three); CIFAR-10, ResNet-110: lambda = 10 at sigma .5; logs of 10 and 20 at .25, and of 5 and 10
    at 1. A step of theirs sees 256 / m images, m copies of each.

    Args:
        model: base classifier: (B, C, H, W) in [0, 1] -> logits (B, K). Normalisation is its
            first layer, so that noise is added to images in [0, 1].
        sigma: standard deviation of the noise, in units of pixels in [0, 1].
        copies: noisy copies of an image in a step, m, at least 2. A step costs as much as one on
            m times as many images.
        consistency: weight of the divergence between the copies' predictions; lambda in the paper.
        entropy: weight of the entropy of their mean; eta in the paper.
        optimizer: from parameters to an optimizer.
        scheduler: from the optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether the scheduler steps after each epoch or each step.
        weights: file of weights that training starts from; see `SmoothingModule`.
        weights_head: keep the file's last layer, or leave the model's new one.

    Raises:
        InputError: sigma is not above 0, there are fewer than two copies, or a weight is below 0.
    """

    def __init__(
        self,
        model: nn.Module,
        sigma: float,
        copies: int = 2,
        consistency: float = 10.0,
        entropy: float = 0.5,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=1e-4
        ),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        check_count("copies", copies, least=2)
        super().__init__(
            model, sigma, copies, optimizer, scheduler, scheduler_interval, weights, weights_head
        )
        self.consistency = check_weight("consistency", consistency)
        self.entropy = check_weight("entropy", entropy)

    def loss(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.loss`."""
        logits = self.copied(images, self.noise(images, generator))
        natural = self.copied_cross_entropy(logits, labels)
        consistency, spread = agreement(logits)
        self.log_terms(images, cross_entropy=natural, consistency=consistency, entropy=spread)
        return natural + self.consistency * consistency + self.entropy * spread, logits[0]
