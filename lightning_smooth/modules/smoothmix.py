"""SmoothMix (Jeong, Park, Kim, Lee, Kim and Shin 2021)."""

from __future__ import annotations

from typing import Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.models.weights import Head
from lightning_smooth.modules.copies import (
    NoisyCopies,
    check_weight,
    divergence,
    held,
    searching,
)


class SmoothMix(NoisyCopies):
    """Cross-entropy, and less confidence on the way to an adversarial image.

    With q(x) the mean of the predictions for m noisy copies of x:

    1. Search x_adv: `steps` times x <- clip(x + step_size * g / |g|), g the gradient of
       -ln q(x)[label], from the image on; clip goes to [0, 1]. The search is not held near the
       image, unless `max_norm` is set. The network is in eval mode for it, as in the authors' code.
    2. Mix each image: x_mix = (1 - u) x + u x_adv, with a target (1 - u) q(x) + u / K, and
       u ~ U(0, 1/2).
    3. The loss is the mean over images and copies of the cross-entropy at x, plus `mixing` times
       the mean of KL(target || prediction at x_mix), where images that q(x) gets wrong count 0.

    The m draws of noise of an image are the same in all three. The gradient goes through the target
    too, as in the authors' code. `mixing` grows linearly over the first `warmup_epochs` epochs.
    Images and mixed images pass the network one after the other: batch normalisation sees them
    apart.

    Source: Jeong et al. 2021, "SmoothMix: training confidence-calibrated smoothed classifiers for
    certified robustness", section 3; the settings are those of the authors' scripts
    (github.com/jh-jeong/smoothmix). MNIST: m = 4, step size 1, eta = 5, and 2, 4, 8 steps at sigma
    .25, .5, 1 (or eta = 1 and 3, 4, 8 steps). CIFAR-10, ResNet-110: m = 2, 4 steps, eta = 5, step
    size .5, 1, 2. Ten epochs of warm-up in 90 (MNIST) or 150 (CIFAR-10). A step of theirs sees
    256 / m images, m copies of each. `max_norm` is an ablation of theirs (2 to 8, MNIST, sigma 1).

    Args:
        model: base classifier: (B, C, H, W) in [0, 1] -> logits (B, K). Normalisation is its
            first layer, so that noise is added to images in [0, 1].
        sigma: standard deviation of the noise, in units of pixels in [0, 1].
        copies: noisy copies of an image in a step, m. A step costs as much as one on
            (2 + steps) m times as many images (a little less: the search needs no gradient of the
            weights).
        mixing: weight of the mixed images; eta in the paper.
        steps: steps of the search, T.
        step_size: l2 length of a step, in units of [0, 1]; alpha in the paper.
        mix_step: which image of the search takes the image's place in 2 and 3: 0 for the image
            itself, 1 for the "one-step adversary" of the paper. Its distance from the image is held
            to `mix_step * step_size`, and grows to that over the warm-up.
        max_norm: largest l2 distance of x_adv from the image; None for any.
        warmup_epochs: epochs over which `mixing` reaches its value; 1 for none.
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
        copies: int = 4,
        mixing: float = 5.0,
        steps: int = 8,
        step_size: float = 1.0,
        mix_step: int = 0,
        max_norm: float | None = None,
        warmup_epochs: int = 10,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=1e-4
        ),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        super().__init__(
            model, sigma, copies, optimizer, scheduler, scheduler_interval, weights, weights_head
        )
        self.mixing = check_weight("mixing", mixing)
        self.steps = check_count("steps", steps)
        self.step_size = check_positive("step_size", step_size)
        self.mix_step = check_count("mix_step", mix_step, least=0)
        self.max_norm = None if max_norm is None else check_positive("max_norm", max_norm)
        self.warmup_epochs = check_count("warmup_epochs", warmup_epochs)
        if self.mix_step >= self.steps:
            raise InputError(
                f"Expected `mix_step` to be below `steps`, {self.steps}, but got {mix_step}: 0 "
                "mixes from the image itself, 1 from where the first step leads."
            )

    def loss(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.loss`."""
        noise = self.noise(images, generator)
        images, adversarial = self.search(images, labels, noise)
        logits = self.copied(images, noise)
        natural = self.copied_cross_entropy(logits, labels)
        smoothed = logits.softmax(dim=2).mean(dim=0)

        part = torch.rand(len(images), device=images.device, generator=generator) / 2
        mixed = torch.lerp(images, adversarial, part.to(images.dtype).view(-1, 1, 1, 1))
        target = (1 - part[:, None]) * smoothed + part[:, None] / smoothed.shape[1]
        right = (smoothed.argmax(dim=1) == labels).float()
        mix = (right * divergence(target, self.copied(mixed, noise))).mean()

        self.log_terms(images, cross_entropy=natural, mix=mix, right=right.mean())
        weight = self.mixing * self.warmup(self.warmup_epochs)
        return natural + weight * mix, logits[0]

    def search(self, images: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Search adversarial images of the smoothed classifier.

        Args:
            images: (B, C, H, W) in [0, 1].
            labels: (B,) classes, to be led away from.
            noise: (M, B, C, H, W), the draws that stand for all noise.

        Returns:
            The images that take the place of `images`, and the adversarial ones, both
            (B, C, H, W) in [0, 1] and without a gradient.
        """
        first = found = images
        with searching(self.model):
            for step in range(self.steps):
                if step == self.mix_step:
                    first = found
                slope = self.slope(found, labels, noise)
                length = slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
                found = found.detach() + self.step_size * slope / (length + 1e-8)
                found = held(found, images, self.max_norm)
        reach = self.mix_step * self.step_size * self.warmup(self.warmup_epochs)
        return held(first, images, reach), found
