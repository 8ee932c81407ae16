"""Translation by whole pixels: samples move onto samples, and nothing is interpolated."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.transforms.base import Parameter, Transform

Padding = Literal["cyclic", "reflected", "zero"]
"""What comes in at the border; `IntegerTranslation` says what each one shows."""


class IntegerTranslation(Transform):
    """Translation by whole pixels.

    Convention: `dx` pixels to the right and `dy` down, each rounded to the nearest whole number,
    halves to the even one. What comes in at the border, for any shift:

    - `cyclic`: what went out at the other side;
    - `reflected`: the image's mirror images, edge pixels twice (`a b c | c b a | a b c`);
    - `zero`: black.

    Only `cyclic` composes, additively, if either of the two shifts is whole: of Gaussian draws and
    an attack by whole pixels, that is (Li et al. 2021; THEORY section 5). The others lose what
    went out; they have finitely many images, to be tried one by one (THEORY section 9).
    Piecewise constant in its parameters: no gradient goes to them.

    Args:
        padding: cyclic, reflected or zero.

    Raises:
        InputError: there is no such padding.
    """

    parameters = (
        Parameter(name="dx", unit="whole pixels", whole=True, usual=(-4.0, 4.0)),
        Parameter(name="dy", unit="whole pixels", whole=True, usual=(-4.0, 4.0)),
    )

    def __init__(self, padding: Padding = "cyclic") -> None:
        if padding not in get_args(Padding):
            raise InputError(
                f"Expected `padding` to be one of {', '.join(get_args(Padding))}, "
                f"but got {padding!r}."
            )
        self.padding = padding
        self.composition = "additive" if padding == "cyclic" else "none"

    def __repr__(self) -> str:
        return f"IntegerTranslation(padding={self.padding!r})"

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        if self.padding == "zero":  # what lies outside reads this pixel
            images = torch.nn.functional.pad(images, (0, 1, 0, 1))
        channels, height, width = images.shape[1:]
        seen = height - (self.padding == "zero"), width - (self.padding == "zero")
        rows = self._source(seen[0], theta[:, 1])
        columns = self._source(seen[1], theta[:, 0])
        pixels = (rows[:, :, None] * width + columns[:, None]).flatten(1)
        batch = max(len(images), len(theta))
        index = pixels[:, None].expand(batch, channels, -1)
        moved = images.flatten(2).expand(batch, -1, -1).gather(2, index)
        return moved.view(batch, channels, *seen)

    def _source(self, size: int, shift: Tensor) -> Tensor:
        """(B, size): which sample each one shows; `size` where it shows none."""
        places = torch.arange(size, device=shift.device)
        shift = shift.detach().round()[:, None]
        if self.padding == "zero":
            source = places - shift.clamp(-size, size).long()
            return torch.where((source >= 0) & (source < size), source, size)
        period = size if self.padding == "cyclic" else 2 * size
        # The first remainder is of floats: no shift is too large for a whole number.
        source = (places - shift.remainder(period).long()).remainder(period)
        return torch.where(source < size, source, period - 1 - source)
