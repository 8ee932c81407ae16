"""What certification and attack evaluation share: the predict loop's images, into records."""

from __future__ import annotations

import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from lightning_smooth.callbacks.checks import check_same_image, check_selection, check_trainer
from lightning_smooth.callbacks.progress import EvaluationProgress
from lightning_smooth.callbacks.ranks import with_one_voice
from lightning_smooth.callbacks.run_folder import update_summary
from lightning_smooth.callbacks.subject import header, purpose, wanted_images
from lightning_smooth.errors import InputError, RecordError, SmoothError
from lightning_smooth.modules.base import Batch
from lightning_smooth.records.reading import Record
from lightning_smooth.records.store import RecordStore

R = TypeVar("R", bound=Record)


class Recording(Callback, ABC, Generic[R]):
    """Measures each image of the predict loop once, into records that can be gone on with.

    Whatever the number of ranks, each image is measured on one of them; each rank appends to a
    file of its own, and rank 0 merges them at the end. Images that are recorded already are
    skipped. A subclass says what is measured.

    Args:
        folder: where the records go; None for the trainer's `default_root_dir`.
        records: name of the records file in the folder.
        name: name of the run in the report; None for that of the experiment.

    Raises:
        InputError: `records` is not a plain file name.
    """

    verb: ClassVar[Literal["certify", "attack"]]
    option: ClassVar[str]
    """Where the command line has this callback's arguments."""
    kind: ClassVar[type[Any]]
    """Class of the records."""

    def __init__(self, folder: str | None, records: str, name: str | None) -> None:
        self.folder = folder
        if Path(records).name != records or not records.endswith(".jsonl"):
            raise InputError(f"Expected `records` to be a file name *.jsonl, but got {records!r}.")
        self.records = records
        self.name = name
        self.results: list[R] = []
        self.records_path: Path | None = None
        self._store: RecordStore[R] | None = None
        self._progress: EvaluationProgress[R] | None = None
        self._done: dict[int, R] = {}
        self._measured = 0
        self._parent = os.getppid()

    @abstractmethod
    def described(self) -> dict[str, dict[str, Any]]:
        """What measures, with its settings: a part of the records' header, by its name."""

    @abstractmethod
    def measure(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        images: Sequence[Tensor],
        labels: Sequence[int],
        indices: Sequence[int],
    ) -> Iterator[R]:
        """Measure images, which may be none."""

    @abstractmethod
    def figures(self) -> dict[str, Any]:
        """Headline figures of `results`, in plain types."""

    @abstractmethod
    def progress(self, total: int) -> EvaluationProgress[R]:
        """Start to show how far this process is with its `total` images."""

    def check(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check, before anything is measured, that it can be."""

    def together(self, trainer: pl.Trainer) -> bool:
        """Whether the processes measure each image together."""
        del trainer
        return False

    def kept(self, trainer: pl.Trainer, path: Path) -> None:
        """Keep beside the records, on rank 0, what else the report shows."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Read what is recorded, and leave it out of the images to come."""
        super().setup(trainer, pl_module, stage)
        if stage != "predict" or purpose(trainer) not in (self.verb, None):
            return
        if purpose(trainer) is None and any(
            isinstance(other, Recording) and other is not self
            for other in trainer.callbacks  # type: ignore[attr-defined]
        ):
            raise InputError(
                "Expected one callback that measures in a plain Trainer's predict loop, but there "
                "are several: use lightning_smooth.SmoothTrainer, whose verbs choose."
            )
        check_trainer(trainer, self.verb)
        self.check(trainer, pl_module)
        self.records_path = Path(self.folder or trainer.default_root_dir) / self.records
        self._store = self._recover(trainer, self.records_path)
        self._store.read()
        self._parent = os.getppid()
        self._done = {one.index: one for one in self._store.results}
        self._measured = 0
        self._replicate(trainer)
        wanted = wanted_images(trainer)
        if wanted is not None:
            processes = 1 if self.together(trainer) else trainer.world_size
            check_selection(wanted, self._done, processes, self.option)
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
        self._store.open(header(trainer, pl_module, self.described(), self.name or "run"))
        bar = trainer.progress_bar_callback
        if bar is not None:
            bar.disable()
        if trainer.is_global_zero:
            self._progress = self.progress(self._share(trainer))

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure the images of a batch."""
        if self._store is None:
            return
        if dataloader_idx:
            raise InputError(
                f"Expected one predict loader to {self.verb}: indices of two would collide."
            )
        self._check_alive(trainer)
        fresh = []
        for image, label, index in zip(*batch, strict=True):
            known = self._done.get(int(index))
            if known is None:
                fresh.append((image, int(label), int(index)))
            else:
                check_same_image(known, image, int(label), self.option)
        images, labels, indices = zip(*fresh, strict=True) if fresh else ((), (), ())
        for one in self.measure(trainer, pl_module, images, labels, indices):
            self._keep(trainer, one)
            self._check_alive(trainer)

    def _keep(self, trainer: pl.Trainer, one: R) -> None:
        if self._store is not None and (trainer.is_global_zero or not self.together(trainer)):
            self._store.append(one)
        self._done[one.index] = one
        self._measured += 1
        if self._progress is not None:
            self._progress.update(one)

    def _replicate(self, trainer: pl.Trainer) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if hasattr(data, "replicate"):
            data.replicate(self.together(trainer))
        elif self.together(trainer):
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
                    f"Stopped; this process recorded {self._measured} images. Run the same "
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
        trainer.strategy.barrier("images measured")
        with_one_voice(trainer, lambda: self._merge(store, wanted))
        if trainer.is_global_zero:
            self._summarise(trainer, store.path)

    def _merge(self, store: RecordStore[R], wanted: set[int]) -> None:
        self.results = store.merge()
        missing = wanted - {one.index for one in self.results}
        if missing:
            raise RecordError(
                f"{store.path} lacks {len(missing)} of the images asked for, index "
                f"{min(missing)} among them: run the same command again."
            )

    def _recover(self, trainer: pl.Trainer, path: Path) -> RecordStore[R]:
        stores: list[RecordStore[R]] = []

        def made() -> RecordStore[R]:
            option = f"--{self.option}.records"
            return RecordStore(path, rank=trainer.global_rank, kind=self.kind, option=option)

        def recover() -> None:
            stores.append(made())
            for note in stores[0].recover():
                rank_zero_warn(note)

        with_one_voice(trainer, recover)
        return stores[0] if stores else made()

    def _check_alive(self, trainer: pl.Trainer) -> None:
        if trainer.received_sigterm:
            raise SystemExit(128 + signal.SIGTERM)
        # A rank that outlives rank 0, which started it, would keep its records locked.
        if trainer.local_rank > 0 and os.getppid() != self._parent:
            raise RecordError("The process that started this one is gone.")

    def _share(self, trainer: pl.Trainer) -> int:
        wanted = wanted_images(trainer)
        if wanted is None:
            return 0
        rest = len(set(wanted) - self._done.keys())
        return rest if self.together(trainer) else -(-rest // trainer.world_size)

    def _summarise(self, trainer: pl.Trainer, path: Path) -> None:
        """Write what can be made again from the records: a failure here costs none of them."""
        figures = self.figures()
        rank_zero_info(f"{len(self.results)} {self.kind.plural} in {os.path.relpath(path)}")
        usual = path.stem in ("records", "attack")
        section = self.verb if usual else f"{self.verb} {path.stem}"
        try:
            update_summary(path.parent, section, {"records": path.name, **figures})
            self.kept(trainer, path)
            logged = {f"{section}/{k}": v for k, v in figures.items() if isinstance(v, float | int)}
            for logger in trainer.loggers:
                logger.log_metrics(logged, step=0)
                logger.save()
        except (OSError, SmoothError) as error:
            rank_zero_warn(f"The records are complete; their summary is not: {error}")


def _forget_exclusions(trainer: pl.Trainer) -> None:
    data = trainer.datamodule  # type: ignore[attr-defined]
    if hasattr(data, "exclude"):
        data.exclude(())
