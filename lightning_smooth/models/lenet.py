"""The LeNet of the published MNIST smoothing figures.

Source: the network of MACER's public code (Zhai et al. 2020), which consistency regularisation and
SmoothMix (Jeong and Shin 2020; Jeong et al. 2021) take over for MNIST; after LeCun et al. 1998.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.normalize import normalization


class LeNet(nn.Module):
    """Convolutions 20 and 50 (5 x 5), each with ReLU and max-pooling, then 500 and the classes.

    Takes images in [0, 1] of shape (B, C, S, S) and returns logits (B, num_classes).

    Args:
        in_channels: channels of an image.
        image_size: height and width of an image in pixels, at least 16.
        num_classes: number of logits.
        mean: subtracted from each channel before the first convolution; None for no normalisation,
            as published.
        std: divides each channel after that; None for no normalisation.

    Raises:
        InputError: a size is out of range.

    >>> model = LeNet()
    >>> model(torch.zeros(2, 1, 28, 28)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10]), 431080)
    """

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int = 28,
        *,
        num_classes: int = 10,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        check_count("in_channels", in_channels)
        check_count("image_size", image_size)
        check_count("num_classes", num_classes)
        if image_size < 16:
            raise InputError(
                f"Expected `image_size` to be at least 16, but got {image_size}: for smaller "
                "images take SmallConvNet with padding=1."
            )
        side = ((image_size - 4) // 2 - 4) // 2
        self.normalize = normalization(mean, std)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 20, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(50 * side * side, 500),
            nn.ReLU(),
            nn.Linear(500, num_classes),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (B, num_classes) of images (B, C, S, S) in [0, 1]."""
        logits: torch.Tensor = self.head(self.features(self.normalize(image)))
        return logits
