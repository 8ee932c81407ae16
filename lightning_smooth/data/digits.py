"""Handwritten digits that come with scikit-learn: real scans, nothing to download.

Source: Alpaydin and Kaynak 1998, optical recognition of handwritten digits (UCI), its test part.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from lightning_smooth.data.base import ImageDataModule
from lightning_smooth.data.sources import TensorSource

TEST_IMAGES: Final = 360
SPLIT_SEED: Final = 0
SCALE: Final = 16
"""Pixels are whole numbers 0..16."""


class Digits(ImageDataModule):
    """1797 digits of 8 x 8 grey pixels; 360 of them, always the same ones, are the test split."""

    name = "digits"
    title = "Digits"
    num_classes = 10
    image_shape = (1, 8, 8)
    _class_names = tuple("0123456789")
    default_val_size = 137

    def prepare_data(self) -> None:
        """Do nothing: the images lie in scikit-learn's package."""

    def _load(self, *, train: bool) -> TensorSource:
        digits = load_digits()
        parts = train_test_split(
            np.arange(len(digits.target)),
            test_size=TEST_IMAGES,
            random_state=SPLIT_SEED,
            stratify=digits.target,
        )
        indices = parts[0 if train else 1]
        images = torch.from_numpy(digits.images[indices].astype(np.uint8)).unsqueeze(1)
        labels = torch.from_numpy(digits.target[indices].astype(np.int64))
        return TensorSource(images, labels, scale=SCALE)
