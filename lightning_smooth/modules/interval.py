"""Training with interval bounds (Gowal et al. 2019)."""

from __future__ import annotations

from typing import Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional

from lightning_smooth.errors import InputError, check_positive
from lightning_smooth.models.weights import Head
from lightning_smooth.modules.base import Batch, SmoothingModule
from lightning_smooth.modules.copies import check_weight
from lightning_smooth.smoothing.laws import NoNoise
from lightning_smooth.verify import BoundedNetwork, bounded, interval_bounds, margins


class IntervalTraining(SmoothingModule):
    """Cross-entropy on images, and on the worst scores that interval bounds leave around them.

    With m_j lower bounds of the margins of the label over the other classes, over all images
    within `eps` in every pixel, clipped to [0, 1], the loss is the mean over images of

        k ln(1 + sum_j exp(z_j - z_label))  +  (1 - k) ln(1 + sum_j exp(-m_j)).

    After `warmup_epochs` with k = 1, over `ramp_epochs` k falls to `kappa`, and the box grows from
    0 to `eps`, both linearly, step by step. Bounds take BatchNorm as it is in eval mode.

    Validation and test log `verified_accuracy`: of how many images, rightly classified, interval
    bounds in float64 prove that no image of the full box is classified otherwise (`verify.
    interval_bounds` says of which arithmetic); `clean_accuracy`; and `loss`, the second term above
    over the full box.

    Source: Gowal et al. 2019, "Scalable verified training for provably robust image
    classification" (on the Web in 2018). Published for MNIST: Adam at 5e-4, batches of 100, 100
    epochs, of which 2,000 steps of warm-up and 10,000 of growth, kappa .5, boxes in training
    slightly larger than those in test; there .9770 of the test images are verified at .1 and .9195
    at .3, with larger networks than LeNet.

    Args:
        model: classifier: (B, C, H, W) in [0, 1] -> logits (B, K), of steps that `verify.bounded`
            knows.
        eps: half width of the box in every pixel, in units of pixels in [0, 1].
        kappa: weight of the images themselves in the end.
        warmup_epochs: epochs of training on images alone; parts of one are fine.
        ramp_epochs: epochs in which the box grows after that.
        optimizer: from parameters to an optimizer.
        scheduler: from the optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether the scheduler steps after each epoch or each step.
        weights: file of weights that training starts from; see `SmoothingModule`.
        weights_head: keep the file's last layer, or leave the model's new one.

    Raises:
        InputError: a number is out of its range; in training: a step of the model has no bounds.
    """

    def __init__(
        self,
        model: nn.Module,
        eps: float,
        kappa: float = 0.5,
        warmup_epochs: float = 1.0,
        ramp_epochs: float = 4.0,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=5e-4),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        super().__init__(model, optimizer, scheduler, scheduler_interval, weights, weights_head)
        self.save_hyperparameters(ignore=["model", "optimizer", "scheduler"])
        self.eps = check_positive("eps", eps)
        self.kappa = check_weight("kappa", kappa)
        if self.kappa > 1:
            raise InputError(f"Expected `kappa` to be at most 1, but got {kappa:g}.")
        self.warmup_epochs = check_weight("warmup_epochs", warmup_epochs)
        self.ramp_epochs = check_weight("ramp_epochs", ramp_epochs)
        self._done = float("inf")
        self._steps: BoundedNetwork | None = None

    @property
    def law(self) -> NoNoise:
        """No noise: the model itself is trained."""
        return NoNoise()

    def schedule(self, epochs: float) -> tuple[float, float]:
        """Part of the full box, and weight of the images themselves, after some epochs.

        >>> module = IntervalTraining(nn.Flatten(), 0.2, warmup_epochs=1, ramp_epochs=2)
        >>> module.schedule(0.5), module.schedule(2), module.schedule(9)
        ((0.0, 1.0), (0.5, 0.75), (1.0, 0.5))
        """
        past = epochs - self.warmup_epochs
        part = (
            min(1.0, past / self.ramp_epochs) if past > 0 and self.ramp_epochs else float(past > 0)
        )
        part = max(0.0, part)
        return part, 1.0 - (1.0 - self.kappa) * part

    def boxes(
        self, images: Tensor, part: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What training shows of images, and the boxes around it that are to be verified.

        Args:
            images: (B, C, H, W) in [0, 1].
            part: of the full box, in [0, 1].
            generator: the one to draw from, where something is drawn.

        Returns:
            Images, their least and their greatest pixels, (B, C, H, W) each.
        """
        del generator
        eps = part * self.eps
        return images, (images - eps).clamp(0, 1), (images + eps).clamp(0, 1)

    def margins(self, lower: Tensor, upper: Tensor, labels: Tensor) -> Tensor:
        """Lower bounds (B, K - 1) of the label's margins over boxes, in their dtype.

        Args:
            lower: (B, C, H, W) least pixels.
            upper: greatest.
            labels: (B,) classes.
        """
        shape = tuple(lower.shape[1:])
        if self._steps is None or self._steps.image_shape != shape:
            self._steps = bounded(self.model, shape)
        rows = margins(labels, self._steps.classes).to(lower)
        return interval_bounds(self._steps, lower, upper, rows).lower

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss at the box of this step; logs `train/part`, of the full box, beside it."""
        steps = max(1, int(self.trainer.num_training_batches))
        self._done = self.current_epoch + batch_idx / steps
        return super().training_step(batch, batch_idx)

    def loss(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """See `SmoothingModule.loss`; outside of training, that of the full box."""
        part, kappa = self.schedule(self._done)
        shown, lower, upper = self.boxes(images, part, generator)
        logits = self(shown)
        natural = self.cross_entropy(logits, labels)
        if self._trainer is not None and self._trainer.training:
            self.log("train/part", part, on_step=True, on_epoch=False, batch_size=len(images))
        if kappa == 1:
            return natural, logits
        worst = _worst(self.margins(lower, upper, labels))
        return kappa * natural + (1 - kappa) * worst, logits

    def _evaluate(self, name: str, batch: Batch, batch_idx: int) -> None:
        images, labels, _ = batch
        self._check_batch(images, batch_idx)
        logits = self(images)
        generator = self._generator_of_evaluation(images, batch_idx)
        _, lower, upper = self.boxes(images.double(), 1.0, generator)
        found = self.margins(lower, upper, labels)
        right = logits.argmax(dim=1) == labels
        figures = {
            "loss": _worst(found).float(),
            "clean_accuracy": right.float().mean(),
            "verified_accuracy": (right & (found > 0).all(dim=1)).float().mean(),
        }
        self._log(name, figures, images)


def _worst(found: Tensor) -> Tensor:
    """Mean cross-entropy of scores whose margins for the label are (B, K - 1)."""
    scores = functional.pad(-found, (1, 0))
    return -scores.log_softmax(dim=1)[:, 0].mean()
