"""Making corrupted sets: what is written, that the data modules read it, going on, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_smooth import __version__
from lightning_smooth.__main__ import main
from lightning_smooth.data import (
    CIFAR10,
    CIFAR10C,
    CIFAR100C,
    MNISTC,
    corrupt,
    fakes,
    make_corrupted,
)
from lightning_smooth.errors import DataError, InputError


def quiet(_: str) -> None:
    """Say nothing."""


def make(name: str, root: Path, out: Path | None = None, **options) -> Path:
    target = None if out is None else str(out)
    return make_corrupted(name, str(root), target, report=quiet, **options)


def test_round_trip_through_the_data_module(cifar10_root: Path):
    folder = make("cifar10", cifar10_root, corruptions=["fog", "contrast"], seed=7)
    assert folder == cifar10_root / "CIFAR-10-C"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("contrast.npy", "fog.npy", "labels.npy", "made_by.json"),
    ]
    clean = CIFAR10(str(cifar10_root))._load(train=False)
    pixels = clean.images.permute(0, 2, 3, 1).contiguous().numpy()
    for severity in (1, 4):
        data = CIFAR10C(str(cifar10_root), corruption="fog", severity=severity)
        data.prepare_data()
        data.setup("test")
        image, label, _ = next(iter(data.test_dataloader()))
        expected = corrupt(pixels, "fog", severity, indices=range(20), seed=7)
        assert np.array_equal((image * 255).round().permute(0, 2, 3, 1).numpy(), expected)
        assert torch.equal(label, clean.labels)
        assert data.fingerprint()["origin"] == f"made by lightning-smooth {__version__}, seed 7"


def test_made_by_tells_all(cifar10_root: Path):
    folder = make("cifar10", cifar10_root, corruptions=["snow"], severities=[3, 1], limit=6, seed=2)
    told = json.loads((folder / "made_by.json").read_text())
    assert (told["program"], told["version"]) == ("lightning-smooth", __version__)
    assert (told["source"], told["images"], told["seed"]) == ("cifar10", 6, 2)
    assert told["source_digest"] == CIFAR10(str(cifar10_root)).fingerprint()["digest"]
    assert told["severities"] == [1, 3]
    assert told["parameters"]["snow"][0] == [0.1, 0.2, 1, 0.6, 8, 3, 0.95]
    assert told["corruptions"] == ["snow"]
    assert set(told["left_out"]) == {"spatter", "frost"}
    pixels = np.load(folder / "snow.npy")
    assert pixels.shape == (30, 32, 32, 3)
    blank = [not pixels[6 * k : 6 * k + 6].any() for k in range(5)]
    assert blank == [False, True, False, True, True]
    assert len(CIFAR10C(str(cifar10_root), corruption="snow", severity=3).test_indices()) == 6
    with pytest.raises(DataError, match="without severity 2; it has 1, 3"):
        CIFAR10C(str(cifar10_root), corruption="snow", severity=2).prepare_data()
    with pytest.raises(DataError, match=r"without spatter \(its parameters are not in"):
        CIFAR10C(str(cifar10_root), corruption="spatter", severity=1).prepare_data()
    with pytest.raises(DataError, match=r"without fog \(not asked for"):
        CIFAR10C(str(cifar10_root), corruption="fog", severity=1).prepare_data()


def test_it_goes_on_and_adds(cifar10_root: Path, monkeypatch: pytest.MonkeyPatch):
    whole = make("cifar10", cifar10_root, cifar10_root / "a", corruptions=["fog", "snow"])
    out = cifar10_root / "b"
    make("cifar10", cifar10_root, out, corruptions=["snow"])
    stamp = (out / "CIFAR-10-C" / "snow.npy").stat().st_mtime_ns
    (out / "CIFAR-10-C" / "fog.npy.part").write_bytes(b"killed here")
    part = make("cifar10", cifar10_root, out, corruptions=["fog", "snow"])
    assert (part / "snow.npy").stat().st_mtime_ns == stamp
    for name in ("fog.npy", "snow.npy", "labels.npy"):
        assert (whole / name).read_bytes() == (part / name).read_bytes()
    assert sorted(path.name for path in part.iterdir()) == sorted(p.name for p in whole.iterdir())


def test_processes_do_not_matter(cifar10_root: Path):
    one, two = (
        make("cifar10", cifar10_root, cifar10_root / str(n), corruptions=["glass_blur"], workers=n)
        for n in (1, 2)
    )
    assert (one / "glass_blur.npy").read_bytes() == (two / "glass_blur.npy").read_bytes()


def test_cifar100_and_mnist(tmp_path: Path):
    fakes.write_cifar100(tmp_path)
    with fakes.fake_cifar100(tmp_path):
        make("cifar100", tmp_path, corruptions=["contrast"])
        data = CIFAR100C(str(tmp_path), corruption="contrast", severity=5)
        data.prepare_data()
        data.setup("test")
        assert len(data.test_indices()) == 100
    fakes.write_mnist(tmp_path)
    folder = make("mnist", tmp_path)
    told = json.loads((folder / "made_by.json").read_text())
    assert len(told["corruptions"]) == 16
    assert told["left_out"]["saturate"] == "grey images"
    images = np.load(folder / "glass_blur" / "test_images.npy")
    assert images.shape == (32, 28, 28, 1)
    digits = MNISTC(str(tmp_path), corruption="glass_blur")
    digits.prepare_data()
    assert digits.fingerprint()["severity"] == 3
    assert digits.test_item(4)[0].shape == (1, 28, 28)


def test_frost_from_a_folder(cifar10_root: Path):
    photographs = cifar10_root / "photographs"
    photographs.mkdir()
    Image.new("RGB", (200, 300), (100, 150, 200)).save(photographs / "1.png")
    folder = make("cifar10", cifar10_root, corruptions=["frost"], frost=str(photographs))
    told = json.loads((folder / "made_by.json").read_text())
    assert told["left_out"].keys() == {"spatter"}
    assert len(told["photographs"]) == 64
    clean = CIFAR10(str(cifar10_root))._load(train=False).images.numpy().transpose(0, 2, 3, 1)
    expected = np.clip(clean + 0.2 * np.array([100, 150, 200]), 0, 255)
    assert np.abs(np.load(folder / "frost.npy")[:20] - (expected - 0.5)).max() < 0.51
    Image.new("RGB", (200, 300), (1, 2, 3)).save(photographs / "2.png")
    with pytest.raises(DataError, match="frost of other photographs"):
        make("cifar10", cifar10_root, corruptions=["frost"], frost=str(photographs))


def test_other_settings_and_other_sets_are_refused(cifar10_root: Path):
    folder = make("cifar10", cifar10_root, corruptions=["contrast"])
    with pytest.raises(DataError, match=r"other settings \(seed 0, now 1\)"):
        make("cifar10", cifar10_root, corruptions=["fog"], seed=1)
    with pytest.raises(DataError, match=r"images 20, now 5"):
        make("cifar10", cifar10_root, corruptions=["fog"], limit=5)
    (folder / "made_by.json").unlink()
    with pytest.raises(DataError, match=r"a set without made_by.json"):
        make("cifar10", cifar10_root, corruptions=["fog"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"corruptions": ["fogg"]}, "did you mean fog"),
        ({"corruptions": ["spatter"]}, "parameters are not in this package"),
        ({"corruptions": ["frost"]}, "no photographs"),
        ({"severities": [0]}, "`severity` to be 1"),
        ({"severities": [6]}, "`severity` to be 1"),
        ({"limit": 0}, "`limit`"),
        ({"workers": 0}, "`workers`"),
        ({"seed": -1}, "`seed`"),
        ({"frost": "/nowhere"}, "`frost` to be a folder"),
    ],
)
def test_mistakes(cifar10_root: Path, options: dict, told: str):
    with pytest.raises(InputError, match=told):
        make("cifar10", cifar10_root, **options)
    assert not (cifar10_root / "CIFAR-10-C").exists()


def test_what_cannot_be_made(mnist_root: Path):
    with pytest.raises(InputError, match="cifar10, cifar100, mnist, but got 'digits'"):
        make("digits", mnist_root)
    with pytest.raises(InputError, match="grey images"):
        make("mnist", mnist_root, corruptions=["saturate"])
    with pytest.raises(InputError, match="whose files hold one"):
        make("mnist", mnist_root, severities=[1, 2])
    with pytest.raises(DataError, match="is missing"):
        make("cifar10", mnist_root)


def test_the_command(cifar10_root: Path, capsys: pytest.CaptureFixture[str]):
    command = ["data", "corrupt", "cifar10", "--root", str(cifar10_root)]
    assert main([*command, "--corruptions", "fog", "--severities", "1", "5", "--limit", "3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("fog: 6 images in ")
    assert "spatter: left out" in out
    assert out.endswith(f"wrote {cifar10_root / 'CIFAR-10-C'}\n")
    assert main(["data", "cifar10c", "--root", str(cifar10_root)]) == 0
    assert "fog at 1, 5: made by lightning-smooth" in capsys.readouterr().out
    assert main([*command, "--severities", "9"]) == 2
    assert "`severity` to be 1, 2, 3, 4 or 5, but got 9" in capsys.readouterr().err
