"""How images are cropped: torchvision's transforms, put together for the data modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from PIL import Image
from torchvision.transforms import v2 as transforms

from lightning_smooth.data.sources import Transform

v2: Final[Any] = transforms


def shift_and_flip(size: int, *, padding: int = 4) -> Transform:
    """Crop `size` x `size` at random after zero padding, and mirror half of the images.

    Works on one uint8 tensor (C, H, W); draws from torch's own generator, which a DataLoader seeds
    in each worker.
    """
    transform: Transform = v2.Compose(
        [v2.RandomCrop(size, padding=padding), v2.RandomHorizontalFlip()]
    )
    return transform


def zoom_and_flip(crop: int) -> Callable[[Image.Image], torch.Tensor]:
    """Crop a random part, resize it to `crop` x `crop`, and mirror half of the images."""
    transform: Callable[[Image.Image], torch.Tensor] = v2.Compose(
        [v2.RandomResizedCrop(crop), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    )
    return transform


def centre(resize: int, crop: int) -> Callable[[Image.Image], torch.Tensor]:
    """Resize the shorter side to `resize`, also upwards, and crop `crop` x `crop` at the centre."""
    transform: Callable[[Image.Image], torch.Tensor] = v2.Compose(
        [v2.Resize(resize), v2.CenterCrop(crop), v2.PILToTensor()]
    )
    return transform
