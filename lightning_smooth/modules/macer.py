"""MACER: maximise the certified radius (Zhai et al. 2020)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional

from lightning_smooth.errors import check_count, check_positive
from lightning_smooth.models.weights import Head
from lightning_smooth.modules.copies import NoisyCopies, check_weight


class Macer(NoisyCopies):
    """Cross-entropy of the soft smoothed classifier, and a hinge on its certified radius.

    With z_i the logits for copy i of an image, i = 1..k, the loss is the mean over images of

        -ln mean_i softmax(z_i)[label]  +  robustness * sigma / 2 * max(0, gamma - xi),

    where xi = PPF(a) - PPF(b), and a, b are the largest and the second largest entry of
    mean_i softmax(beta z_i). The hinge counts 0 for an image whose largest entry is not its label.
    sigma / 2 * xi is the radius (THEORY section 1) of a smoothed classifier whose base is soft; it
    is a training goal, not a certificate.

    PPF(a) is computed as -PPF(1 - a), from the sum of the other entries, and probabilities are held
    above 1e-30, so that nothing is infinite: xi is exact up to 22, far above any gamma in use. The
    authors' code leaves out images whose xi is infinite or above gamma; their hinge is 0 here.

    Source: Zhai et al. 2020, "MACER: attack-free and scalable robust training via maximizing
    certified radius", algorithm 1. Settings of the authors' script (github.com/RuntianZ/macer),
    whose defaults are for CIFAR-10 at sigma .25: k = 16, lambda = 12, gamma = 8, beta = 16,
    learning rate .01 (x .1 after 200 and 400 of 440 epochs), weight decay 5e-4, batches of 64. As
    Jeong and Shin 2020 ran it again on MNIST: k = 16, gamma = 8, beta = 16, lambda = 16 at sigma
    .25 and .5, 6 at sigma 1, and 0 in the first 31 of 90 epochs; CIFAR-10, ResNet-20, sigma .5:
    lambda = 4. Batch normalisation sees all copies of a batch together.

    Args:
        model: base classifier: (B, C, H, W) in [0, 1] -> logits (B, K). Normalisation is its
            first layer, so that noise is added to images in [0, 1].
        sigma: standard deviation of the noise, in units of pixels in [0, 1].
        copies: noisy copies of an image in a step, k. A step costs as much as one on k times as
            many images.
        robustness: weight of the hinge; lambda in the paper.
        gamma: xi that is enough.
        beta: factor on the logits, in the hinge alone: the larger, the closer to votes.
        start_epoch: first epoch, from 0, with the hinge.
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
        copies: int = 16,
        robustness: float = 12.0,
        gamma: float = 8.0,
        beta: float = 16.0,
        start_epoch: int = 0,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.01, momentum=0.9, weight_decay=5e-4
        ),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        super().__init__(
            model, sigma, copies, optimizer, scheduler, scheduler_interval, weights, weights_head
        )
        self.robustness = check_weight("robustness", robustness)
        self.gamma = check_positive("gamma", gamma)
        self.beta = check_positive("beta", beta)
        self.start_epoch = check_count("start_epoch", start_epoch, least=0)

    def loss(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.loss`."""
        logits = self.copied(images, self.noise(images, generator))
        smoothed = functional.log_softmax(logits, dim=2).logsumexp(dim=0) - math.log(self.copies)
        # These are log-probabilities, which a log-softmax leaves as they are.
        natural = self.cross_entropy(smoothed, labels)
        gap, right = radius_gap((self.beta * logits).softmax(dim=2).mean(dim=0), labels)
        hinge = self.sigma / 2 * (right * functional.relu(self.gamma - gap)).mean()
        self.log_terms(images, cross_entropy=natural, hinge=hinge, right=right.mean())
        weight = self.robustness if self.current_epoch >= self.start_epoch else 0.0
        return natural + weight * hinge, logits[0]


def radius_gap(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """PPF(a) - PPF(b) of the two largest entries a >= b, and whether the largest is the label.

    Args:
        probabilities: (B, K) distributions, K at least 2.
        labels: (B,) classes.

    Returns:
        The gaps (B,), from 0 to about 23, and 1. or 0. for each, (B,).

    >>> gap, right = radius_gap(torch.tensor([[0.8, 0.2], [0.8, 0.2]]), torch.tensor([0, 1]))
    >>> gap, right
    (tensor([1.6832, 1.6832]), tensor([1., 0.]))
    """
    (_, second), order = (values.unbind(1) for values in probabilities.topk(2, dim=1))
    rest = probabilities.scatter(1, order[0][:, None], 0.0).sum(dim=1)
    gap = -torch.special.ndtri(rest.clamp(min=1e-30)) - torch.special.ndtri(second.clamp(min=1e-30))
    return gap, (order[0] == labels).float()
