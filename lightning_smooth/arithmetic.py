"""Which arithmetic torch multiplies float32 matrices in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any, Final

import torch

_BACKENDS: Final = (
    "cuda.matmul",
    "cudnn.conv",
    "cudnn.rnn",
    "mkldnn.matmul",
    "mkldnn.conv",
    "mkldnn.rnn",
)
"""What torch may run float32 products on in TF32, or in bf16 on a CPU, where that was allowed."""


def float32_products() -> dict[str, str]:
    """For each backend of torch, what its float32 products may be: `ieee`, `tf32` or `bf16`.

    `none` leaves it to the backend and to torch.
    """
    return {name: place.fp32_precision for name, place in zip(_BACKENDS, _places(), strict=True)}


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute float32 products and convolutions in float32 alone, and put the settings back.

    `torch.set_float32_matmul_precision("medium")` allows TF32 on a GPU and bf16 on a CPU that has
    units for it: another classifier than the one in float32.
    """
    places = _places()
    before = [place.fp32_precision for place in places]
    cudnn: Any = torch.backends.cudnn
    # The older settings too, so that they say the same if a model asks for them; where the newer
    # ones are not of one mind, they cannot tell.
    allowed = _told(lambda: cudnn.allow_tf32)
    word = _told(torch.get_float32_matmul_precision)
    try:
        cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        if allowed is not None:
            cudnn.allow_tf32 = allowed
        if word is not None:
            torch.set_float32_matmul_precision(word)
        for place, setting in zip(places, before, strict=True):
            place.fp32_precision = setting


def _told(setting: Callable[[], Any]) -> Any:
    try:
        return setting()
    except RuntimeError:
        return None


def _places() -> list[Any]:
    return [reduce(getattr, name.split("."), torch.backends) for name in _BACKENDS]
