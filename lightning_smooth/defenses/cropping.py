"""Random crops, enlarged.

Source: Guo, Rana, Cisse, van der Maaten 2018: 90 x 90 of 299 x 299 (as Athalye, Carlini, Wagner
2018 have it), the scores of 30 crops averaged (`Defended(..., passes=30)`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_smooth.defenses.base import check_batch, check_share
from lightning_smooth.defenses.interpolation import axis_weights, shown
from lightning_smooth.errors import InputError, check_count


class CropRescale(nn.Module):
    """Cut a part out of each image at a random place, and show it in the image's size.

    The place is a whole number of pixels, uniform over all that fit, drawn anew for each image of
    each call; enlarging is bilinear. Keeps shape and dtype. Its gradient is the true one, for the
    places drawn.

    Args:
        size: height and width of the part: pixels where it is a whole number, or a share above 0
            and at most 1 of the image's height and width (1.0 is all of it, 1 one pixel); 90 / 299
            as published.

    Raises:
        InputError: `size` is neither; in the call: the part is larger than the image.
    """

    stochastic = True

    def __init__(self, size: int | float = 90 / 299) -> None:
        super().__init__()
        self.size: int | float
        if isinstance(size, int):
            self.size = check_count("size", size)
        else:
            self.size = check_share("size", size)

    def extra_repr(self) -> str:
        """Show the size in the model's repr."""
        return f"size={self.size:g}"

    def forward(self, images: Tensor) -> Tensor:
        """Crop images (B, C, H, W)."""
        height, width = check_batch(images).shape[2:]
        return shown(images, self._weights(height, images), self._weights(width, images))

    def _weights(self, size: int, images: Tensor) -> Tensor:
        part = self.size if isinstance(self.size, int) else max(1, round(self.size * size))
        if part > size:
            raise InputError(
                f"Expected `size` to be within the image, but got {part} of {size} pixels: give a "
                "smaller number, or a share of the image."
            )
        low = torch.randint(size - part + 1, (len(images),), device=images.device)
        places = (torch.arange(size, dtype=torch.float64, device=images.device) + 0.5) * part / size
        return axis_weights(low[:, None] + places, low, low + part - 1, size)
