"""Affine steps of a network: what bounds need of them, and what float32 makes of them.

A step takes images or features (N, *shape) and gives W x + b, without ever writing W down. Its
weights are read from the module at every call, so that bounds follow training.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input

from lightning_smooth.verify.rounding import LARGEST, SMALLEST

Shape: TypeAlias = tuple[int, ...]
Norm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d

NORM: Final = 10
"""Roundings of BatchNorm: of its factor and its shift at most four each, and of applying them."""


class Affine(ABC):
    """A step z = sum_i W_i x_i + b with one or more inputs x_i.

    In floating point a network's z is within gamma_n (sum_i |W_i| |x_i| + |b|) of this, n being
    `roundings`.

    Attributes:
        roundings: n above; 0 where values are but moved.
        monotone: whether no weight is below 0, and there is no b.
    """

    roundings: int = 0
    monotone: bool = False

    @abstractmethod
    def linear(self, inputs: Sequence[Tensor], *, absolute: bool = False) -> Tensor:
        """sum_i W_i x_i, or with the weights' absolute values: (N, *out) of (N, *in_i)."""

    @abstractmethod
    def transposed(self, rows: Tensor) -> list[Tensor]:
        """W_i^T y of y (N, *out), for each input: (N, *in_i)."""

    def chosen(self, places: Tensor, out: Shape, like: Tensor) -> list[Tensor]:
        """Rows (N, *in_i) of the W_i that give the values at places (N,) of flattened z."""
        unit = like.new_zeros((len(places), math.prod(out)))
        unit.scatter_(1, places[:, None], 1.0)
        return self.transposed(unit.reshape(-1, *out))

    def fits(self, sizes: Sequence[Tensor]) -> bool:
        """Whether nothing on the way to z can leave the normal numbers of float32.

        Args:
            sizes: greatest absolute values (B, *in_i) of the x_i.
        """
        del sizes
        return True

    def offset(self, like: Tensor) -> tuple[Tensor, Tensor] | None:
        """b, and a bound of the absolute values that it is summed from: (1, *out) or broadcast.

        Args:
            like: of the dtype and on the device that are wanted.
        """
        del like
        return None


def norm_values(norm: Norm, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Factor, mean and shift (C,) of a BatchNorm in eval mode."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:  # refused when the network was traced
        raise RuntimeError("BatchNorm without running statistics")
    scale = (variance.to(like) + norm.eps).rsqrt()
    shift = torch.zeros_like(scale)
    if norm.weight is not None:
        scale = scale * norm.weight.to(like)
    if norm.bias is not None:
        shift = norm.bias.to(like)
    return scale, mean.to(like), shift


def normal_factor(norm: Norm) -> bool:
    """Whether BatchNorm's factors are normal numbers of float32, or 0."""
    found = norm_values(norm, torch.empty((), dtype=torch.float64, device=_device(norm)))[0].abs()
    zero = norm.weight == 0 if norm.weight is not None else torch.zeros_like(found) > 0
    return bool(((found >= SMALLEST) | zero).all())


def _device(norm: Norm) -> torch.device | None:
    return None if norm.running_var is None else norm.running_var.device


class Weighted(Affine):
    """A linear layer or a convolution, with the BatchNorm that alone reads it folded in.

    `roundings` covers the two as two steps, and as one of folded weights.
    """

    def __init__(self, module: nn.Linear | nn.Conv2d, norm: Norm | None) -> None:
        self.module, self.norm = module, norm
        terms = module.weight[0].numel()
        self.roundings = terms + 2 + (0 if norm is None else NORM)

    def weight(self, like: Tensor) -> Tensor:
        """Weights, times the BatchNorm's factor."""
        weight = self.module.weight.to(like)
        if self.norm is None:
            return weight
        scale = norm_values(self.norm, like)[0]
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))

    def fits(self, sizes: Sequence[Tensor]) -> bool:
        """See `Affine.fits`: what BatchNorm reads must stay small too, were it not folded in."""
        if self.norm is None:
            return True
        with torch.no_grad():
            weight = self.module.weight.double()
            most = weight.abs().flatten(1).sum(dim=1) * float(sizes[0].max())
            if self.module.bias is not None:
                most = most + self.module.bias.double().abs()
            if self.norm.running_mean is not None:
                most = most + self.norm.running_mean.double().abs()
            return float(most.max()) < LARGEST and normal_factor(self.norm)

    def offset(self, like: Tensor) -> tuple[Tensor, Tensor] | None:
        """See `Affine.offset`."""
        bias = None if self.module.bias is None else self.module.bias.to(like)
        size = None if bias is None else bias.abs()
        if self.norm is not None:
            scale, mean, shift = norm_values(self.norm, like)
            before = mean.neg() if bias is None else bias - mean
            within = mean.abs() if size is None else size + mean.abs()
            bias = scale * before + shift
            size = scale.abs() * within + shift.abs()
        if bias is None or size is None:
            return None
        return self._placed(bias), self._placed(size)

    @abstractmethod
    def _placed(self, channels: Tensor) -> Tensor:
        """(C,) as (1, *out), to be broadcast."""


