"""Certification inside Lightning's loops: the test images in predict, a small sample in fit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from lightning_smooth.callbacks.pictures import save_pictures
from lightning_smooth.callbacks.progress import CertificationProgress
from lightning_smooth.callbacks.run_folder import update_summary
from lightning_smooth.callbacks.subject import certifying, header, network, wanted_images
from lightning_smooth.certify.base import Certifier
from lightning_smooth.errors import InputError, RecordError, SmoothError, check_count
from lightning_smooth.maths.certified import certified_hits
from lightning_smooth.metrics import CertifiedAccuracy
from lightning_smooth.modules.base import Batch
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.store import RecordStore
from lightning_smooth.records.summary import summarise


class CertificationCallback(Callback):
    """Certifies the predict loop's images into records, and a few in each validation.

    In the predict loop each image is certified once, whatever the number of ranks; each rank
    appends to a file of its own, and rank 0 merges them at the end. Images that are recorded
    already are skipped, so a certification that was stopped goes on where it was. In validation
    the same certifier, with few draws, certifies a fixed sample of the validation set and logs
    `val/certified_accuracy@R` for each radius R, `val/acr` and `val/abstention`, which a
    ModelCheckpoint can monitor.

    Args:
        certifier: the algorithm, with its sigma, draws and alpha.
        radii: radii at which certified accuracy is shown and logged, in the certifier's unit.
        folder: where the records go; None for the trainer's `default_root_dir`.
        records: name of the records file in the folder.
        name: name of the run, for the report.
        pictures: test images kept for the report, clean and noisy.
        val_images: validation images certified after an epoch; 0 for none.
        val_n0: draws that choose the class there.
        val_n: draws that bound its probability there.
        val_every_n_epochs: certify in every so many epochs.

    Raises:
        InputError: a number is out of range, or `records` is not a plain file name.
    """

    def __init__(
        self,
        certifier: Certifier,
        radii: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        folder: str | None = None,
        records: str = "records.jsonl",
        name: str = "run",
        pictures: int = 16,
        val_images: int = 100,
        val_n0: int = 20,
        val_n: int = 100,
        val_every_n_epochs: int = 1,
    ) -> None:
        self.certifier = certifier
        self.radii = CertifiedAccuracy(radii).radii
        self.folder = folder
        if Path(records).name != records or not records.endswith(".jsonl"):
            raise InputError(f"Expected `records` to be a file name *.jsonl, but got {records!r}.")
        self.records = records
        self.name = name
        self.pictures = check_count("pictures", pictures, least=0)
        self.val_images = check_count("val_images", val_images, least=0)
        self.val_every_n_epochs = check_count("val_every_n_epochs", val_every_n_epochs)
        self.val_certifier = certifier.with_draws(n0=val_n0, n=val_n)
        self.certificates: list[Certificate] = []
        self._store: RecordStore | None = None
        self._progress: CertificationProgress | None = None
        self._done: set[int] = set()
        self._parent = os.getppid()

    # The predict loop: certification into records

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Read what is recorded, and leave it out of the images to come."""
        if stage != "predict" or not certifying(trainer):
            return
        self._warn_about_sigma(pl_module)
        if str(trainer.precision).endswith("-true") and trainer.precision != "32-true":
            raise InputError(
                f"Expected the trainer's precision not to be {trainer.precision} here: it would "
                "round the images before the noise is added, and certify others than those of the "
                "data set. Give --certification.certifier.precision bf16 instead."
            )
        path = Path(self.folder or trainer.default_root_dir) / self.records
        self._store = RecordStore(path, rank=trainer.global_rank)
        self._recover(trainer, self._store)
        self._store.read()
        self._parent = os.getppid()
        self._done = {c.index for c in self._store.certificates}
        wanted = wanted_images(trainer)
        if wanted is not None:
            self._check_selection(wanted, trainer.world_size)
            rest = [index for index in wanted if index not in self._done]
            if self._done:
                rank_zero_info(f"{len(wanted) - len(rest)} of {len(wanted)} images are recorded.")
            # Some are kept, so that every rank has a batch and the fingerprint is checked.
            keep = set(rest) | set(wanted[: trainer.world_size])
            trainer.datamodule.exclude(set(wanted) - keep)  # type: ignore[attr-defined]

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the records with the model as it is now, and start appending."""
        if self._store is None:
            return
        self._store.open(header(trainer, pl_module, self.certifier, self.name))
        bar = trainer.progress_bar_callback
        if bar is not None:
            bar.disable()
        if trainer.is_global_zero:
            self._progress = CertificationProgress(self._share(trainer), self._shown_radii())

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Certify the images of a batch."""
        if self._store is None:
            return
        model = network(pl_module)
        for image, label, index in zip(*batch, strict=True):
            if int(index) in self._done:
                continue
            # A rank that outlives rank 0, which started it, would keep its records locked.
            if trainer.local_rank > 0 and os.getppid() != self._parent:
                raise RecordError("The process that started this one is gone.")
            certificate = self.certifier(model, image, index=int(index), label=int(label))
            self._store.append(certificate)
            self._done.add(certificate.index)
            if self._progress is not None:
                self._progress.update(certificate)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave the records in order, and say how to go on."""
        if self._progress is not None:
            self._progress.stop()
        if self._store is not None:
            self._store.close()
            if isinstance(exception, KeyboardInterrupt):
                rank_zero_info(
                    f"Interrupted with {len(self._done)} images recorded on this rank: run the "
                    "same command with the same output folder to go on."
                )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Merge the ranks' records, check that they are complete, and summarise them."""
        if stage != "predict" or self._store is None:
            return
        store, self._store = self._store, None
        store.close()
        if self._progress is not None:
            self._progress.stop()
        if trainer.progress_bar_callback is not None:
            trainer.progress_bar_callback.enable()
        trainer.strategy.barrier("images certified")
        if trainer.is_global_zero:
            self.certificates = store.merge()
            missing = set(wanted_images(trainer) or ()) - {c.index for c in self.certificates}
            if missing:
                raise RecordError(
                    f"{store.path} lacks {len(missing)} of the images asked for, index "
                    f"{min(missing)} among them: run the same command again."
                )
            self._summarise(trainer, store.path)
        trainer.strategy.barrier("records merged")

    # Validation: a fixed sample, few draws

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Certify the fixed sample and log its certified accuracy."""
        due = (trainer.current_epoch + 1) % self.val_every_n_epochs == 0
        if trainer.sanity_checking or not self.val_images or not due:
            return
        loaders = trainer.val_dataloaders
        dataset = getattr(loaders[0] if isinstance(loaders, list) else loaders, "dataset", None)
        if dataset is None or not len(dataset):
            return
        places = np.linspace(0, len(dataset) - 1, min(self.val_images, len(dataset))).astype(int)
        if getattr(trainer, "fast_dev_run", False):
            places = places[:2]
        model = network(pl_module)
        found = []
        for place in places[trainer.global_rank :: trainer.world_size]:
            image, label, index = dataset[int(place)]
            image = torch.as_tensor(image).to(pl_module.device)
            found.append(self.val_certifier(model, image, index=int(index), label=int(label)))
        correct = [c.correct for c in found]
        radius = [c.radius or 0.0 for c in found]
        sums = [
            *certified_hits(correct, radius, self.radii).tolist(),
            sum(r for r, right in zip(radius, correct, strict=True) if right),
            sum(c.abstained for c in found),
            len(found),
        ]
        total = trainer.strategy.reduce(
            torch.tensor(sums, dtype=torch.float32, device=pl_module.device), reduce_op="sum"
        )
        *held, radii, abstained, images = total.tolist()
        figures = {
            f"val/certified_accuracy@{r:g}": hits / images
            for r, hits in zip(self.radii, held, strict=True)
        }
        figures |= {"val/acr": radii / images, "val/abstention": abstained / images}
        pl_module.log_dict(figures, rank_zero_only=False, sync_dist=False)

    def _recover(self, trainer: pl.Trainer, store: RecordStore) -> None:
        """Recover the records on rank 0; what fails there fails on every rank, with one voice."""
        failure: SmoothError | None = None
        if trainer.is_global_zero:
            try:
                for note in store.recover():
                    rank_zero_warn(note)
            except SmoothError as error:
                failure = error
        said = trainer.strategy.broadcast(None if failure is None else str(failure))
        if said is not None:
            raise failure or RecordError(said)

    def _check_selection(self, wanted: Sequence[int], processes: int) -> None:
        if len(wanted) < processes:
            raise InputError(
                f"There are {processes} processes for {len(wanted)} images: set trainer.devices to "
                f"{len(wanted)} or fewer."
            )
        extra = self._done - set(wanted)
        if extra:
            raise RecordError(
                f"The records hold {len(extra)} images that are not asked for now, index "
                f"{min(extra)} among them: give the skip and limit that they were made with (a "
                "larger limit goes on from there), or another file (--certification.records)."
            )

    def _share(self, trainer: pl.Trainer) -> int:
        wanted = wanted_images(trainer)
        if wanted is None:
            return 0
        rest = len(set(wanted) - self._done)
        return -(-rest // trainer.world_size)

    def _shown_radii(self) -> tuple[float, ...]:
        return tuple(dict.fromkeys((self.radii[0], self.radii[len(self.radii) // 2])))

    def _warn_about_sigma(self, pl_module: pl.LightningModule) -> None:
        trained, used = getattr(pl_module, "sigma", None), getattr(self.certifier, "sigma", None)
        if trained is not None and used is not None and trained != used:
            rank_zero_warn(
                f"The module is set to sigma = {trained:g}, and the certifier smooths with sigma "
                f"= {used:g}: certificates hold, but are best where the two agree."
            )

    def _summarise(self, trainer: pl.Trainer, path: Path) -> None:
        figures = summarise(self.certificates, self.radii)
        update_summary(path.parent, "certify", {"records": path.name, **figures})
        if self.pictures and hasattr(trainer.datamodule, "test_item"):  # type: ignore[attr-defined]
            save_pictures(
                path.with_name("samples.npz"),
                self.certificates,
                trainer.datamodule.test_item,  # type: ignore[attr-defined]
                self.certifier,
                self.pictures,
            )
        logged = {f"certify/{k}": v for k, v in figures.items() if isinstance(v, float | int)}
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=0)
            logger.save()
        rank_zero_info(f"{len(self.certificates)} certificates in {os.path.relpath(path)}")
