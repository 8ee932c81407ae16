"""MNIST's and CIFAR's files: read right, and each way they can be missing or damaged."""

from __future__ import annotations

import gzip
import pickle
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torchvision.datasets

from lightning_smooth.data import CIFAR10, CIFAR100, MNIST, FashionMNIST, fakes
from lightning_smooth.errors import DataError

RAW = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


@pytest.fixture
def no_network():
    """Make every request fail the way it does without a network, at once."""
    from urllib.error import URLError

    with mock.patch("urllib.request.urlopen", side_effect=URLError("no route to host")) as opened:
        yield opened


def test_mnist_pixels_labels_and_indices_are_the_files(mnist_root: Path):
    raw = mnist_root / "MNIST" / "raw"
    pixels = np.frombuffer((raw / "train-images-idx3-ubyte").read_bytes()[16:], dtype=np.uint8)
    labels = np.frombuffer((raw / "train-labels-idx1-ubyte").read_bytes()[8:], dtype=np.uint8)
    pixels = pixels.reshape(64, 28, 28)
    for image, label, index in MNIST(str(mnist_root), 7, val_size=3).train_dataloader():
        expected = pixels[index.numpy()].astype(np.float32) / np.float32(255)
        assert np.array_equal(image[:, 0].numpy(), expected)
        assert label.tolist() == labels[index.numpy()].tolist()


def test_cifar_pixels_labels_and_indices_are_the_files(cifar10_root: Path):
    parts = [
        pickle.loads((cifar10_root / "cifar-10-batches-py" / f"data_batch_{part}").read_bytes())
        for part in range(1, 6)
    ]
    pixels = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([part["labels"] for part in parts])
    for image, label, index in CIFAR10(
        str(cifar10_root), 8, val_size=2, augment=False
    ).train_dataloader():
        assert np.array_equal((image * 255).round().numpy(), pixels[index.numpy()])
        assert label.tolist() == labels[index.numpy()].tolist()


def test_cifar_augmentation_shifts_and_mirrors_each_training_image_on_its_own(cifar10_root: Path):
    data = CIFAR10(str(cifar10_root), 48, val_size=2)
    plain = data._load(train=True)
    torch.manual_seed(0)
    shifts = set()
    image, _, index = next(iter(data.train_dataloader()))
    for augmented, place in zip((image * 255).round().to(torch.uint8), index, strict=True):
        padded = torch.nn.functional.pad(plain.images[place], [4] * 4)
        shifts |= {
            (top, left, flip)
            for top in range(9)
            for left in range(9)
            for flip in (False, True)
            if torch.equal(
                augmented.flip(2) if flip else augmented,
                padded[:, top : top + 32, left : left + 32],
            )
        }
    assert len(shifts) > 20, "nearly every image has its own shift"
    assert {flip for _, _, flip in shifts} == {False, True}
    for held_out, _, places in data.val_dataloader():
        assert torch.equal((held_out * 255).round().to(torch.uint8), plain.images[places])


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("name", RAW)
def test_missing_mnist_file(mnist_root: Path, no_network, name: str, download: bool):
    path = mnist_root / "MNIST" / "raw" / f"{name}-ubyte"
    path.unlink()
    path.with_name(path.name + ".gz").unlink()
    data = MNIST(str(mnist_root), download=download)
    with pytest.raises(DataError) as caught:
        data.prepare_data()
    text = str(caught.value)
    assert text.startswith(f"MNIST: {path} is missing (root is {mnist_root}).")
    assert f"`lightning-smooth data mnist --root {mnist_root}`" in text
    assert ("no route to host" in text) == download == bool(no_network.called)
    stage = "fit" if name.startswith("train") else "test"
    with pytest.raises(DataError, match=re.escape(f"{path} is missing")):
        data.setup(stage)


