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

import pytorch_lightning as pl
import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.exceptions import MisconfigurationException

import lightning_smooth.attacks
import lightning_smooth.certify
import lightning_smooth.data
import lightning_smooth.defenses
import lightning_smooth.models  # noqa: F401  short names like --data MNIST find what is imported
from lightning_smooth.callbacks.attack import AttackEvaluation
from lightning_smooth.callbacks.certification import CertificationCallback
from lightning_smooth.callbacks.corruptions import CorruptionEvaluation
from lightning_smooth.callbacks.diagnosis import DiagnosisCallback
from lightning_smooth.callbacks.run_folder import RunFolder, writable
from lightning_smooth.callbacks.stop import LastCheckpoint, Stop
from lightning_smooth.errors import InputError, SmoothError
from lightning_smooth.folders import (
    check_folder,
    find_checkpoint,
    portable,
    relative,
    settle_folder,
    warn_of_differences,
)
from lightning_smooth.launch import OneRun, restarted, settle_processes
from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.parser import Parser, configs_first, let_be_optional
from lightning_smooth.records.runs import RECORDS
from lightning_smooth.trainer import SmoothTrainer

_DATA = {"model", "dataloaders", "datamodule"}
VERBS: dict[str, set[str]] = {
    "run": _DATA,
    "fit": {*_DATA, "train_dataloaders", "val_dataloaders"},
    "certify": _DATA,
    "attack": _DATA,
    "diagnose": _DATA,
    "validate": _DATA,
    "test": _DATA,
    "predict": _DATA,
}
"""Verb -> arguments of the trainer's method that the command line does not take."""

_CERTIFYING = {"run", "certify"}
"""Verbs that cannot do without a certifier."""

