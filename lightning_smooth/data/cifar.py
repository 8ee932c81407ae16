"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009). Their files are pickles: MD5 first, then loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
import torchvision.datasets
from torchvision.datasets.utils import check_integrity

from lightning_smooth.data.augment import shift_and_flip
from lightning_smooth.data.base import ImageDataModule
from lightning_smooth.data.files import check_md5, fetch, missing
from lightning_smooth.data.sources import ImageSource, TensorSource
from lightning_smooth.errors import DataError

_CLASSES_10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CLASSES_100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
    cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
    lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
    oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
    spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
    train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


class CIFAR10(ImageDataModule):
    """Photographs of 32 x 32 pixels in 10 classes: 50,000 to train on, 10,000 to test on.

    Args:
        root: folder of all data sets; each one has its own folder in it, as torchvision lays it.
        batch_size: images in a training batch.
        augment: crop training images at random after padding them by 4 pixels, and mirror half of
            them.
        **kwargs: see `ImageDataModule`.
    """

    name = "cifar10"
    title = "CIFAR-10"
    num_classes = 10
    image_shape = (3, 32, 32)
    _class_names = tuple(_CLASSES_10.split())
    default_val_size = 5000
    dataset: ClassVar[type[torchvision.datasets.CIFAR10]] = torchvision.datasets.CIFAR10

    def __init__(
        self, root: str = "data", batch_size: int = 128, *, augment: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(root, batch_size, **kwargs)
        self.augment = augment

    def prepare_data(self) -> None:
        """Use the batches under `root`, unpack their archive, or download it.

        Raises:
            DataError: a file is missing and could not be fetched, or is damaged.
        """
        if all([check_md5(self.title, path, md5=md5) for path, md5 in self._files()]):
            return
        reason = ""
        if self.download or check_integrity(self._archive(), self.dataset.tgz_md5):
            reason = fetch(lambda: self.dataset(str(self.root), download=True), root=self.root)
        self._check(reason=reason)

    def _load(self, *, train: bool) -> TensorSource:
        try:
            data = self.dataset(str(self.root), train=train)  # checks every MD5 before it unpickles
        except RuntimeError as error:
            self._check()
            raise DataError(f"{self.title}: its files under {self.root}: {error}.") from error
        images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
        return TensorSource(images, torch.tensor(data.targets, dtype=torch.int64))

    def _augment(self, source: ImageSource) -> ImageSource:
        if not self.augment or not isinstance(source, TensorSource):
            return source
        return source.augmented(shift_and_flip(32))

    def _files(self) -> list[tuple[Path, str]]:
        folder = self.root / self.dataset.base_folder
        parts = [*self.dataset.train_list, *self.dataset.test_list]
        parts.append([self.dataset.meta["filename"], self.dataset.meta["md5"]])
        return [(folder / name, md5) for name, md5 in parts]

    def _archive(self) -> Path:
        return self.root / self.dataset.filename

    def _check(self, *, reason: str = "") -> None:
        """Check that every file is there and is the published one."""
        for path, md5 in self._files():
            if not check_md5(self.title, path, md5=md5):
                check_md5(self.title, self._archive(), md5=self.dataset.tgz_md5)
                raise missing(self.title, path, root=self.root, command=self.name, reason=reason)


class CIFAR100(CIFAR10):
    """Photographs of 32 x 32 pixels in 100 classes: 50,000 to train on, 10,000 to test on.

    Args:
        root: folder of all data sets; each one has its own folder in it, as torchvision lays it.
        batch_size: images in a training batch.
        augment: crop training images at random after padding them by 4 pixels, and mirror half of
            them.
        **kwargs: see `ImageDataModule`.
    """

    name = "cifar100"
    title = "CIFAR-100"
    num_classes = 100
    _class_names = tuple(_CLASSES_100.split())
    dataset = torchvision.datasets.CIFAR100