@pytest.mark.parametrize(
    ("module", "first"),
    [
        (MNIST, "MNIST/raw/train-images-idx3-ubyte"),
        (FashionMNIST, "FashionMNIST/raw/train-images-idx3-ubyte"),
        (CIFAR10, "cifar-10-batches-py/data_batch_1"),
        (CIFAR100, "cifar-100-python/train"),
    ],
)
def test_empty_root_without_network(tmp_path: Path, no_network, module, first: str):
    with pytest.raises(DataError) as caught:
        module(str(tmp_path)).prepare_data()
    assert f"{tmp_path / first} is missing" in str(caught.value)
    assert f"lightning-smooth data {module.name} --root {tmp_path}`" in str(caught.value)
    assert "no route to host" in str(caught.value)


def test_root_that_cannot_be_written(tmp_path: Path):
    denied = PermissionError(13, "Permission denied")
    with (
        mock.patch("os.makedirs", side_effect=denied),
        pytest.raises(DataError, match=re.escape(f"{tmp_path} cannot be written")),
    ):
        MNIST(str(tmp_path)).prepare_data()


@pytest.mark.parametrize("download", [False, True])
def test_mnist_archives_are_unpacked_without_network(mnist_root: Path, no_network, download: bool):
    raw = mnist_root / "MNIST" / "raw"
    for name in RAW:
        (raw / f"{name}-ubyte").unlink()
    with fakes.fake_mnist(mnist_root):
        data = MNIST(str(mnist_root), download=download, val_size=1)
        data.prepare_data()
    data.setup()
    assert data.train_size() == 64
    assert not no_network.called


def test_truncated_mnist_archive(mnist_root: Path, no_network):
    archive = mnist_root / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    with fakes.fake_mnist(mnist_root):
        archive.with_suffix("").unlink()
        archive.write_bytes(archive.read_bytes()[:-100])
        with pytest.raises(DataError) as caught:
            MNIST(str(mnist_root), download=False).prepare_data()
    text = str(caught.value)
    assert text.startswith(f"MNIST: {archive} is damaged (its MD5 is ")
    assert "delete it and run again" in text


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda content: content[:-1], "bytes, its header says"),
        (lambda content: content + b"\0", "bytes, its header says"),
        (lambda content: b"", "does not begin with the header"),
        (lambda content: content[:6], "does not begin with the header"),
        (lambda content: gzip.compress(content), "does not begin with the header"),
    ],
)
def test_damaged_mnist_file(mnist_root: Path, name: str, spoil, why: str):
    path = mnist_root / "MNIST" / "raw" / f"{name}-ubyte"
    path.write_bytes(spoil(path.read_bytes()))
    data = MNIST(str(mnist_root), val_size=1)
    message = rf"{re.escape(str(path))} is damaged \(.*{why}.*delete it and run again"
    with pytest.raises(DataError, match=message):
        data.prepare_data()
    with pytest.raises(DataError, match=message):
        data.setup()


def test_mnist_images_of_another_size_and_labels_of_another_count(mnist_root: Path):
    raw = mnist_root / "MNIST" / "raw"
    fakes._write_idx(raw / "train-images-idx3-ubyte", np.zeros((64, 27, 28), np.uint8))
    with pytest.raises(DataError, match=r"items are \(27, 28\), expected \(28, 28\)"):
        MNIST(str(mnist_root)).setup("fit")
    fakes._write_idx(raw / "t10k-labels-idx1-ubyte", np.zeros(31, np.uint8))
    with pytest.raises(DataError, match=r"t10k-labels.*31 labels for 32 images"):
        MNIST(str(mnist_root)).setup("test")


def test_labels_out_of_range(mnist_root: Path):
    path = mnist_root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    fakes._write_idx(path, np.full(32, 10, np.uint8))
    with pytest.raises(DataError, match=r"test split .* label 10, but the classes are 0\.\.9"):
        MNIST(str(mnist_root)).setup("test")


