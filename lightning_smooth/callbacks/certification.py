"""Certification inside Lightning's loops: the test images in predict, a small sample in fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from lightning_smooth.callbacks.pictures import save_pictures
from lightning_smooth.callbacks.progress import CertificationProgress
from lightning_smooth.callbacks.ranks import share_of
from lightning_smooth.callbacks.recording import Recording
from lightning_smooth.callbacks.subject import network, warn_of_slow_bf16
from lightning_smooth.callbacks.validation import ValidationCertification
from lightning_smooth.certify.base import Certifier
from lightning_smooth.errors import InputError, check_count
from lightning_smooth.records.audit_checks import overclaiming
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.reading import samples_path
from lightning_smooth.records.summary import summarise

Shard = Literal["images", "draws"]


class CertificationCallback(Recording[Certificate], ValidationCertification):
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

    verb: ClassVar[Literal["certify"]] = "certify"
    option: ClassVar[str] = "certification"
    kind: ClassVar[type[Certificate]] = Certificate

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
        Recording.__init__(self, folder, records, name)
        ValidationCertification.__init__(
            self, certifier, radii, val_images, val_n0, val_n, val_every_n_epochs
        )
        self.certifier = certifier
        if shard not in get_args(Shard):
            raise InputError(f"Expected `shard` to be images or draws, but got {shard!r}.")
        self.shard = shard
        self.pictures = check_count("pictures", pictures, least=0)

    @property
    def certificates(self) -> list[Certificate]:
        """Every certificate of the records, by index, on rank 0 once they are merged."""
        return self.results

    def described(self) -> dict[str, dict[str, Any]]:
        """See `Recording.described`."""
        size = getattr(self.certifier, "batch_size", None)
        return {"certifier": self.certifier.describe(), "where": {"batch_size": size}}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Warn of arithmetic that is slow here, and read what is recorded."""
        warn_of_slow_bf16(trainer, self.certifier)
        super().setup(trainer, pl_module, stage)

    def check(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See `Recording.check`."""
        trained, used = getattr(pl_module, "sigma", None), getattr(self.certifier, "sigma", None)
        if trained is not None and used is not None and trained != used:
            rank_zero_warn(
                f"The module is set to sigma = {trained:g}, and the certifier smooths with sigma "
                f"= {used:g}: certificates hold, but are best where the two agree."
            )
        if all(hasattr(part, "preprocessing") for part in (pl_module, self.certifier)):
            seen, shown = pl_module.preprocessing, self.certifier.preprocessing  # type: ignore[attr-defined]
            if repr(seen) != repr(shown):
                rank_zero_warn(
                    f"The module is set to {seen!r}, and the certifier to {shown!r} before noise: "
                    "certificates hold, but are best where the two agree."
                )

    def measure(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        images: Sequence[Tensor],
        labels: Sequence[int],
        indices: Sequence[int],
    ) -> Iterator[Certificate]:
        """See `Recording.measure`."""
        return self.certifier.certify_batch(
            network(pl_module),
            images,
            indices=indices,
            labels=labels,
            share=share_of(trainer) if self.together(trainer) else None,
        )

    def progress(self, total: int) -> CertificationProgress:
        """See `Recording.progress`."""
        shown = tuple(dict.fromkeys((self.radii[0], self.radii[len(self.radii) // 2])))
        return CertificationProgress(total, shown)

    def figures(self) -> dict[str, Any]:
        """See `Recording.figures`."""
        figures = summarise(self.results, self.radii)
        false = overclaiming({"certifier": self.certifier.describe()}, self.results)
        if false:
            figures["guarantee"] = "unknown"
            rank_zero_warn(
                f"{len(false):,} of {len(self.results):,} certificates claim more than their "
                f"counts give, that of image {false[0]} first: the records were changed. "
                "`lightning-smooth audit` says what is wrong."
            )
        return figures

    def together(self, trainer: pl.Trainer) -> bool:
        """Whether the processes share each image's draws."""
        return self.shard == "draws" and trainer.world_size > 1

    def kept(self, trainer: pl.Trainer, path: Path) -> None:
        """Keep pictures of a few images for the report."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if self.pictures and hasattr(data, "test_item"):
            save_pictures(
                samples_path(path), self.results, data.test_item, self.certifier, self.pictures
            )
