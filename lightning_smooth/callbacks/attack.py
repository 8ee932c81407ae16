"""Attacks inside Lightning's predict loop: accuracy under attack, into records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor

from lightning_smooth.attacks.base import Attack
from lightning_smooth.callbacks.progress import AttackProgress
from lightning_smooth.callbacks.recording import Recording
from lightning_smooth.callbacks.subject import network
from lightning_smooth.errors import check_count
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.attacked import summarise_attack


class AttackEvaluation(Recording[AttackOutcome]):
    """Attacks the images of the predict loop, into records as those of certificates.

    Each image is attacked once, whatever the number of ranks; an evaluation that was stopped goes
    on where it was. Gradients are taken whatever mode the loop and its strategy are in.

    Args:
        attack: the attack, with its bound, gradient and judge.
        folder: where the records go; None for the trainer's `default_root_dir`.
        records: name of the records file in the folder.
        name: name of the run in the report; None for that of the experiment.
        images: images that are attacked together, and recorded together.

    Raises:
        InputError: a number is out of range, or `records` is not a plain file name.
    """

    verb: ClassVar[Literal["attack"]] = "attack"
    option: ClassVar[str] = "attacking"
    kind: ClassVar[type[AttackOutcome]] = AttackOutcome

    def __init__(
        self,
        attack: Attack,
        folder: str | None = None,
        records: str = "attack.jsonl",
        name: str | None = None,
        images: int = 100,
    ) -> None:
        super().__init__(folder, records, name)
        self.attack = attack
        self.images = check_count("images", images)

    def described(self) -> dict[str, dict[str, Any]]:
        """See `Recording.described`."""
        return {"attack": self.attack.describe()}

    def measure(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        images: Sequence[Tensor],
        labels: Sequence[int],
        indices: Sequence[int],
    ) -> Iterator[AttackOutcome]:
        """See `Recording.measure`."""
        del trainer
        for start in range(0, len(images), self.images):
            part = slice(start, start + self.images)
            yield from self.attack(
                network(pl_module),
                torch.stack(list(images[part])),
                torch.tensor(labels[part]),
                indices=indices[part],
            )

    def progress(self, total: int) -> AttackProgress:
        """See `Recording.progress`."""
        return AttackProgress(total)

    def figures(self) -> dict[str, Any]:
        """See `Recording.figures`."""
        return summarise_attack(self.results)
