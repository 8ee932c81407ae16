"""The processes of a run: what started them, how many they are, and that they are of one run."""

from __future__ import annotations

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

from lightning_smooth.errors import InputError
from lightning_smooth.records.reading import differences

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


def job() -> str | None:
    """A name that every process of a job knows, and that the job keeps when it is restarted."""
    env = os.environ
    if "SLURM_JOB_ID" in env and not _interactive():
        array, task = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
        return f"slurm-{array}_{task}" if array else f"slurm-{env['SLURM_JOB_ID']}"
    name = env.get("TORCHELASTIC_RUN_ID", "none")  # "none" is what torchrun calls any other
    return f"torchrun-{name}" if name != "none" and re.fullmatch(r"[\w.-]+", name) else None


def several(settings: Any) -> bool:
    """Whether more processes than this one were, or will be, started for a verb's settings."""
    env = os.environ
    sizes = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "JSM_NAMESPACE_SIZE"]
    sizes += ["WORLD_SIZE"] if "RANK" in env else []
    return (
        "TORCHELASTIC_RUN_ID" in env
        or settings.trainer.get("num_nodes", 1) > 1
        or any(int(env.get(size, 1)) > 1 for size in sizes)
    )


def settle_processes(trainer: Any) -> None:
    """Let "auto" devices be those that torchrun or srun started, and refuse any other number.

    A trainer that takes fewer would run on its own in each process, in one folder.
    """
    launch = launched()
    if launch is None:
        return
    each, uneven = divmod(launch.processes, launch.nodes)
    asked = trainer.devices
    if asked in ("auto", -1, "-1") and not uneven:
        trainer.devices, trainer.num_nodes = each, launch.nodes
        return
    if isinstance(asked, str) and asked.isdecimal():
        asked = int(asked)
    elif isinstance(asked, str):  # "0,1"
        asked = asked.strip(",").split(",")
    count = asked if isinstance(asked, int) else len(asked)
    if uneven or count * trainer.num_nodes != launch.processes:
        raise InputError(
            f"{launch.by} started {launch.processes} processes on {launch.nodes} nodes, but the "
            f"trainer has devices {trainer.devices} on num_nodes {trainer.num_nodes}: start the "
            "same number on each node, and give --trainer.devices auto, which takes that number."
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
