"""Ending in order where a signal asks for it, and going on from the last epoch."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import distributed


class Stop(Callback):
    """Ends a command in order when SIGTERM or SIGUSR1 comes: preempted, or little time left.

    Lightning's handlers talk to the other processes, or save a checkpoint with them, from within
    the signal: where those are amid another exchange, all of them hang. Here a handler only notes
    the signal. Training and evaluation end after a batch on whose number all processes agree; a
    certification ends by itself, each process with the image at hand.
    """

    def __init__(self) -> None:
        self.received = 0  # number of the signal, whichever process it came to
        self._before: dict[int, Any] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Note signals from here on: Lightning then leaves SIGUSR1 alone, in loaders as well."""
        self._listen(trainer, pl_module)

    def leave(self) -> None:
        """Put the handlers back that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _listen(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        own = os.getpid()

        def note(number: int, _: Any) -> None:
            if os.getpid() != own:  # a loader's process, which ends with this one
                return
            first, self.received = not self.received, number
            self._tell(trainer)
            if first and trainer.strategy.launcher is not None:
                trainer.strategy.launcher.kill(number)

        if threading.current_thread() is threading.main_thread():
            for name in ("SIGTERM", "SIGUSR1"):  # Windows has no SIGUSR1
                if number := getattr(signal, name, None):
                    before = signal.signal(number, note)
                    self._before.setdefault(number, before or signal.SIG_DFL)
        if self.received:
            self._tell(trainer)

    on_sanity_check_start = on_train_start = _listen
    on_validation_start = on_test_start = on_predict_start = _listen

    def _tell(self, trainer: pl.Trainer) -> None:
        # Elsewhere Lightning would let this process leave alone.
        trainer._signal_connector.received_sigterm = trainer.predicting

    def _agree(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        note = torch.tensor(self.received, device=trainer.strategy.root_device)
        if trainer.world_size > 1 and distributed.is_initialized():
            distributed.all_reduce(note, distributed.ReduceOp.MAX)
        agreed = int(note)
        if agreed:  # else what came meanwhile stands for the next batch
            self.received = agreed
            raise SIGTERMException

    on_train_batch_end = _agree
    on_validation_batch_end = on_test_batch_end = _agree

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Say how to go on with a training."""
        if self.received and trainer.is_global_zero and trainer.state.fn == "fit":
            name = signal.Signals(self.received).name
            print(
                f"Stopped by {name} in epoch {trainer.current_epoch}. "
                "`run` with the same output folder goes on from the last epoch's checkpoint.",
                file=sys.stderr,
            )


class LastCheckpoint(ModelCheckpoint):
    """Keeps each epoch's `last.ckpt`, from which a stopped training goes on as if it had not been.

    With a monitor Lightning's `save_last` keeps one that is no newer than the best.
    """

    def __init__(self) -> None:
        super().__init__(filename="last", enable_version_counter=False)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fetch again, in this epoch's order: Lightning lets loaders fetch before it tells it."""
        fetcher = trainer.fit_loop._data_fetcher
        if trainer.fit_loop.is_resuming and trainer.current_epoch > 0 and fetcher is not None:
            iter(fetcher)
