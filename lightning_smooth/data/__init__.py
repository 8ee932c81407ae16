"""Data sets as LightningDataModules; every batch is (image in [0, 1], label, data set index)."""

from lightning_smooth.data.attacked import StoredAttack
from lightning_smooth.data.base import ImageDataModule
from lightning_smooth.data.cifar import CIFAR10, CIFAR100
from lightning_smooth.data.corrupted import CIFAR10C, CIFAR100C, MNISTC, ImageNetC
from lightning_smooth.data.corruption_kinds import CORRUPTIONS, corrupt
from lightning_smooth.data.digits import Digits
from lightning_smooth.data.imagenet import ImageNet
from lightning_smooth.data.make_corrupted import make_corrupted
from lightning_smooth.data.mnist import MNIST, FashionMNIST
from lightning_smooth.data.prepare import DATA_MODULES, prepare
from lightning_smooth.data.sources import ImageBatch

__all__ = [
    "CIFAR10",
    "CIFAR10C",
    "CIFAR100",
    "CIFAR100C",
    "CORRUPTIONS",
    "DATA_MODULES",
    "MNIST",
    "MNISTC",
    "Digits",
    "FashionMNIST",
    "ImageBatch",
    "ImageDataModule",
    "ImageNet",
    "ImageNetC",
    "StoredAttack",
    "corrupt",
    "make_corrupted",
    "prepare",
]
