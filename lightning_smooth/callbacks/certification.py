"""Certification inside Lightning's loops: the test images in predict, a small sample in fit."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from lightning_smooth.callbacks.pictures import save_pictures
from lightning_smooth.callbacks.progress import CertificationProgress
from lightning_smooth.callbacks.ranks import share_of, with_one_voice
from lightning_smooth.callbacks.run_folder import update_summary
from lightning_smooth.callbacks.subject import (
    certifying,
    header,
    network,
    wanted_images,
    warn_of_slow_bf16,
)
from lightning_smooth.callbacks.validation import ValidationCertification
from lightning_smooth.certify.base import Certifier, image_digest
from lightning_smooth.errors import InputError, RecordError, SmoothError, check_count
from lightning_smooth.modules.base import Batch
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.reading import samples_path
from lightning_smooth.records.store import RecordStore
from lightning_smooth.records.summary import summarise

Shard = Literal["images", "draws"]


class CertificationCallback(ValidationCertification):
    """Certifies the predict loop's images into records, and a few in each validation.

    In the predict loop each image is certified once, whatever the number of ranks; each rank
    appends to a file of its own, and rank 0 merges them at the end. Images that are recorded
    already are skipped, so a certification that was stopped goes on where it was. In validation
    the same certifier certifies a fixed sample with few draws (see `ValidationCertification`).

    Args:
        certifier: the algorithm, with its sigma, draws and alpha.
        radii: radii at which certified accuracy is shown and logged, in the certifier's unit.
        folder: where the records go; None for the trainer's `default_root_dir`.
        records: name of the records file in the folder.
        name: name of the run in the report; None for that of the experiment.
        shard: what several processes share: `images` (each image whole, on one of them: the
            fastest) or `draws` (each image's draws on all of them: for few images, and many or
            slow draws). The certificates are the same.
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
        name: str | None = None,
        shard: Shard = "images",
        pictures: int = 16,
        val_images: int = 100,
        val_n0: int = 20,
        val_n: int = 100,
        val_every_n_epochs: int = 1,
    ) -> None:
        super().__init__(certifier, radii, val_images, val_n0, val_n, val_every_n_epochs)
        self.certifier = certifier
        self.folder = folder
        if Path(records).name != records or not records.endswith(".jsonl"):
            raise InputError(f"Expected `records` to be a file name *.jsonl, but got {records!r}.")
        self.records = records
        self.name = name
        if shard not in get_args(Shard):
            raise InputError(f"Expected `shard` to be images or draws, but got {shard!r}.")
        self.shard = shard
        self.pictures = check_count("pictures", pictures, least=0)
        self.certificates: list[Certificate] = []
        self._store: RecordStore | None = None
        self._progress: CertificationProgress | None = None
        self.records_path: Path | None = None
        self._done: dict[int, Certificate] = {}
        self._certified = 0
        self._parent = os.getppid()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Read what is recorded, and leave it out of the images to come."""
        super().setup(trainer, pl_module, stage)
        warn_of_slow_bf16(trainer, self.certifier)
        if stage != "predict" or not certifying(trainer):
            return
        self._check_trainer(trainer)
        self._warn_about_sigma(pl_module)
        self.records_path = Path(self.folder or trainer.default_root_dir) / self.records
        self._store = self._recover(trainer, self.records_path)
        self._store.read()
        self._parent = os.getppid()
        self._done = {c.index: c for c in self._store.certificates}
        self._certified = 0
        self._replicate(trainer)
        wanted = wanted_images(trainer)
        if wanted is not None:
            self._check_selection(wanted, 1 if self._together(trainer) else trainer.world_size)
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
        self._store.open(header(trainer, pl_module, self.certifier, self.name or "run"))
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
        if dataloader_idx:
            raise InputError(
                "Expected one predict loader to certify: indices of two would collide."
            )
        self._check_alive(trainer)
        fresh = []
        for image, label, index in zip(*batch, strict=True):
            known = self._done.get(int(index))
            if known is None:
                fresh.append((image, int(index), int(label)))
            else:
                _check_same_image(known, image, int(label))
        images, indices, labels = zip(*fresh, strict=True) if fresh else ((), (), ())
        for certificate in self.certifier.certify_batch(
            network(pl_module),
            images,
            indices=indices,
            labels=labels,
            share=share_of(trainer) if self._together(trainer) else None,
        ):
            self._keep(trainer, certificate)
            self._check_alive(trainer)

    def _keep(self, trainer: pl.Trainer, certificate: Certificate) -> None:
        if self._store is not None and (trainer.is_global_zero or not self._together(trainer)):
            self._store.append(certificate)
        self._done[certificate.index] = certificate
        self._certified += 1
        if self._progress is not None:
            self._progress.update(certificate)

    def _together(self, trainer: pl.Trainer) -> bool:
        """Whether the processes share each image's draws."""
        return self.shard == "draws" and trainer.world_size > 1

    def _replicate(self, trainer: pl.Trainer) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if hasattr(data, "replicate"):
            data.replicate(self._together(trainer))
        elif self._together(trainer):
            raise InputError(
                "Expected a lightning_smooth.data.ImageDataModule with shard = draws, which gives "
                f"every process each image, but got {type(data).__name__}: use shard = images."
            )

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave the records in order, and say how to go on."""
        if self._progress is not None:
            self._progress.stop()
        if self._store is not None:
            self._store.release()
            self._store = None
            _forget_exclusions(trainer)
            if isinstance(exception, KeyboardInterrupt | SystemExit):
                print(
                    f"Stopped; this process recorded {self._certified} images. Run the same "
                    "command with the same output folder to go on.",
                    file=sys.stderr,
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
        wanted = set(wanted_images(trainer) or ())
        _forget_exclusions(trainer)
        trainer.strategy.barrier("images certified")
        with_one_voice(trainer, lambda: self._merge(store, wanted))
        if trainer.is_global_zero:
            self._summarise(trainer, store.path)

    def _merge(self, store: RecordStore, wanted: set[int]) -> None:
        self.certificates = store.merge()
        missing = wanted - {c.index for c in self.certificates}
        if missing:
            raise RecordError(
                f"{store.path} lacks {len(missing)} of the images asked for, index "
                f"{min(missing)} among them: run the same command again."
            )

    def _recover(self, trainer: pl.Trainer, path: Path) -> RecordStore:
        stores: list[RecordStore] = []

        def recover() -> None:
            stores.append(RecordStore(path, rank=trainer.global_rank))
            for note in stores[0].recover():
                rank_zero_warn(note)

        with_one_voice(trainer, recover)
        return stores[0] if stores else RecordStore(path, rank=trainer.global_rank)

    def _check_trainer(self, trainer: pl.Trainer) -> None:
        if str(trainer.precision).endswith("-true") and trainer.precision != "32-true":
            raise InputError(
                f"Expected the trainer's precision not to be {trainer.precision} here: it would "
                "round the images before the noise is added, and certify others than those of the "
                "data set. Give --certification.certifier.precision bf16 instead."
            )
        limit = trainer.limit_predict_batches
        if isinstance(limit, int) or limit < 1:  # 1 is one batch, 1.0 is all of them
            raise InputError(
                "Expected every batch of the predict loop, but trainer.limit_predict_batches (or "
                "fast_dev_run) leaves some out: choose images with data.skip and data.limit."
            )

    def _check_alive(self, trainer: pl.Trainer) -> None:
        if trainer.received_sigterm:
            raise SystemExit(128 + signal.SIGTERM)
        # A rank that outlives rank 0, which started it, would keep its records locked.
        if trainer.local_rank > 0 and os.getppid() != self._parent:
            raise RecordError("The process that started this one is gone.")

    def _check_selection(self, wanted: Sequence[int], processes: int) -> None:
        if len(wanted) < processes:
            raise InputError(
                f"There are {processes} processes for {len(wanted)} images: set trainer.devices to "
                f"{len(wanted)} or fewer."
            )
        extra = self._done.keys() - set(wanted)
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
        rest = len(set(wanted) - self._done.keys())
        return rest if self._together(trainer) else -(-rest // trainer.world_size)

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
        """Write what can be made again from the records: a failure here costs no certificate."""
        figures = summarise(self.certificates, self.radii)
        rank_zero_info(f"{len(self.certificates)} certificates in {os.path.relpath(path)}")
        section = "certify" if path.stem == "records" else f"certify {path.stem}"
        try:
            update_summary(path.parent, section, {"records": path.name, **figures})
            if self.pictures and hasattr(trainer.datamodule, "test_item"):  # type: ignore[attr-defined]
                save_pictures(
                    samples_path(path),
                    self.certificates,
                    trainer.datamodule.test_item,  # type: ignore[attr-defined]
                    self.certifier,
                    self.pictures,
                )
            logged = {f"{section}/{k}": v for k, v in figures.items() if isinstance(v, float | int)}
            for logger in trainer.loggers:
                logger.log_metrics(logged, step=0)
                logger.save()
        except (OSError, SmoothError) as error:
            rank_zero_warn(f"The records are complete; their summary is not: {error}")


def _check_same_image(known: Certificate, image: Tensor, label: int) -> None:
    if known.image and (known.image, known.label) != (image_digest(image), label):
        raise RecordError(
            f"Image {known.index} of the records is another one than that of the data now: they "
            "belong to other data. Choose another --output.folder or --certification.records."
        )


def _forget_exclusions(trainer: pl.Trainer) -> None:
    data = trainer.datamodule  # type: ignore[attr-defined]
    if hasattr(data, "exclude"):
        data.exclude(())
