"""The small strided network that verifiers are compared on.

Source: Wong and Kolter 2018, "Provable defenses against adversarial examples via the convex outer
adversarial polytope", section 4 (MNIST); later verifiers call it ConvSmall.
"""

from __future__ import annotations

import torch
from torch import nn

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.normalize import normalization


class ConvSmall(nn.Module):
    """Convolutions 16 and 32 (4 x 4, stride 2, padding 1, ReLU), then 100-classes.

    Takes images in [0, 1] of shape (B, C, S, S) and returns logits (B, num_classes). There is no
    pooling, whose bounds are loose.

    Args:
        in_channels: channels of an image.
        image_size: height and width of an image in pixels, a multiple of 4.
        num_classes: number of logits.
        width: factor on 16, 32 and 100.
        mean: subtracted from each channel before the first convolution; None for no normalisation.
        std: divides each channel after that; None for no normalisation.

    Raises:
        InputError: a size is out of range.

    >>> model = ConvSmall()
    >>> model(torch.zeros(2, 1, 28, 28)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10]), 166406)
    """

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int = 28,
        *,
        num_classes: int = 10,
        width: int = 1,
        mean: list[float] | None = None,
        std: list[float] | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("image_size", image_size),
                            ("num_classes", num_classes), ("width", width)):  # fmt: skip
            check_count(name, value)
        if image_size % 4:
            raise InputError(
                f"Expected `image_size` to be a multiple of 4, but got {image_size}: resize or "
                "pad the images."
            )
        first, second, hidden = 16 * width, 32 * width, 100 * width
        self.normalize = normalization(mean, std)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, first, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, 4, stride=2, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(second * (image_size // 4) ** 2, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (B, num_classes) of images (B, C, S, S) in [0, 1]."""
        logits: torch.Tensor = self.head(self.features(self.normalize(image)))
        return logits
