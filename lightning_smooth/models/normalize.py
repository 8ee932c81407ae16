"""Normalisation as a network's first layer, so that noise lands on the image itself (THEORY 0)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import nn

from lightning_smooth.errors import InputError

CIFAR10_MEAN: Final = (0.4914, 0.4822, 0.4465)
CIFAR10_STD: Final = (0.2023, 0.1994, 0.2010)
"""Mean over CIFAR-10's training images of each image's own standard deviation: what the published
smoothing networks divide by (over all pixels at once it would be .2470, .2435, .2616)."""

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """Maps an image batch `x` of shape (B, C, H, W) to `(x - mean) / std`, channel by channel.

    Convention: `mean` and `std` are in the units of images in [0, 1]. Both are buffers and part of
    the state dict, so that saved weights carry the normalisation they were trained with.

    Args:
        mean: one number per channel.
        std: one number above zero per channel.

    Raises:
        InputError: lengths differ, a number is not finite, or a `std` is not above zero.

    >>> layer = Normalize([0.5], [0.25])
    >>> layer(torch.ones(1, 1, 1, 2)).tolist()
    [[[[2.0, 2.0]]]]
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not len(mean):
            raise InputError(
                f"Expected `mean` and `std` to have one number per channel each, but got "
                f"{len(mean)} and {len(std)} numbers: give as many of one as of the other."
            )
        if not all(math.isfinite(m) for m in mean):
            raise InputError(f"Expected `mean` to be finite numbers, but got {list(mean)}.")
        if not all(math.isfinite(s) and s > 0 for s in std):
            raise InputError(f"Expected `std` to be finite and above 0, but got {list(std)}.")
        self.register_buffer(
            "mean", torch.tensor(list(mean), dtype=torch.float32).view(1, -1, 1, 1)
        )
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the normalised batch, of the shape of `image`.

        Raises:
            InputError: `image` is not (B, C, H, W) with as many channels as `mean` has numbers.
        """
        channels = self.mean.shape[1]
        if image.ndim != 4 or image.shape[1] != channels:
            raise InputError(
                f"Expected `image` of shape (B, {channels}, H, W), but got {tuple(image.shape)}: "
                f"this model takes images of {channels} channel(s); choose the data set or the "
                f"model's `mean` and `std` to match."
            )
        return (image - self.mean) / self.std

    def extra_repr(self) -> str:
        """Show the numbers in the model's repr."""
        mean, std = (
            [float(f"{v:.6g}") for v in buffer.flatten().tolist()]
            for buffer in (self.mean, self.std)
        )
        return f"mean={mean}, std={std}"


def normalization(mean: Sequence[float] | None, std: Sequence[float] | None) -> nn.Module:
    """Return the first layer: `Normalize`, or the identity when `mean` and `std` are both None.

    Raises:
        InputError: only one of the two is None, or `Normalize` refuses them.

    >>> normalization(None, None)
    Identity()
    """
    if mean is None and std is None:
        return nn.Identity()
    if mean is None or std is None:
        raise InputError(
            f"Expected `mean` and `std` together, but got mean={mean} and std={std}: give both, "
            f"or neither for no normalisation."
        )
    return Normalize(mean, std)
