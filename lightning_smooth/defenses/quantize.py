"""Fewer bits a channel.

Source: Xu, Evans, Qi 2018 (feature squeezing); Guo, Rana, Cisse, van der Maaten 2018, with 3 bits.
"""

from __future__ import annotations

from torch import Tensor, nn

from lightning_smooth.defenses.base import check_batch
from lightning_smooth.errors import InputError, check_count


class BitDepth(nn.Module):
    """Round each value to the nearest of 2^bits levels, equally spaced from 0 to 1.

    Keeps shape and dtype. It has no gradient. Athalye et al. 2018 cut low bits off instead, which
    darkens: their levels are 0, 32, ..., 224 of 255.

    Args:
        bits: a channel, 1 to 8; 3 as published. 8 leave 8-bit images as they are.

    Raises:
        InputError: `bits` is not a whole number of 1 to 8.

    >>> import torch
    >>> BitDepth(1)(torch.tensor([0.0, 0.4, 0.6]).view(1, 1, 1, 3)).flatten()
    tensor([0., 0., 1.])
    """

    def __init__(self, bits: int = 3) -> None:
        super().__init__()
        self.bits = check_count("bits", bits)
        if self.bits > 8:
            raise InputError(f"Expected `bits` to be at most 8, an image's own, but got {bits}.")

    def extra_repr(self) -> str:
        """Show the bits in the model's repr."""
        return f"bits={self.bits}"

    def forward(self, images: Tensor) -> Tensor:
        """Quantise images (B, C, H, W) in [0, 1]."""
        steps = (1 << self.bits) - 1
        return (check_batch(images).detach() * steps).round() / steps
