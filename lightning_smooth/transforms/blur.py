"""Gaussian blur, twice: the one that composes exactly, and the one that is commonly used.

Both are separable: a matrix for the rows and one for the columns, for each image its own. The
blurred image is `rows @ image @ columns^T`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.transforms.base import Parameter, Transform

Ends = Literal["reflecting", "cyclic"]
_VARIANCE = Parameter(name="variance", unit="pixels²", low=0.0, usual=(0.0, 4.0))
_BLOCK = 32  # rows or columns of a product at a time, where matrices are 0 far from the diagonal


class GaussianBlur(Transform):
    """Gaussian blur by the discrete heat kernel: blurs of variances a and b are one of a + b.

    Along each axis of n pixels the matrix is exp(a L), L half the second difference of neighbours:
    heat that spreads for a time. Its rows have mass 1 and nothing negative, so that images in
    [0, 1] stay there up to rounding. Far from the ends, and on any cyclic axis that is long enough,
    a pixel spreads by exactly the variance a.

    Convention: `variance` in pixels², 0 nothing. Ends `reflecting`: the image goes on mirrored, the
    edge pixel repeated (eigenvectors of DCT-II, eigenvalues cos(pi k / n) - 1). Ends `cyclic`: it
    goes on with its other side (Fourier, cos(2 pi k / n) - 1); such a blur commutes with cyclic
    translation. Composition: variances add, ends included.

    Products of wide images leave out, on a CPU, distances beyond which less than 1/16 of the
    images' float epsilon of the mass lies.

    Args:
        ends: what lies beyond the image.

    Raises:
        InputError: there are no such ends.

    Source: Lindeberg 1990, scale-space for discrete signals; THEORY section 5.
    """

    parameters = (_VARIANCE,)
    composition = "additive"

    def __init__(self, *, ends: Ends = "reflecting") -> None:
        if ends not in ("reflecting", "cyclic"):
            raise InputError(f"Expected `ends` to be reflecting or cyclic, but got {ends!r}.")
        self.ends = ends

    def __repr__(self) -> str:
        return f"{type(self).__name__}(ends={self.ends!r})"

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        variance = theta[:, 0]
        height, width = images.shape[-2:]
        rows = heat_matrix(variance, height, ends=self.ends)
        columns = rows if height == width else heat_matrix(variance, width, ends=self.ends)
        reach = None
        if self.ends == "reflecting" and images.device.type == "cpu" and len(variance):
            most, tail = float(variance.detach().max()), torch.finfo(images.dtype).eps / 16
            reach = _heat_reach(most, max(height, width), tail)
        return separable(images, rows, columns, reach=reach)


class SampledGaussianBlur(Transform):
    """Gaussian blur by a sampled, truncated, normalised kernel, as most code has it.

    Convention: `variance` in pixels², 0 nothing; weights exp(-d^2 / (2 variance)) at whole
    distances d <= (size - 1) / 2, normalised; the image goes on mirrored, the edge pixel *not*
    repeated, as in torchvision's `gaussian_blur` (which takes the square root as `sigma`). Images
    in [0, 1] stay there up to rounding.

    Composition: none. Kernels of variances a and b in a row are not the kernel of a + b: the
    kernels' L1 distance along an axis is .25 at .1 + .2, .10 at .3 + .3 and 4e-5 at 1.3 + .9 before
    truncation, which adds to it. `GaussianBlur` has none.

    Args:
        size: of the kernel, in pixels; odd. Images have more than (size - 1) / 2 rows and columns.

    Raises:
        InputError: `size` is not odd, or images are smaller than the kernel's half.

    Source: THEORY section 5.
    """

    parameters = (_VARIANCE,)

    def __init__(self, size: int = 9) -> None:
        self.size = check_count("size", size)
        if self.size % 2 == 0:
            raise InputError(f"Expected `size` to be odd, but got {size}.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if self.size // 2 >= min(height, width):
            raise InputError(
                f"Expected `images` of more than {self.size // 2} rows and columns for {self!r}, "
                f"but got {height} x {width}. Take a smaller `size`."
            )
        weights = sampled_gaussian(theta[:, 0], self.size)
        rows = _mirrored(weights, height)
        columns = rows if height == width else _mirrored(weights, width)
        return separable(images, rows, columns, reach=self.size // 2)


def separable(images: Tensor, rows: Tensor, columns: Tensor, *, reach: int | None = None) -> Tensor:
    """Rows @ image @ columns^T of each channel.

    Args:
        images: (B, C, H, W), or one (1, C, H, W) for all matrices.
        rows: (B, H, H), or one (1, H, H).
        columns: (B, W, W), or one (1, W, W).
        reach: how far from the diagonal the matrices are not 0; None for anywhere.

    Returns:
        (B, C, H, W).
    """
    for matrix, dim in ((columns, -1), (rows, -2)):
        n = matrix.shape[-1]
        if reach is None or images.device.type != "cpu" or 2 * (_BLOCK + 2 * reach) > n:
            images = _along(matrix, images, dim)
            continue
        parts = []
        for start in range(0, n, _BLOCK):
            stop = min(start + _BLOCK, n)
            low, high = max(0, start - reach), min(n, stop + reach)
            seen = images.narrow(dim, low, high - low)
            parts.append(_along(matrix[:, start:stop, low:high], seen, dim))
        images = torch.cat(parts, dim=dim)
    return images


def _along(matrix: Tensor, images: Tensor, dim: int) -> Tensor:
    if dim == -2:
        return matrix[:, None] @ images
    # All channels' rows at once: the matrix is not copied for each channel.
    products = images.flatten(1, 2) @ matrix.mT
    return products.reshape(-1, *images.shape[1:3], matrix.shape[1])


def heat_matrix(variance: Tensor, n: int, *, ends: Ends) -> Tensor:
    """Matrices exp(variance L) of an axis of n pixels, L half the second difference.

    Args:
        variance: (B,), at least 0.
        n: pixels.
        ends: what lies beyond the axis.

    Returns:
        (B, n, n), symmetric, in the dtype of `variance`; computed in float64.

    >>> heat_matrix(torch.tensor([0.5]), 3, ends="reflecting")[0, 0]
    tensor([0.8015, 0.1759, 0.0227])
    """
    eigenvalues, waves, nothing = _circle(n, ends, variance.device)
    # exp - 1, and 1 added on the diagonal: a variance of 0 gives the identity to the last bit.
    spread = torch.expm1(variance.double()[:, None] * eigenvalues) @ waves
    line = (spread + nothing).to(variance)
    matrix = _sliding(line[:, : 2 * n - 1], n).flip(1)
    return matrix if ends == "cyclic" else matrix + _sliding(line[:, n:], n)


def sampled_gaussian(variance: Tensor, size: int) -> Tensor:
    """Sampled, truncated, normalised Gaussian kernels (B, size); a variance of 0 is one pixel.

    >>> sampled_gaussian(torch.tensor([0.0, 1.0]), 3)
    tensor([[0.0000, 1.0000, 0.0000],
            [0.2741, 0.4519, 0.2741]])
    """
    distance = torch.arange(size, dtype=variance.dtype, device=variance.device) - size // 2
    # Below this all neighbours' weights are 0 in float64 too, and 0 does not divide.
    variance = variance.clamp_min(5e-4)
    weights = torch.exp(-0.5 * distance.square() / variance[:, None])
    return weights / weights.sum(dim=1, keepdim=True)


def _mirrored(weights: Tensor, n: int) -> Tensor:
    """Matrices (B, n, n) of kernels (B, size) with mirrored ends, edges not repeated."""
    line = weights @ _mirrors(n, weights.shape[1], weights.dtype, weights.device)
    matrix = _sliding(line[:, : 2 * n - 1], n).flip(1)
    # The ends are their own mirror images.
    matrix[:, :, 1:-1] += _sliding(line[:, n - 1 :], n)[:, :, 1:-1]
    return matrix


def _sliding(line: Tensor, n: int) -> Tensor:
    """(B, n, n) with line[i + j] at i, j."""
    return line.unfold(1, n, 1)


def _heat_reach(variance: float, n: int, tail: float) -> int:
    """A distance, at most n, beyond which less than `tail` of the heat kernel's mass lies.

    By Chernoff's bound; the kernel's moment generating function is exp(variance (cosh s - 1)).

    >>> _heat_reach(1.0, 224, 1e-8)
    9
    """
    reach = 0
    while reach < n and variance > 0:
        far = reach + 1
        rise = far * far / (math.hypot(variance, far) + variance)
        if math.log(2) + rise - far * math.asinh(far / variance) < math.log(tail):
            break
        reach = far
    return reach


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept has to serve where gradients are taken as well
def _circle(n: int, ends: Ends, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues of a circle's L, (K,); waves (K, D) and the identity (D,) at distances 1 - n, ...

    A cyclic axis is a circle of n. A reflecting one, with its mirror image, is a circle of 2 n:
    pixel j is there at j and at -1 - j, so distances go up to 2 n - 1 from i.
    """
    size = n if ends == "cyclic" else 2 * n
    wave = torch.arange(size // 2 + 1, dtype=torch.float64)
    distance = torch.arange(1 - n, size if ends == "reflecting" else n, dtype=torch.float64)
    twice = 2 - ((wave == 0) | (2 * wave == size)).double()  # a wave and its mirror image
    turn = 2 * math.pi / size
    waves = twice[:, None] / size * torch.cos(turn * (wave[:, None] * distance).remainder(size))
    nothing = (distance.remainder(size) == 0).double()
    eigenvalues = torch.cos(turn * wave) - 1
    return eigenvalues.to(device), waves.to(device), nothing.to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _mirrors(n: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(size, 3 n - 2) of 0 and 1: where a kernel's entries come to lie on the circle of 2 n - 2."""
    offset = torch.arange(size) - size // 2
    distance = torch.arange(1 - n, 2 * n - 1)
    same = (offset[:, None] - distance).remainder(max(1, 2 * n - 2)) == 0
    return same.to(device=device, dtype=dtype)
