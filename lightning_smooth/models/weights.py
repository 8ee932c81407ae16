"""Weights from a file, ours or another project's, without running anything that lies in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.models.foreign import (
    NOT_FINITE,
    SHORTCUTS,
    Match,
    match,
    split_normalization,
)
from lightning_smooth.models.normalize import Normalize

Head = Literal["keep", "new"]

_ENTRIES: Final = ("state_dict", "model_state_dict", "model", "net")
"""Where training scripts put the state dict in what they save; the first that is there counts."""

_INSTANTIATORS: Final = {
    None,
    "pytorch_lightning.cli.instantiate_module",
    "lightning.pytorch.cli.instantiate_module",
}
_ALONE: Final = "torch.save(model.state_dict(), path)"


def load_weights(model: nn.Module, path: str | Path, *, head: Head = "keep") -> Match:
    """Fill a network with a file's weights: all of them, or an error and none.

    Reads a Lightning checkpoint, a `.safetensors` file, a state dict, or a dict that holds one
    under a usual name (Cohen et al. 2019: epoch, arch, state_dict, optimizer). How names are
    matched: `lightning_smooth.models.foreign`. Names and shapes are all that a file says about its
    network: measure the clean accuracy before you rely on it.

    Normalisation: a file that has one must have the model's. Of a file that has none nobody can
    tell what its network was trained with, and a wrong one ruins it without a word (akamaster's
    ResNet-20, on CIFAR-10's test images 0, 10, 20, ...: 90.4 % with its own, 45.6 % only centred,
    36.3 % with none). So the model's must have been chosen, by its arguments `mean` and `std`:
    (x - mean) / std normalises, a `std` of 1 only centres, and a `mean` of 0 with a `std` of 1 says
    that there was none. A default does not count (a network tells so by `normalization_assumed`).
    The one exception is a file with exactly the names of a network that has a place for a
    normalisation, `normalize`, and nothing in it: such a file was saved from that network.

    A module with the attribute `holds_network`, such as `Standardized`, adds something to the
    network that is its `model`: files of either are read.

    Args:
        model: the network; it is not changed where an error is raised.
        path: the file.
        head: keep the file's last layer; or leave the model's as it is, new and of any size.

    Returns:
        What was matched, and how.

    Raises:
        InputError: the file cannot be read safely, does not fit the model, or leaves the
            normalisation open.
    """
    if head not in ("keep", "new"):
        raise InputError(f"Expected `weights_head` to be 'keep' or 'new', but got {head!r}.")
    return _load(model, read_state_dict(path), path, head)


def _load(model: nn.Module, tensors: dict[str, Tensor], path: str | Path, head: Head) -> Match:
    if getattr(model, "holds_network", False):
        inner, around = _inside(model, tensors)
        found = _load(model.get_submodule("model"), inner, path, head)
        model.load_state_dict(around, strict=False)
        return found
    stored, theirs = split_normalization(tensors)
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, Normalize)]
    aside = {".".join(filter(None, (n, b))) for n, _ in layers for b in ("mean", "std")}
    own = {name: tensor for name, tensor in model.state_dict().items() if name not in aside}
    found = match(own, stored)
    _check_fit(found, type(model).__name__, path, head)
    _check_normalization(model, [m for _, m in layers], theirs, path, found)
    left = found.head if head == "new" else frozenset()
    model.load_state_dict(
        {name: stored[source] for name, source in found.taken.items() if name not in left},
        strict=False,
    )
    return found


def _inside(
    model: nn.Module, tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors of the network that `model.model` is, and those of what is around it.

    Files of a network alone have none around it, and any names.
    """
    names = set(model.get_submodule("model").state_dict())
    others = {name for name in model.state_dict() if not name.startswith("model.")}
    for prefix in ("", "model.", "module."):
        inner = {n: tensors[full] for n in names if (full := f"{prefix}model.{n}") in tensors}
        around = {n: tensors[full] for n in others if (full := prefix + n) in tensors}
        if len(inner) == len(names) and len(inner) + len(around) == len(tensors):
            return inner, around
    return tensors, {}


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a `.safetensors` file or from one that `torch.save` wrote.

    A dict that holds one under a usual name, as training scripts write it, gives that entry.
    Tensors come to the CPU. Pickled code and objects are refused (`weights_only=True`).

    Args:
        path: the file.

    Returns:
        Tensors by name.

    Raises:
        InputError: the file is missing, not readable, or holds no tensors by name; or it holds,
            or names, code to be run.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"Expected `weights` to be a file, but {file} does not exist.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise whatever the unpickler stumbles over
        raise InputError(
            f"Expected `weights` to be a state dict, but {file} cannot be read as one "
            f"({_reason(error)}): save it again with `{_ALONE}` or as safetensors."
        ) from error
    if isinstance(content, Mapping):
        _refuse_code(content, file)
        entries = (content.get(name) for name in _ENTRIES)
        content = next((entry for entry in entries if isinstance(entry, Mapping)), content)
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise InputError(
            f"Expected `weights` to hold tensors by name, but {file} holds "
            f"{type(content).__name__}: save it with `{_ALONE}`."
        )
    return dict(content)


