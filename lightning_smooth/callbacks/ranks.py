"""What ranks do together."""

from __future__ import annotations

from collections.abc import Callable

import pytorch_lightning as pl
import torch
from torch import Tensor

from lightning_smooth.errors import RecordError, SmoothError
from lightning_smooth.smoothing.sharing import Share


def with_one_voice(trainer: pl.Trainer, action: Callable[[], None]) -> None:
    """Run `action` on rank 0; what fails there, in words for the user, fails on every rank."""
    failure: SmoothError | None = None
    if trainer.is_global_zero:
        try:
            action()
        except SmoothError as error:
            failure = error
    said = trainer.strategy.broadcast(None if failure is None else str(failure))
    if said is not None:
        raise failure or RecordError(said)


def share_of(trainer: pl.Trainer) -> Share:
    """This process's share of every image's draws."""

    def total(counts: Tensor) -> Tensor:
        torch.distributed.all_reduce(counts)
        return counts

    return Share(trainer.global_rank, trainer.world_size, total)
