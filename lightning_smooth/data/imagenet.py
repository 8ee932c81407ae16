"""ImageNet (ILSVRC 2012) as folders of images, prepared the way its classifiers are evaluated."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Final

from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import find_classes

from lightning_smooth.data.augment import centre, zoom_and_flip
from lightning_smooth.data.base import ImageDataModule
from lightning_smooth.data.sources import FileSource, ImageSource
from lightning_smooth.errors import DataError, InputError, check_count

CLASSES: Final = 1000


class ImageNet(ImageDataModule):
    """Images in `root/imagenet/train/<class>/` and `root/imagenet/val/<class>/`, in RGB.

    The val folder is the test split and enough to certify on; validation images come out of the
    train folder. Images are resized, also enlarged, then cropped at the centre; training images are
    cropped at random (`RandomResizedCrop`) and half of them mirrored. Nothing can be downloaded.

    Without `class_list`, the folders of train and val together are numbered in the order of their
    names, as for the published 1000-class networks; with fewer than 1000 of them those numbers fit
    no such network.

    Args:
        root: folder of all data sets; the images lie in its folder `imagenet`.
        batch_size: images in a training batch.
        resize: length of the shorter side, in pixels, before the centre crop.
        crop: height and width of the images, in pixels.
        class_list: file that says which label each class folder has: JSON such as
            {"0": ["n01440764", "tench"], ...}, or a text file with one folder name on each line.
        **kwargs: see `ImageDataModule`.

    Raises:
        InputError: an argument is out of range, or `class_list` cannot be read.
    """

    name = "imagenet"
    title = "ImageNet"
    num_classes = CLASSES
    image_shape = (3, 224, 224)
    default_val_size = 10000

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 128,
        *,
        resize: int = 256,
        crop: int = 224,
        class_list: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, batch_size, **kwargs)
        self.crop = check_count("crop", crop)
        self.resize = check_count("resize", resize)
        if self.resize < self.crop:
            raise InputError(
                f"Expected `resize` to be at least `crop` = {crop}, but got {resize}: enlarge it, "
                f"or make the crop smaller."
            )
        self.image_shape = (3, self.crop, self.crop)
        self._labels: dict[str, int] = {}
        if class_list is not None:
            names = read_class_list(Path(class_list).expanduser())
            self._labels = {folder: label for label, (folder, _) in enumerate(names)}
            self._class_names = tuple(title for _, title in names)
            self.num_classes = len(names)

    def prepare_data(self) -> None:
        """Check that there is a folder of images.

        Raises:
            DataError: neither the train nor the val folder is there.
        """
        if not any(self._folder(train=train).is_dir() for train in (True, False)):
            raise self._missing(self._folder(train=False))

    def train_size(self) -> int:
        """Return the number of images in the train folder, 0 if there is no such folder."""
        return super().train_size() if self._folder(train=True).is_dir() else 0

    def _folder(self, *, train: bool) -> Path:
        return self.root / "imagenet" / ("train" if train else "val")

    def _missing(self, folder: Path) -> DataError:
        return DataError(
            f"{self.title}: the folder {folder} is missing (root is {self.root}). Programs cannot "
            f"download ImageNet: get ILSVRC2012 from image-net.org, put its images at "
            f"{folder}/<class>/*.JPEG, and check them with `lightning-smooth data {self.name} "
            f"--root {self.root}`."
        )

    def _load(self, *, train: bool) -> FileSource:
        folder = self._folder(train=train)
        if not folder.is_dir():
            raise self._missing(folder)
        try:
            data = ImageFolder(str(folder))
        except FileNotFoundError as error:
            raise DataError(
                f"{self.title}: {error} Delete class folders without images, or put images there."
            ) from error
        labels = self._label_of_each(folder, data.classes)
        return FileSource(
            folder,
            [(path, labels[data.classes[number]]) for path, number in data.samples],
            transform=centre(self.resize, self.crop),
            settings=f"resize {self.resize}, crop {self.crop}",
        )

    def _label_of_each(self, folder: Path, found: list[str]) -> dict[str, int]:
        """Number the class folders: by `class_list`, else those of train and val together."""
        if self._labels:
            if unknown := [name for name in found if name not in self._labels]:
                raise DataError(
                    f"{self.title}: the class folder {folder / unknown[0]} is not in `class_list` "
                    f"({len(unknown)} such folders): add it there, or remove the folder."
                )
            return self._labels
        folders = [self._folder(train=train) for train in (True, False)]
        names = sorted({name for f in folders if f.is_dir() for name in find_classes(str(f))[0]})
        if len(names) != CLASSES and self.num_classes != len(names):
            warnings.warn(
                f"{folder.parent} holds {len(names)} class folders instead of {CLASSES}, so "
                f"num_classes is {len(names)} and labels count these folders: give `class_list` to "
                f"keep the labels of a network for {CLASSES} classes.",
                stacklevel=2,
            )
        self.num_classes = len(names)
        self._class_names = tuple(names)
        return {name: label for label, name in enumerate(names)}

    def _augment(self, source: ImageSource) -> ImageSource:
        if not isinstance(source, FileSource):
            return source
        return source.transformed(zoom_and_flip(self.crop))


def read_class_list(path: Path) -> list[tuple[str, str]]:
    """Read which folder each label has.

    Args:
        path: JSON of the form {"0": ["n01440764", "tench"], ...}, or a text file with one folder
            name on each line.

    Returns:
        (folder, name for people) of label 0, 1, ...

    Raises:
        InputError: the file is missing or not of that form, a label is missing, or a folder has
            two labels.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("{"):
            table = json.loads(text)
            names = [(str(table[str(i)][0]), str(table[str(i)][1])) for i in range(len(table))]
        else:
            words = [line.split() for line in text.splitlines() if line.strip()]
            names = [(line[0], " ".join(line[1:]) or line[0]) for line in words]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"Expected `class_list` to be JSON like {{'0': ['n01440764', 'tench'], ...}} with "
            f"every label from 0 on, or text with one folder name on each line, but {path} is not "
            f"({type(error).__name__}: {error})."
        ) from error
    if not names or len({folder for folder, _ in names}) != len(names):
        raise InputError(
            f"Expected `class_list` to name each folder once, but {path} has {len(names)} lines "
            f"for {len({folder for folder, _ in names})} folders: remove the repeated ones."
        )
    return names
