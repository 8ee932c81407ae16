"""The diagnosis of masked gradients, inside Lightning: a table, and a file beside the records."""

from __future__ import annotations

import json
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from lightning_smooth.attacks.diagnosis import Diagnosis, GradientMaskingDiagnosis
from lightning_smooth.callbacks.ranks import with_one_voice
from lightning_smooth.callbacks.run_folder import update_summary
from lightning_smooth.callbacks.subject import network, purpose, wanted_images
from lightning_smooth.errors import InputError, check_count


class DiagnosisCallback(Callback):
    """Looks for signs of masked gradients before the predict loop, on its first images.

    Rank 0 prints a table and a verdict, and writes `diagnosis.json` into the run's folder.

    Args:
        test: the diagnosis, with its bound and gradient.
        images: how many of the images are looked at.
        folder: where the file goes; None for the trainer's `default_root_dir`.

    Raises:
        InputError: `images` is below 1.
    """

    def __init__(
        self, test: GradientMaskingDiagnosis, images: int = 100, folder: str | None = None
    ) -> None:
        self.test = test
        self.images = check_count("images", images)
        self.folder = folder
        self.diagnosis: Diagnosis | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave all but a few images out of the loop, which has nothing else to do."""
        if stage != "predict" or purpose(trainer) != "diagnose":
            return
        wanted = wanted_images(trainer)
        if not wanted:
            raise InputError(
                "Expected a lightning_smooth.data.ImageDataModule with test images to diagnose on, "
                f"but got {type(trainer.datamodule).__name__}."  # type: ignore[attr-defined]
            )
        trainer.datamodule.exclude(set(wanted[trainer.world_size :]))  # type: ignore[attr-defined]

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Diagnose, on rank 0."""
        if purpose(trainer) in ("diagnose", None):
            with_one_voice(trainer, lambda: self._diagnose(trainer, pl_module))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the images back."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if stage == "predict" and purpose(trainer) == "diagnose" and hasattr(data, "exclude"):
            data.exclude(())

    def _diagnose(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        every = list(data.test_indices())
        indices = every[:: max(1, len(every) // self.images)][: self.images]
        items = [data.test_item(index) for index in indices]
        images = torch.stack([item[0] for item in items])
        labels = torch.tensor([int(item[1]) for item in items])
        self.diagnosis = self.test(network(pl_module), images, labels, indices=indices)
        print(self.diagnosis, flush=True)
        folder = Path(self.folder or trainer.default_root_dir)
        text = json.dumps({"indices": indices, **self.diagnosis.to_dict()}, indent=1)
        (folder / "diagnosis.json").write_text(text + "\n", encoding="utf-8")
        found = [sign.name for sign in self.diagnosis.signs if sign.found]
        figures = {"images": self.diagnosis.images, "zero": self.diagnosis.zero, "signs": found}
        update_summary(folder, "diagnose", figures)
