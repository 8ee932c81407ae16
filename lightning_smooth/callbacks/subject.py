"""What a certification is about: which network, which images; and the header that says so."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import nn

from lightning_smooth.callbacks.run_folder import environment
from lightning_smooth.certify.base import Certifier
from lightning_smooth.models import fingerprint
from lightning_smooth.modules.base import SmoothingModule


def purpose(trainer: pl.Trainer) -> str | None:
    """What the predict loop is for: the verb `certify` or `attack`, or `predict` alone.

    None for a plain Trainer, which does not say: any callback that measures then does.
    """
    value = getattr(trainer, "purpose", None)
    return None if value is None else str(value)


def wanted_images(trainer: pl.Trainer) -> list[int] | None:
    """Data set indices of the images to certify; None where the data cannot tell."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    return list(data.test_indices()) if hasattr(data, "test_indices") else None


def network(pl_module: pl.LightningModule) -> nn.Module:
    """What is certified: a `SmoothingModule`'s `model`; another module as its `forward` is."""
    return pl_module.model if isinstance(pl_module, SmoothingModule) else pl_module


def warn_of_slow_bf16(trainer: pl.Trainer, certifier: Certifier) -> None:
    """Warn where bf16 is asked for on a CPU that has no instructions for it."""
    asked = str(trainer.precision).startswith("bf16") or certifier.precision == "bf16"
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if asked and on_cpu and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        rank_zero_warn(
            "This CPU has no bf16 instructions: bf16 is about ten times slower here than float32. "
            "Leave trainer.precision and certifier.precision at their defaults."
        )


def header(
    trainer: pl.Trainer,
    pl_module: pl.LightningModule,
    described: dict[str, dict[str, Any]],
    name: str,
) -> dict[str, Any]:
    """Describe what is measured, by what, on what: the header of the records.

    `model`, what measures and `data` are the fingerprint: records that differ in them never share
    a file. The rest says how they came about.

    Args:
        trainer: whose predict loop gives the images.
        pl_module: module of the network.
        described: what measures, by its name; and `where`, what the environment's part adds.
        name: of the run.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    known = data is not None and hasattr(data, "fingerprint")
    wanted = wanted_images(trainer)
    where = {
        "device": str(pl_module.device.type),
        "dtype": str(pl_module.dtype),
        **described.get("where", {}),
    }
    measures = {key: value for key, value in described.items() if key != "where"}
    return {
        "name": name,
        "model": fingerprint(network(pl_module)),
        **measures,
        "data": data.fingerprint() if known else {"name": type(data).__name__},
        "selection": {
            "skip": getattr(data, "skip", None),
            "limit": getattr(data, "limit", None),
            "images": None if wanted is None else len(wanted),
        },
        "class_names": [str(label) for label in getattr(data, "class_names", [])],
        "environment": {**environment(), **where},
    }
