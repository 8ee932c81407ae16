"""The verbs that need a trainer: LightningCLI, with a run folder and certification.

What a setting is, is decided by one rule: the command line beats the YAML files, a later file
beats an earlier one, and a checkpoint's stored hyperparameters decide nothing.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.exceptions import MisconfigurationException

import lightning_smooth.certify
import lightning_smooth.data
import lightning_smooth.models  # noqa: F401  short names like --data MNIST find what is imported
from lightning_smooth.callbacks.certification import CertificationCallback
from lightning_smooth.callbacks.run_folder import RunFolder, writable
from lightning_smooth.errors import InputError, SmoothError
from lightning_smooth.folders import (
    check_folder,
    find_checkpoint,
    portable,
    relative,
    settle_folder,
    warn_of_differences,
)
from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.trainer import SmoothTrainer

_DATA = {"model", "dataloaders", "datamodule"}
VERBS: dict[str, set[str]] = {
    "run": _DATA,
    "fit": {*_DATA, "train_dataloaders", "val_dataloaders"},
    "certify": _DATA,
    "validate": _DATA,
    "test": _DATA,
    "predict": _DATA,
}
"""Verb -> arguments of the trainer's method that the command line does not take."""

_STARTS = ("-c", "--config", "-h", "help", "--print_config")


def output_folder(experiment: str = "run", root: str = "runs", folder: str | None = None) -> None:
    """Where a run's files go: `<root>/<experiment>/<stamp>`, or `folder`.

    Args:
        experiment: name of the experiment; it also names the run in the report.
        root: folder of all runs.
        folder: the run's own folder; give that of an earlier run to go on with it.
    """


class SmoothCLI(LightningCLI):
    """LightningCLI for one verb; `for_verb` makes the class."""

    verbs: ClassVar[dict[str, set[str]]] = VERBS

    @classmethod
    def for_verb(cls, verb: str) -> type[SmoothCLI]:
        """Return a command line that knows only `verb`: building the others takes seconds."""
        return type("SmoothCLI", (cls,), {"verbs": {verb: VERBS[verb]}, "subcommands": _only(verb)})

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        """Build the verb's parser, with a usage of one line: `--help` has the rest."""
        kwargs["usage"] = f"lightning-smooth {subcommand} --config FILE.yaml [--KEY VALUE ...]"
        return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the output folder and the certification to Lightning's arguments."""
        parser.add_function_arguments(output_folder, "output")
        parser.add_lightning_class_args(CertificationCallback, "certification")

    def _parse_ckpt_path(self) -> None:
        """Keep what the command says: the checkpoint's hyperparameters decide nothing."""

    def before_instantiate_classes(self) -> None:
        """Settle the run's folder and the checkpoint, and send there whatever writes."""
        verb = str(self.subcommand)
        settings = self.config[verb]
        self.kept_config = portable(self.parser.dump(self.config, skip_unset=False, format="yaml"))
        self.folder = writable(settle_folder(settings, verb))
        check_folder(self.folder, verb, settings.get("ckpt_path"), self.kept_config)
        if verb not in ("run", "fit"):
            settings.ckpt_path = find_checkpoint(settings.get("ckpt_path"), self.folder)
        if settings.get("ckpt_path") not in (None, "best", "last", "hpc"):
            warn_of_differences(Path(settings.ckpt_path), settings.model)
        settings.trainer.default_root_dir = str(self.folder)
        if settings.certification.name is None:
            settings.certification.name = settings.output.experiment
        for logger in _listed(settings.trainer.get("logger")):
            init = logger.get("init_args") if hasattr(logger, "get") else None
            if init is not None and init.get("save_dir") == "":
                _place_logger(init, self.folder, verb)

    def instantiate_trainer(self, **kwargs: Any) -> SmoothTrainer:
        """Build the trainer, with the callback that keeps the run's folder first."""
        trainer = cast(SmoothTrainer, super().instantiate_trainer(**kwargs))
        folder = RunFolder(self.folder, verb=str(self.subcommand), config=self.kept_config)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks.insert(0, folder)
        return trainer

    def after_fit(self) -> None:
        """Say where the training is, and what comes next."""
        rank_zero_info(f"Trained: {self.folder}. Next: {self._next('certify')}")

    def after_certify(self) -> None:
        """Say what comes next."""
        rank_zero_info(f"Next: lightning-smooth report {relative(self.folder)}")

    def after_run(self) -> None:
        """Write and announce the report, on the process that holds the records."""
        trainer = cast(SmoothTrainer, self.trainer)
        if trainer.is_global_zero and trainer.certification.certificates:
            from lightning_smooth.report import main as report

            records = trainer.certification.records_path or self.folder
            report([relative(records), "--out", relative(records.parent / "report")])

    def _next(self, verb: str) -> str:
        folder = relative(self.folder)
        return f"lightning-smooth {verb} --config {folder}/config.yaml --output.folder {folder}"


def main(verb: str, args: Sequence[str] | None = None) -> None:
    """Run one of `VERBS`.

    Args:
        verb: which.
        args: what follows the verb on the command line; None takes both from the process's own
            arguments, which is what a DDP strategy repeats in the processes that it starts.

    Raises:
        SmoothError: a user's mistake, in words for the user.
        SystemExit: the arguments do not parse, or help was asked for.
    """
    given = _configs_first(sys.argv[2:] if args is None else args)
    if not any(arg.split("=")[0].endswith(_STARTS) or arg.startswith("--model") for arg in given):
        raise InputError(
            "Name an experiment, a YAML that says what to train on what; the smallest is "
            "--config configs/digits.yaml."
        )
    if args is None:
        sys.argv[2:] = given
    # Lightning and torch talk past each other here; it is printed at every step otherwise.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
    torch.set_float32_matmul_precision("highest")
    try:
        SmoothCLI.for_verb(verb)(
            model_class=SmoothingModule,
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            trainer_class=SmoothTrainer,
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_kwargs={"prog": "lightning-smooth"},
            args=None if args is None else [verb, *given],
        )
    except MisconfigurationException as error:
        raise InputError(str(error)) from error
    except ValueError as error:
        own = _own(error)
        if own is error:
            raise
        raise own from error


def _own(error: BaseException) -> BaseException:
    """Return the error of this package that a parser has wrapped; the error itself if none."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, SmoothError):
        inner = inner.__cause__ or inner.__context__
    return inner or error


def _only(verb: str) -> Any:
    return staticmethod(lambda: {verb: VERBS[verb]})


def _configs_first(args: Sequence[str]) -> list[str]:
    """Move the YAML files before the other options, which so beat them wherever they stand."""
    configs: list[str] = []
    rest: list[str] = []
    words = iter(args)
    for word in words:
        if word in ("-c", "--config"):
            configs += [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word.startswith("--config="):
            configs.append(word)
        else:
            rest.append(word)
    return [*configs, *rest]


def _place_logger(init: Any, folder: Path, verb: str) -> None:
    """Send a logger into the run's folder; an earlier log of the same verb is kept."""
    init.save_dir = str(folder)
    if "version" not in init or "name" not in init or init.get("version"):
        return
    names = (f"{verb}-{number}" if number else verb for number in range(1000))
    init.name = "logs"
    init.version = next(name for name in names if not (folder / "logs" / name).exists())


def _listed(value: Any) -> list[Any]:
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
