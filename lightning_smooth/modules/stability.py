"""Stability training (Li et al. 2019)."""

from __future__ import annotations

from typing import Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_smooth.errors import check_count
from lightning_smooth.models.weights import Head
from lightning_smooth.modules.copies import NoisyCopies, check_weight, divergence, entropy


class StabilityTraining(NoisyCopies):
    """Cross-entropy on the clean image, and a noisy prediction that agrees with the clean one.

    With p the prediction for the image and p' the one for a noisy copy of it, the loss is the mean
    over images of

        -ln p[label]  -  stability * sum_k p[k] ln p'[k].

    The second term is KL(p || p') + H(p); the gradient goes through p as well. Image and noisy copy
    pass the network one after the other: batch normalisation sees them apart.

    With a weight above 1, a network that has learnt nothing yet gains by giving every image the
    same class, surely. A deep network without batch normalisation may be caught there, as
    `SmallConvNet` was at the published weight of 2; `warmup_epochs` (not in the paper) is the way
    out: the weight grows linearly over them, and should be below 1 in the first.

    Source: Li, Chen, Wang and Carin 2019, "Certified adversarial robustness with additive noise",
    after Zheng et al. 2016. The loss and the settings are those with which Jeong and Shin 2020 ran
    it again (github.com/jh-jeong/smoothing-consistency): MNIST lambda = 2 at every sigma, learning
    rate .01 (x .1 every 30 of 90 epochs), batches of 256; CIFAR-10 lambda = 2 at sigma .25 and .5,
    1 at sigma 1 (names of their logs). Not compared with the code of Li et al.

    Args:
        model: base classifier: (B, C, H, W) in [0, 1] -> logits (B, K). Normalisation is its
            first layer, so that noise is added to images in [0, 1].
        sigma: standard deviation of the noise, in units of pixels in [0, 1].
        stability: weight of the agreement; lambda in the paper.
        warmup_epochs: epochs over which it reaches its value; 1 for none, as published.
        optimizer: from parameters to an optimizer.
        scheduler: from the optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether the scheduler steps after each epoch or each step.
        weights: file of weights that training starts from; see `SmoothingModule`.
        weights_head: keep the file's last layer, or leave the model's new one.

    Raises:
        InputError: a number is out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        sigma: float,
        stability: float = 2.0,
        warmup_epochs: int = 1,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=1e-4
        ),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        super().__init__(
            model, sigma, 1, optimizer, scheduler, scheduler_interval, weights, weights_head
        )
        self.stability = check_weight("stability", stability)
        self.warmup_epochs = check_count("warmup_epochs", warmup_epochs)

    def loss(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.loss`."""
        noise = self.law.like(images, generator)
        clean, noisy = self(images).float(), self(images + noise).float()
        natural = self.cross_entropy(clean, labels)
        target = clean.softmax(dim=1)
        stability = (divergence(target, noisy) + entropy(target)).mean()
        self.log_terms(images, cross_entropy=natural, stability=stability)
        weight = self.stability * self.warmup(self.warmup_epochs)
        return natural + weight * stability, noisy
