"""Training with interval bounds over small boxes of a transformation's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.boxes import swept_boxes
from lightning_smooth.interpolation.intervals import interval_images
from lightning_smooth.models.weights import Head
from lightning_smooth.modules.boxes import UniformAttack, plain_box
from lightning_smooth.modules.copies import check_weight
from lightning_smooth.modules.interval import IntervalTraining
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box


class ParameterIntervalTraining(IntervalTraining):
    """Interval training where a box holds what a small range of parameters makes of an image.

    For each image theta is drawn uniformly from `box`, so that theta +- w, with w up to `width`, is
    within it; the network is shown tau(theta, x), and is to hold its label over the interval image
    of theta +- w, `eps` wider in every pixel. The loss and its schedule are those of
    `IntervalTraining`, the growing box being w and `eps`. A verifier that cuts the whole range into
    parts of that width is what such a network is trained for.

    Validation and test log `verified_accuracy`: of how many images, rightly classified, one box
    that is drawn so is verified, at full width. It is not what a verifier finds for the range.

    Source: Yang et al. 2023, "Provable defense against geometric transformations" (CGT); Gowal et
    al. 2019. THEORY section 9.

    Args:
        model: classifier: (B, C, H, W) in [0, 1] -> logits (B, K), of steps that `verify.bounded`
            knows.
        transform: `Rotation`, `Scaling` or `Translation`.
        box: (least, greatest) of the parameters that are attacked; others stay at their identity.
        width: half width of a small box, of each of them.
        eps: half width in every pixel, in units of pixels in [0, 1]; 0 for none.
        kappa: weight of the transformed images themselves in the end.
        warmup_epochs: epochs of training on transformed images alone; parts of one are fine.
        ramp_epochs: epochs in which boxes grow after that.
        optimizer: from parameters to an optimizer.
        scheduler: from the optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether the scheduler steps after each epoch or each step.
        weights: file of weights that training starts from; see `SmoothingModule`.
        weights_head: keep the file's last layer, or leave the model's new one.

    Raises:
        InputError: a number is out of its range, the box is none of the transformation, or the
            transformation has no interval images.
    """

    def __init__(
        self,
        model: nn.Module,
        transform: Transform,
        box: Box,
        width: Mapping[str, float],
        eps: float = 0.0,
        kappa: float = 0.5,
        warmup_epochs: float = 1.0,
        ramp_epochs: float = 4.0,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=5e-4),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        super().__init__(
            model, 1.0, kappa, warmup_epochs, ramp_epochs, optimizer, scheduler,
            scheduler_interval, weights, weights_head,
        )  # fmt: skip
        self.eps = check_weight("eps", eps)
        self.transform = transform
        origin = transform.identity()
        swept_boxes(transform, origin[None], origin[None], height=1, width=1)
        self.box = transform.check_box(box)
        wide = {name: check_weight(f"width.{name}", w) for name, w in width.items()}
        fits = set(wide) == set(self.box) and any(wide.values())
        if not fits or any(2 * w > self.box[n][1] - self.box[n][0] for n, w in wide.items()):
            raise InputError(
                f"Expected `width` to have half a width for each of {sorted(self.box)}, no wider "
                f"than the box, not all 0, but got {dict(width)} for {self.box}."
            )
        at = dict(zip(transform.names, origin.tolist(), strict=True))
        inner = {
            name: (low - at[name] + wide[name], high - at[name] - wide[name])
            for name, (low, high) in self.box.items()
        }
        self._centers = UniformAttack(transform, inner)
        self._half = torch.tensor([wide.get(n, 0.0) for n in transform.names], dtype=torch.float64)
        self.save_hyperparameters({
            "transform": repr(transform), "box": plain_box(self.box), "width": wide,
            "eps": self.eps,
        })  # fmt: skip

    def boxes(
        self, images: Tensor, part: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `IntervalTraining.boxes`."""
        theta = self._centers.draw(len(images), generator) + self.transform.identity()
        shown = self.transform(images, theta.to(images.device))
        if not part:
            return shown, shown, shown
        half = part * self._half
        low, high = ((theta + sign * half).to(images.device) for sign in (-1, 1))
        swept = swept_boxes(
            self.transform, low, high, height=images.shape[-2], width=images.shape[-1]
        )
        lower, upper = interval_images(images, images, swept)
        eps = part * self.eps
        return shown, (lower - eps).clamp(0, 1), (upper + eps).clamp(0, 1)
