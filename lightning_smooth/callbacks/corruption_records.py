"""Certificates of corrupted images, as ordinary records: a file for each cell of the table."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn

from lightning_smooth.callbacks.corruption_set import selected
from lightning_smooth.callbacks.ranks import with_one_voice
from lightning_smooth.callbacks.stop import Stop
from lightning_smooth.callbacks.subject import header, network
from lightning_smooth.certify.base import Certifier
from lightning_smooth.data.base import ImageDataModule
from lightning_smooth.errors import RecordError
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.store import RecordStore

_TOGETHER = 32


def certified(
    trainer: pl.Trainer,
    pl_module: pl.LightningModule,
    certifier: Certifier,
    data: ImageDataModule,
    path: Path,
    name: str,
) -> list[Certificate]:
    """Certify the chosen test images of `data` into the records `path`; what is there is kept.

    Each rank certifies its share; rank 0 merges them.

    Args:
        trainer: whose ranks do it.
        pl_module: module of the network.
        certifier: the algorithm.
        data: its `test_indices` are certified.
        path: the records file.
        name: name of the run in the header.

    Returns:
        Every certificate by index, on rank 0; elsewhere nothing.

    Raises:
        RecordError: the records are damaged, or belong to something else.
    """
    wanted = data.test_indices()
    store = _recovered(trainer, path)
    try:
        store.read()
        done = {one.index for one in store.results}
        if extra := done - set(wanted):
            raise RecordError(
                f"{path} holds {len(extra)} images that are not asked for now, index {min(extra)} "
                "among them: give the corruptions.certified_images that it was made with, or "
                "another corruptions.records."
            )
        store.open(_header(trainer, pl_module, certifier, data, name))
        rest = [index for index in wanted if index not in done]
        mine = rest[trainer.global_rank :: trainer.world_size]
        for start in range(0, len(mine), _TOGETHER):
            _append(store, trainer, pl_module, certifier, data, mine[start : start + _TOGETHER])
        store.close()
        trainer.strategy.barrier("corrupted images certified")
        found: list[Certificate] = []
        with_one_voice(trainer, lambda: found.extend(store.merge()))
    finally:
        store.release()
    if trainer.is_global_zero and (missing := set(wanted) - {one.index for one in found}):
        raise RecordError(f"{path} lacks {len(missing)} images: run the same command again.")
    return found


def _append(
    store: RecordStore[Certificate],
    trainer: pl.Trainer,
    pl_module: pl.LightningModule,
    certifier: Certifier,
    data: ImageDataModule,
    indices: Sequence[int],
) -> None:
    items = [data.test_item(index) for index in indices]
    for one in certifier.certify_batch(
        network(pl_module),
        [torch.as_tensor(image).to(pl_module.device) for image, _ in items],
        indices=indices,
        labels=[label for _, label in items],
    ):
        store.append(one)
        if trainer.received_sigterm or stopped(trainer):
            raise SystemExit(128 + signal.SIGTERM)


def stopped(trainer: pl.Trainer) -> bool:
    """Whether a signal has asked this process to end."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return any(isinstance(one, Stop) and one.received for one in callbacks)


def _recovered(trainer: pl.Trainer, path: Path) -> RecordStore[Certificate]:
    stores: list[RecordStore[Certificate]] = []

    def made() -> RecordStore[Certificate]:
        return RecordStore(path, rank=trainer.global_rank, option="--corruptions.records")

    def recover() -> None:
        stores.append(made())
        for note in stores[0].recover():
            rank_zero_warn(note)

    with_one_voice(trainer, recover)
    return stores[0] if stores else made()


def _header(
    trainer: pl.Trainer,
    pl_module: pl.LightningModule,
    certifier: Certifier,
    data: ImageDataModule,
    name: str,
) -> dict[str, Any]:
    described = {"certifier": certifier.describe()}
    return {
        **header(trainer, pl_module, described, name),
        "data": data.fingerprint(),
        "selection": selected(data),
    }