@pytest.mark.parametrize("part", ["data_batch_3", "test_batch", "batches.meta"])
@pytest.mark.parametrize("download", [False, True])
def test_damaged_cifar_batch_is_never_unpickled(
    cifar10_root: Path, no_network, part: str, download: bool
):
    path = cifar10_root / "cifar-10-batches-py" / part
    path.write_bytes(path.read_bytes() + b"x")
    data = CIFAR10(str(cifar10_root), download=download)
    message = rf"{re.escape(str(path))} is damaged \(its MD5 is .*delete it and run again"
    with mock.patch("pickle.load", side_effect=RecursionError):
        with pytest.raises(DataError, match=message):
            data.prepare_data()
        if part != "batches.meta":
            with pytest.raises(DataError, match=message):
                data.setup()
    assert not no_network.called


def test_damaged_cifar_meta_at_setup(cifar10_root: Path):
    path = cifar10_root / "cifar-10-batches-py" / "batches.meta"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match=r"batches\.meta is damaged"):
        CIFAR10(str(cifar10_root)).setup("test")


def test_fake_cifar_is_refused_outside_its_context(tmp_path: Path):
    fakes.write_cifar10(tmp_path)
    before = torchvision.datasets.CIFAR10.train_list
    with fakes.fake_cifar10(tmp_path):
        CIFAR10(str(tmp_path), val_size=0).setup()
    assert torchvision.datasets.CIFAR10.train_list is before
    with pytest.raises(DataError, match="is damaged"):
        CIFAR10(str(tmp_path), val_size=0).setup()


def test_missing_cifar_batch_and_truncated_archive(cifar10_root: Path, no_network):
    path = cifar10_root / "cifar-10-batches-py" / "data_batch_5"
    path.unlink()
    data = CIFAR10(str(cifar10_root))
    with pytest.raises(DataError, match=rf"{re.escape(str(path))} is missing.*no route to host"):
        data.prepare_data()
    archive = cifar10_root / "cifar-10-python.tar.gz"
    archive.write_bytes(b"half of it")
    with pytest.raises(DataError, match=rf"{re.escape(str(archive))} is damaged"):
        data.prepare_data()


def test_fingerprint_changes_with_one_pixel_and_one_label(tmp_path: Path):
    raw = fakes.write_mnist(tmp_path)
    digests = {MNIST(str(tmp_path)).fingerprint()["digest"]}
    for name, place in (("t10k-images-idx3-ubyte", -1), ("t10k-labels-idx1-ubyte", -1)):
        content = bytearray((raw / name).read_bytes())
        content[place] = (content[place] + 1) % 10
        (raw / name).write_bytes(bytes(content))
        digests.add(MNIST(str(tmp_path)).fingerprint()["digest"])
    assert len(digests) == 3


def test_real_mnist(real_mnist: Path):
    data = MNIST(str(real_mnist), download=False)
    data.prepare_data()
    data.setup()
    image, label, index = next(iter(data.test_dataloader()))
    assert label[:5].tolist() == [7, 2, 1, 0, 4]
    assert index[:5].tolist() == [0, 1, 2, 3, 4]
    assert data.fingerprint()["images"] == 10000
    assert len(data.train_dataloader().dataset) == 55000
    train = data._source(train=True)
    assert float(train.images.to(torch.float32).mean() / 255) == pytest.approx(0.1307, abs=1e-4)
    assert image.max() == 1


def test_real_cifar10(real_cifar10: Path):
    data = CIFAR10(str(real_cifar10), download=False)
    data.prepare_data()
    data.setup("test")
    _, label, _ = next(iter(data.predict_dataloader()))
    assert label[:5].tolist() == [3, 8, 8, 0, 6]
    assert data.class_names[3] == "cat"
    channel = data._source(train=False).images.to(torch.float32).mean(dim=(0, 2, 3)) / 255
    assert channel.tolist() == pytest.approx([0.4942, 0.4851, 0.4504], abs=1e-3)
