"""Lightning's Trainer, with the verbs of certification and attack."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from lightning_smooth.attacks.diagnosis import Diagnosis
from lightning_smooth.callbacks.attack import AttackEvaluation
from lightning_smooth.callbacks.certification import CertificationCallback
from lightning_smooth.callbacks.diagnosis import DiagnosisCallback
from lightning_smooth.callbacks.run_folder import best_checkpoint, read_summary
from lightning_smooth.errors import InputError
from lightning_smooth.folders import find_checkpoint
from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.certificate import Certificate

C = TypeVar("C", CertificationCallback, AttackEvaluation, DiagnosisCallback)


class SmoothTrainer(pl.Trainer):
    """A Trainer that also certifies and attacks. Its arguments are those of Lightning's Trainer."""

    purpose = "predict"
    """What the predict loop that is running is for: its verb."""

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
        self._measure("certify", model, datamodule, dataloaders, ckpt_path)
        return callback.certificates

    def attack(
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | None = None,
    ) -> list[AttackOutcome]:
        """Attack test images into the run's records; arguments as those of `certify`.

        Returns:
            Every outcome of the records, by index, on rank 0; elsewhere nothing.

        Raises:
            InputError: there is no attack among the callbacks, or the checkpoint is missing.
            RecordError: records are damaged, or belong to something else.
        """
        callback = self.attack_evaluation
        self._measure("attack", model, datamodule, dataloaders, ckpt_path)
        return callback.results

    def diagnose(
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule | None = None,
        ckpt_path: str | None = None,
    ) -> Diagnosis | None:
        """Look for signs that a model masks its gradients; arguments as those of `certify`.

        Returns:
            The diagnosis on rank 0; elsewhere None.

        Raises:
            InputError: there is no diagnosis among the callbacks, or the checkpoint is missing.
        """
        callback = self._only(DiagnosisCallback)
        self._measure("diagnose", model, datamodule, None, ckpt_path)
        return callback.diagnosis

    def _measure(
        self,
        verb: str,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule | None,
        dataloaders: Any,
        ckpt_path: str | None,
    ) -> None:
        weights = model.weights if isinstance(model, SmoothingModule) else None
        path = find_checkpoint(ckpt_path, Path(self.default_root_dir), weights)
        self.purpose = verb
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
            self.purpose = "predict"

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
        return self._only(CertificationCallback)

    @property
    def attack_evaluation(self) -> AttackEvaluation:
        """The callback that attacks.

        Raises:
            InputError: there is none, or more than one.
        """
        return self._only(AttackEvaluation)

    def _only(self, kind: type[C]) -> C:
        found = [c for c in self.callbacks if isinstance(c, kind)]  # type: ignore[attr-defined]
        if len(found) != 1:
            raise InputError(
                f"Expected one {kind.__name__} among the trainer's callbacks, got {len(found)}."
            )
        return found[0]
