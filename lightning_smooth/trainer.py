"""Lightning's Trainer, with the verbs of certification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from lightning_smooth.callbacks.certification import CertificationCallback
from lightning_smooth.callbacks.run_folder import best_checkpoint, read_summary
from lightning_smooth.errors import InputError
from lightning_smooth.folders import find_checkpoint
from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.records.certificate import Certificate


class SmoothTrainer(pl.Trainer):
    """A Trainer that also certifies. Its arguments are those of Lightning's Trainer."""

    certifying = False
    """Whether the predict loop that is running certifies."""

    def certify(
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | None = None,
    ) -> list[Certificate]:
        """Certify test images into the run's records.

        Args:
            model: module whose `model` is the base classifier.
            datamodule: the data; its predict loader gives the images.
            dataloaders: loaders of (image, label, index), where there is no datamodule.
            ckpt_path: checkpoint with the weights. Without one, that of the run's folder is taken;
                where there is none either, the module's file of weights; and without that, the
                model is certified as it is.

        Returns:
            Every certificate of the records, by index, on rank 0; elsewhere nothing.

        Raises:
            InputError: there is no certification callback, or the checkpoint is missing.
            RecordError: records are damaged, or belong to something else.
        """
        callback = self.certification
        weights = model.weights if isinstance(model, SmoothingModule) else None
        path = find_checkpoint(ckpt_path, Path(self.default_root_dir), weights)
        self.certifying = True
        try:
            self.predict(
                model,
                dataloaders=dataloaders,
                datamodule=datamodule,
                return_predictions=False,
                ckpt_path=path,
                weights_only=True,
            )
        finally:
            self.certifying = False
        return callback.certificates

    def run(
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule | None = None,
    ) -> list[Certificate]:
        """Train, then certify the best checkpoint: the main job. What is done already is kept.

        In a folder whose training is finished it is not repeated; one that was stopped goes on
        from its last checkpoint; certification goes on from its records.

        Args:
            model: module to train.
            datamodule: the data.

        Returns:
            As `certify`.
        """
        folder = Path(self.default_root_dir)
        fitted = read_summary(folder).get("fit", {})
        if fitted.get("finished"):
            rank_zero_info(f"{folder} holds a finished training: it is kept.")
            if (self.max_epochs or 0) > fitted.get("epochs", 0):
                rank_zero_warn(
                    f"It has {fitted.get('epochs')} epochs, and max_epochs is {self.max_epochs}: "
                    f"to train on, use the verb fit with --ckpt_path {folder}/checkpoints/last.ckpt"
                )
            return self.certify(model, datamodule)
        last = folder / "checkpoints" / "last.ckpt"
        if last.is_file():
            rank_zero_info(f"Training goes on from {last}.")
        self.fit(
            model,
            datamodule=datamodule,
            ckpt_path=str(last) if last.is_file() else None,
            weights_only=True,
        )
        if self.interrupted or getattr(self, "fast_dev_run", False):
            return []
        return self.certify(model, datamodule, ckpt_path=best_checkpoint(self))

    @property
    def certification(self) -> CertificationCallback:
        """The callback that certifies.

        Raises:
            InputError: there is none, or more than one.
        """
        found = [c for c in self.callbacks if isinstance(c, CertificationCallback)]  # type: ignore[attr-defined]
        if len(found) != 1:
            raise InputError(
                f"Expected one CertificationCallback among the trainer's callbacks, got "
                f"{len(found)}."
            )
        return found[0]
