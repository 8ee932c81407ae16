"""Pixelate: fewer pixels, shown as larger ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_smooth.transforms.base import Parameter, Transform


class Level(NamedTuple):
    """One of the finitely many results of pixelating an image.

    Attributes:
        low: strengths above this one give it (the image itself: this one), up to and including
        high: this one. `(low + high) / 2` is always one that gives it.
        height: rows of large pixels.
        width: columns of large pixels.
    """

    low: float
    high: float
    height: int
    width: int


class Pixelate(Transform):
    """Reduce an image to fewer pixels, and show these in its old size.

    Convention: an axis of n pixels keeps max(1, floor(n (1 - strength))). A large pixel is the mean
    of the area that it covers, pixels that it covers in part weighted by that part. Each pixel then
    shows the large one that its centre lies in. Both axes are reduced by the same share.

    Piecewise constant in its parameter: no gradient goes to it, and an image has only finitely many
    results, `levels`. It does not compose (Hao et al. 2022; THEORY section 7).
    """

    parameters = (
        Parameter(name="strength", unit="share of pixels", low=0.0, high=1.0, usual=(0.0, 0.5)),
    )

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        columns = _blocks(width, theta[:, 0], images)
        rows = columns if height == width else _blocks(height, theta[:, 0], images)
        return rows[:, None] @ (images @ columns.mT[:, None])

    def levels(self, size: tuple[int, int]) -> list[Level]:
        """List the distinct results for images of (height, width), from none to one pixel.

        >>> for level in Pixelate().levels((2, 4)):
        ...     print(*level)
        0.0 0.0 2 4
        0.0 0.25 1 3
        0.25 0.5 1 2
        0.5 1.0 1 1
        """
        edges = sorted({k / n for n in size for k in range(n)} | {1.0})
        found: list[Level] = []
        for low, high in zip([0.0, *edges], edges, strict=False):
            height, width = (int(_kept(n, torch.tensor([high], dtype=torch.float64))) for n in size)
            if found and found[-1][2:] == (height, width):
                low = found.pop().low
            found.append(Level(low, high, height, width))
        return found


def _kept(size: int, strength: Tensor) -> Tensor:
    """(B,) how many of `size` pixels each strength keeps."""
    # floor(n (1 - s)) is n less the number of k / n below s; comparing does not round. Python
    # divides as `levels` does; torch may multiply by the inverse instead.
    edges = torch.tensor([k / size for k in range(size)], dtype=torch.float64).to(strength)
    lost = torch.bucketize(strength.detach().contiguous(), edges)
    return (size - lost).clamp(min=1)


def _blocks(size: int, strength: Tensor, like: Tensor) -> Tensor:
    """(B, size, size): what pixelating one axis does, down and up."""
    kept, which = torch.unique(_kept(size, strength), return_inverse=True)
    return _up_down(size, kept).to(like)[which]


def _up_down(size: int, kept: Tensor) -> Tensor:
    """(K, size, size) float64, rows of sum 1: the mean over each pixel's large pixel.

    >>> _up_down(3, torch.tensor([2]))[0]
    tensor([[0.6667, 0.3333, 0.0000],
            [0.0000, 0.3333, 0.6667],
            [0.0000, 0.3333, 0.6667]], dtype=torch.float64)
    """
    # In units of 1/kept pixel, large pixels and pixels are whole numbers long: nothing rounds.
    kept = kept[:, None, None]
    places = torch.arange(size, device=kept.device)
    large = (2 * places[:, None] + 1) * kept // (2 * size) * size
    pixel = places * kept
    shared = torch.minimum(large + size, pixel + kept) - torch.maximum(large, pixel)
    return shared.clamp(min=0).double() / size
