"""What `lightning-smooth data NAME --root DIR` does: fetch a data set, check it, describe it."""

from __future__ import annotations

import difflib
from typing import Any, Final

from lightning_smooth.data.base import ImageDataModule
from lightning_smooth.data.cifar import CIFAR10, CIFAR100
from lightning_smooth.data.corrupted import CORRUPTED_MODULES, describe_corrupted
from lightning_smooth.data.digits import Digits
from lightning_smooth.data.imagenet import ImageNet
from lightning_smooth.data.mnist import MNIST, FashionMNIST
from lightning_smooth.errors import InputError

DATA_MODULES: Final[dict[str, type[ImageDataModule]]] = {
    module.name: module for module in (Digits, MNIST, FashionMNIST, CIFAR10, CIFAR100, ImageNet)
}
"""Every data set by the name that the command line gives it."""


def prepare(name: str, root: str = "data", *, download: bool = True, **kwargs: Any) -> str:
    """Fetch what is missing of a data set under `root`, read all of it, and describe it.

    Args:
        name: one of `DATA_MODULES`, or of `CORRUPTED_MODULES`, of which all that is there is read.
        root: folder of all data sets.
        download: fetch what is missing.
        **kwargs: further arguments of the data module, such as ImageNet's `class_list`.

    Returns:
        A few lines: where it lies, images, shape, classes, digest of the test split.

    Raises:
        InputError: `name` is unknown.
        DataError: a file is missing and could not be fetched, or is damaged.

    >>> print(prepare("digits").splitlines()[0])
    Digits (digits): 1437 train and 360 test images of 1 x 8 x 8, 10 classes
    """
    names = (*DATA_MODULES, *CORRUPTED_MODULES)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise InputError(f"Expected `name` to be one of {', '.join(names)}, but got {name!r}{hint}")
    if name in CORRUPTED_MODULES:
        return describe_corrupted(name, root)
    data = DATA_MODULES[name](root, val_size=0, download=download, **kwargs)
    data.prepare_data()
    data.setup("test")
    train = data.train_size()
    counts = f"{train or 'no'} train and {len(data.test_indices())} test images"
    shape = " x ".join(str(length) for length in data.image_shape)
    return "\n".join(
        [
            f"{data.title} ({name}): {counts} of {shape}, {data.num_classes} classes",
            f"under {data.root.resolve()}",
            f"test split sha256 {data.fingerprint()['digest']}",
        ]
    )
