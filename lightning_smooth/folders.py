"""Which folder a run has, what may go on in it, and which checkpoint is meant."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from lightning_smooth.callbacks.run_folder import read_summary
from lightning_smooth.errors import InputError
from lightning_smooth.records.reading import differences

_VARIABLE = "LIGHTNING_SMOOTH_FOLDER"
"""Carries the run folder to the processes that a DDP strategy starts."""

_OF_TESTING = {"root", "eval_batch_size", "num_workers", "skip", "limit", "download", "attack"}
"""Arguments of a data module that training does not depend on."""


_OF_A_MACHINE = {
    "trainer": {"accelerator", "devices", "num_nodes", "strategy", "plugins"},
    "data": {"root", "num_workers", "download"},
}
"""Settings that may differ between the processes of a run, or after its restart."""


@dataclass(frozen=True)
class Launch:
    """What torchrun or srun started: they decide on the number of processes, not the trainer."""

    by: str
    processes: int
    nodes: int


def launched() -> Launch | None:
    """Read from the environment what torchrun or srun started; None where neither did.

    Raises:
        InputError: the processes that SLURM started would not find each other.
    """
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        return Launch(
            "torchrun", int(env.get("WORLD_SIZE", 1)), int(env.get("GROUP_WORLD_SIZE", 1))
        )
    if "SLURM_NTASKS" not in env:
        return None
    if _interactive():
        if int(env.get("SLURM_PROCID", 0)) > 0:
            raise InputError(
                f"In a SLURM job named {env['SLURM_JOB_NAME']!r} Lightning takes every task for a "
                "run of its own: set SLURM_JOB_NAME to another name before srun."
            )
        return None
    tasks = int(env["SLURM_NTASKS"])
    if tasks > 1 and "SLURM_STEP_ID" not in env:
        raise InputError(f"This SLURM job has {tasks} tasks: start the command with srun.")
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in env:
        raise InputError("Lightning needs --ntasks-per-node, on sbatch or srun, beside --nodes.")
    return Launch("srun", tasks, int(env.get("SLURM_NNODES", 1)))


def restarted() -> bool:
    """Whether SLURM has requeued this job, or torchrun started its processes again."""
    counts = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")
    return any(int(os.environ.get(name, 0)) > 0 for name in counts)


def _interactive() -> bool:
    return os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")


def _job() -> str | None:
    """A name that every process of a job knows, and that the job keeps when it is restarted."""
    env = os.environ
    if "SLURM_JOB_ID" in env and not _interactive():
        array, task = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
        return f"slurm-{array}_{task}" if array else f"slurm-{env['SLURM_JOB_ID']}"
    name = env.get("TORCHELASTIC_RUN_ID", "none")  # "none" is what torchrun calls any other
    return f"torchrun-{name}" if name != "none" and re.fullmatch(r"[\w.-]+", name) else None


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
    elif job := _job():
        about = json.dumps([path, essence(config)], sort_keys=True)
        folder = base / f"{job}-{hashlib.sha256(about.encode()).hexdigest()[:8]}"
    elif _several(settings):
        raise InputError(
            "Several processes, started from outside: give --output.folder, so that all of them, "
            "and a restart, have the same. (torchrun: --standalone or --rdzv-id NAME will do.)"
        )
    else:
        folder = _fresh(base)
    os.environ[_VARIABLE] = str(folder)
    return folder


def _several(settings: Any) -> bool:
    env = os.environ
    sizes = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "JSM_NAMESPACE_SIZE"]
    sizes += ["WORLD_SIZE"] if "RANK" in env else []
    return (
        "TORCHELASTIC_RUN_ID" in env
        or settings.trainer.get("num_nodes", 1) > 1
        or any(int(env.get(size, 1)) > 1 for size in sizes)
    )


def essence(config: str) -> dict[str, Any]:
    """What all processes of a run have in common: a configuration but for machines and folders."""
    settings: dict[str, Any] = yaml.safe_load(config)
    settings.pop("output", None)
    for part, names in _OF_A_MACHINE.items():
        arguments = settings.get(part) or {}
        for name in names:
            arguments.get("init_args", arguments).pop(name, None)
    return settings


class OneRun(Callback):
    """Checks, as soon as the processes can talk, that they are about one run in one folder.

    Without it processes that differ train something that neither says, or wait for each other.

    Args:
        folder: the run's folder.
        config: the configuration, as `portable` makes it.
    """

    def __init__(self, folder: Path, config: str) -> None:
        self.folder = folder.resolve()
        self.settings = essence(config)
        self.checkpoints = sorted(path.name for path in self.folder.glob("checkpoints/*.ckpt"))
        self._checked = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Compare settings, folder and its content with those of process 0.

        Raises:
            InputError: they differ, on every process.
        """
        if self._checked or trainer.world_size == 1 or not torch.distributed.is_initialized():
            return
        self._checked = True
        mark = self.folder / f".shared-{uuid4().hex}"
        if trainer.is_global_zero:
            mark.touch()
        first = trainer.strategy.broadcast((self.settings, mark, self.checkpoints))
        said: list[str | None] = [None] * trainer.world_size
        torch.distributed.all_gather_object(said, self._difference(*first))
        if trainer.is_global_zero:
            mark.unlink(missing_ok=True)
        for rank, difference in enumerate(said):
            if difference:
                raise InputError(f"Process {rank} and process 0 are not of one run: {difference}")

    def _difference(
        self, settings: dict[str, Any], mark: Path, checkpoints: list[str]
    ) -> str | None:
        changed = differences(self.settings, settings, place="in process 0")
        if changed:
            return "other settings.\n  " + "\n  ".join(changed)
        if self.folder != mark.parent:
            return f"the folder {mark.parent} there, {self.folder} here. Give one --output.folder."
        for _ in range(20):  # a network file system may need a moment
            if mark.exists():
                break
            time.sleep(0.5)
        else:
            return (
                f"{platform.node()} does not see what process 0 wrote into {self.folder}. Give "
                "an --output.folder on a file system that all nodes share."
            )
        if self.checkpoints != checkpoints:
            return (
                f"the checkpoints {checkpoints} there, {self.checkpoints} here, in {self.folder}: "
                "its file system had not caught up. Start the command again."
            )
        return None


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