_CLASSIFYING = {*_CERTIFYING, "attack", "diagnose"}
"""Verbs whose module trains a classifier."""

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
    stop: ClassVar[Stop]

    @classmethod
    def for_verb(cls, verb: str, stop: Stop) -> type[SmoothCLI]:
        """Return a command line that knows only `verb`: building the others takes seconds."""
        only = {"verbs": {verb: VERBS[verb]}, "subcommands": _only(verb), "stop": stop}
        return type("SmoothCLI", (cls,), only)

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        """Build the verb's parser, with a usage of one line: `--help` has the rest."""
        kwargs["usage"] = f"lightning-smooth {subcommand} --config FILE.yaml [--KEY VALUE ...]"
        return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the output folder and the certification to Lightning's arguments.

        Verbs that certify need a certifier; to the others an experiment that trains no classifier,
        but a surrogate, comes without.
        """
        parser.add_function_arguments(output_folder, "output")
        parser.add_lightning_class_args(CertificationCallback, "certification")
        parser.add_lightning_class_args(AttackEvaluation, "attacking")
        parser.add_lightning_class_args(DiagnosisCallback, "diagnosis")
        parser.add_lightning_class_args(CorruptionEvaluation, "corruptions")
        let_be_optional(parser, "corruptions.data", CorruptionEvaluation)
        if set(self.verbs).isdisjoint(_CERTIFYING):
            let_be_optional(parser, "certification.certifier", CertificationCallback)
        if "attack" not in self.verbs:
            let_be_optional(parser, "attacking.attack", AttackEvaluation)
        if "diagnose" not in self.verbs:
            let_be_optional(parser, "diagnosis.test", DiagnosisCallback)

    def _parse_ckpt_path(self) -> None:
        """Keep what the command says: the checkpoint's hyperparameters decide nothing."""

    def before_instantiate_classes(self) -> None:
        """Settle the run's folder and the checkpoint, and send there whatever writes."""
        verb = str(self.subcommand)
        settings = self.config[verb]
        settle_processes(settings.trainer)
        self.kept_config = portable(self.parser.dump(self.config, skip_unset=False, format="yaml"))
        self.folder = writable(settle_folder(settings, verb, self.kept_config))
        last = self.folder / "checkpoints" / "last.ckpt"
        if verb == "fit" and not settings.get("ckpt_path") and restarted() and last.is_file():
            settings.ckpt_path = str(last)
        check_folder(self.folder, verb, settings.get("ckpt_path"), self.kept_config)
        if verb not in ("run", "fit"):
            weights = settings.model.get("init_args", settings.model).get("weights")
            settings.ckpt_path = find_checkpoint(settings.get("ckpt_path"), self.folder, weights)
        if settings.get("ckpt_path") not in (None, "best", "last", "hpc"):
            warn_of_differences(Path(settings.ckpt_path), settings.model)
        settings.trainer.default_root_dir = str(self.folder)
        for part in (settings.certification, settings.attacking, settings.corruptions):
            if part.name is None:
                part.name = settings.output.experiment
        for logger in _listed(settings.trainer.get("logger")):
            init = logger.get("init_args") if hasattr(logger, "get") else None
            if init is not None and init.get("save_dir") == "":
                _place_logger(init, self.folder, verb)

    def instantiate_trainer(self, **kwargs: Any) -> SmoothTrainer:
        """Build the trainer, with the callbacks of every command before all others."""
        trainer = cast(SmoothTrainer, super().instantiate_trainer(**kwargs))
        folder = RunFolder(self.folder, verb=str(self.subcommand), config=self.kept_config)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        callbacks[:0] = [OneRun(self.folder, self.kept_config), self.stop, folder]
        keeping = [c for c in callbacks if isinstance(c, ModelCheckpoint) and c.save_last]
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            for checkpoint in keeping:  # Lightning writes that of a trial, too
                checkpoint.save_last = None
        elif keeping:
            callbacks.append(LastCheckpoint())
        return trainer

    def after_fit(self) -> None:
        """Say where the training is, and what comes next."""
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            rank_zero_info("A trial (fast_dev_run): nothing of it is kept.")
            return
        certifier = self.config[str(self.subcommand)].certification.certifier
        next_ = "test" if certifier is None else "certify"
        rank_zero_info(f"Trained: {self.folder}. Next: {self._next(next_)}")

    def after_certify(self) -> None:
        """Say what comes next: the folder, or its records where they have another name."""
        written = cast(SmoothTrainer, self.trainer).certification.records_path
        other = written if written is not None and written.name != RECORDS else self.folder
        rank_zero_info(f"Next: lightning-smooth report {relative(other)}")

    def after_attack(self) -> None:
        """Say what was found, and what comes next."""
        trainer = cast(SmoothTrainer, self.trainer)
        if trainer.is_global_zero and trainer.attack_evaluation.results:
            found = trainer.attack_evaluation.figures()
            rank_zero_info(
                f"Accuracy {found['clean_accuracy']:.3f}, under attack "
                f"{found['attacked_accuracy']:.3f}, of {found['images']} images."
            )
        rank_zero_info(f"Next: lightning-smooth report {relative(self.folder)}")

    def after_test(self) -> None:
        """Say what comes next, where corrupted images were tested."""
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(one, CorruptionEvaluation) for one in callbacks):
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
        SystemExit: the arguments do not parse, or help was asked for; or, with status 128 + N,
            signal N ended the command in order.
    """
    given = configs_first(sys.argv[2:] if args is None else args)
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
    stop = Stop()
    try:
        _run(verb, stop, None if args is None else [verb, *given])
    except BaseException as error:
        if not stop.received:
            raise
        if not isinstance(error, SystemExit):  # another process was gone first, or a loader's
            print(f"Stopped; on the way: {type(error).__name__}: {error}", file=sys.stderr)
        raise SystemExit(128 + stop.received) from error
    finally:
        stop.leave()


def _run(verb: str, stop: Stop, args: list[str] | None) -> None:
    try:
        SmoothCLI.for_verb(verb, stop)(
            model_class=SmoothingModule if verb in _CLASSIFYING else pl.LightningModule,
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            trainer_class=SmoothTrainer,
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_class=Parser,
            parser_kwargs={"prog": "lightning-smooth"},
            args=args,
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
