"""Noise distributions over pixels. A law draws; the radius that it gives lives in maths."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lightning_smooth.errors import check_positive
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey, standard_normal


class Law(ABC):
    """A distribution of noise that is added to an image in [0, 1]; the sum is not clipped."""

    @abstractmethod
    def block(
        self,
        key: NoiseKey,
        block: int,
        shape: tuple[int, int, int],
        device: torch.device,
        *,
        draws: int = BLOCK,
    ) -> Tensor:
        """Draw the first `draws` of a block of keyed noise, a function of key and block alone.

        Args:
            key: whose draws.
            block: number of the block, from 0.
            shape: (C, H, W) of the image.
            device: where the draws are wanted.
            draws: how many are needed, 1..BLOCK; more may come.

        Returns:
            (draws or more, C, H, W) float32, channels last in memory.
        """

    def perturb(self, image: Tensor, noise: Tensor) -> Tensor:
        """Noisy copies (B, C, H, W) of one image (C, H, W), from noise (B, C, H, W)."""
        return noise + image

    @abstractmethod
    def like(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw noise of the shape of `images`, one independent draw an image, for training."""


class GaussianNoise(Law):
    """Independent N(0, sigma^2) on every pixel.

    Args:
        sigma: standard deviation, in units of pixels in [0, 1] (0.25 is 63.75/255).

    Raises:
        InputError: `sigma` is not a finite number above 0.
    """

    def __init__(self, sigma: float) -> None:
        self.sigma = check_positive("sigma", sigma)

    def __repr__(self) -> str:
        return f"GaussianNoise(sigma={self.sigma:g})"

    def block(
        self,
        key: NoiseKey,
        block: int,
        shape: tuple[int, int, int],
        device: torch.device,
        *,
        draws: int = BLOCK,
    ) -> Tensor:
        """See `Law.block`."""
        return standard_normal(key, block, shape, device, draws=draws).mul_(self.sigma)

    def like(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """See `Law.like`."""
        noise = torch.empty(images.shape, dtype=images.dtype, device=images.device)
        return noise.normal_(generator=generator).mul_(self.sigma)