class Dense(Weighted):
    """`nn.Linear`, over the last dimension."""

    module: nn.Linear

    def linear(self, inputs: Sequence[Tensor], *, absolute: bool = False) -> Tensor:
        """See `Affine.linear`."""
        weight = self.weight(inputs[0])
        return functional.linear(inputs[0], weight.abs() if absolute else weight)

    def transposed(self, rows: Tensor) -> list[Tensor]:
        """See `Affine.transposed`."""
        return [rows @ self.weight(rows)]

    def chosen(self, places: Tensor, out: Shape, like: Tensor) -> list[Tensor]:
        """See `Affine.chosen`."""
        return [self.weight(like)[places]] if len(out) == 1 else super().chosen(places, out, like)

    def _placed(self, channels: Tensor) -> Tensor:
        return channels[None]


class Convolution(Weighted):
    """`nn.Conv2d` with zeros around images of `shape`, (C, H, W)."""

    module: nn.Conv2d

    def __init__(
        self, module: nn.Conv2d, norm: Norm | None, shape: Shape, padding: str | Shape
    ) -> None:
        super().__init__(module, norm)
        self.shape = shape
        self.padding = self._zeros(module, padding)

    @staticmethod
    def _zeros(module: nn.Conv2d, padding: str | Shape) -> Shape:
        """Zeros at the left, right, top and bottom."""
        if isinstance(padding, str):
            around: list[int] = []
            for size, dilation in zip(module.kernel_size, module.dilation, strict=True):
                total = dilation * (size - 1) if padding == "same" else 0
                around = [total // 2, total - total // 2, *around]
            return tuple(around)
        down, across = padding
        return (across, across, down, down)

    def linear(self, inputs: Sequence[Tensor], *, absolute: bool = False) -> Tensor:
        """See `Affine.linear`."""
        m, weight = self.module, self.weight(inputs[0])
        left, right, top, bottom = self.padding
        images, padding = inputs[0], (top, left)
        if (left, top) != (right, bottom):
            images, padding = functional.pad(images, self.padding), (0, 0)
        weight = weight.abs() if absolute else weight
        return functional.conv2d(images, weight, None, m.stride, padding, m.dilation, m.groups)

    def transposed(self, rows: Tensor) -> list[Tensor]:
        """See `Affine.transposed`."""
        m, (channels, height, width) = self.module, self.shape
        left, right, top, bottom = self.padding
        size = [len(rows), channels, height + top + bottom, width + left + right]
        padding = (0, 0)
        if (left, top) == (right, bottom):
            size, padding = [len(rows), *self.shape], (top, left)
        back: Tensor = conv2d_input(  # type: ignore[no-untyped-call]
            size, self.weight(rows), rows, m.stride, padding, m.dilation, m.groups
        )
        if back.shape[1:] != self.shape:
            back = back[:, :, top : top + height, left : left + width]
        return [back]

    def chosen(self, places: Tensor, out: Shape, like: Tensor) -> list[Tensor]:
        """See `Affine.chosen`: each row is one kernel, put where it is applied."""
        m, (channels, height, width) = self.module, self.shape
        left, right, top, bottom = self.padding
        tall, wide = height + top + bottom, width + left + right
        kernel = places // (out[1] * out[2])
        y, x = places // out[2] % out[1] * m.stride[0], places % out[2] * m.stride[1]
        weights = self.weight(like)[kernel]
        reads, down, across = (torch.arange(n, device=places.device) for n in weights.shape[1:])
        first = kernel // (out[0] // m.groups) * (channels // m.groups)
        channel = (first[:, None] + reads)[:, :, None, None]
        row = (y[:, None] + down * m.dilation[0])[:, None, :, None]
        column = (x[:, None] + across * m.dilation[1])[:, None, None, :]
        rows = like.new_zeros((len(places), channels * tall * wide))
        rows.scatter_(1, ((channel * tall + row) * wide + column).flatten(1), weights.flatten(1))
        padded = rows.reshape(-1, channels, tall, wide)
        return [padded[:, :, top : top + height, left : left + width]]

    def _placed(self, channels: Tensor) -> Tensor:
        return channels[None, :, None, None]
