"""Corrupted sets in their published layouts: rows, labels, origin, and each mistake."""

from __future__ import annotations

import hashlib
import json
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_smooth.data import (
    CIFAR10,
    CIFAR10C,
    CIFAR100C,
    MNISTC,
    ImageNetC,
    StoredAttack,
    make_corrupted,
    prepare,
)
from lightning_smooth.data.corrupted_files import PUBLISHED_MD5
from lightning_smooth.errors import DataError, InputError
from lightning_smooth.transforms import Brightness

N = 20  # test images of the fake CIFAR-10


@pytest.fixture
def root(cifar10_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fake CIFAR-10, and its CIFAR-10-C of 20 images: noise at five severities."""
    monkeypatch.setattr(CIFAR10C, "images_per_severity", N)
    folder = cifar10_root / "CIFAR-10-C"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5 * N, 32, 32, 3), dtype=np.uint8)
    np.save(folder / "fog.npy", pixels)
    labels = CIFAR10(str(cifar10_root))._load(train=False).labels.numpy()
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    return cifar10_root


def cifar(root: Path, corruption: str = "fog", severity: int = 2, **options) -> CIFAR10C:
    return CIFAR10C(str(root), corruption=corruption, severity=severity, **options)


@pytest.mark.parametrize("severity", [1, 2, 5])
def test_rows_of_a_severity(root: Path, severity: int):
    data = cifar(root, severity=severity, eval_batch_size=7)
    data.prepare_data()
    data.setup("test")
    pixels = np.load(root / "CIFAR-10-C" / "fog.npy")
    labels = np.load(root / "CIFAR-10-C" / "labels.npy")
    image, label, index = (torch.cat(part) for part in zip(*data.predict_dataloader(), strict=True))
    assert index.tolist() == list(range(N))
    rows = (severity - 1) * N + index.numpy()
    assert np.array_equal((image * 255).round().permute(0, 2, 3, 1).numpy(), pixels[rows])
    assert label.tolist() == labels[rows].tolist()
    assert torch.equal(data.test_item(13)[0], image[13])


def test_training_is_clean(root: Path):
    data, clean = cifar(root, val_size=5), CIFAR10(str(root), val_size=5)
    for one, other in zip(data.val_dataloader(), clean.val_dataloader(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert data.train_size() == 50
    assert data.class_names == clean.class_names


def test_nothing_clean_is_needed_to_test(root: Path):
    (root / "cifar-10-batches-py").rename(root / "elsewhere")
    data = cifar(root)
    data.prepare_data()
    data.setup("test")
    assert len(data.test_indices()) == N
    assert data.train_size() == 0
    with pytest.raises(DataError, match="`lightning-smooth data cifar10 --root"):
        data.setup("fit")


def test_the_array_stays_on_disk(root: Path):
    data = cifar(root)
    data.setup("test")
    source = data._source(train=False)
    before = source.pixels([3])
    assert isinstance(source._images(), np.memmap)
    text = pickle.dumps(source)
    assert len(text) < 10_000
    assert torch.equal(pickle.loads(text).pixels([3]), before)
    with pytest.raises(IndexError):
        source.pixels([N])


def test_an_attack_on_corrupted_images(root: Path):
    attack = StoredAttack(Brightness(), {"brightness": (0.1, 0.2)})
    plain, data = cifar(root), cifar(root, attack=attack)
    assert (data.test_item(0)[0] - plain.test_item(0)[0]).max() > 0.09
    assert data.fingerprint()["digest"] != plain.fingerprint()["digest"]


def test_the_fingerprint_says_which_set_it_is(root: Path, monkeypatch: pytest.MonkeyPatch):
    found = cifar(root).fingerprint()
    md5 = hashlib.md5((root / "CIFAR-10-C" / "fog.npy").read_bytes()).hexdigest()
    assert (found["name"], found["images"]) == ("cifar10c", N)
    assert (found["corruption"], found["severity"]) == ("fog", 2)
    assert found["origin"] == f"not published (md5 {md5})"
    assert cifar(root, severity=3).fingerprint()["digest"] != found["digest"]
    monkeypatch.setitem(PUBLISHED_MD5["CIFAR-10-C"], "fog", md5)
    assert cifar(root).fingerprint()["origin"] == "published"


def test_checksums_of_all_published_files():
    for table in PUBLISHED_MD5.values():
        assert set(table) == set(CIFAR10C.corruption_names)
        assert len(set(table.values())) == 19
        assert all(len(md5) == 32 for md5 in table.values())


def test_missing_files_say_where_to_get_them(root: Path):
    with pytest.raises(DataError, match=r"snow.npy is missing \(there: fog.npy, labels.npy\)"):
        cifar(root, "snow").prepare_data()
    with pytest.raises(DataError, match=r"MD5 56bf5dcef8.*zenodo.org/records/2535967"):
        cifar(root / "nowhere").prepare_data()
    with pytest.raises(DataError, match=r"data corrupt cifar100 --root"):
        CIFAR100C(str(root), corruption="fog", severity=1).setup("test")
    with pytest.raises(DataError, match=r"zenodo.org/records/2235448"):
        ImageNetC(str(root), corruption="fog", severity=1).prepare_data()


@pytest.mark.parametrize("severity", [0, 6])
def test_arguments(root: Path, severity: int):
    with pytest.raises(InputError, match="`severity` to be 1, 2, 3, 4 or 5"):
        cifar(root, severity=severity)
    with pytest.raises(InputError, match="`severity` to be 1, 2, 3, 4 or 5"):
        ImageNetC(str(root), corruption="fog", severity=severity)
    with pytest.raises(InputError, match="did you mean snow"):
        cifar(root, "snowy")
    with pytest.raises(InputError, match="`corruption`"):
        MNISTC(str(root), corruption="frosty")


def _damage(path: Path, content: object) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("fog.npy", np.zeros((5 * N, 3, 32, 32), np.uint8), r"expected uint8 \(N, 32, 32, 3\)"),
        ("fog.npy", np.zeros((5 * N, 32, 32, 3), np.float32), "holds float32"),
        ("fog.npy", np.zeros((99, 32, 32, 3), np.uint8), "99 rows, expected 100"),
        ("fog.npy", np.array([{"a": 1}], dtype=object), "without objects"),
        ("fog.npy", pickle.dumps([1, 2]), "without objects"),
        ("fog.npy", b"", "without objects"),
        ("labels.npy", np.zeros(99, np.int64), "99 rows, expected 100"),
        ("labels.npy", np.zeros(5 * N, np.float64), "expected integers"),
        ("labels.npy", np.zeros(5 * N, np.int64), "not those of the first 20 test images"),
        ("labels.npy", np.arange(5 * N) % 7, "differ among severities"),
        ("labels.npy", np.array([None] * 5 * N), "without objects"),
    ],
)
def test_damaged_files(root: Path, file: str, content: object, told: str):
    _damage(root / "CIFAR-10-C" / file, content)
    with pytest.raises(DataError, match=rf"(?s){file} is damaged.*{told}"):
        cifar(root).prepare_data()


def test_a_truncated_file(root: Path):
    path = root / "CIFAR-10-C" / "fog.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"fog.npy is damaged"):
        cifar(root).prepare_data()


def test_a_label_beyond_the_classes(root: Path):
    (root / "cifar-10-batches-py").rename(root / "elsewhere")
    np.save(root / "CIFAR-10-C" / "labels.npy", np.full(5 * N, 10))
    with pytest.raises(DataError, match="the label 10"):
        cifar(root).setup("test")


@pytest.mark.parametrize("content", ["{", "[]", '{"program": "x"}'])
def test_a_damaged_made_by(root: Path, content: str):
    (root / "CIFAR-10-C" / "made_by.json").write_text(content)
    with pytest.raises(DataError, match=r"made_by\.json is damaged"):
        cifar(root).prepare_data()


def test_archives_are_checked_and_unpacked(root: Path, monkeypatch: pytest.MonkeyPatch):
    archive = root / "CIFAR-10-C.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(root / "CIFAR-10-C", "CIFAR-10-C")
    (root / "CIFAR-10-C").rename(root / "old")
    with pytest.raises(DataError, match="its MD5 is"):
        cifar(root).prepare_data()
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10C, "archive_md5", md5)
    cifar(root).prepare_data()
    for name in ("fog.npy", "labels.npy"):
        assert (root / "CIFAR-10-C" / name).read_bytes() == (root / "old" / name).read_bytes()


def test_mnist_c(mnist_root: Path, monkeypatch: pytest.MonkeyPatch):
    raw = (mnist_root / "MNIST/raw/t10k-labels-idx1-ubyte").read_bytes()[8:]
    pixels = np.random.default_rng(0).integers(0, 256, (32, 28, 28, 1), dtype=np.uint8)
    archive = mnist_root / "mnist_c.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for name, array in (("images", pixels), ("labels", np.frombuffer(raw, np.uint8))):
            np.save(mnist_root / "x.npy", array)
            packed.write(mnist_root / "x.npy", f"mnist_c/zigzag/test_{name}.npy")
    monkeypatch.setattr(MNISTC, "images_per_severity", 32)
    monkeypatch.setattr(MNISTC, "archive_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    data = MNISTC(str(mnist_root), corruption="zigzag")
    data.prepare_data()
    image, label, _ = next(iter(data.test_dataloader()))
    assert np.array_equal((image[:, 0] * 255).round().numpy(), pixels[..., 0])
    assert label.tolist() == list(raw)
    found = data.fingerprint()
    assert (found["corruption"], found["origin"]) == ("zigzag", "unchecked")
    assert "severity" not in found
    assert "zigzag: unchecked" in prepare("mnistc", str(mnist_root))


@pytest.mark.filterwarnings("ignore:.*class folders instead of 1000")
@pytest.mark.parametrize("group", ["", "weather/"])
def test_imagenet_c(imagenet_root: Path, group: str):
    clean = imagenet_root / "imagenet" / "val"
    for k, path in enumerate(sorted(clean.glob("*/*"))):
        target = imagenet_root / f"ImageNet-C/{group}fog/4" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (224, 224), (10 * k, 0, 0)).save(target, quality=100)
    data = ImageNetC(str(imagenet_root), corruption="fog", severity=4, val_size=1)
    data.prepare_data()
    data.setup()
    image, label, index = next(iter(data.test_dataloader()))
    assert image.shape == (12, 3, 224, 224)
    assert ((image[:, 0].mean((1, 2)) * 255).round() - 10 * index).abs().max() <= 2
    assert label.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.fingerprint()["severity"] == 4
    assert data.train_size() == 12
    text = prepare("imagenetc", str(imagenet_root))
    assert "fog at 4: unchecked" in text
    moved = next((imagenet_root / f"ImageNet-C/{group}fog/4" / "n00000000").iterdir())
    moved.rename(moved.parents[1] / "n00000001" / moved.name)
    with pytest.raises(DataError, match="is of class n00000000"):
        ImageNetC(str(imagenet_root), corruption="fog", severity=4).setup("test")


def test_prepare_lists_what_is_there(root: Path):
    text = prepare("cifar10c", str(root))
    assert text.startswith("CIFAR-10-C (cifar10c): 20 test images of 3 x 32 x 32, 1 corruptions\n")
    assert "\n  fog at 1, 2, 3, 4, 5: not published (md5 " in text
    with pytest.raises(DataError, match=r"gaussian_noise\.npy is missing"):
        prepare("cifar10c", str(root / "nowhere"))
    with pytest.raises(InputError, match="did you mean cifar10c"):
        prepare("cifar10-c", str(root))


def test_a_made_set_of_other_images_is_refused(root: Path):
    make_corrupted("cifar10", str(root), str(root / "o"), corruptions=["contrast"], limit=4)
    folder = root / "o" / "CIFAR-10-C"
    told = json.loads((folder / "made_by.json").read_text())
    (folder / "made_by.json").write_text(json.dumps({**told, "source": "cifar100"}))
    with pytest.raises(DataError, match="made of cifar100, expected cifar10"):
        cifar(root, "contrast", folder=str(folder)).prepare_data()
