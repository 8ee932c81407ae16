"""Noise distributions. A law draws; the radius that it gives lives in maths."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from lightning_smooth.errors import check_positive
from lightning_smooth.maths.rounded import BITS, GRID, clip_range, rounded_gaussian
from lightning_smooth.smoothing.rng import (
    BLOCK,
    NoiseKey,
    backend,
    random_words,
    standard_normal,
    standard_uniform,
)


class Law(ABC):
    """A distribution of what is done to an image in [0, 1]; the result is not clipped."""

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
        """Draw the first `draws` of a block, a function of key and block alone.

        Args:
            key: whose draws.
            block: number of the block, from 0.
            shape: (C, H, W) of the image.
            device: where the draws are wanted.
            draws: how many are needed, 1..BLOCK; more may come.

        Returns:
            (draws or more, ...): noise of pixels, (C, H, W) and channels last in memory, or
            parameters (P,).
        """

    @abstractmethod
    def perturb(self, image: Tensor, drawn: Tensor) -> Tensor:
        """Noisy copies (B, C, H, W) of one image (C, H, W), from B draws of `block`."""

    @abstractmethod
    def perturbed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images (B, C, H, W), one independent draw each, for training and validation."""

    def generator(self, device: torch.device) -> str:
        """Name of the generator that `block` draws with; it stands in every certificate."""
        return backend(device)

    def lost(self, drawn: Tensor) -> Tensor | None:
        """Which of B draws failed: (B,) bool; None where none ever does.

        A failed draw counts among the draws and has no vote, whatever the model answers.
        """
        del drawn
        return None


class PixelLaw(Law):
    """Noise that is added to pixels."""

    def perturb(self, image: Tensor, drawn: Tensor) -> Tensor:
        """See `Law.perturb`: the image plus noise (B, C, H, W)."""
        return drawn + image

    def perturbed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """See `Law.perturbed`."""
        return images + self.like(images, generator)

    @abstractmethod
    def like(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Draw noise of the shape of `images`, one independent draw an image, for training."""


class NoNoise(PixelLaw):
    """No noise at all, for certificates of the model itself."""

    def __repr__(self) -> str:
        return "NoNoise()"

    def block(
        self,
        key: NoiseKey,
        block: int,
        shape: tuple[int, int, int],
        device: torch.device,
        *,
        draws: int = BLOCK,
    ) -> Tensor:
        """See `Law.block`: zeros."""
        del key, block
        channels, height, width = shape
        return torch.zeros((draws, height, width, channels), device=device).permute(0, 3, 1, 2)

    def like(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """See `Law.like`: zeros."""
        del generator
        return torch.zeros_like(images)


class GaussianNoise(PixelLaw):
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


class UniformNoise(PixelLaw):
    """Independent noise, uniform on [-lam, lam] on every pixel.

    Args:
        lam: half of its width, in units of pixels in [0, 1]; its standard deviation is
            lam / sqrt(3).

    Raises:
        InputError: `lam` is not a finite number above 0.
    """

    def __init__(self, lam: float) -> None:
        self.lam = check_positive("lam", lam)

    def __repr__(self) -> str:
        return f"UniformNoise(lam={self.lam:g})"

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
        noise = standard_uniform(key, block, shape, device, draws=draws)
        return noise.sub_(0.5).mul_(2 * self.lam)

    def like(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """See `Law.like`."""
        noise = torch.empty(images.shape, dtype=images.dtype, device=images.device)
        return noise.uniform_(-self.lam, self.lam, generator=generator)


class RoundedGaussianNoise(PixelLaw):
    """N(0, sigma^2) on every pixel, rounded with the image to multiples of 1/255, and clipped.

    The noisy copies of an image m/255, m whole, are those of a classifier that rounds its input:
    round(255 (m/255 + e)) is m + round(255 e), and the rounded noise is drawn exactly, by whole
    numbers alone, from the uniform integers of the generator (`maths.rounded`). A draw of which a
    pixel has an integer that was left over is `lost`.

    Source: Voracek and Hein 2023; THEORY section 12.

    Args:
        sigma: standard deviation, in units of pixels in [0, 1].

    Raises:
        InputError: sigma is not above 0, or above 100.
    """

    def __init__(self, sigma: float) -> None:
        self.sigma = check_positive("sigma", sigma)
        self.low, self.high = clip_range(self.sigma)

    def __repr__(self) -> str:
        return f"RoundedGaussianNoise(sigma={self.sigma:g})"

    def block(
        self,
        key: NoiseKey,
        block: int,
        shape: tuple[int, int, int],
        device: torch.device,
        *,
        draws: int = BLOCK,
    ) -> Tensor:
        """See `Law.block`: multiples of 1/255, not clipped; NaN where a pixel failed.

        Drawn on the CPU and moved: the same numbers on every device.
        """
        law = rounded_gaussian(self.sigma)
        words = random_words(key, block, shape, draws=draws)
        steps = np.arange(-law.largest, law.largest + 2, dtype=np.float32)
        steps[-1] = np.nan
        noise = (steps / np.float32(GRID))[law.places(words >> np.uint64(64 - BITS))]
        return torch.from_numpy(noise).to(device).permute(0, 3, 1, 2)

    def perturb(self, image: Tensor, drawn: Tensor) -> Tensor:
        """Noisy copies on the grid: a function of whole numbers, the same on every device.

        A failed pixel becomes 0: its draw is lost.
        """
        # A number on the device: division by one on the host is by its reciprocal on a GPU.
        grid = torch.full((), float(GRID), device=drawn.device)
        steps = drawn.mul(GRID).round_().add_((image * GRID).round().float())
        return steps.nan_to_num_(0.0).clamp_(GRID * self.low, GRID * self.high).div_(grid)

    def generator(self, device: torch.device) -> str:
        """See `Law.generator`: that of the CPU, wherever the draws are wanted."""
        return backend(torch.device("cpu"))

    def lost(self, drawn: Tensor) -> Tensor:
        """See `Law.lost`."""
        return drawn.isnan().flatten(1).any(dim=1)

    def like(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """See `Law.like`: in floating point, to the nearest multiple of 1/255."""
        noise = torch.empty(images.shape, dtype=images.dtype, device=images.device)
        return noise.normal_(generator=generator).mul_(self.sigma * GRID).round_().div_(GRID)
