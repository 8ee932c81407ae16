"""A model's fingerprint: records made by one model are not mixed with another's."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def fingerprint(model: nn.Module) -> dict[str, str]:
    """Tell models apart: by the structure that their repr shows, and by what they hold.

    Equal for equal models on any device and in any memory format; a compiled model has the
    fingerprint of the model it was compiled from. Two models that differ only in code, or in
    attributes that their repr does not show, have one fingerprint.

    Args:
        model: any module; the dtype of its weights counts, train or eval mode does not.

    Returns:
        `architecture`: class name and 16 hex digits over the repr; `weights`: sha256 over names,
        dtypes, shapes and bytes of the state dict, in its order, and of the buffers that are not
        in it.

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
    return {
        "architecture": f"{type(original).__name__}-{architecture}",
        "weights": digest.hexdigest(),
    }
