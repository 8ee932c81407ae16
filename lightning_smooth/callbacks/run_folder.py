"""A run's folder: the configuration, the environment, the summary."""

from __future__ import annotations

import itertools
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from lightning_smooth.arithmetic import float32_products
from lightning_smooth.errors import InputError

_PACKAGES = (
    "lightning-smooth",
    "pytorch-lightning",
    "torch",
    "torchvision",
    "torchmetrics",
    "numpy",
    "scipy",
    "statsmodels",
)


class RunFolder(Callback):
    """Writes `config.yaml`, `env.json`, `checkpoints/` and `summary.json` into a run's folder.

    The configuration that made a model is `config.yaml`; those of later verbs on the same folder
    are `<verb>.yaml`. One that exists with other content is kept, and the new one is numbered. The
    summary has a section for each verb.

    Args:
        folder: the run's folder.
        verb: what is being run.
        config: the whole configuration, as YAML text.
    """

    def __init__(self, folder: Path, *, verb: str, config: str) -> None:
        self.folder = Path(folder)
        self.verb = verb
        self.config = config

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write what is known before the run; place the checkpoints."""
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                # Resolved: Lightning forgets the best score where the text of the path changes.
                callback.dirpath = str((self.folder / "checkpoints").resolve())
        if trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False):
            first = not (self.folder / "config.yaml").exists()
            name = "config.yaml" if first else f"{self.verb}.yaml"
            same = not first and (self.folder / "config.yaml").read_text() == self.config
            if not same:
                write_once(self.folder / name, self.config)
            write_once(self.folder / "env.json", json.dumps(environment(), indent=1) + "\n")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Summarise the training."""
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        best = best_checkpoint(trainer)
        figures = {k: float(v) for k, v in trainer.callback_metrics.items() if v.numel() == 1}
        values = {
            "finished": True,
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "checkpoint": os.path.relpath(best, self.folder) if best else None,
            "last_epoch": figures,
        }
        update_summary(self.folder, "fit", values)


def best_checkpoint(trainer: pl.Trainer) -> str | None:
    """Path of the checkpoint to certify: the best by its monitor, else the last; None if none."""
    found = trainer.checkpoint_callback
    if not isinstance(found, ModelCheckpoint):
        return None
    return found.best_model_path or found.last_model_path or None


def writable(folder: Path) -> Path:
    """Make a folder, and see that files can be written there.

    Raises:
        InputError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"The output folder {folder} cannot be written ({error.strerror}): choose another "
            "with --output.folder."
        ) from error
    return folder


def write_once(path: Path, text: str) -> Path:
    """Write `text` to `path`, or beside it under a number if `path` holds something else.

    Returns:
        The file that holds `text` now.

    Raises:
        InputError: the folder cannot be written.
    """
    writable(path.parent)
    for number in itertools.count():
        name = path.name if not number else f"{path.stem}-{number}{path.suffix}"
        file = path.with_name(name)
        if not file.exists():
            file.write_text(text, encoding="utf-8")
        elif file.read_text(encoding="utf-8") != text:
            continue
        break
    return file


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary in `folder`, empty where there is none yet."""
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except json.JSONDecodeError as error:
        raise InputError(f"{folder / 'summary.json'} is damaged: delete it.") from error
    return summary


def update_summary(folder: Path, section: str, values: dict[str, Any]) -> None:
    """Replace one section of the folder's summary, in one step."""
    summary = {**read_summary(folder), section: values}
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / "summary.json.new"
    fresh.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    fresh.replace(folder / "summary.json")


def environment() -> dict[str, Any]:
    """What a figure depends on beside configuration and data: versions, machine, commit."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    cuda = torch.cuda.is_available()
    return {
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "float32_products": float32_products(),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Commit of the package's own checkout, marked if it was changed; None if installed."""
    here = Path(__file__).parent
    try:
        run = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip() or None
