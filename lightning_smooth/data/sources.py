"""Images with their labels and their index in the data set, fetched a batch at a time."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset

from lightning_smooth.errors import DataError, InputError

Transform = Callable[[torch.Tensor], torch.Tensor]
T = TypeVar("T")

ImageBatch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""What every loader yields: image float32 (B, C, H, W) in [0, 1], label int64 (B,), index int64
(B,), which is the image's place in its split of the data set."""


class ImageSource(Dataset[ImageBatch]):
    """One split of a data set, held as bytes and turned to floats a batch at a time.

    Args:
        labels: int64, (N,).
        scale: the value of a pixel byte that means 1.0.
    """

    def __init__(self, labels: torch.Tensor, *, scale: int = 255) -> None:
        self.labels = labels
        self.scale = scale

    @abstractmethod
    def pixels(self, indices: Sequence[int]) -> torch.Tensor:
        """Return the bytes of some images, uint8 (B, C, H, W)."""

    @abstractmethod
    def update_digest(self, update: Callable[[bytes], None]) -> None:
        """Feed everything that makes this split what it is to a hash."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int]) -> ImageBatch:
        index = torch.as_tensor(indices, dtype=torch.int64)
        image = self.pixels(indices).to(torch.float32).div_(self.scale)
        return image, self.labels[index], index

    def __getitem__(self, index: int) -> ImageBatch:
        """Return one image without the batch dimension: (C, H, W), (), ()."""
        image, label, place = self.__getitems__([index])
        return image[0], label[0], place[0]


class TensorSource(ImageSource):
    """A split that lies in memory.

    Args:
        images: uint8, (N, C, H, W).
        labels: int64, (N,).
        scale: the value of a pixel byte that means 1.0.
    """

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, *, scale: int = 255) -> None:
        super().__init__(labels, scale=scale)
        self.images = images
        self.augmentation: Transform | None = None

    def augmented(self, augmentation: Transform) -> TensorSource:
        """Return a source over the same memory that transforms each image on its own."""
        other = copy.copy(self)
        other.augmentation = augmentation
        return other

    def pixels(self, indices: Sequence[int]) -> torch.Tensor:
        """Return the bytes of some images, uint8 (B, C, H, W)."""
        images = self.images[torch.as_tensor(indices, dtype=torch.int64)]
        if self.augmentation is None:
            return images
        return torch.stack([self.augmentation(image) for image in images])

    def update_digest(self, update: Callable[[bytes], None]) -> None:
        """Feed shape, scale, pixel bytes and labels to a hash."""
        update(f"{tuple(self.images.shape)} {self.scale}".encode())
        update(self.images.contiguous().numpy().tobytes())
        update(self.labels.numpy().astype("<i8").tobytes())


class FileSource(ImageSource):
    """A split of image files, opened when they are asked for.

    Args:
        folder: where the files lie.
        files: (path, label) of each image, in the order of their index.
        transform: from a PIL image in RGB to a uint8 tensor (3, H, W).
        settings: how the transform prepares an image, in words; part of the digest.
    """

    def __init__(
        self,
        folder: Path,
        files: Sequence[tuple[str, int]],
        *,
        transform: Callable[[Image.Image], torch.Tensor],
        settings: str,
    ) -> None:
        super().__init__(torch.tensor([label for _, label in files], dtype=torch.int64))
        self.folder = folder
        self.paths = [Path(path) for path, _ in files]
        self.transform = transform
        self.settings = settings

    def transformed(self, transform: Callable[[Image.Image], torch.Tensor]) -> FileSource:
        """Return a source over the same files with another transform."""
        other = copy.copy(self)
        other.transform = transform
        return other

    def pixels(self, indices: Sequence[int]) -> torch.Tensor:
        """Return the bytes of some images, uint8 (B, 3, H, W).

        Raises:
            DataError: a file cannot be read as an image.
        """
        return torch.stack([self.transform(open_rgb(self.paths[index])) for index in indices])

    def update_digest(self, update: Callable[[bytes], None]) -> None:
        """Feed relative paths, file sizes, labels and settings to a hash; no pixel is read."""
        update(self.settings.encode())
        for path, label in zip(self.paths, self.labels.tolist(), strict=True):
            relative = path.relative_to(self.folder).as_posix()
            update(f"\n{relative}\0{path.stat().st_size}\0{label}".encode())


def open_rgb(path: Path) -> Image.Image:
    """Read an image file of any colour mode as RGB.

    Raises:
        DataError: the file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read as an image ({error}): replace or delete this file and run "
            f"again."
        ) from error


def keep_batch(batch: T) -> T:
    """Return what was fetched: the sources make whole batches themselves."""
    return batch


def check_labels(labels: torch.Tensor, num_classes: int, *, where: str) -> None:
    """Check that labels are 0..num_classes-1.

    Raises:
        DataError: one is not; `where` says which file it came from.
    """
    if not len(labels):
        raise DataError(f"{where} holds no image: put the data set's own file there.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise DataError(
            f"{where} holds the label {low if low < 0 else high}, but the classes are "
            f"0..{num_classes - 1}: it is not this data set's file; delete it and run again."
        )


def chosen(size: int, *, skip: int, limit: int | None) -> list[int]:
    """List every `skip`-th index below `size`, at most `limit` of them.

    >>> chosen(10, skip=4, limit=None), chosen(10, skip=4, limit=2)
    ([0, 4, 8], [0, 4])
    """
    return list(range(0, size, skip))[:limit]


def split(size: int, held_out: int, *, seed: int) -> tuple[list[int], list[int]]:
    """Split 0..size-1 into indices to train on and `held_out` others, both ascending.

    Raises:
        InputError: fewer than one index would be left to train on.

    >>> split(6, 2, seed=0)
    ([0, 1, 3, 4], [2, 5])
    """
    if held_out >= size:
        raise InputError(
            f"Expected `val_size` to be below the {size} training images, but got {held_out}: "
            f"hold out fewer, or 0 for none."
        )
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(order[held_out:]), sorted(order[:held_out])
