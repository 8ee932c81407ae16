"""Which folder a run has, what may go on in it, and which checkpoint is meant."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from lightning_smooth.callbacks.run_folder import read_summary
from lightning_smooth.errors import InputError
from lightning_smooth.launch import essence, job, several
from lightning_smooth.records.reading import differences

_VARIABLE = "LIGHTNING_SMOOTH_FOLDER"
"""Carries the run folder to the processes that a DDP strategy starts."""

_OF_TESTING = {"root", "eval_batch_size", "num_workers", "skip", "limit", "download", "attack"}
"""Arguments of a data module that training does not depend on."""


def settle_folder(settings: Any, verb: str, config: str) -> Path:
    """Return the run's folder: the one said, or the checkpoint's own, or the job's, or a new one.

    A job of SLURM, and a torchrun with an id, has a folder for each configuration:
    `<root>/<experiment>/slurm-<job>-<digest of the configuration>`. Every process finds it without
    asking another, a requeued job finds it again, and the commands of one job have one each.

    Args:
        settings: the verb's settings.
        verb: what is to be run.
        config: the configuration now, as `portable` makes it.

    Raises:
        InputError: processes were started from outside, none was said, and there is no name that
            all of them know.
    """
    output = settings.output
    inherited = os.environ.get(_VARIABLE)
    if output.folder is not None:
        return Path(output.folder)
    if inherited and int(os.environ.get("LOCAL_RANK", 0)) > 0:
        return Path(inherited)
    path = settings.get("ckpt_path")
    base = Path(output.root) / output.experiment
    if verb not in ("run", "fit"):
        home = Path(path).resolve().parent.parent if path else None
        folder = home if home and (home / "config.yaml").is_file() else base / verb
    elif name := job():
        about = json.dumps([path, essence(config)], sort_keys=True)
        folder = base / f"{name}-{hashlib.sha256(about.encode()).hexdigest()[:8]}"
    elif several(settings):
        raise InputError(
            "Several processes, started from outside: give --output.folder, so that all of them, "
            "and a restart, have the same. (torchrun: --standalone or --rdzv-id NAME will do.)"
        )
    else:
        folder = _fresh(base)
    os.environ[_VARIABLE] = str(folder)
    return folder


def _fresh(base: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (f"{stamp}-{number}" if number else stamp for number in range(1000))
    return next(base / name for name in names if not (base / name).exists())


def check_folder(folder: Path, verb: str, ckpt_path: str | None, config: str) -> None:
    """Check that training may go on, or begin, in a folder.

    Args:
        folder: the run's folder.
        verb: what is to be run.
        ckpt_path: the checkpoint to go on from, if one was given.
        config: the configuration now, as `portable` makes it.

    Raises:
        InputError: the folder holds another training.
    """
    if verb not in ("run", "fit") or not any((folder / "checkpoints").glob("*.ckpt")):
        return
    if verb == "fit" and not ckpt_path:
        raise InputError(
            f"{folder} holds a training already: go on from it with --ckpt_path "
            f"{folder}/checkpoints/last.ckpt, or choose another --output.folder."
        )
    kept = folder / "config.yaml"
    if verb != "run" or not kept.is_file():
        return
    place = f"in {folder}"
    changed = differences(
        _of_training(yaml.safe_load(config)),
        _of_training(yaml.safe_load(kept.read_text(encoding="utf-8"))),
        place=place,
    )
    if changed:
        raise InputError(
            f"{folder} holds a training with other settings:\n  "
            + "\n  ".join(changed)
            + "\nGive those settings, or choose another --output.folder."
        )


def _of_training(config: dict[str, Any]) -> dict[str, Any]:
    data = dict(config.get("data") or {})
    arguments = dict(data.get("init_args") or {})
    data["init_args"] = {k: v for k, v in arguments.items() if k not in _OF_TESTING}
    return {
        "seed_everything": config.get("seed_everything"),
        "model": config.get("model"),
        "data": data,
    }


def find_checkpoint(ckpt_path: str | None, folder: Path, weights: str | None = None) -> str | None:
    """Return the checkpoint that was given, or that of the run's folder, or none, saying so.

    Args:
        ckpt_path: the checkpoint that was given.
        folder: the run's folder.
        weights: the file of weights that the model takes where there is no checkpoint.

    Raises:
        InputError: there is no file where it should be.
    """
    if ckpt_path is None:
        kept = read_summary(folder).get("fit", {}).get("checkpoint")
        ckpt_path = str(folder / kept) if kept else None
    lost = sorted(folder.glob("checkpoints/*.ckpt")) if ckpt_path is None else []
    if lost:
        raise InputError(
            f"{folder} has checkpoints, {', '.join(path.name for path in lost)}, but its "
            f"summary.json does not say which one to take: give it, --ckpt_path {lost[0]}."
        )
    if ckpt_path is None and weights is not None:
        rank_zero_info(f"No checkpoint: the weights of {weights} are taken.")
        return None
    if ckpt_path is None:
        rank_zero_warn("No checkpoint: the model is taken as it was built.")
        return None
    if not Path(ckpt_path).is_file():
        raise InputError(
            f"There is no checkpoint {ckpt_path}: give the path of one that `fit` wrote "
            "(runs/EXPERIMENT/STAMP/checkpoints/*.ckpt)."
        )
    return ckpt_path


def warn_of_differences(path: Path, model: Any) -> None:
    """Warn where a checkpoint was trained with other settings than the command's, which decide.

    Args:
        path: the checkpoint.
        model: the model's configuration now.

    Raises:
        InputError: the file is missing, is no checkpoint, or cannot be loaded safely.
    """
    stored = _hyperparameters(Path(str(find_checkpoint(str(path), path.parent))))
    given = model.get("init_args", model)
    weights = given.get("weights")
    if weights is not None and weights != stored.get("weights"):
        rank_zero_warn(
            f"The weights of {weights} are not loaded: the checkpoint {path} goes before them. For "
            "them, give another --output.folder and no --ckpt_path."
        )
    for name, value in sorted(stored.items()):
        now = given.get(name, value)
        if name in ("weights", "weights_head"):
            continue
        plain = all(isinstance(v, int | float | str) for v in (now, value))
        if plain and now != value:
            rank_zero_warn(
                f"The checkpoint was trained with {name} = {value!r}; the command says {now!r}, "
                "and the command decides."
            )


def _hyperparameters(path: Path) -> dict[str, Any]:
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise InputError(
            f"{path} is no checkpoint that can be loaded safely ({type(error).__name__}): give "
            "one that `lightning-smooth fit` wrote."
        ) from error
    if not isinstance(stored, dict) or "state_dict" not in stored:
        raise InputError(f"{path} is no checkpoint: it has no state_dict.")
    return dict(stored.get("hyper_parameters", {}))


def portable(config: str) -> str:
    """Make a dumped configuration one that any verb reads, and that names no folder of its own."""
    (inner,) = (v for v in yaml.safe_load(config).values() if isinstance(v, dict))
    for argument in ("config", "ckpt_path", "weights_only", "return_predictions", "verbose"):
        inner.pop(argument, None)
    inner["output"]["folder"] = None
    text: str = yaml.safe_dump(inner, sort_keys=False)
    return text


def relative(path: Path) -> str:
    """The path as a user would type it: relative where it lies below the current folder."""
    found = os.path.relpath(path)
    return str(path) if found.startswith("..") else found
