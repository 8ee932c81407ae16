"""Parts of images, shown at another size: bilinear between the centres of pixels.

Convention: pixel i of an axis covers [i, i + 1], its centre is i + 1/2, and the value there is its
own. Beyond the outermost centres of a part, its edge pixels go on. It is what `torch.nn.functional.
interpolate` does (bilinear, align_corners=False), with another part for each image.
"""

from __future__ import annotations

import torch
from torch import Tensor


def axis_weights(positions: Tensor, low: Tensor, high: Tensor, size: int) -> Tensor:
    """Weights of an axis' pixels in what is shown at positions.

    A row has at most two weights; they are not below 0, and their sum, rounded, is 1: images in
    [0, 1] stay there.

    Args:
        positions: (B, n), in pixels; the centre of pixel i is i + 1/2.
        low: (B,) first pixel of the part.
        high: (B,) last pixel of the part.
        size: pixels of the axis.

    Returns:
        (B, n, size).

    >>> axis_weights(torch.tensor([[0.1, 1.0, 1.75]]), torch.tensor([0]), torch.tensor([2]), 3)
    tensor([[[1.0000, 0.0000, 0.0000],
             [0.5000, 0.5000, 0.0000],
             [0.0000, 0.7500, 0.2500]]])
    """
    places = (positions - 0.5).clamp(low[:, None], high[:, None])
    below = places.floor()
    part = places - below
    pixels = torch.arange(size, device=positions.device)
    left = (pixels == below[..., None]) * (1 - part)[..., None]
    right = (pixels == below[..., None] + 1) * part[..., None]
    return left + right


def shown(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Show images (B, C, H, W) by weights (B, h, H) of rows and (B, w, W) of columns."""
    return rows.to(images.dtype)[:, None] @ (images @ columns.to(images.dtype).mT[:, None])
