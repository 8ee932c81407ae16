"""What every training method shares: noise that is fresh, validation, optimizer, checks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn import functional

from lightning_smooth.defenses.base import rejection_class
from lightning_smooth.errors import InputError
from lightning_smooth.models.weights import Head, load_weights
from lightning_smooth.smoothing.checks import check_images, check_labels, check_logits
from lightning_smooth.smoothing.execution import laid_out, takes_channels_last
from lightning_smooth.smoothing.laws import Law
from lightning_smooth.smoothing.rng import training_seed
from lightning_smooth.smoothing.smoothed import evaluating

Batch = tuple[Tensor, Tensor, Tensor]
"""(images (B, C, H, W) in [0, 1], labels (B,), data set indices (B,))."""


class SmoothingModule(pl.LightningModule, ABC):
    """Trains a base classifier for smoothing. A subclass writes `law` and `loss`.

    Args:
        model: base classifier: (B, C, H, W) in [0, 1] -> logits (B, K). Normalisation is its
            first layer, so that noise is added to images in [0, 1].
        optimizer: from parameters to an optimizer.
        scheduler: from the optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether the scheduler steps after each epoch or each step.
        weights: file of weights that training starts from, or that are certified where there is no
            checkpoint; None for the model as it was built. It is read when a Trainer starts, by
            every rank; not where the module's state was loaded before, from a checkpoint above
            all: then the file may be gone. What is read, and how: `models.load_weights`.
        weights_head: keep the file's last layer; or leave the model's new one, which may be of
            another size.
    """

    allow_zero_length_dataloader_with_multiple_devices = True

    second: ClassVar[str] = "noisy"
    """Whose accuracy is logged beside that of clean images: `val/noisy_accuracy`."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None,
        scheduler_interval: Literal["epoch", "step"],
        weights: str | None = None,
        weights_head: Head = "keep",
    ) -> None:
        super().__init__()
        self.model = model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self.weights = weights
        self.weights_head = weights_head
        self._weights_due = weights is not None
        self._base_seed = 0
        self._checks = True
        self._channels_last = False

    @property
    @abstractmethod
    def law(self) -> Law:
        """The noise that the model is trained for; validation measures accuracy under it."""

    @abstractmethod
    def loss(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Compute the training loss.

        Args:
            images: (B, C, H, W) in [0, 1], without noise.
            labels: (B,) classes.
            generator: the one to draw noise from, on the device of `images`.

        Returns:
            The scalar loss, and logits (B, K) of one noisy copy of each image.
        """

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of logits (B, K) and labels (B,), checked to be among the K.

        Raises:
            InputError: a label is none of the model's classes.
        """
        if self._checks:
            check_labels(labels, check_logits(logits, len(labels)).shape[1])
        return functional.cross_entropy(logits, labels)

    def pair(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """`shown`, where it depends on the labels (B,) too."""
        del labels
        return self.shown(images, generator)

    def shown(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images as the model meets them in validation and test.

        Args:
            images: (B, C, H, W) in [0, 1], of the data set.
            generator: the one to draw from, on the device of `images`.

        Returns:
            The images without noise, and under a draw of `law`: both (B, C, H, W).
        """
        return images, self.law.perturbed(images, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of the base classifier."""
        logits: Tensor = self.model(laid_out(images, channels_last=self._channels_last))
        return logits

    def setup(self, stage: str) -> None:
        """Check that model and data fit together, before anything runs.

        On a CPU batches are channels last from then on, if the model takes them so.

        Raises:
            InputError: the model does not take the data's images, or its classes are not the
                data's.
        """
        data = getattr(self.trainer, "datamodule", None)
        shape, classes = getattr(data, "image_shape", None), getattr(data, "num_classes", None)
        if shape is None or classes is None:
            return
        name = type(data).__name__
        try:
            with evaluating(self.model):
                pair = torch.zeros(2, *shape, device=self.device)
                logits = check_logits(self.model(pair), 2)
                on_cpu = self.trainer.strategy.root_device.type == "cpu"
                self._channels_last = on_cpu and takes_channels_last(self.model, pair)
        except RuntimeError as error:
            raise InputError(
                f"The model does not take the images of {name}, {tuple(shape)} (C, H, W): {error}"
            ) from error
        found = logits.shape[1] - (rejection_class(self.model) is not None)
        if found != classes:
            raise InputError(
                f"The model has {found} classes, but {name} has {classes}: set the "
                f"model's num_classes to {classes}."
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that a checkpoint's weights are this model's, before they are loaded.

        Raises:
            InputError: names or shapes differ; the message shows the first of them.
        """
        own, stored = self.state_dict(), checkpoint["state_dict"]
        faults = [f"{name} is missing" for name in own if name not in stored]
        faults += [f"{name} is unknown" for name in stored if name not in own]
        faults += [
            f"{name} is {tuple(stored[name].shape)}, here {tuple(tensor.shape)}"
            for name, tensor in own.items()
            if name in stored and stored[name].shape != tensor.shape
        ]
        if faults:
            more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
            raise InputError(
                f"The checkpoint does not fit the model: {'; '.join(faults[:3])}{more}. Give the "
                "model settings that it was trained with (config.yaml in its run's folder)."
            )

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state; what was trained is never replaced by `weights` after that."""
        self._weights_due = False
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def on_fit_start(self) -> None:
        """Load `weights`; take the seed from which the noise of every rank and step is derived."""
        self._load_weights()
        self._base_seed = torch.initial_seed()

    def on_validation_model_eval(self) -> None:
        """Load `weights`, if nothing has been loaded yet."""
        self._load_weights()
        super().on_validation_model_eval()

    def on_test_model_eval(self) -> None:
        """Load `weights`, if nothing has been loaded yet."""
        self._load_weights()
        super().on_test_model_eval()

    def on_predict_model_eval(self) -> None:
        """Load `weights`, if nothing has been loaded yet, before they are certified."""
        self._load_weights()
        super().on_predict_model_eval()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss under fresh noise; logs `train/loss` and `train/noisy_accuracy`."""
        images, labels, _ = batch
        self._check_batch(images, batch_idx)
        loss, logits = self.loss(images, labels, self._generator(images, batch_idx))
        figures = {"loss": loss.detach(), f"{self.second}_accuracy": _rate(logits, labels)}
        self._log("train", figures, images)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log `val/loss` (noisy), `val/clean_accuracy` and `val/noisy_accuracy`."""
        self._evaluate("val", batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log `test/loss` (noisy), `test/clean_accuracy` and `test/noisy_accuracy`."""
        self._evaluate("test", batch, batch_idx)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the base classifier's classes, (B,). The smoothed one's are certified instead."""
        classes: Tensor = self(batch[0]).argmax(dim=1)
        return classes

    def configure_optimizers(self) -> Any:
        """Build the optimizer and, if there is one, the scheduler, after loading `weights`."""
        self._load_weights()  # before callbacks start, which may keep and restore a state
        optimizer = self.optimizer(self.parameters())
        if self.scheduler is None:
            return optimizer
        scheduler = self.scheduler(optimizer)
        entry = {"scheduler": scheduler, "interval": self.scheduler_interval}
        monitor = getattr(scheduler, "monitor", None)
        if monitor is not None:
            entry["monitor"] = monitor
        return {"optimizer": optimizer, "lr_scheduler": entry}

    def _load_weights(self) -> None:
        # In hooks that come after a checkpoint is restored: `setup` cannot know of one.
        if self.weights is None or not self._weights_due:
            return
        found = load_weights(self.model, self.weights, head=self.weights_head)
        self._weights_due = False
        rank_zero_info(f"Weights of {self.weights}: {found}; last layer: {self.weights_head}.")

    def _evaluate(self, name: str, batch: Batch, batch_idx: int) -> None:
        images, labels, _ = batch
        self._check_batch(images, batch_idx)
        generator = self._generator_of_evaluation(images, batch_idx)
        clean, noisy = (self(seen) for seen in self.pair(images, labels, generator))
        figures = {
            "loss": self.cross_entropy(noisy, labels),
            "clean_accuracy": _rate(clean, labels),
            f"{self.second}_accuracy": _rate(noisy, labels),
        }
        self._log(name, figures, images)

    def _generator(self, images: Tensor, batch_idx: int) -> torch.Generator:
        step = (self.current_epoch << 32) + batch_idx
        seed = training_seed(self._base_seed, self.global_rank, step)
        return torch.Generator(images.device).manual_seed(seed)

    def _generator_of_evaluation(self, images: Tensor, batch_idx: int) -> torch.Generator:
        # The same noise in every epoch, so that epochs can be compared.
        seed = training_seed(-1, self.global_rank, batch_idx)
        return torch.Generator(images.device).manual_seed(seed)

    def _check_batch(self, images: Tensor, batch_idx: int) -> None:
        # On a device a check waits for it: there, only the first batch of a loop is checked.
        self._checks = batch_idx == 0 or images.device.type == "cpu"
        if self._checks:
            check_images(images)

    def _log(self, name: str, figures: dict[str, Tensor], images: Tensor) -> None:
        training = name == "train"
        self.log_dict(
            {f"{name}/{key}": value for key, value in figures.items()},
            on_step=training,
            on_epoch=not training,
            prog_bar=True,
            sync_dist=not training,
            batch_size=len(images),
        )


def _rate(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == labels).float().mean()
