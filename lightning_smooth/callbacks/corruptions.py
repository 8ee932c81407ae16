"""Accuracy and certificates on a corrupted set, after the test loop."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from lightning_smooth.callbacks.corruption_records import certified, stopped
from lightning_smooth.callbacks.corruption_set import (
    Corrupted,
    CorruptedSet,
    check_chosen,
    same_labels,
    selected,
)
from lightning_smooth.callbacks.ranks import with_one_voice
from lightning_smooth.callbacks.run_folder import environment, update_summary, writable
from lightning_smooth.callbacks.subject import network
from lightning_smooth.certify.base import Certifier
from lightning_smooth.data.base import ImageDataModule
from lightning_smooth.data.sources import keep_batch
from lightning_smooth.errors import InputError, check_count
from lightning_smooth.maths.certified import certified_hits
from lightning_smooth.metrics import CertifiedAccuracy
from lightning_smooth.models import fingerprint
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.corruption_tables import (
    baseline_of,
    check_baseline,
    continued,
    read_table,
    refuse,
    write_table,
)
from lightning_smooth.records.corruptions import Cell, CorruptionTable
from lightning_smooth.records.summary import claim
from lightning_smooth.smoothing.smoothed import evaluating


class CorruptionEvaluation(Callback):
    """Tests the network on every corruption and severity of a corrupted set, after the test loop.

    For each: accuracy of the base classifier; with a certifier, also the smoothed classifier's
    accuracy and its certified accuracy at radii, on some of the images. The same images without
    corruption are tested too. The table, `corruptions.json` and `.csv` in the run's folder, grows
    cell by cell, and the certificates are ordinary records in the folder `corruptions`: what is
    there is not measured again, so an evaluation that was stopped goes on. With several ranks each
    takes its share of the images.

    The mean corruption error, mCE, is the mean over corruptions of the errors' sum over severities,
    relative to the `baseline`'s on the same images (Hendrycks and Dietterich 2019, section 4.1).
    Without a baseline the unnormalised mean error stands, as is usual for CIFAR-10-C.

    Args:
        data: the set: cifar10c, cifar100c, mnistc or imagenetc; the trainer's data module is its
            clean counterpart.
        root: folder that the set's own folder (such as CIFAR-10-C) lies in; None for that of the
            data module.
        corruptions: names; None for those of the benchmark's 15 (MNIST-C's own 15) that are there.
        severities: 1..5; None for all that are there.
        images: test images of each, evenly spaced; None for all.
        certifier: certifies some of them too; None for the base classifier alone.
        radii: radii of the certified accuracy, in the certifier's unit.
        certified_images: test images of each that are certified, evenly spaced.
        baseline: `corruptions.json` of another run, for mCE; None for none.
        batch_size: images that the base classifier sees at once.
        folder: where the table goes; None for the trainer's `default_root_dir`.
        records: name of the table, without its ending, and of the folder of certificates.
        name: name of the run in the report; None for that of the experiment.

    Raises:
        InputError: a number is out of range, or a name is not known.
    """

    def __init__(
        self,
        data: str,
        root: str | None = None,
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] | None = None,
        images: int | None = None,
        certifier: Certifier | None = None,
        radii: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        certified_images: int = 100,
        baseline: str | None = None,
        batch_size: int = 128,
        folder: str | None = None,
        records: str = "corruptions",
        name: str | None = None,
    ) -> None:
        check_chosen(data, corruptions, severities)
        self.data = data
        self.root = root
        self.corruptions = corruptions
        self.severities = severities
        self.images = None if images is None else check_count("images", images)
        self.certifier = certifier
        self.radii = [float(radius) for radius in CertifiedAccuracy(radii).radii]
        self.certified_images = check_count("certified_images", certified_images)
        self.baseline = baseline
        self.batch_size = check_count("batch_size", batch_size)
        self.folder = folder
        if Path(records).name != records or not records or "." in records:
            raise InputError(f"Expected `records` to be a plain name, but got {records!r}.")
        self.records = records
        self.name = name
        self.table: CorruptionTable | None = None
        self._set: CorruptedSet | None = None
        self._against: CorruptionTable | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that all that is asked for is there, before anything is measured."""
        if stage != "test" or trainer.state.fn != TrainerFn.TESTING:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, ImageDataModule):
            raise InputError(
                "Expected a lightning_smooth.data.ImageDataModule whose corrupted images are to be "
                f"tested, but got {type(data).__name__}."
            )
        with_one_voice(trainer, lambda: self._prepare(trainer, data))  # one process unpacks
        self._look(data)
        if self.baseline is not None:
            self._against = read_table(Path(self.baseline).expanduser())

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure every cell that is not there yet."""
        if self._set is None:
            return
        path = Path(self.folder or trainer.default_root_dir) / f"{self.records}.json"
        chosen = self._set
        table = self._started(trainer, pl_module, chosen, path)
        for corruption, severity in table.wanted:
            data = chosen.chosen(corruption, severity, self.images)
            cell = table.cell(corruption, severity)
            self._check_cell(cell, data, severity, path)
            if cell is None or (self.certifier is not None and not cell.certified_images):
                cell = cell or self._tested(trainer, pl_module, data, severity)
                if self.certifier is not None:
                    data = chosen.chosen(corruption, severity, self.certified_images)
                    cell = self._certified(trainer, pl_module, self.certifier, data, cell, path)
                table = table.add(cell)
                with_one_voice(trainer, partial(write_table, table, path))
                said = f"{corruption}{'' if severity is None else f' {severity}'}"
                rank_zero_info(f"{said}: accuracy {cell.accuracy:.4f}")
            if stopped(trainer):
                raise SystemExit(128 + signal.SIGTERM)
        if self._against is not None and self.baseline is not None:
            table = replace(table, baseline=baseline_of(self._against, Path(self.baseline)))
        self.table = table
        with_one_voice(trainer, partial(write_table, table, path))
        if trainer.is_global_zero:
            self._summarise(trainer, table, path)

    def _prepare(self, trainer: pl.Trainer, data: ImageDataModule) -> None:
        writable(Path(self.folder or trainer.default_root_dir))
        self._look(data)

    def _look(self, data: ImageDataModule) -> None:
        self._set = CorruptedSet(self.data, data, self.root, self.corruptions, self.severities)

    def _started(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, chosen: CorruptedSet, path: Path
    ) -> CorruptionTable:
        """The table as far as it is on disk, else a new one; the same on every rank."""
        first = chosen.chosen(chosen.corruptions[0], chosen.severities[0], self.images)
        same_labels(first, chosen.clean)
        fresh = CorruptionTable(
            name=self.name or "run",
            title=chosen.title,
            model=fingerprint(network(pl_module)),
            certifier=None if self.certifier is None else self.certifier.describe(),
            radii=self.radii,
            selection=selected(first),
            corruptions=chosen.corruptions,
            severities=chosen.severities,
            left_out=chosen.left_out,
            clean_images=0,
            clean_correct=0,
            cells=[],
            environment=environment(),
        )
        if self._against is not None and self.baseline is not None:
            check_baseline(fresh, self._against, self.baseline)
        found: list[CorruptionTable] = []

        def read() -> None:
            if path.exists():
                found.append(continued(fresh, read_table(path), path))

        with_one_voice(trainer, read)
        old: CorruptionTable | None = trainer.strategy.broadcast(found[0] if found else None)
        if old is not None:
            return old
        clean = self._right(trainer, pl_module, chosen.clean, first.test_indices())
        return replace(fresh, clean_images=len(first.test_indices()), clean_correct=clean)

    def _check_cell(
        self, cell: Cell | None, data: Corrupted, severity: int | None, path: Path
    ) -> None:
        """Check that what is on disk, and the baseline, are of these very images."""
        now = data.fingerprint()
        if cell is not None:
            refuse(path, {"data": now}, {"data": cell.data})
        if self._against is None:
            return
        other = self._against.cell(data.corruption, severity)
        if other is None or other.data.get("digest") != now["digest"]:
            there = "none" if other is None else other.data.get("origin")
            raise InputError(
                f"Expected `baseline` to be of the same corrupted set, but {self.baseline} has "
                f"other images of {data.corruption} ({there}; here: {now['origin']}): evaluate the "
                "baseline on this set."
            )

    def _tested(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        data: Corrupted,
        severity: int | None,
    ) -> Cell:
        indices = data.test_indices()
        return Cell(
            corruption=data.corruption,
            severity=severity,
            images=len(indices),
            correct=self._right(trainer, pl_module, data, indices),
            data=data.fingerprint(),
        )

    def _right(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        data: ImageDataModule,
        indices: Sequence[int],
    ) -> int:
        """How many of some test images the base classifier gets right, over all ranks."""
        mine = Subset(data._source(train=False), indices[trainer.global_rank :: trainer.world_size])
        right = torch.zeros((), device=pl_module.device)
        with evaluating(network(pl_module)), torch.inference_mode():
            for images, labels, _ in DataLoader(mine, self.batch_size, collate_fn=keep_batch):
                classes = network(pl_module)(images.to(pl_module.device)).argmax(dim=1)
                right += (classes == labels.to(pl_module.device)).sum()
        total: Tensor = trainer.strategy.reduce(right, reduce_op="sum")
        return int(total)

    def _certified(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        certifier: Certifier,
        data: Corrupted,
        cell: Cell,
        path: Path,
    ) -> Cell:
        level = "" if cell.severity is None else f"-{cell.severity}"
        file = path.with_suffix("") / f"{cell.corruption}{level}.jsonl"
        name = f"{self.name or 'run'}, {cell.corruption}{level.replace('-', ' ')}"
        found = certified(trainer, pl_module, certifier, data, file, name)
        held: list[Certificate] = trainer.strategy.broadcast(found)
        correct = [one.correct for one in held]
        counts = certified_hits(correct, [one.radius or 0.0 for one in held], self.radii)
        return replace(
            cell,
            certified_images=len(held),
            smoothed=sum(correct),
            certified=counts.tolist(),
            abstained=sum(one.abstained for one in held),
            guarantee=", ".join(sorted(set(map(claim, held)))),
            records=f"{file.parent.name}/{file.name}",
        )

    def _summarise(self, trainer: pl.Trainer, table: CorruptionTable, path: Path) -> None:
        figures = table.figures()
        origins = ", ".join(table.origins)
        words = ", ".join(f"{k} {v:.4f}" for k, v in figures.items() if isinstance(v, float))
        rank_zero_info(f"{table.title} ({origins}): {words.replace('_', ' ')}; in {path}")
        update_summary(path.parent, path.stem, {"table": path.name, "origin": origins, **figures})
        logged = {f"{path.stem}/{k}": v for k, v in figures.items() if isinstance(v, float)}
        for cell in table.cells:
            level = "" if cell.severity is None else f"@{cell.severity}"
            logged[f"{path.stem}/{cell.corruption}{level}"] = cell.accuracy
        for logger in trainer.loggers:
            logger.log_metrics(logged, step=0)
            logger.save()
