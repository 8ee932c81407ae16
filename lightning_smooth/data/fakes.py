"""Small data sets with random content in the real file formats, for tests and dry runs.

Each class has its own smooth pattern, under noise, so that a short training learns something. CIFAR
files are only accepted with their published MD5; `fake_cifar10` and its like make torchvision
expect the fake's instead, while they last.
"""

from __future__ import annotations

import gzip
import hashlib
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torchvision.datasets
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def make_images(
    count: int, shape: tuple[int, int, int], *, classes: int, seed: int
) -> tuple[Pixels, NDArray[np.int64]]:
    """Draw images whose class shows: a pattern of 4 x 4 patches for each class, and noise.

    Args:
        count: number of images; labels go round 0, 1, ..., classes-1 and are then shuffled.
        shape: (C, H, W).
        classes: number of classes; the patterns depend on it and on the shape alone.
        seed: of noise and order.

    Returns:
        uint8 (count, C, H, W), int64 (count,).

    >>> images, labels = make_images(4, (1, 8, 8), classes=2, seed=0)
    >>> images.shape, sorted(labels.tolist())
    ((4, 1, 8, 8), [0, 0, 1, 1])
    """
    channels, height, width = shape
    coarse = np.random.default_rng(12345).uniform(40, 215, (classes, channels, 4, 4))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    patterns = coarse[:, :, rows[:, None], columns[None, :]]
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    noisy = patterns[labels] + rng.normal(0, 25, (count, *shape))
    return np.clip(noisy, 0, 255).astype(np.uint8), labels.astype(np.int64)


def write_mnist(
    root: str | Path, *, train: int = 64, test: int = 32, seed: int = 0, name: str = "MNIST"
) -> Path:
    """Write the four files of MNIST, packed and unpacked, into `root/name/raw`.

    Args:
        root: folder of all data sets.
        train: number of training images.
        test: number of test images.
        seed: of the content.
        name: MNIST or FashionMNIST.

    Returns:
        The folder `root/name/raw`.
    """
    raw = Path(root) / name / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part, count, offset in (("train", train, 0), ("t10k", test, 1)):
        images, labels = make_images(count, (1, 28, 28), classes=10, seed=2 * seed + offset)
        _write_idx(raw / f"{part}-images-idx3-ubyte", images[:, 0])
        _write_idx(raw / f"{part}-labels-idx1-ubyte", labels.astype(np.uint8))
    return raw


def write_cifar10(root: str | Path, *, train: int = 50, test: int = 20, seed: int = 0) -> Path:
    """Write the batches of CIFAR-10 into `root/cifar-10-batches-py`, and return that folder.

    Args:
        root: folder of all data sets.
        train: number of training images, spread over five batches.
        test: number of test images.
        seed: of the content.
    """
    folder = Path(root) / "cifar-10-batches-py"
    images, labels = make_images(train, (3, 32, 32), classes=10, seed=2 * seed)
    for part, rows in enumerate(np.array_split(np.arange(train), 5), start=1):
        content = _batch(images[rows], labels[rows], key="labels", name=f"data_batch_{part}")
        _write_pickle(folder / f"data_batch_{part}", content)
    images, labels = make_images(test, (3, 32, 32), classes=10, seed=2 * seed + 1)
    _write_pickle(folder / "test_batch", _batch(images, labels, key="labels", name="test_batch"))
    names = [f"class_{label}" for label in range(10)]
    _write_pickle(folder / "batches.meta", {"label_names": names, "num_vis": 3072})
    return folder


def write_cifar100(root: str | Path, *, train: int = 200, test: int = 100, seed: int = 0) -> Path:
    """Write the files of CIFAR-100 into `root/cifar-100-python`, and return that folder.

    Args:
        root: folder of all data sets.
        train: number of training images.
        test: number of test images.
        seed: of the content.
    """
    folder = Path(root) / "cifar-100-python"
    for name, count, offset in (("train", train, 0), ("test", test, 1)):
        images, labels = make_images(count, (3, 32, 32), classes=100, seed=2 * seed + offset)
        content = _batch(images, labels, key="fine_labels", name=name)
        _write_pickle(folder / name, content | {"coarse_labels": (labels // 5).tolist()})
    fine = [f"class_{label}" for label in range(100)]
    _write_pickle(folder / "meta", {"fine_label_names": fine, "coarse_label_names": fine[:20]})
    return folder


def write_imagenet(
    root: str | Path, *, classes: int = 3, per_class: int = 4, seed: int = 0, train: bool = True
) -> Path:
    """Write JPEG files of many sizes into `root/imagenet/{train,val}/<class>/`.

    The first class's first image is greyscale, its second one tiny (20 x 30), its third one CMYK.

    Args:
        root: folder of all data sets.
        classes: number of class folders, named like ImageNet's.
        per_class: images in each, in train and in val.
        seed: of the content.
        train: whether to write the train folder.

    Returns:
        The folder `root/imagenet`.
    """
    folder = Path(root) / "imagenet"
    for offset, part in enumerate(["val", "train"] if train else ["val"]):
        count = classes * per_class
        images, labels = make_images(count, (3, 64, 80), classes=classes, seed=2 * seed + offset)
        order = np.argsort(labels, kind="stable")
        for place, (pixels, label) in enumerate(zip(images[order], labels[order], strict=True)):
            target = folder / part / f"n{label:08d}"
            target.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
            if place == 0:
                image = image.convert("L")
            elif place == 1:
                image = image.resize((20, 30))
            elif place == 2:
                image = image.convert("CMYK")
            else:
                image = image.resize((260 + 10 * (place % 5), 280))
            image.save(target / f"{part}_{place:05d}.JPEG", quality=90)
    return folder


@contextmanager
def fake_mnist(root: str | Path, *, name: str = "MNIST") -> Iterator[None]:
    """Make torchvision expect the archives that `write_mnist` wrote under `root`."""
    dataset = getattr(torchvision.datasets, name)
    raw = Path(root) / name / "raw"
    resources = [(file, _md5(raw / file)) for file, _ in dataset.resources]
    with mock.patch.object(dataset, "resources", resources):
        yield


@contextmanager
def fake_cifar10(root: str | Path) -> Iterator[None]:
    """Make torchvision expect the files that `write_cifar10` wrote under `root`."""
    with _fake_cifar(torchvision.datasets.CIFAR10, Path(root)):
        yield


@contextmanager
def fake_cifar100(root: str | Path) -> Iterator[None]:
    """Make torchvision expect the files that `write_cifar100` wrote under `root`."""
    with _fake_cifar(torchvision.datasets.CIFAR100, Path(root)):
        yield


@contextmanager
def _fake_cifar(dataset: type[torchvision.datasets.CIFAR10], root: Path) -> Iterator[None]:
    folder = root / dataset.base_folder
    meta = dataset.meta | {"md5": _md5(folder / dataset.meta["filename"])}
    with mock.patch.multiple(
        dataset,
        train_list=[[name, _md5(folder / name)] for name, _ in dataset.train_list],
        test_list=[[name, _md5(folder / name)] for name, _ in dataset.test_list],
        meta=meta,
    ):
        yield


def _batch(images: Pixels, labels: NDArray[np.int64], *, key: str, name: str) -> dict[str, Any]:
    return {
        "batch_label": name,
        key: labels.tolist(),
        "data": images.reshape(len(images), -1),
        "filenames": [f"{name}_{place}.png" for place in range(len(images))],
    }


def _write_pickle(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def _write_idx(path: Path, values: Pixels) -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    content = header + values.tobytes()
    path.write_bytes(content)
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(content, mtime=0))


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
