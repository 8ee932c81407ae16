"""Random sizes, with a random border.

Source: Xie, Wang, Zhang, Ren, Yuille 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_smooth.defenses.base import check_batch
from lightning_smooth.defenses.interpolation import axis_weights, shown
from lightning_smooth.errors import InputError, check_count


class RandomResizePad(nn.Module):
    """Show each image in a random size, at a random place of a larger canvas.

    Sizes are uniform over low .. high, both among them, and places over all that fit; drawn anew
    for each image of each call. From images (B, C, H, W) to (B, C, padded, padded), of the same
    dtype: the network takes that size. Bilinear, as Athalye, Carlini, Wagner 2018 have it. Its
    gradient is the true one, for the sizes and places drawn.

    Published for images of 299 x 299: 299 to 330, on 331; in proportion, 28 to 30 on 31 for 28
    pixels. Where the network has one size only, `padded` is that one, and the image is shrunk.

    Args:
        low: least height and width, in pixels.
        high: greatest.
        padded: height and width of the canvas, at least `high`.
        fill: the canvas' value, 0 to 1: 0 as the paper says; the middle of the range of its
            authors' network, for which they pad zeros after normalisation to [-1, 1], is .5.

    Raises:
        InputError: a size is no whole number, they do not rise, or `fill` is not in [0, 1].
    """

    stochastic = True

    def __init__(
        self, low: int = 299, high: int = 330, padded: int = 331, *, fill: float = 0.0
    ) -> None:
        super().__init__()
        self.low = check_count("low", low)
        self.high = check_count("high", high)
        self.padded = check_count("padded", padded)
        if not self.low <= self.high <= self.padded:
            raise InputError(
                f"Expected `low` <= `high` <= `padded`, but got {low}, {high} and {padded}."
            )
        if not 0 <= fill <= 1:
            raise InputError(f"Expected `fill` to be in [0, 1], but got {fill!r}.")
        self.fill = float(fill)

    def extra_repr(self) -> str:
        """Show the numbers in the model's repr."""
        return f"low={self.low}, high={self.high}, padded={self.padded}, fill={self.fill:g}"

    def forward(self, images: Tensor) -> Tensor:
        """Resize and pad images (B, C, H, W)."""
        height, width = check_batch(images).shape[2:]
        batch, device = len(images), images.device
        side = torch.randint(self.low, self.high + 1, (batch,), device=device)
        rows, in_rows = self._weights(height, side)
        columns, in_columns = self._weights(width, side)
        content = shown(images, rows, columns)
        if not self.fill:
            return content
        inside = (in_rows[:, :, None] & in_columns[:, None])[:, None]
        return torch.where(inside, content, self.fill)

    def _weights(self, size: int, side: Tensor) -> tuple[Tensor, Tensor]:
        """(B, padded, size) weights, 0 outside the image; and (B, padded) where it is."""
        room = self.padded - side + 1
        start = (torch.rand(side.shape, dtype=torch.float64, device=side.device) * room).long()
        places = torch.arange(self.padded, device=side.device) - start[:, None]
        inside = (places >= 0) & (places < side[:, None])
        positions = (places.double() + 0.5) * size / side[:, None]
        low = torch.zeros_like(side)
        return axis_weights(positions, low, low + size - 1, size) * inside[..., None], inside
