"""JPEG compression.

Source: Dziugaite, Ghahramani, Roy 2016; Guo, Rana, Cisse, van der Maaten 2018, at quality 75.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lightning_smooth.defenses.base import check_batch
from lightning_smooth.errors import InputError, check_count


class JPEG(nn.Module):
    """Write each image as JPEG, and read it again.

    Values are rounded to the nearest of 0 .. 255 first. Keeps shape and dtype; grey images stay
    grey, and colour is subsampled 2 x 2, as PIL has it. Works on the CPU, wherever the images are,
    so that its result is the same. It has no gradient.

    Args:
        quality: 1 to 100; 75 as published.

    Raises:
        InputError: `quality` is none of those; in the call: images have neither 1 nor 3 channels.
    """

    def __init__(self, quality: int = 75) -> None:
        super().__init__()
        self.quality = check_count("quality", quality)
        if self.quality > 100:
            raise InputError(f"Expected `quality` to be 1 to 100, but got {quality}.")

    def extra_repr(self) -> str:
        """Show the quality in the model's repr."""
        return f"quality={self.quality}"

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Compress images (B, C, H, W) in [0, 1], C 1 or 3."""
        if check_batch(images).shape[1] not in (1, 3):
            raise InputError(
                f"Expected `images` of 1 or 3 channels, but got {images.shape[1]}: JPEG has grey "
                "and RGB."
            )
        if not len(images):
            return images.clone()
        levels = (images * 255).round().clamp(0, 255).to("cpu", torch.uint8)
        read = torch.stack([self._compress(one) for one in levels])
        return read.to(images) / 255

    def _compress(self, levels: Tensor) -> Tensor:
        """One image (C, H, W) of uint8 on the CPU, and back."""
        file = io.BytesIO()
        pixels = levels.permute(1, 2, 0).numpy()
        Image.fromarray(pixels.squeeze(2) if len(levels) == 1 else pixels).save(
            file, "jpeg", quality=self.quality
        )
        with Image.open(file) as written:
            read = torch.from_numpy(np.array(written))
        return read.view(pixels.shape).permute(2, 0, 1)
