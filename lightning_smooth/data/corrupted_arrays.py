"""What the data sets share whose test split was corrupted and stored in .npy files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_smooth.data.base import ImageDataModule
from lightning_smooth.data.corrupted_files import (
    MADE_BY,
    PUBLISHED_MD5,
    MadeBy,
    MappedSource,
    open_array,
    origin,
    read_made_by,
    unpack,
)
from lightning_smooth.data.corruption_kinds import check_corruption
from lightning_smooth.data.files import damaged
from lightning_smooth.data.sources import ImageSource
from lightning_smooth.errors import DataError


class CorruptedArrays(ImageDataModule):
    """A data set whose test split was corrupted and stored in .npy files.

    The train split, the classes and the augmentation are the clean data set's, which is needed for
    training alone. Where its test split is there too, labels are compared with it. Nothing is
    downloaded; a published archive under root is checked and unpacked.

    A subclass names the clean data set and its folder, the set's own folder, archive, MD5 and URL,
    the corruptions, how many times a file holds the images (once for each severity), and says where
    a corruption's images and labels lie.

    Args:
        root: folder of all data sets.
        batch_size: images in a training batch.
        corruption: name of the corruption.
        folder: where the corrupted set lies, if not in its own folder under root.
        **kwargs: see `ImageDataModule`.

    Raises:
        InputError: an argument is out of range.
    """

    clean_class: ClassVar[type[ImageDataModule]]
    folder_name: ClassVar[str]
    archive_name: ClassVar[str]
    archive_md5: ClassVar[str]
    url: ClassVar[str]
    clean_folder: ClassVar[str]
    corruption_names: ClassVar[Sequence[str]]
    repeats: ClassVar[int] = 1
    images_per_severity: ClassVar[int] = 10000

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 128,
        *,
        corruption: str,
        folder: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, batch_size, **kwargs)
        self.corruption = check_corruption(corruption, self.corruption_names)
        self.severity: int | None = None
        self.folder = self.root / self.folder_name if folder is None else Path(folder).expanduser()
        self._clean = self.clean_class(root, batch_size, download=False)
        self._origin = ""

    @abstractmethod
    def _files(self) -> tuple[Path, Path]:
        """Files of the corruption's images and labels."""

    def prepare_data(self) -> None:
        """Unpack the archive if it is there and its folder is not; check the files.

        Raises:
            DataError: a file is missing or damaged.
        """
        self.unpack()
        self._load_corrupted()

    def unpack(self) -> None:
        """Unpack the archive if it is under root and its folder is not.

        Raises:
            DataError: it is damaged, or there is no space.
        """
        archive = self.root / self.archive_name
        if self.folder == self.root / self.folder_name:
            unpack(self.title, archive, md5=self.archive_md5, folder=self.folder)

    def train_size(self) -> int:
        """Return the number of images in the clean train split; 0 if that data set is missing."""
        return super().train_size() if self._clean_is_there() else 0

    def fingerprint(self) -> dict[str, str | int]:
        """Say which test split this is.

        Returns:
            What `ImageDataModule` says, and `corruption`, `severity` (if there is one) and
            `origin`: published, made by which program, version and seed, or neither
            (`corrupted_files.origin`).
        """
        made = read_made_by(self.title, self.folder)
        level = made.severities[0] if made and self.severity is None else self.severity
        kind: dict[str, str | int] = {"corruption": self.corruption, "origin": self.origin()}
        if level is not None:
            kind["severity"] = level
        return {**super().fingerprint(), **kind}

    def origin(self) -> str:
        """Say whether the set is published, made here, or neither (`corrupted_files.origin`).

        Raises:
            DataError: `made_by.json` is damaged.
        """
        if not self._origin:
            md5 = PUBLISHED_MD5.get(self.folder_name, {}).get(self.corruption)
            self._origin = origin(self.title, self.folder, self._files()[0], md5=md5)
        return self._origin

    def is_there(self) -> bool:
        """Say whether this corruption and severity lie in the folder, without checking them."""
        made = read_made_by(self.title, self.folder)
        ready = made is None or (
            self.corruption in made.corruptions and self.severity in (None, *made.severities)
        )
        return ready and self._files()[0].is_file()

    def _augment(self, source: ImageSource) -> ImageSource:
        return self._clean._augment(source)

    def _load(self, *, train: bool) -> ImageSource:
        return self._clean._load(train=True) if train else self._load_corrupted()

    def _load_corrupted(self) -> MappedSource:
        made = read_made_by(self.title, self.folder)
        images_file, labels_file = self._files()
        self._check_made(made)
        for path in (images_file, labels_file):
            if not path.is_file():
                raise self._missing(path)
        channels, height, width = self.image_shape
        images = open_array(self.title, images_file, item=(height, width, channels), of="uint8")
        labels = open_array(self.title, labels_file, item=(), of="integers")
        count = self.images_per_severity if made is None else made.images
        for path, array in ((images_file, images), (labels_file, labels)):
            if len(array) != count * self.repeats:
                raise damaged(
                    self.title,
                    path,
                    reason=f"it has {len(array)} rows, expected {count * self.repeats}",
                )
        first = 0 if self.repeats == 1 or self.severity is None else (self.severity - 1) * count
        self._check_labels(labels_file, labels, count)
        chosen = torch.from_numpy(np.asarray(labels[first : first + count]).astype(np.int64))
        return MappedSource(images_file, first, chosen, title=self.title)

    def _check_made(self, made: MadeBy | None) -> None:
        if made is None:
            return
        if made.source != self._clean.name:
            raise DataError(
                f"{self.title}: {self.folder / MADE_BY} says that the set was made of "
                f"{made.source}, expected {self._clean.name}: give another `folder`."
            )
        if self.corruption not in made.corruptions:
            why = made.left_out.get(self.corruption, "not asked for, or not finished")
            raise DataError(
                f"{self.title}: {self.folder} was {made}, without {self.corruption} ({why}); it "
                f"has {', '.join(made.corruptions) or 'none yet'}. {self._how_to_make()}"
            )
        if self.severity is not None and self.severity not in made.severities:
            raise DataError(
                f"{self.title}: {self.folder} was {made}, without severity {self.severity}; it has "
                f"{', '.join(map(str, made.severities))}. {self._how_to_make()}"
            )

    def _check_labels(self, path: Path, labels: NDArray[Any], count: int) -> None:
        blocks = np.asarray(labels).reshape(self.repeats, count)
        if not (blocks == blocks[0]).all():
            raise damaged(
                self.title, path, reason=f"its blocks of {count} labels differ among severities"
            )
        if not self._clean_is_there():
            return
        clean = self._clean._source(train=False).labels.numpy()
        if count > len(clean) or not np.array_equal(blocks[0], clean[:count]):
            raise damaged(
                self.title,
                path,
                reason=f"its labels are not those of the first {count} test images of "
                f"{self._clean.title} under {self.root}",
            )

    def _clean_is_there(self) -> bool:
        return (self.root / self.clean_folder).is_dir()

    def _how_to_make(self) -> str:
        return (
            f"Make it with `lightning-smooth data corrupt {self._clean.name} --root {self.root} "
            f"--out {self.folder.parent}`, or take the published set."
        )

    def _missing(self, path: Path) -> DataError:
        there = sorted(file.name for file in path.parent.glob("*")) if path.parent.is_dir() else []
        listed = f" (there: {', '.join(there)})" if there else ""
        return DataError(
            f"{self.title}: {path} is missing{listed}. Get {self.archive_name} (MD5 "
            f"{self.archive_md5}) from {self.url} and put it at {self.root / self.archive_name}: "
            f"it is checked and unpacked. {self._how_to_make()}"
        )
