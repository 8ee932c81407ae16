"""A model's fingerprint: records made by one model are not mixed with another's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import torch
from torch import nn

_SHOWN: Final = {"torch", "torchvision", "timm", "lightning_smooth", "pytorch_lightning"}
"""Packages whose modules show in their repr what they are."""

_EVERY: Final = vars(nn.Module()).keys()


def fingerprint(model: nn.Module) -> dict[str, str]:
    """Tell models apart: by the structure that their repr shows, and by what they hold.

    Equal for equal models on any device and in any memory format; a compiled model has the
    fingerprint of the model it was compiled from. Two models that differ only in code have one
    fingerprint.

    Args:
        model: any module; the dtype of its weights counts, train or eval mode does not.

    Returns:
        `architecture`: class name and 16 hex digits over the repr; `weights`: sha256 over names,
        dtypes, shapes and bytes of the state dict, in its order, and of the buffers that are not
        in it. Where modules of foreign classes have numbers, words or tensors as plain attributes,
        `attributes` too: 16 hex digits over those.

    >>> layer = nn.Linear(2, 1)
    >>> before = fingerprint(layer)
    >>> _ = layer.weight.data.mul_(2)
    >>> after = fingerprint(layer)
    >>> before["architecture"] == after["architecture"], before["weights"] == after["weights"]
    (True, False)
    """
    original = getattr(model, "_orig_mod", model)
    architecture = hashlib.sha256(repr(original).encode()).hexdigest()[:16]
    digest = hashlib.sha256()
    held = original.state_dict()
    held = {**held, **{k: v for k, v in original.named_buffers() if k not in held}}
    for name, value in held.items():
        digest.update(name.encode() + b"\0")
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode() + b"\0")
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        else:
            digest.update(repr(value).encode())
    told = {
        "architecture": f"{type(original).__name__}-{architecture}",
        "weights": digest.hexdigest(),
    }
    plain = [line for name, module in original.named_modules() for line in _plain(name, module)]
    if plain:
        told["attributes"] = hashlib.sha256("\n".join(plain).encode()).hexdigest()[:16]
    return told


def _plain(path: str, module: nn.Module) -> Iterator[str]:
    """Attributes of a module that neither its repr nor its state shows, in words."""
    if type(module).__module__.partition(".")[0] in _SHOWN:
        return
    for name in sorted(vars(module).keys() - _EVERY):
        value = vars(module)[name]
        if isinstance(value, torch.Tensor):
            flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            held = hashlib.sha256(flat.numpy().tobytes()).hexdigest()
            yield f"{path}.{name} = {value.dtype} {tuple(value.shape)} {held}"
        elif not name.startswith("_") and _is_plain(value):
            yield f"{path}.{name} = {value!r}"


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
