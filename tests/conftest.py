"""Fixtures that several rooms' tests share: fake data sets, and real ones if at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_smooth.data import fakes

PREPARE = Path(__file__).resolve().parents[2] / "shared" / "data" / "prepare.py"


@pytest.fixture
def mnist_root(tmp_path: Path) -> Path:
    """A root with a fake MNIST: 64 training and 32 test images."""
    fakes.write_mnist(tmp_path)
    return tmp_path


@pytest.fixture
def cifar10_root(tmp_path: Path):
    """A root with a fake CIFAR-10 (50 and 20 images) that torchvision accepts for one test."""
    fakes.write_cifar10(tmp_path)
    with fakes.fake_cifar10(tmp_path):
        yield tmp_path


@pytest.fixture
def imagenet_root(tmp_path: Path) -> Path:
    """A root with a fake ImageNet: 3 classes, 4 images each in train and in val."""
    fakes.write_imagenet(tmp_path)
    return tmp_path


def _real(name: str, folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("LIGHTNING_SMOOTH_DATA")
    if given:
        if not (Path(given) / folder).exists():
            pytest.skip(f"LIGHTNING_SMOOTH_DATA={given} has no {folder}")
        return Path(given)
    if not PREPARE.exists():
        pytest.skip("no real data: set LIGHTNING_SMOOTH_DATA to a folder that holds it")
    root = tmp_path_factory.mktemp(f"real-{name}")
    subprocess.run([sys.executable, PREPARE, root, name], check=True, capture_output=True)
    return root


@pytest.fixture(scope="session")
def real_mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the real MNIST."""
    return _real("mnist", "MNIST/raw", tmp_path_factory)


@pytest.fixture(scope="session")
def real_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the real CIFAR-10."""
    return _real("cifar10", "cifar-10-batches-py", tmp_path_factory)


@pytest.fixture(scope="session")
def real_imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with 100 real ImageNet images, one for every tenth class, in the val folder."""
    return _real("imagenet", "imagenet/val", tmp_path_factory)
