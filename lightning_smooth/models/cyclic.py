"""A small network that sees an image on a torus, for cyclic translations."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError, check_count


class CyclicConvNet(nn.Module):
    """Five convolutions with cyclic padding, and the maximum over positions.

    Channels 16, 32, 32, 64, 64 (5 x 5, then 3 x 3), each with BatchNorm and ReLU; max-pooling after
    the first and the third. A cyclic translation by a multiple of 4 pixels changes nothing but the
    order of what is maximised over, so scores are the same; by others they are nearly so, once
    trained under translations.

    Takes images in [0, 1] of shape (B, C, S, S), S a multiple of 4, and returns logits
    (B, num_classes).

    Args:
        in_channels: channels of an image.
        image_size: height and width of an image in pixels, a multiple of 4.
        num_classes: number of logits.

    Raises:
        InputError: a size is out of range.

    >>> model = CyclicConvNet().eval()
    >>> image = torch.rand(1, 1, 28, 28)
    >>> torch.allclose(model(image), model(image.roll((4, -8), (2, 3))), atol=1e-6)
    True
    """

    normalize: None = None
    """It has no layer for it: files of its weights hold none, either."""

    def __init__(
        self, in_channels: int = 1, image_size: int = 28, *, num_classes: int = 10
    ) -> None:
        super().__init__()
        check_count("image_size", image_size, least=8)
        check_count("num_classes", num_classes)
        if image_size % 4:
            raise InputError(
                f"Expected `image_size` to be a multiple of 4, but got {image_size}: pooling would "
                "drop a border, and the image would be no torus any more."
            )
        widths = [check_count("in_channels", in_channels), 16, 32, 32, 64, 64]
        layers: list[nn.Module] = []
        for place, (before, after) in enumerate(pairwise(widths)):
            size = 3 if place else 5
            layers += [
                nn.Conv2d(before, after, size, padding=size // 2, padding_mode="circular"),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                *([nn.MaxPool2d(2)] if place in (0, 2) else []),
            ]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, C, S, S) in [0, 1]."""
        logits: Tensor = self.head(torch.amax(self.features(images), dim=(2, 3)))
        return logits
