"""Occlusion: a square of one value over a part of the image."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.transforms.base import Parameter, Transform


class Occlusion(Transform):
    """A square patch of one value, anywhere.

    Convention: the patch covers the columns x to x + side - 1 and the rows y to y + side - 1, as
    far as they are in the image; all three are rounded to the nearest whole number, halves to the
    even one. A side of 0 covers nothing, wherever it is: x and y are places. Values stay in [0, 1].
    Two of them are not one, so it does not compose; but images are finitely many, to be tried one
    by one (`verify.EnumerationCertifier`; THEORY section 9), or some at once
    (`verify.SemantifyVerifier`). No gradient goes to its parameters.

    Source: Mohapatra et al. 2020 (Semantify-NN), occlusion.

    Args:
        value: of the patch, in [0, 1], in all channels: 0 is black.

    Raises:
        InputError: the value is not in [0, 1].
    """

    parameters = (
        Parameter(name="side", unit="pixels a side", whole=True, low=0.0, usual=(0.0, 5.0)),
        Parameter(name="x", unit="whole pixels", whole=True, place=True, usual=(0.0, 4.0)),
        Parameter(name="y", unit="whole pixels", whole=True, place=True, usual=(0.0, 4.0)),
    )

    def __init__(self, value: float = 0.0) -> None:
        if isinstance(value, bool) or not 0 <= value <= 1:
            raise InputError(f"Expected `value` to be in [0, 1], but got {value!r}: 0 is black.")
        self.value = float(value)

    def __repr__(self) -> str:
        return f"Occlusion(value={self.value:g})"

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        side, x, y = theta.detach().round()[:, :, None].unbind(dim=1)
        rows = torch.arange(images.shape[-2], device=theta.device)
        columns = torch.arange(images.shape[-1], device=theta.device)
        down = (rows >= y) & (rows < y + side)
        across = (columns >= x) & (columns < x + side)
        covered = down[:, None, :, None] & across[:, None, None, :]
        return torch.where(covered, images.new_tensor(self.value), images)
