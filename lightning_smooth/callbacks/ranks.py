"""What ranks do together."""

from __future__ import annotations

from collections.abc import Callable

import pytorch_lightning as pl

from lightning_smooth.errors import RecordError, SmoothError


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
