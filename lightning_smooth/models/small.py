"""A small convolutional network for MNIST.

Source: Carlini and Wagner 2017, table 1 (MNIST). The published smoothing figures are of a `LeNet`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.normalize import normalization


class SmallConvNet(nn.Module):
    """Convolutions 32-32-pool-64-64-pool (3 x 3, ReLU), then fully connected 200-200-classes.

    Takes images in [0, 1] of shape (B, C, S, S) and returns logits (B, num_classes).

    Args:
        in_channels: channels of an image.
        image_size: height and width of an image in pixels.
        num_classes: number of logits.
        padding: zero pixels added on each side by every convolution: 0 as published, 1 for images
            smaller than 16 pixels, such as the 8 x 8 digits.
        mean: subtracted from each channel before the first convolution; None for no normalisation.
        std: divides each channel after that; None for no normalisation.

    Raises:
        InputError: a size is out of range, or the image is too small for the padding.

    >>> model = SmallConvNet()
    >>> model(torch.zeros(2, 1, 28, 28)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10]), 312202)
    """

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int = 28,
        *,
        num_classes: int = 10,
        padding: int = 0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        check_count("in_channels", in_channels)
        check_count("image_size", image_size)
        check_count("num_classes", num_classes)
        check_count("padding", padding, least=0)
        shrink = 4 - 4 * padding
        side = ((image_size - shrink) // 2 - shrink) // 2
        if image_size <= shrink or side < 1:
            raise InputError(
                f"Expected `image_size` to be at least 16 with padding=0, but got {image_size} "
                f"with padding={padding}: use padding=1 for small images."
            )
        self.normalize = normalization(mean, std)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 32, 3, padding=padding),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=padding),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * side * side, 200),
            nn.ReLU(),
            nn.Linear(200, 200),
            nn.ReLU(),
            nn.Linear(200, num_classes),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (B, num_classes) of images (B, C, S, S) in [0, 1]."""
        logits: torch.Tensor = self.head(self.features(self.normalize(image)))
        return logits
