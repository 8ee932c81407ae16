"""Thermometer encoding: a pixel becomes as many zeros and ones as there are levels.

Source: Buckman, Roy, Raffel, Goodfellow 2018, with 16 levels; the ramp is the one of Athalye,
Carlini, Wagner 2018 (THEORY section 10).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_smooth.defenses.base import check_batch
from lightning_smooth.errors import check_count, check_positive


class Thermometer(nn.Module):
    """Encode each pixel by which of the levels k / levels it is above, k = 0 .. levels - 1.

    From images (B, C, H, W) in [0, 1] to (B, C levels, H, W) of their dtype: channel
    c levels + k is 1 where channel c is above k / levels, else 0. So 0 gives zeros alone, and 1
    ones alone. The network takes as many channels. It has no gradient.

    Args:
        levels: 16 as published.

    Raises:
        InputError: `levels` is not a whole number of at least 1.

    >>> Thermometer(4)(torch.tensor(0.6).view(1, 1, 1, 1)).flatten()
    tensor([1., 1., 1., 0.])
    """

    def __init__(self, levels: int = 16) -> None:
        super().__init__()
        self.levels = check_count("levels", levels)

    def extra_repr(self) -> str:
        """Show the levels in the model's repr."""
        return f"levels={self.levels}"

    def forward(self, images: Tensor) -> Tensor:
        """Encode images (B, C, H, W)."""
        above = check_batch(images)[:, :, None] > _thresholds(self.levels, images)
        return above.flatten(1, 2).to(images.dtype)


class SoftThermometer(nn.Module):
    """The encoding with ramps for steps: clamp((x - k / levels) levels, 0, 1).

    Shapes are `Thermometer`'s. It is what BPDA differentiates in its place, and has its own, true
    gradient: to each channel c, from the level that the pixel lies in. So a pixel at 0 or 1 shows
    one step at most, and none where the way there is flat. With `width`, steps are logistic
    functions instead, sigmoid((x - k / levels) levels / width): a pixel shows every step, the near
    ones most, and an attack sees what a change across several levels would do.

    Args:
        levels: as many as the encoding has.
        width: of a logistic step, in levels; None for ramps.

    Raises:
        InputError: `levels` is not a whole number of at least 1, or `width` is not above 0.

    >>> SoftThermometer(4)(torch.tensor(0.625).view(1, 1, 1, 1)).flatten()
    tensor([1.0000, 1.0000, 0.5000, 0.0000])
    >>> SoftThermometer(4, width=1)(torch.tensor(0.5).view(1, 1, 1, 1)).flatten()
    tensor([0.8808, 0.7311, 0.5000, 0.2689])
    """

    def __init__(self, levels: int = 16, width: float | None = None) -> None:
        super().__init__()
        self.levels = check_count("levels", levels)
        self.width = None if width is None else check_positive("width", width)

    def extra_repr(self) -> str:
        """Show the levels, and a width, in the model's repr."""
        return f"levels={self.levels}" + ("" if self.width is None else f", width={self.width:g}")

    def forward(self, images: Tensor) -> Tensor:
        """Encode images (B, C, H, W)."""
        above = (check_batch(images)[:, :, None] - _thresholds(self.levels, images)) * self.levels
        soft = above.clamp(0, 1) if self.width is None else (above / self.width).sigmoid()
        return soft.flatten(1, 2)


def _thresholds(levels: int, like: Tensor) -> Tensor:
    """(levels, 1, 1): k / levels, each the nearest number of the images' dtype."""
    steps = torch.arange(levels, dtype=torch.float64, device=like.device) / levels
    return steps.to(like.dtype)[:, None, None]
