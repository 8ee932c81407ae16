"""Purification towards the training distribution, pixel by pixel.

Source: Song, Kim, Nowozin, Ermon, Kushman 2018 (PixelDefend), algorithm 1.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from lightning_smooth.defenses.base import check_batch
from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.logistics import LEVELS, LogisticMixture, to_levels
from lightning_smooth.models.pixelcnn import PixelCNN
from lightning_smooth.models.raster import walk
from lightning_smooth.models.weights import load_weights

_STEPS: Final = LEVELS - 1
_SLACK: Final = 1e-6
"""In levels: 16 / 255 counts as 16 of them in floating point too."""


class PixelDefend(nn.Module):
    """Replace each value, in raster order, by the most likely one within a bound of it.

    An image is rounded to its levels 0..255. Then pixel by pixel, row by row, and channel by
    channel within a pixel, a value becomes that level, among those at most `bound` away from its
    own, which is the most likely of them given all values before it, as they are after
    purification; of several equally likely ones, one. That is greedy: it is not the most likely
    image within the bound. Nothing is drawn.

    Keeps shape and dtype, and [0, 1]. It has no gradient. A result is at most `bound` away from
    the rounded image in each value, so half a level more from the image. It costs about one forward
    pass of the network an image, not one a pixel (`models.raster.walk`).

    Args:
        model: the density.
        bound: largest change of a value of an image in [0, 1]; 16 / 255 as published.
        weights: file of the density's weights, read when this is built; None to leave them. What
            is read, and how: `models.load_weights`.
        batch_size: images that are purified together.

    Raises:
        InputError: `model` is no PixelCNN, a number is out of range, or the weights do not fit; in
            the call: images of another number of channels than the model's.

    >>> PixelDefend(PixelCNN(width=4, dilations=(1,)), bound=0)(torch.full((1, 1, 1, 2), 0.2))
    tensor([[[[0.2000, 0.2000]]]])
    """

    def __init__(
        self,
        model: PixelCNN,
        bound: float = 16 / 255,
        weights: str | None = None,
        *,
        batch_size: int = 128,
    ) -> None:
        super().__init__()
        if not isinstance(model, PixelCNN):
            raise InputError(f"Expected `model` to be a PixelCNN, but got {type(model).__name__}.")
        if isinstance(bound, bool) or not 0 <= bound <= 1:
            raise InputError(f"Expected `bound` to be in [0, 1], but got {bound!r}: 16 / 255, say.")
        self.model = model
        self.bound = float(bound)
        self.batch_size = check_count("batch_size", batch_size)
        if weights is not None:
            load_weights(model, weights)

    def extra_repr(self) -> str:
        """Show the bound in the model's repr."""
        return f"bound={self.bound:.9g}"

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Purify images (B, C, H, W) in [0, 1]."""
        channels = check_batch(images).shape[1]
        if channels != self.model.channels:
            raise InputError(
                f"Expected `images` of {self.model.channels} channels, those of the PixelCNN, but "
                f"got {channels}."
            )
        with torch.autocast(images.device.type, enabled=False):
            parts = [
                self._purified(to_levels(part)) for part in torch.split(images, self.batch_size)
            ]
        return torch.cat(parts).to(images.dtype) / _STEPS

    def _purified(self, levels: Tensor) -> Tensor:
        reach = int(self.bound * _STEPS + _SLACK)
        offsets = torch.arange(-reach, reach + 1, device=levels.device)

        def likeliest(row: int, column: int, mixture: LogisticMixture) -> Tensor:
            # Levels beyond 0 and 255 stand for those once more, which changes no maximum.
            windows = (levels[:, :, row, column, None] + offsets).clamp(0, _STEPS)
            chosen = torch.zeros_like(levels[:, :, row, column])
            for channel, window in enumerate(windows.unbind(dim=1)):
                found = mixture.conditional(channel, chosen, window)
                best = found.argmax(dim=1, keepdim=True)
                chosen[:, channel] = window.gather(1, best)[:, 0]
            return chosen

        height, width = levels.shape[2:]
        return walk(self.model, len(levels), (height, width), likeliest)
