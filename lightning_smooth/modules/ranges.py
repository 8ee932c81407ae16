"""Training for certificates over a range of a transformation's parameters."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_smooth.errors import check_count, check_positive
from lightning_smooth.models.surrogate import SurrogateNetwork
from lightning_smooth.models.weights import Head
from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.modules.boxes import plain_box
from lightning_smooth.modules.copies import agreement, check_weight
from lightning_smooth.smoothing.checks import check_logits
from lightning_smooth.smoothing.latent import LatentNoise
from lightning_smooth.smoothing.laws import GaussianNoise
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box


class RangeAugmentation(SmoothingModule):
    """Cross-entropy on noisy copies of transformed images, the copies held together.

    For each image x of a batch: tau(theta, x), theta uniform in `box` (`widen` times as wide, where
    the transformation allows it), and m copies of it under noise; these are what `CoverCertifier`
    draws at its anchors. With a `surrogate`, H(F1(t) + e + F2(tau(theta, x))) with t ~ N(identity,
    scales^2) and e ~ N(0, sigma^2 I): what `PathCertifier` draws. The loss is the mean
    cross-entropy of copies, plus `consistency` times the mean of KL(mean prediction || prediction),
    plus `entropy` times the entropy of the mean prediction.

    Validation shows tau(theta, x) clean and noisy.

    Sources: Hao et al., "GSmooth", ICML 2022, section 5 (training on what is drawn); Li et al.,
    "TSS", CCS 2021 (copies and consistency); Jeong and Shin, NeurIPS 2020. THEORY sections 7, 8.

    Args:
        model: base classifier: (B, C, H, W) -> logits (B, K).
        transform: what an attack does to images.
        box: (least, greatest) of each parameter, as the certifier has it.
        sigma: standard deviation of the noise: on pixels in [0, 1], or on latents.
        surrogate: a trained surrogate of the transformation, which stays as it is; None for noise
            on pixels.
        scales: standard deviation of each parameter that is drawn inside the surrogate.
        widen: factor on the box, about its middle.
        copies: noisy copies of an image in a step.
        consistency: weight of the disagreement of copies.
        entropy: weight of the entropy of their mean.
        optimizer: from parameters to an optimizer.
        scheduler: from the optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether the scheduler steps after each epoch or each step.
        weights: file of weights that training starts from; see `SmoothingModule`.
        weights_head: keep the file's last layer, or leave the model's new one.

    Raises:
        InputError: the box is none of the transformation, or a number is out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        transform: Transform,
        box: Box,
        sigma: float,
        surrogate: SurrogateNetwork | None = None,
        scales: Mapping[str, float] | None = None,
        widen: float = 1.0,
        copies: int = 2,
        consistency: float = 5.0,
        entropy: float = 0.5,
        optimizer: OptimizerCallable = lambda params: torch.optim.SGD(
            params, lr=0.1, momentum=0.9, weight_decay=1e-4
        ),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        super().__init__(model, optimizer, scheduler, scheduler_interval, weights, weights_head)
        self.transform = transform
        self.box = transform.check_box(box)
        # A copy, and not a child: it is neither trained nor saved with the model.
        self._surrogate = (
            None if surrogate is None else [copy.deepcopy(surrogate).eval().requires_grad_(False)]
        )
        self._law: GaussianNoise | LatentNoise = (
            GaussianNoise(sigma)
            if self._surrogate is None
            else LatentNoise(self._surrogate[0], scales or {}, sigma)
        )
        self.sigma = self._law.sigma
        self.widen = check_positive("widen", widen)
        self.copies = check_count("copies", copies)
        self.consistency = check_weight("consistency", consistency)
        self.entropy = check_weight("entropy", entropy)
        self._ends = self._widened()
        self.save_hyperparameters({
            "transform": repr(transform),
            "box": plain_box(self.box),
            "scales": dict(scales or {}),
            **{k: getattr(self, k) for k in ("sigma", "widen", "copies", "consistency", "entropy")},
        })  # fmt: skip

    @property
    def law(self) -> GaussianNoise | LatentNoise:
        """The noise that the model is trained for: on pixels, or on latents."""
        return self._law

    def loss(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.loss`."""
        moved = self.transformed(images, generator)
        noisy = self.noisy(moved.repeat(self.copies, 1, 1, 1), generator)
        flat = check_logits(self(noisy), len(noisy)).float()
        natural = self.cross_entropy(flat, labels.repeat(self.copies))
        logits = flat.reshape(self.copies, len(images), -1)
        if self.copies == 1:
            return natural, logits[0]
        apart, unsure = agreement(logits)
        return natural + self.consistency * apart + self.entropy * unsure, logits[0]

    def transformed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images (B, C, H, W) under parameters drawn from the widened box, of each its own."""
        low, high = self._ends.unbind(dim=1)
        part = torch.rand((len(images), len(low)), generator=generator, device=generator.device)
        theta = low + (high - low) * part.cpu().double()
        return self.transform(images, theta.to(images.device))

    def noisy(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """What the base classifier sees of images (B, C, H, W) under a draw each."""
        if self._surrogate is None:
            return self.law.perturbed(images, generator)
        (surrogate,) = self._surrogate
        surrogate.to(images.device)
        with torch.no_grad():
            seen: Tensor = surrogate.decode(self.law.perturbed(surrogate.encode(images), generator))
        return seen

    def shown(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.shown`."""
        moved = self.transformed(images, generator)
        return moved, self.noisy(moved, generator)

    def _widened(self) -> Tensor:
        """(P, 2) float64: ends of every parameter; those not in the box have their identity."""
        ends = []
        for parameter in self.transform.parameters:
            low, high = self.box.get(parameter.name, (parameter.identity,) * 2)
            more = (self.widen - 1) * (high - low) / 2
            least = low if parameter.positive else parameter.low
            ends.append([max(low - more, least), min(high + more, parameter.high)])
        return torch.tensor(ends, dtype=torch.float64)
