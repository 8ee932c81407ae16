"""Brightness, contrast, saturation and hue."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_smooth.interpolation.error import length
from lightning_smooth.transforms.color import LUMA
from lightning_smooth.variation.path import Path, Size, Straight, evenly


class BrightnessPath(Straight):
    """Brightness: straight. Its linear part changes nothing."""


class ContrastPath(Straight):
    """Contrast, or the gain that follows a shift: straight, as every value times e^k is."""

    def _gain(self, low: Tensor, high: Tensor, size: Size) -> Tensor:
        return high.exp() * (1 + 1e-12)


class SaturationPath(Straight):
    """Saturation: straight in e^s."""

    def _gain(self, low: Tensor, high: Tensor, size: Size) -> Tensor:
        # One pixel's matrix is affine in e^s, and a norm is convex.
        grey = torch.tensor(LUMA, dtype=torch.float64).expand(3, 3)
        factors = torch.stack([low, high]).exp()[..., None, None]
        matrices = grey + factors * (torch.eye(3, dtype=torch.float64) - grey)
        norms: Tensor = torch.linalg.matrix_norm(matrices, ord=2)
        return norms.amax(dim=0) * (1 + 1e-12)


class HuePath(Path):
    """Hue: a channel is constant on arcs of 60 and of 120 degrees, and steep between them.

    Where it is steep its slope s is the pixel's chroma in 60 degrees, up or down. An interval of d
    degrees, at most 60, has one corner at most. With one, steep on a part p of it and constant on
    the other, its ends differ by s p, and it is off the chord by s p (1 - p / d) at most: at the
    corner. Without one that is 0, as then p is 0 or d. So the ends tell: no corner is looked for.
    """

    affine = False
    order = 1.5

    def edges(self, low: float, high: float, size: Size) -> Tensor:
        """See `Path.edges`: one corner at most."""
        return evenly(low, high, 45.0)

    def _stray(self, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
        norms = []
        for image in images:
            chroma = image.amax(dim=0) - image.amin(dim=0)
            most = chroma[None, None] * ((high - low) / 60)[:, None, None, None]
            moved = (self.images(image[None], high) - self.images(image[None], low)).abs()
            flat = (1 - moved / most.clamp_min(torch.finfo(most.dtype).tiny)).clamp_min(0)
            norms.append(length(moved * flat))
        return torch.stack(norms)
