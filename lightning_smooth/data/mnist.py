"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao, Rasul, Vollgraf 2017)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torchvision.datasets
from torchvision.datasets.utils import check_integrity

from lightning_smooth.data.base import ImageDataModule
from lightning_smooth.data.files import check_idx, check_md5, damaged, fetch, missing
from lightning_smooth.data.sources import TensorSource


class MNIST(ImageDataModule):
    """Handwritten digits of 28 x 28 grey pixels: 60,000 to train on, 10,000 to test on."""

    name = "mnist"
    title = "MNIST"
    num_classes = 10
    image_shape = (1, 28, 28)
    _class_names = tuple("0123456789")
    default_val_size = 5000
    dataset: ClassVar[type[torchvision.datasets.MNIST]] = torchvision.datasets.MNIST

    def prepare_data(self) -> None:
        """Use the four files under `root`, unpack their archives, or download them.

        Raises:
            DataError: a file is missing and could not be fetched, or is damaged.
        """
        reason = ""
        absent = [
            archive for archive, _ in self._archives() if not archive.with_suffix("").exists()
        ]
        if absent and (self.download or self._all_packed()):
            reason = fetch(lambda: self.dataset(str(self.root), download=True), root=self.root)
        for train in (True, False):
            self._check(train=train, reason=reason)

    def _load(self, *, train: bool) -> TensorSource:
        self._check(train=train)
        data = self.dataset(str(self.root), train=train)
        return TensorSource(data.data.unsqueeze(1), data.targets)

    def _folder(self) -> Path:
        return self.root / self.dataset.__name__ / "raw"

    def _archives(self) -> list[tuple[Path, str]]:
        return [(self._folder() / name, md5) for name, md5 in self.dataset.resources]

    def _all_packed(self) -> bool:
        return all(check_integrity(archive, md5) for archive, md5 in self._archives())

    def _check(self, *, train: bool, reason: str = "") -> None:
        """Check that a split's two files are there, whole, and belong together."""
        part = "train" if train else "t10k"
        counts = []
        for kind, shape in (("images-idx3", (28, 28)), ("labels-idx1", ())):
            path = self._folder() / f"{part}-{kind}-ubyte"
            if not path.is_file():
                for archive, md5 in self._archives():
                    if archive.with_suffix("") == path:
                        check_md5(self.title, archive, md5=md5)
                raise missing(self.title, path, root=self.root, command=self.name, reason=reason)
            counts.append(check_idx(self.title, path, shape=shape))
        if counts[0] != counts[1]:
            raise damaged(
                self.title, path, reason=f"it has {counts[1]} labels for {counts[0]} images"
            )


class FashionMNIST(MNIST):
    """Articles of clothing of 28 x 28 grey pixels: 60,000 to train on, 10,000 to test on."""

    name = "fashion_mnist"
    title = "Fashion-MNIST"
    _class_names = tuple(torchvision.datasets.FashionMNIST.classes)
    dataset = torchvision.datasets.FashionMNIST
