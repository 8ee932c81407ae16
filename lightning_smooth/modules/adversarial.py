"""Adversarial training (Madry et al. 2018), and plain training, which is that without an attack."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_smooth.attacks.image import ImageAttack
from lightning_smooth.models.weights import Head
from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.smoothing.laws import NoNoise
from lightning_smooth.smoothing.rng import training_seed


class AdversarialTraining(SmoothingModule):
    """Cross-entropy at adversarial images, which an attack finds anew in each step.

    The attack meets the network as it is, in eval mode; what it draws is fresh in every step and on
    every rank. Validation and test show each image clean, and attacked (`val/attacked_accuracy`):
    a measure to follow, by the training's own attack; `lightning-smooth attack` measures.

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR
    2018: CIFAR-10, linf 8/255, 7 to 10 steps of 2/255; MNIST, linf .3, 40 steps of .01, random
    starts. With one step of FGSM from a random start and a step of 1.25 bounds: Wong, Rice,
    Kolter, "Fast is better than free", ICLR 2020.

    Args:
        model: (B, C, H, W) in [0, 1] -> logits (B, K). Normalisation is its first layer.
        attack: finds the images to train on; None to train on the images themselves.
        optimizer: from parameters to an optimizer.
        scheduler: from the optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether the scheduler steps after each epoch or each step.
        weights: file of weights that training starts from, or that are attacked where there is no
            checkpoint; None for the model as it was built. See `SmoothingModule`.
        weights_head: keep the file's last layer; or leave the model's new one, which may be of
            another size.
    """

    second: ClassVar[str] = "attacked"
    not_saved: ClassVar[tuple[str, ...]] = ("model", "attack", "optimizer", "scheduler")
    """Arguments that are no plain hyperparameters."""

    def __init__(
        self,
        model: nn.Module,
        attack: ImageAttack | None = None,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=1e-4
        ),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        super().__init__(model, optimizer, scheduler, scheduler_interval, weights, weights_head)
        self.save_hyperparameters(ignore=self.not_saved)
        self.save_hyperparameters({"attack": None if attack is None else repr(attack)})
        self.attack = attack

    @property
    def law(self) -> NoNoise:
        """Nothing is added to images."""
        return NoNoise()

    def loss(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.loss`."""
        logits = self(self.found(images, labels, generator))
        return self.cross_entropy(logits, labels), logits

    def found(
        self,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        *,
        network: nn.Module | None = None,
        attack: ImageAttack | None = None,
    ) -> Tensor:
        """Adversarial images (B, C, H, W) for images, labels and a seed of `generator`.

        Args:
            images: (B, C, H, W) in [0, 1].
            labels: (B,) classes, to be led away from.
            generator: gives the seed of what the attack draws.
            network: what is attacked; None for the model.
            attack: what finds them; None for the training's.
        """
        attack = attack or self.attack
        if attack is None:
            return images
        seed = training_seed(generator.initial_seed(), 0, 0)
        points = attack.found(
            network or self.model, images, labels, indices=range(len(images)), seed=seed
        )
        return points.to(images)

    def pair(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.pair`: the images, and what the attack makes of them."""
        return images, self.found(images, labels, generator)
