"""What an experiment's configuration describes, built outside of a trainer, for scripts.

An experiment is a run's folder, or a YAML file such as those in `configs`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonargparse
import yaml
from torch import nn

from lightning_smooth.callbacks.run_folder import read_summary
from lightning_smooth.certify.base import Certifier
from lightning_smooth.data.base import ImageDataModule
from lightning_smooth.errors import InputError
from lightning_smooth.models.fingerprint import fingerprint
from lightning_smooth.models.weights import read_state_dict
from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.reading import RecordFile, differences


def built(kind: type, described: Mapping[str, Any]) -> Any:
    """Build what a configuration describes by its class path and arguments.

    Args:
        kind: class that it is one of.
        described: `class_path` and `init_args`, which may describe further objects.
    """
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--it", type=kind)
    return parser.instantiate(parser.parse_object({"it": dict(described)})).it


def load_network(experiment: Path, weights: Path | None = None) -> nn.Module:
    """Build an experiment's network, with its weights, on the CPU.

    Args:
        experiment: a run's folder, or a YAML file.
        weights: a checkpoint, or a file of the network's weights alone; None for the checkpoint
            that the run's summary names, or the only one that there is.

    Raises:
        InputError: there is no configuration, no checkpoint, or several; or one cannot be read or
            does not fit.
    """
    module: SmoothingModule = built(SmoothingModule, _configuration(experiment)["model"])
    path = weights or _checkpoint(experiment)
    state = read_state_dict(path)
    network = module if set(state) & set(module.state_dict()) else module.model
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"Expected {path} to fit {experiment}'s network, but: {error}") from error
    return module.model


def load_certifier(experiment: Path) -> Certifier:
    """Build an experiment's certifier: of a run, that of its last certification.

    Raises:
        InputError: there is no configuration.
    """
    later = sorted(experiment.glob("certify*.yaml"), key=lambda path: path.stat().st_mtime)
    config = yaml.safe_load(later[-1].read_text()) if later else _configuration(experiment)
    certifier: Certifier = built(Certifier, config["certification"]["certifier"])
    return certifier


def load_data(experiment: Path, root: str | None = None) -> ImageDataModule:
    """Build an experiment's data, prepared; `test_item` gives its images.

    Args:
        experiment: a run's folder, or a YAML file.
        root: folder of the data set; None for the configuration's.

    Raises:
        InputError: there is no configuration.
    """
    described = _configuration(experiment)["data"]
    if root is not None:
        described = {**described, "init_args": {**described.get("init_args", {}), "root": root}}
    data: ImageDataModule = built(ImageDataModule, described)
    data.prepare_data()
    return data


def check_recorded(
    content: RecordFile[Certificate], model: nn.Module, certifier: Certifier
) -> None:
    """Check that records are of a network and a certifier, by their fingerprints.

    Raises:
        InputError: they are of others; the message says in what.
    """
    described = {"model": fingerprint(model), "certifier": certifier.describe()}
    recorded = {name: content.header.get(name, {}) for name in described}
    changed = differences(json.loads(json.dumps(described)), recorded)
    if changed:
        raise InputError(
            "Expected records of this network and this certifier, but they are of others:\n  "
            + "\n  ".join(changed)
            + "\nGive the weights and the run that were certified."
        )


def _configuration(experiment: Path) -> dict[str, Any]:
    path = experiment / "config.yaml" if experiment.is_dir() else experiment
    if not path.is_file():
        raise InputError(f"Expected a run's folder or a YAML file, but there is no {path}.")
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return config


def _checkpoint(run: Path) -> Path:
    kept = read_summary(run).get("fit", {}).get("checkpoint")
    if kept:
        return run / str(kept)
    found = sorted((run / "checkpoints").glob("*.ckpt"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(f"Expected a checkpoint in {run}, but found {names}: give the weights.")
    return found[0]
