"""Images that try bounds in different ways: noise, edges everywhere, one pixel, strokes, ramps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def pictures(channels: int = 1, height: int = 11, width: int = 12) -> dict[str, Tensor]:
    """Name -> (C, H, W) float64 in [0, 1]."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(channels, height, width, generator=generator, dtype=torch.float64)
    board = torch.zeros_like(noise)
    board[:, ::2, ::2] = board[:, 1::2, 1::2] = 1
    pixel = torch.zeros_like(noise)
    pixel[0, 2, width - 3] = 1
    digit = torch.zeros_like(noise)  # a seven
    digit[:, 2, 3 : width - 2] = 0.9
    for step in range(height - 5):
        digit[:, 3 + step, width - 3 - step // 2] = 1 - 0.05 * step
    digit *= torch.tensor([1.0, 0.6, 0.3], dtype=torch.float64)[:channels, None, None]
    coarse = torch.rand(1, channels, 4, 4, generator=generator, dtype=torch.float64)
    smooth = functional.interpolate(coarse, (height, width), mode="bicubic")[0].clamp(0, 1)
    return {"noise": noise, "board": board, "pixel": pixel, "digit": digit, "smooth": smooth}
