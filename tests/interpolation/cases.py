"""Images that bounds are hard for, a plain bilinear form, and parameters within boxes."""

import math

import torch
from sklearn.datasets import load_digits

from lightning_smooth.transforms import Rotation, Scaling, Translation

TRANSFORMS = {"rotation": Rotation(), "scaling": Scaling(), "translation": Translation()}


def pictures(height=8, width=8):
    """Name -> image (C, height, width) in [0, 1]."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.rand(2, height, width, generator=generator)
    board = (torch.arange(height)[:, None] + torch.arange(width)).remainder(2).float()[None]
    single = torch.zeros(1, height, width)
    single[0, height // 3, width // 2] = 1.0
    binary = (torch.rand(1, height, width, generator=generator) > 0.5).float()
    return {
        "noise": noise, "board": board, "single": single, "binary": binary,
        "full": torch.ones(1, height, width),
    }  # fmt: skip


def digits(count):
    """(count, 1, 8, 8): real scans."""
    return torch.from_numpy(load_digits().images[:count]).float()[:, None] / 16


def boxes_of(name, width, count, generator):
    """Ends (count, P) of boxes of parameters, `width` wide or (scaling) a tenth of it."""
    transform = TRANSFORMS[name]
    usual = torch.tensor([p.usual for p in transform.parameters], dtype=torch.float64)
    low = torch.rand(count, len(usual), dtype=torch.float64, generator=generator)
    low = usual[:, 0] + low * (usual[:, 1] - usual[:, 0])
    return low, low + (width / 10 if name == "scaling" else width)


def within(low, high, samples, generator):
    """(samples, B, P): parameters of boxes, of which the first are corners."""
    corners = 2 ** low.shape[1]
    parts = torch.rand(samples, *low.shape, dtype=torch.float64, generator=generator)
    for corner in range(corners):
        for column in range(low.shape[1]):
            parts[corner, :, column] = corner >> column & 1
    return low * (1 - parts) + high * parts


def bilinear(image, x, y):
    """The value of one plane (H, W) at column x and row y, 0 outside."""
    height, width = image.shape
    left, top = math.floor(x), math.floor(y)
    total = 0.0
    for i in (top, top + 1):
        for j in (left, left + 1):
            if 0 <= i < height and 0 <= j < width:
                total += (1 - abs(x - j)) * (1 - abs(y - i)) * float(image[i, j])
    return total
