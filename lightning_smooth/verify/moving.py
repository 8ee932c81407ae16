"""Affine steps without weights: values that are moved, averaged, summed or put side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightning_smooth.verify.affine import Affine, Shape


class Moving(Affine):
    """Values that are moved, dropped, repeated or averaged: a linear map without negative weights.

    Args:
        function: the map, (N, *shape) -> (N, *out).
        shape: of the input.
        roundings: see `Affine`.
    """

    monotone = True

    def __init__(
        self, function: Callable[[Tensor], Tensor], shape: Shape, roundings: int = 0
    ) -> None:
        self.function, self.shape, self.roundings = function, shape, roundings

    def linear(self, inputs: Sequence[Tensor], *, absolute: bool = False) -> Tensor:
        """See `Affine.linear`."""
        del absolute
        return self.function(inputs[0])

    def transposed(self, rows: Tensor) -> list[Tensor]:
        """See `Affine.transposed`."""
        with torch.inference_mode(False), torch.enable_grad():
            start = rows.new_zeros((len(rows), *self.shape)).requires_grad_()
            (back,) = torch.autograd.grad(self.function(start), start, rows)
        return [back]


class Sum(Affine):
    """The sum of two features of one shape, such as a block's and its shortcut's."""

    monotone = True
    roundings = 1

    def linear(self, inputs: Sequence[Tensor], *, absolute: bool = False) -> Tensor:
        """See `Affine.linear`."""
        del absolute
        return inputs[0] + inputs[1]

    def transposed(self, rows: Tensor) -> list[Tensor]:
        """See `Affine.transposed`."""
        return [rows, rows]


class Concatenation(Affine):
    """Features side by side along a dimension, each of its own size."""

    monotone = True

    def __init__(self, dimension: int, sizes: Sequence[int]) -> None:
        self.dimension, self.sizes = dimension, list(sizes)

    def linear(self, inputs: Sequence[Tensor], *, absolute: bool = False) -> Tensor:
        """See `Affine.linear`."""
        del absolute
        return torch.cat(list(inputs), dim=self.dimension)

    def transposed(self, rows: Tensor) -> list[Tensor]:
        """See `Affine.transposed`."""
        return list(torch.split(rows, self.sizes, dim=self.dimension))