def _reason(error: Exception) -> str:
    """Why a file cannot be read; torch's own words would advise to run what lies in it."""
    text = str(error).strip()
    if isinstance(error, UnpicklingError) or "weights_only" in text:
        found = re.search(r"GLOBAL ([\w.]+)", text)
        what = f"{found[1]}, which is code" if found else "more than tensors and plain values"
        return f"it holds {what}, and a file's code is never run"
    return text.splitlines()[0] if text else type(error).__name__


def _refuse_code(content: Mapping[str, Any], file: Path) -> None:
    """Refuse a Lightning checkpoint that names foreign code for Lightning to import and call."""
    stored = content.get("hyper_parameters")
    if not isinstance(stored, Mapping):
        return
    named = stored.get("_class_path")
    foreign = named is not None and not str(named).startswith("lightning_smooth.")
    called = stored.get("_instantiator")
    if called not in _INSTANTIATORS or foreign:
        raise InputError(
            f"{file} names code to be imported and called when it is loaded "
            f"({named if foreign else called}), and a file's code is never run: save its tensors "
            f'alone, with `torch.save(torch.load(path, weights_only=True)["state_dict"], ...)`.'
        )


def _check_fit(found: Match, model: str, path: str | Path, head: Head) -> None:
    missing, unexpected, faults = list(found.missing), list(found.unexpected), dict(found.faults)
    if head == "new":
        missing = [name for name in missing if name not in found.head]
        faults = {name: fault for name, fault in faults.items() if name not in found.head}
    if not (missing or unexpected or faults):
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({_some(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({_some(unexpected)})")
    parts += [_some(faults.values())] if faults else []
    raise InputError(
        f"The weights of {path} do not fit the model, a {model}: {'; '.join(parts)}. "
        f"{_advice(found, missing, unexpected, faults)}"
    )


def _advice(
    found: Match, missing: list[str], unexpected: list[str], faults: Mapping[str, str]
) -> str:
    if any(NOT_FINITE in fault for fault in faults.values()):
        return "The file is damaged, or its training diverged: take an earlier checkpoint."
    if {*missing, *faults} <= found.head and not unexpected:
        return (
            "Only the last layer differs: set the model's num_classes to the file's, or "
            "weights_head to new, which leaves the model a new last layer of its own size."
        )
    around = [name for name in (*missing, *unexpected) if SHORTCUTS & set(name.split("."))]
    if not faults and len(around) == len(missing) + len(unexpected):
        kind = "pad, shortcuts without weights" if missing else "conv, shortcuts with weights"
        return f"Only the shortcuts differ: set the model's shortcut to {kind}."
    return (
        "Build the model as the file's was (kind, depth, width, num_classes); a network under "
        "other names has to be renamed first."
    )


def _check_normalization(
    model: nn.Module,
    layers: list[Normalize],
    theirs: tuple[Tensor, Tensor] | None,
    path: str | Path,
    found: Match,
) -> None:
    ours = (layers[0].mean.flatten(), layers[0].std.flatten()) if layers else None
    if theirs is not None:
        if ours is None or not all(map(_close, ours, theirs)):
            raise InputError(
                f"The weights of {path} were trained with the normalisation {_said(theirs)}, but "
                f"the model has {_said(ours)}: give the model's `mean` and `std` those numbers."
            )
        return
    # A network that does not tell is taken to have chosen what it has.
    chosen = not getattr(model, "normalization_assumed", ours is None)
    empty = ours is None and hasattr(model, "normalize") and found.exact
    if not chosen and not empty:
        raise InputError(
            f"{path} does not say which normalisation its network was trained with, and a wrong "
            f"one ruins it without a word. The model has {_said(ours)}, which nobody chose: give "
            "its `mean` and `std`, one number a channel, in the units of images in [0, 1], for "
            "(x - mean) / std. A std of 1 only centres; a mean of 0 and a std of 1 say that there "
            "was none."
        )


def _close(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and torch.allclose(ours.cpu(), theirs, rtol=1e-6, atol=1e-7)


def _said(numbers: tuple[Tensor, Tensor] | None) -> str:
    if numbers is None:
        return "none"
    mean, std = ([float(f"{v:.6g}") for v in tensor.tolist()] for tensor in numbers)
    return f"mean {mean}, std {std}"


def _some(names: Iterable[str], at_most: int = 6) -> str:
    listed = list(names)
    more = len(listed) - at_most
    return ", ".join(listed[:at_most]) + (f" and {more} more" if more > 0 else "")
