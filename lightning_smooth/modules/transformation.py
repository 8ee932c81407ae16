"""Training under a transformation whose parameters are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.maths.shift import ParameterLaw
from lightning_smooth.models.weights import Head
from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.modules.boxes import UniformAttack, plain_box
from lightning_smooth.modules.copies import agreement, check_weight
from lightning_smooth.smoothing.checks import check_logits
from lightning_smooth.smoothing.parameters import ParameterNoise
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box


class TransformAugmentation(SmoothingModule):
    """Cross-entropy on images under random parameters, with the copies of an image held together.

    For each image of a batch and each of m copies:

    1. an attack xi is drawn uniformly from `box` times `widen` (none without a box), and noise
       theta from `laws`;
    2. the copy is tau(theta, tau(xi, x)), plus N(0, sigma^2 I) on its pixels. Where tau composes it
       is made in one step; where it does not, as for rotation, xi and theta are added.

    The loss is the mean cross-entropy over copies, plus `consistency` times the mean of
    KL(mean prediction || prediction) and `entropy` times the entropy of the mean prediction.

    Sources: Fischer, Baader, Vechev, NeurIPS 2020 (augmentation with the transformation); Li et
    al., "TSS", CCS 2021 (copies and consistency, of weight 20); Jeong and Shin, NeurIPS 2020 (the
    consistency loss). THEORY sections 6 and 8.

    Args:
        model: base classifier: (B, C, H, W) in [0, 1], or beyond where the transformation leaves
            it -> logits (B, K).
        transform: what is done to images.
        laws: law of each parameter that is drawn: that under which the model is certified, or a
            slightly wider one.
        box: (least, greatest) attack on each parameter that is to be certified, as what is added
            to its identity; None for no attack beside the noise.
        widen: factor on the box in training.
        copies: copies of an image in a step.
        sigma: standard deviation of noise on the pixels, in units of [0, 1]; 0 for none. In
            training alone: validation is under `laws`.
        consistency: weight of the disagreement of copies.
        entropy: weight of the entropy of their mean.
        optimizer: from parameters to an optimizer.
        scheduler: from the optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether the scheduler steps after each epoch or each step.
        weights: file of weights that training starts from; see `SmoothingModule`.
        weights_head: keep the file's last layer, or leave the model's new one.

    Raises:
        InputError: laws or box do not fit the transformation, or a number is out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        transform: Transform,
        laws: Mapping[str, ParameterLaw],
        box: Box | None = None,
        widen: float = 1.1,
        copies: int = 1,
        sigma: float = 0.0,
        consistency: float = 0.0,
        entropy: float = 0.0,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=1e-4
        ),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        super().__init__(model, optimizer, scheduler, scheduler_interval, weights, weights_head)
        self._law = ParameterNoise(transform, laws)
        self.transform = transform
        self.widen = check_positive("widen", widen)
        self.copies = check_count("copies", copies)
        self.sigma = check_weight("sigma", sigma)
        self.consistency = check_weight("consistency", consistency)
        self.entropy = check_weight("entropy", entropy)
        if self.copies == 1 and self.consistency:
            raise InputError("Expected `copies` of 2 or more, for them to be held together; got 1.")
        self._attack = UniformAttack(transform, box, self.widen) if box else None
        self.save_hyperparameters(_plain(self, box))

    @property
    def law(self) -> ParameterNoise:
        """The noise that the model is trained for."""
        return self._law

    def loss(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.loss`."""
        copied = images.repeat(self.copies, 1, 1, 1)
        noisy = self.transform(copied, self.theta(len(copied), generator).to(images.device))
        if self.sigma:
            noise = torch.empty_like(noisy).normal_(generator=generator)
            noisy = noisy + self.sigma * noise
        flat = check_logits(self(noisy), len(noisy)).float()
        natural = self.cross_entropy(flat, labels.repeat(self.copies))
        logits = flat.reshape(self.copies, len(images), -1)
        if self.copies == 1:
            return natural, logits[0]
        apart, unsure = agreement(logits)
        if self._trainer is not None and self._trainer.training:
            figures = {"train/cross_entropy": natural.detach(), "train/consistency": apart.detach()}
            self.log_dict(figures, on_step=True, on_epoch=False, batch_size=len(images))
        return natural + self.consistency * apart + self.entropy * unsure, logits[0]

    def theta(self, count: int, generator: torch.Generator) -> Tensor:
        """Parameters (count, P), float64: noise after an attack within the widened box."""
        noise = self._law.theta(count, generator)
        if self._attack is None:
            return noise
        attack = self._attack.draw(count, generator)
        if self.transform.composition == "none":
            return noise + attack
        return self.transform.compose(noise, attack + self.transform.identity())


def _plain(module: TransformAugmentation, box: Box | None) -> dict[str, Any]:
    """Hyperparameters in plain types, for checkpoints and loggers."""
    return {
        "transform": repr(module.transform),
        "laws": {name: law.describe() for name, law in module.law.laws.items()},
        "box": plain_box(box),
        **{name: getattr(module, name) for name in ("widen", "copies", "sigma")},
        **{name: getattr(module, name) for name in ("consistency", "entropy")},
    }
