"""Images that try bounds of interpolation in different ways."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_smooth.transforms import PreBlur


def pictures(size: int = 12) -> dict[str, Tensor]:
    """Name -> (C, H, W) float64 in [0, 1]: noise, edges everywhere, one pixel, nothing to see."""
    generator = torch.Generator().manual_seed(0)
    board = torch.zeros(1, size, size, dtype=torch.float64)
    board[:, ::2, ::2] = board[:, 1::2, 1::2] = 1
    pixel = torch.zeros(1, size, size, dtype=torch.float64)
    pixel[0, 2, size - 4] = 1
    noise = torch.rand(2, size - 3, size + 2, generator=generator, dtype=torch.float64)
    smooth = PreBlur(5, s=8.0)(torch.rand(1, 1, size, size, generator=generator).double())[0]
    ones = torch.ones(1, size, size, dtype=torch.float64)
    return {"noise": noise, "board": board, "pixel": pixel, "smooth": smooth, "ones": ones}
