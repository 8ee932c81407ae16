"""Cascade adversarial training (Na, Ko, Mukhopadhyay 2018)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_smooth.attacks.image import ImageAttack
from lightning_smooth.errors import InputError
from lightning_smooth.models.weights import Head, load_weights
from lightning_smooth.modules.adversarial import AdversarialTraining
from lightning_smooth.modules.copies import check_weight


class CascadeTraining(AdversarialTraining):
    """Trains on images of an attack on the network itself, and on those made for a defended one.

    Of each batch the first half stays as it is. In the other half the `attack` (one step) changes
    every second image to mislead the network as it is, and the `source_attack` (many steps) the
    others to mislead `source`, a network trained before in this way, or adversarially. The loss is

        (sum of the cross-entropies of the clean half + `share` times those of the other) / (m - k
        + `share` k) + `embedding` * mean over the other half of |z(x_adv) - z(x)|^2 / 2

    for m images, k of them adversarial, and z the logits, with gradients through both.

    Source: Na, Ko, Mukhopadhyay, "Cascade adversarial machine learning regularized with a unified
    embedding", ICLR 2018 (sections 3 and 4; share .3 as Kurakin et al. 2017, embedding 1e-4,
    bidirectional). Published for CIFAR-10 at linf up to 16/255; Athalye et al. 2018 attack it at
    .015.

    Args:
        model: (B, C, H, W) in [0, 1] -> logits (B, K). Normalisation is its first layer.
        attack: of one step, on the network itself.
        source: network of earlier training, held fixed; None for no second attack: the first stage.
        source_weights: file of its weights.
        source_attack: on it; needed with `source`.
        share: weight of an adversarial image beside a clean one.
        embedding: weight of the distance of embeddings.
        optimizer: see `AdversarialTraining`.
        scheduler: see `AdversarialTraining`.
        scheduler_interval: see `AdversarialTraining`.
        weights: see `AdversarialTraining`.
        weights_head: see `AdversarialTraining`.

    Raises:
        InputError: there is a source without an attack or weights, or the reverse; a weight is
            below 0; or the file cannot be read or does not fit.
    """

    not_saved: ClassVar = (*AdversarialTraining.not_saved, "source", "source_attack")

    def __init__(
        self,
        model: nn.Module,
        attack: ImageAttack,
        source: nn.Module | None = None,
        source_weights: str | None = None,
        source_attack: ImageAttack | None = None,
        share: float = 0.3,
        embedding: float = 1e-4,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=1e-4
        ),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        super().__init__(
            model, attack, optimizer, scheduler, scheduler_interval, weights, weights_head
        )
        given = [value is not None for value in (source, source_weights, source_attack)]
        if any(given) and not all(given):
            raise InputError(
                "Expected `source`, `source_weights` and `source_attack` together, or none of "
                "them: cascade training attacks an earlier network beside its own."
            )
        self.share = check_weight("share", share)
        self.embedding = check_weight("embedding", embedding)
        self.source_attack = source_attack
        self._source = [] if source is None else [source]  # a list: it is no part of the module
        if source is not None and source_weights is not None:
            load_weights(source, source_weights)
            source.requires_grad_(False).eval()

    def loss(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.loss`."""
        half = len(images) // 2
        clean, own = images[half:], labels[half:]
        adversarial = self.misleading(clean, own, generator)
        logits = self(torch.cat([images, adversarial]))
        embedded, changed = logits[half : len(images)], logits[len(images) :]
        seen = torch.cat([logits[:half], changed])
        each = nn.functional.cross_entropy(seen, labels, reduction="none")
        weight = each.new_ones(len(images))
        weight[half:] = self.share
        distance = (changed - embedded).square().sum(dim=1).mean() / 2
        loss = (each * weight).sum() / weight.sum() + self.embedding * distance
        return loss, seen

    def misleading(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Adversarial images (B, C, H, W): for the network, and every second one for the source."""
        found = self.found(images, labels, generator)
        if not self._source or len(images) < 2:
            return found
        source = self._source[0].to(images.device)
        found[1::2] = self.found(
            images[1::2], labels[1::2], generator, network=source, attack=self.source_attack
        )
        return found
