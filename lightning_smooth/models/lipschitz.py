"""Convolutions whose Lipschitz constant in l2 is proven, and networks of them.

The bound of a convolution: let one with zero padding, stride 1 and a kernel of odd size k map
images of n pixels along an axis to as many. Put the image on a torus of N >= n + k - 1 pixels, 0
elsewhere; the cyclic convolution there meets, at the image's pixels, nothing but the image and
zeros; and what it gives elsewhere is left out. Putting and leaving out have norm 1, so the norm is
at most that of the cyclic convolution, which the Fourier transform turns into one matrix of
outputs x inputs for each of the N x N frequencies: the largest of their singular values.

Rounding: weights are taken as they are stored, and everything is computed in float64. By Parseval
the largest singular value is at least |w|_2 / sqrt(min(outputs, inputs)), so what Fourier
transform and singular values may be wrong by (a few dozen roundings of the sum of all |w|) is below
a relative 1e-10 of it for kernels of up to 10^6 weights; `SLACK` is ten times that.

What this bounds is the function that the weights define in real arithmetic. That float32 computes
it closely enough is an assumption, as for every network of this package.

Source: Sedghi, Gupta, Long 2019 (the singular values of a cyclic convolution); Anil, Lucas, Grosse
2019 (MaxMin).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_smooth.errors import InputError, check_count

SLACK: Final = 1e-9
"""Relative outward slack of a bound, for roundings in float64."""

SHRINK: Final = 1e-6
"""By how much less than 1 weights are scaled to, so that rounding them to float32 keeps below 1."""


def convolution_bound(weight: Tensor, size: tuple[int, int]) -> float:
    """Bound the l2 operator norm of a convolution with zero padding that keeps the size.

    Guarantee: at least the norm, for the weights as they are (see above).

    Args:
        weight: (outputs, inputs, k, k') kernel, k and k' odd; any floating point type.
        size: (height, width) of the images that it maps.

    Returns:
        The bound, rounded up.

    Raises:
        InputError: the kernel has no four axes, or one of even size.

    >>> round(convolution_bound(torch.full((1, 1, 3, 3), 1 / 9), (28, 28)), 6)
    1.0
    """
    if weight.ndim != 4 or not all(k % 2 for k in weight.shape[2:]):
        raise InputError(
            "Expected `weight` to be (outputs, inputs, k, k) with odd k, but got "
            f"{tuple(weight.shape)}: with zero padding no other kernel keeps the size."
        )
    with torch.no_grad():
        largest = float(torch.linalg.svdvals(_symbols(weight, size)).max())
    return math.nextafter(largest * (1 + SLACK), math.inf)


def _symbols(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """(F, outputs, inputs) complex128: one matrix a frequency; the other half are conjugates."""
    torus = (size[0] + weight.shape[2] - 1, size[1] + weight.shape[3] - 1)
    symbols: Tensor = torch.fft.rfft2(weight.double(), s=torus)
    return symbols.flatten(2).permute(2, 0, 1)


class MaxMin(nn.Module):
    """Maximum and minimum of channel i and channel i + C / 2: 1-Lipschitz in l2.

    Sorting two pairs of numbers moves them no further apart than they were.

    >>> MaxMin()(torch.tensor([1.0, 4.0, 3.0, 2.0]).reshape(1, 4, 1, 1)).flatten().tolist()
    [3.0, 4.0, 1.0, 2.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W), C even, to the same shape."""
        first, second = x.chunk(2, dim=1)
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], dim=1)


class LipschitzConv2d(nn.Module):
    """A convolution with zero padding that is 1-Lipschitz in l2: its weights over their bound.

    The kernel that acts is `weight` / (its bound) x (1 - `SHRINK`). In training it is computed anew
    in each step, with its gradient; in eval mode it is kept until the weights change.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        kernel: its size in pixels, odd.
        size: (height, width) of the images; smaller ones have the bound, too.

    Raises:
        InputError: a number is out of range.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, size: tuple[int, int]) -> None:
        super().__init__()
        if check_count("kernel", kernel) % 2 == 0:
            raise InputError(f"Expected `kernel` to be odd, but got {kernel}.")
        start = nn.Conv2d(inputs, outputs, kernel)
        self.weight = start.weight
        self.bias = start.bias
        self.size = size
        self._kept: tuple[object, Tensor] | None = None

    def extra_repr(self) -> str:
        """Show the sizes in the model's repr."""
        outputs, inputs, kernel, _ = self.weight.shape
        return f"{inputs}, {outputs}, kernel={kernel}, size={self.size}"

    def train(self, mode: bool = True) -> LipschitzConv2d:
        """Set the mode; what is kept for eval mode is computed again."""
        self._kept = None
        return super().train(mode)

    def kernel(self) -> Tensor:
        """The kernel that acts: (outputs, inputs, k, k), in the dtype of the weights."""
        if self.training:
            return self._scaled()
        weight = self.weight
        key = (weight.data_ptr(), weight._version, weight.dtype, weight.device)
        if self._kept is None or self._kept[0] != key:
            # What is kept has to serve where gradients are taken as well.
            with torch.inference_mode(False), torch.no_grad():
                self._kept = (key, self._scaled())
        return self._kept[1]

    def _scaled(self) -> Tensor:
        symbols = _symbols(self.weight, self.size)
        with torch.no_grad():
            place = torch.linalg.svdvals(symbols)[:, 0].argmax()
        norm = torch.linalg.matrix_norm(symbols[place], ord=2).clamp_min(1e-12)
        kernel: Tensor = self.weight.double() * ((1 - SHRINK) / norm)
        return kernel.to(self.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W).

        Raises:
            InputError: images larger than `size`, for which the bound does not hold.
        """
        if x.shape[-2] > self.size[0] or x.shape[-1] > self.size[1]:
            raise InputError(
                f"Expected images of at most {self.size[0]} x {self.size[1]} pixels, for which the "
                f"Lipschitz bound holds, but got {x.shape[-2]} x {x.shape[-1]}."
            )
        kernel = self.kernel()
        return functional.conv2d(x, kernel, self.bias, padding=kernel.shape[-1] // 2)

    def lipschitz(self) -> float:
        """Bound the Lipschitz constant anew, from the kernel that acts."""
        return convolution_bound(self.kernel(), self.size)


class LipschitzFeatures(nn.Module):
    """Convolutions with MaxMin between them: features that are 1-Lipschitz in l2.

    Args:
        channels: of an image.
        features: channels that go out.
        size: (height, width) of images and features.
        widths: channels between, each even, one for each layer but the last.
        kernel: size of the kernels in pixels, odd.

    Raises:
        InputError: a number is out of range.
    """

    def __init__(
        self,
        channels: int,
        features: int,
        size: tuple[int, int],
        widths: Sequence[int] = (8, 8),
        kernel: int = 5,
    ) -> None:
        super().__init__()
        for width in widths:
            if check_count("widths", width) % 2:
                raise InputError(f"Expected `widths` to be even, for MaxMin, but got {width}.")
        ends = [check_count("channels", channels), *widths, check_count("features", features)]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(ends):
            layers += [LipschitzConv2d(inputs, outputs, kernel, size), MaxMin()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, features, H, W) of images (B, channels, H, W)."""
        features: Tensor = self.layers(images)
        return features

    def lipschitz(self) -> float:
        """Bound the Lipschitz constant in l2 by the product of the layers' bounds, rounded up."""
        bounds = [m.lipschitz() for m in self.layers if isinstance(m, LipschitzConv2d)]
        return math.nextafter(math.prod(bounds) * (1 + SLACK), math.inf)
