"""Training of PixelCNNs: the likelihood of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torchvision.utils import save_image

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.pixelcnn import PixelCNN
from lightning_smooth.models.raster import sample
from lightning_smooth.modules.base import Batch
from lightning_smooth.smoothing.checks import check_images


class PixelCNNTraining(pl.LightningModule):
    """Trains p(image) by maximum likelihood: the loss is the mean bits per dimension.

    Logged: `train/bits_per_dim`, each step; `val/bits_per_dim` and `test/bits_per_dim`, over all
    images, which is what checkpoints are chosen by. At the end of training the run's folder gets
    `samples.png`, images drawn from the model.

    Source: van den Oord et al. 2016; Salimans et al. 2017. See `models.PixelCNN`.

    Args:
        model: the PixelCNN.
        pictures: images in the picture of samples; 0 for no picture.
        optimizer: from parameters to an optimizer.
        scheduler: from the optimizer to a learning rate scheduler; None for a constant rate.
        scheduler_interval: whether the scheduler steps after each epoch or each step.

    Raises:
        InputError: `model` is no PixelCNN, or a number is out of range; when it is set up: the
            data's images have another number of channels, or it is to predict.
    """

    def __init__(
        self,
        model: PixelCNN,
        pictures: int = 64,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=2e-3),
        scheduler: LRSchedulerCallable | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__()
        if not isinstance(model, PixelCNN):
            raise InputError(f"Expected `model` to be a PixelCNN, but got {type(model).__name__}.")
        self.model = model
        self.pictures = check_count("pictures", pictures, least=0)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self._size: tuple[int, int] | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Bits per dimension (B,) of images (B, C, H, W) in [0, 1]."""
        bits: Tensor = self.model.bits_per_dim(images)
        return bits

    def setup(self, stage: str) -> None:
        """Check that model and data fit together.

        Raises:
            InputError: they do not, or a density is to predict classes, which it has not.
        """
        check_generative(stage, "A PixelCNN", "PixelDefend")
        shape = getattr(getattr(self.trainer, "datamodule", None), "image_shape", None)
        if shape is not None and shape[0] != self.model.channels:
            raise InputError(
                f"Expected `in_channels` to be that of the data, {shape[0]}, but the PixelCNN has "
                f"{self.model.channels}."
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean bits per dimension."""
        images = self._checked(batch, batch_idx)
        loss: Tensor = self(images).mean()
        self.log("train/bits_per_dim", loss.detach(), prog_bar=True, batch_size=len(images))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log `val/bits_per_dim`."""
        self._evaluate("val", batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log `test/bits_per_dim`."""
        self._evaluate("test", batch, batch_idx)

    def on_fit_end(self) -> None:
        """Write the picture of samples."""
        trainer = self.trainer
        if self._size is None or not self.pictures or getattr(trainer, "fast_dev_run", False):
            return
        if trainer.is_global_zero:
            drawn = sample(self.model, self.pictures, self._size)
            save_image(drawn, Path(trainer.default_root_dir) / "samples.png")

    def configure_optimizers(self) -> Any:
        """Build the optimizer and, if there is one, the scheduler."""
        optimizer = self.optimizer(self.parameters())
        if self.scheduler is None:
            return optimizer
        entry = {"scheduler": self.scheduler(optimizer), "interval": self.scheduler_interval}
        return {"optimizer": optimizer, "lr_scheduler": entry}

    def _checked(self, batch: Batch, batch_idx: int) -> Tensor:
        images = batch[0]
        if batch_idx == 0 or images.device.type == "cpu":
            check_images(images)
        height, width = images.shape[2:]
        self._size = (height, width)
        return images

    def _evaluate(self, name: str, batch: Batch, batch_idx: int) -> None:
        images = self._checked(batch, batch_idx)
        self.log(
            f"{name}/bits_per_dim", self(images).mean(),
            prog_bar=True, sync_dist=True, batch_size=len(images),
        )  # fmt: skip


def check_generative(stage: str, what: str, defence: str) -> None:
    """Refuse to predict with a generative model.

    Raises:
        InputError: the stage is `predict`.
    """
    if stage == "predict":
        raise InputError(
            f"{what} has no classes to predict or certify. Give its checkpoint as `weights` to "
            f"defenses.{defence}."
        )
