"""Steps that give each value a factor and a shift, or take an image's mean away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from lightning_smooth.models.normalize import Normalize
from lightning_smooth.transforms.vignette import Vignette
from lightning_smooth.verify.affine import (
    NORM,
    Affine,
    Norm,
    Shape,
    norm_values,
    normal_factor,
)
from lightning_smooth.verify.rounding import LARGEST, SMALLEST

Values: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Gives, in the dtype of a tensor, factor, shift, and a bound of what the shift is summed from."""

Constant: TypeAlias = Tensor | float | Callable[[], Tensor | float]
"""A constant, or what reads it."""


class Scaling(Affine):
    """A factor and a shift for each value or channel: normalisation, and BatchNorm by itself.

    Args:
        values: see `Values`; each is broadcast to (1, *out).
        roundings: see `Affine`.
        normal: whether factors are normal numbers of float32, or 0.
    """

    def __init__(
        self, values: Values, roundings: int, normal: Callable[[], bool] = lambda: True
    ) -> None:
        self.values, self.roundings, self.normal = values, roundings, normal

    def fits(self, sizes: Sequence[Tensor]) -> bool:
        """See `Affine.fits`."""
        del sizes
        return self.normal()

    def linear(self, inputs: Sequence[Tensor], *, absolute: bool = False) -> Tensor:
        """See `Affine.linear`."""
        factor = self.values(inputs[0])[0]
        return inputs[0] * (factor.abs() if absolute else factor)

    def transposed(self, rows: Tensor) -> list[Tensor]:
        """See `Affine.transposed`."""
        return [rows * self.values(rows)[0]]

    def offset(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """See `Affine.offset`."""
        _, shift, size = self.values(like)
        return shift, size


def norm_scaling(norm: Norm, dimensions: int) -> Scaling:
    """BatchNorm by itself, over features of that many dimensions, the batch's included."""

    def values(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scale, mean, shift = norm_values(norm, like)
        found = scale, shift - scale * mean, shift.abs() + (scale * mean).abs()
        one, two, three = (v.reshape(1, -1, *[1] * (dimensions - 2)) for v in found)
        return one, two, three

    return Scaling(values, NORM, lambda: normal_factor(norm))


def constant(
    factor: Constant = 1.0, shift: Constant = 0.0, *, divides: bool = False, sign: float = 1.0
) -> Scaling:
    """A constant factor, by which features may be divided instead, and a constant shift.

    Both may be functions that read them. A network may round a constant to float32, and divide by
    it as it multiplies by its rounded inverse: with the product three roundings, for a sum two.

    Args:
        factor: of each value.
        shift: what is added.
        divides: whether values are divided by `factor`.
        sign: of the shift, 1 or -1.
    """

    def values(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scale, moved = (_read(v).to(like) for v in (factor, shift))
        return 1 / scale if divides else scale, sign * moved, moved.abs()

    shifts = isinstance(factor, float) and abs(factor) == 1 and not divides

    def normal() -> bool:
        size = _read(factor).abs()
        return not bool(((size > 0) & (size < SMALLEST)).any() or (divides * size > LARGEST).any())

    return Scaling(values, 2 if shifts else 3, normal)


def _read(value: Constant) -> Tensor:
    found = value() if callable(value) else value
    return torch.as_tensor(found, dtype=torch.float64)


def normalized(module: Normalize) -> Scaling:
    """Normalisation of channels: a difference, then a quotient."""

    def values(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        factor = 1 / module.std.to(like)
        shift = -module.mean.to(like) * factor
        return factor, shift, shift.abs()

    return Scaling(values, 3)


def masked(module: Vignette, shape: Shape) -> Scaling:
    """A vignette on images (C, H, W)."""

    def values(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mask = module.mask(shape[1], shape[2], device=like.device).to(like)[None, None]
        return mask, torch.zeros_like(mask), torch.zeros_like(mask)

    return Scaling(values, 1)


class Centering(Affine):
    """Images less the mean over all their own values.

    Args:
        values: of an image.
    """

    def __init__(self, values: int) -> None:
        self.roundings = values + 2

    def linear(self, inputs: Sequence[Tensor], *, absolute: bool = False) -> Tensor:
        """See `Affine.linear`; absolute weights are rounded up, by 2 / n on the diagonal."""
        images = inputs[0]
        mean = images.mean(dim=tuple(range(1, images.ndim)), keepdim=True)
        return images + mean if absolute else images - mean

    def transposed(self, rows: Tensor) -> list[Tensor]:
        """See `Affine.transposed`: the map is symmetric."""
        return [self.linear([rows])]
