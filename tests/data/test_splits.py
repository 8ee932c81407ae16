"""What every data module keeps: shapes, ranges, indices, splits, the choice of test images."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from lightning_smooth.data import (
    CIFAR10,
    CIFAR100,
    DATA_MODULES,
    MNIST,
    Digits,
    FashionMNIST,
    ImageNet,
    fakes,
    prepare,
)
from lightning_smooth.errors import InputError


def _collect(loader):
    parts = list(loader)
    return tuple(torch.cat([batch[k] for batch in parts]) for k in range(3))


@pytest.fixture(params=sorted(DATA_MODULES))
def data(request, tmp_path: Path):
    """Each data module over its fake, with 2 images held out."""
    name = request.param
    options = {"root": str(tmp_path), "batch_size": 4, "val_size": 2, "download": False}
    if name == "digits":
        yield Digits(**options)
    elif name == "mnist":
        fakes.write_mnist(tmp_path)
        yield MNIST(**options)
    elif name == "fashion_mnist":
        fakes.write_mnist(tmp_path, name="FashionMNIST")
        yield FashionMNIST(**options)
    elif name == "cifar10":
        fakes.write_cifar10(tmp_path)
        with fakes.fake_cifar10(tmp_path):
            yield CIFAR10(**options)
    elif name == "cifar100":
        fakes.write_cifar100(tmp_path)
        with fakes.fake_cifar100(tmp_path):
            yield CIFAR100(**options)
    else:
        fakes.write_imagenet(tmp_path)
        module = ImageNet(**options, resize=40, crop=32)
        with pytest.warns(UserWarning, match="3 class folders"):
            module.setup()
        yield module


def test_every_batch_is_image_label_index(data):
    data.prepare_data()
    data.setup()
    loaders = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
    for loader in [*loaders, data.predict_dataloader()]:
        image, label, index = next(iter(loader))
        assert image.shape[1:] == data.image_shape
        assert image.dtype == torch.float32
        assert label.dtype == index.dtype == torch.int64
        assert label.shape == index.shape == (len(image),)
        assert 0 <= image.min() < image.max() <= 1
        assert 0 <= label.min() <= label.max() < data.num_classes
    assert len(data.class_names) == data.num_classes


def test_validation_images_come_out_of_the_train_split(data):
    data.setup()
    _, _, train = _collect(data.train_dataloader())
    _, _, held_out = _collect(data.val_dataloader())
    assert len(held_out) == 2
    assert sorted(train.tolist() + held_out.tolist()) == list(range(data.train_size()))


def test_test_item_is_what_the_loader_yields(data):
    data.setup("test")
    images, labels, indices = _collect(data.test_dataloader())
    assert indices.tolist() == data.test_indices()
    for image, label, index in zip(images[:6], labels[:6], indices[:6], strict=True):
        item, its_label = data.test_item(int(index))
        assert torch.equal(item, image)
        assert its_label == int(label)
    with pytest.raises(InputError, match=r"Expected `index` in 0\.\."):
        data.test_item(10**6)


def test_test_images_are_the_same_each_time(data):
    first, second = _collect(data.test_dataloader()), _collect(data.test_dataloader())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_two_workers_yield_the_same(data):
    expected = _collect(data.predict_dataloader())
    data.num_workers = 2
    loader = data.predict_dataloader()
    assert loader.persistent_workers
    found = _collect(loader)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_fingerprint_is_of_the_whole_test_split(data):
    before = data.fingerprint()
    assert before["name"] == data.name
    assert before["split"] == "test"
    assert len(before["digest"]) == 64
    data.skip, data.limit = 3, 2
    data.exclude([0])
    assert data.fingerprint() == before
    assert before["images"] == len(data._load(train=False))


def test_skip_limit_and_exclude(mnist_root: Path):
    data = MNIST(str(mnist_root), val_size=8, skip=5, limit=4)
    data.setup("predict")
    assert data.test_indices() == [0, 5, 10, 15]
    data.exclude([5, 10, 31])
    assert _collect(data.predict_dataloader())[2].tolist() == [0, 15]
    assert _collect(data.test_dataloader())[2].tolist() == [0, 5, 10, 15]
    data.exclude([])
    assert _collect(data.predict_dataloader())[2].tolist() == [0, 5, 10, 15]
    data.exclude(data.test_indices())
    assert list(data.predict_dataloader()) == []
    with pytest.raises(InputError, match=r"in 0\.\.31.*but got 32: .* another data set"):
        data.exclude([3, 32])


def test_skip_without_limit_and_beyond_the_end(mnist_root: Path):
    assert MNIST(str(mnist_root), skip=20).test_indices() == [0, 20]
    assert MNIST(str(mnist_root), skip=100).test_indices() == [0]
    assert MNIST(str(mnist_root), limit=100).test_indices() == list(range(32))


def test_split_depends_on_its_seed_alone(mnist_root: Path):
    def held_out(seed: int) -> list[int]:
        data = MNIST(str(mnist_root), val_size=16, split_seed=seed)
        return _collect(data.val_dataloader())[2].tolist()

    torch.manual_seed(1)
    first = held_out(0)
    torch.manual_seed(2)
    assert held_out(0) == first
    assert held_out(1) != first


def test_training_order_changes_with_the_global_seed(mnist_root: Path):
    data = MNIST(str(mnist_root), val_size=0)
    torch.manual_seed(0)
    first = _collect(data.train_dataloader())[2].tolist()
    second = _collect(data.train_dataloader())[2].tolist()
    torch.manual_seed(0)
    assert _collect(data.train_dataloader())[2].tolist() == first != second


def test_last_training_batch_is_kept(mnist_root: Path):
    data = MNIST(str(mnist_root), 30, val_size=0, eval_batch_size=10)
    assert [len(batch[0]) for batch in data.train_dataloader()] == [30, 30, 4]
    assert [len(batch[0]) for batch in data.test_dataloader()] == [10, 10, 10, 2]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("skip", 0),
        ("limit", 0),
        ("val_size", -1),
        ("batch_size", 0),
        ("eval_batch_size", 0),
        ("num_workers", -1),
        ("split_seed", -1),
        ("skip", 1.5),
    ],
)
def test_arguments_out_of_range(option: str, value: float):
    with pytest.raises(InputError, match=f"`{option}`.*{value}"):
        Digits(**{option: value})


def test_val_size_must_leave_images_to_train_on(mnist_root: Path):
    with pytest.raises(InputError, match=r"`val_size` to be below the 64 training images.*got 64"):
        MNIST(str(mnist_root), val_size=64).setup("fit")


def test_digits_are_scikit_learns_and_split_by_class():
    data = Digits(val_size=0)
    images, labels, _ = _collect(data.test_dataloader())
    assert images.shape == (360, 1, 8, 8)
    assert set((images * 16).unique().tolist()) <= set(range(17))
    assert np.bincount(labels).min() >= 34
    train = _collect(data.train_dataloader())[0]
    assert len(train) == 1437
    together = torch.cat([train, images]).flatten(1)
    assert len(together.unique(dim=0)) == 1797, "no image is in both splits"
    assert [data.test_item(place)[1] for place in (0, 20, 40, 60, 80)] == [7, 3, 9, 4, 2]


class _Linear(LightningModule):
    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(inputs, classes))

    def training_step(self, batch, _):
        image, label, _ = batch
        return torch.nn.functional.cross_entropy(self.net(image), label)

    def validation_step(self, batch, _):
        return None

    def predict_step(self, batch, _):
        image, label, index = batch
        return torch.stack([self.net(image).argmax(1), label, index])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def test_lightning_trains_without_validation_and_predicts_each_image_once(tmp_path: Path):
    fakes.write_mnist(tmp_path, train=256)
    data = MNIST(str(tmp_path), 32, val_size=0, eval_batch_size=5)
    torch.manual_seed(0)
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = _Linear(784, 10)
    trainer.fit(model, datamodule=data)
    predicted, label, index = torch.cat(trainer.predict(model, datamodule=data), dim=1)
    assert index.tolist() == list(range(32))
    assert (predicted == label).float().mean() > 0.9, "the fakes carry a class signal"


def test_module_pickles_for_spawned_processes(mnist_root: Path):
    data = pickle.loads(pickle.dumps(MNIST(str(mnist_root), val_size=1)))
    data.setup()
    assert len(data.train_dataloader().dataset) == 63


def test_prepare_describes(mnist_root: Path):
    text = prepare("mnist", str(mnist_root), download=False)
    assert text.startswith(
        "MNIST (mnist): 64 train and 32 test images of 1 x 28 x 28, 10 classes\n"
    )
    assert str(MNIST(str(mnist_root)).fingerprint()["digest"]) in text
    with pytest.raises(InputError, match="but got 'minst'; did you mean mnist"):
        prepare("minst", str(mnist_root))
