"""Reading weights from a file without running anything that lies in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from lightning_smooth.errors import InputError


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a state dict from a `.safetensors` file or from one that `torch.save` wrote.

    A dict with a `state_dict` entry, as training scripts write it, gives that entry. Tensors come
    to the CPU. Pickled code is refused (`weights_only=True`).

    Args:
        path: the file.

    Returns:
        Tensors by name.

    Raises:
        InputError: the file is missing, not readable, or holds no tensors by name.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"Expected `weights` to be a file, but {file} does not exist.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise whatever the unpickler stumbles over
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"Expected `weights` to be a state dict, but {file} cannot be read as one ({reason}): "
            f"save it again with `torch.save(model.state_dict(), path)` or as safetensors."
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise InputError(
            f"Expected `weights` to hold tensors by name, but {file} holds "
            f"{type(content).__name__}: save it with `torch.save(model.state_dict(), path)`."
        )
    return dict(content)
