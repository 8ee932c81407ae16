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


def certifying(trainer: pl.Trainer) -> bool:
    """Whether the predict loop is meant to certify: a plain Trainer's always is."""
    return bool(getattr(trainer, "certifying", True))


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
    trainer: pl.Trainer, pl_module: pl.LightningModule, certifier: Certifier, name: str
) -> dict[str, Any]:
    """Describe what is certified, by what, on what: the header of the records.

    `model`, `certifier` and `data` are the fingerprint: records that differ in them never share
    a file. The rest says how they came about.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    known = data is not None and hasattr(data, "fingerprint")
    wanted = wanted_images(trainer)
    where = {
        "device": str(pl_module.device.type),
        "dtype": str(pl_module.dtype),
        "batch_size": getattr(certifier, "batch_size", None),
    }
    return {
        "name": name,
        "model": fingerprint(network(pl_module)),
        "certifier": certifier.describe(),
        "data": data.fingerprint() if known else {"name": type(data).__name__},
        "selection": {
            "skip": getattr(data, "skip", None),
            "limit": getattr(data, "limit", None),
            "images": None if wanted is None else len(wanted),
        },
        "class_names": [str(label) for label in getattr(data, "class_names", [])],
        "environment": {**environment(), **where},
    }
