"""Accuracy and certificates on corrupted sets: counted rightly, gone on with, refused."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from lightning_smooth.callbacks import CorruptionEvaluation
from lightning_smooth.callbacks.corruption_set import BENCHMARK
from lightning_smooth.certify import GaussianCertifier
from lightning_smooth.data import CIFAR10, CIFAR10C, MNIST, MNISTC, fakes, make_corrupted
from lightning_smooth.errors import DataError, InputError, RecordError
from lightning_smooth.modules import GaussianAugmentation
from lightning_smooth.records.audit import audit
from lightning_smooth.records.corruption_tables import read_table
from lightning_smooth.records.reading import read_records
from lightning_smooth.trainer import SmoothTrainer

N = 20  # test images of the fake CIFAR-10


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The fake CIFAR-10, and a CIFAR-10-C made of it: two corruptions at two severities."""
    folder = tmp_path_factory.mktemp("data")
    fakes.write_cifar10(folder)
    with fakes.fake_cifar10(folder):
        make_corrupted(
            "cifar10", str(folder), corruptions=["fog", "contrast"], severities=[1, 5], seed=3,
            report=lambda line: None,
        )  # fmt: skip
        yield folder


def module(seed=0, pixels=3 * 32 * 32):
    """A random linear classifier, whose answers differ from image to image."""
    torch.manual_seed(seed)
    linear = nn.Linear(pixels, 10)
    nn.init.normal_(linear.weight, std=0.1)
    return GaussianAugmentation(nn.Sequential(nn.Flatten(), linear), 0.25)


def evaluated(clean_root, folder, seed=0, data=None, **settings):
    callback = CorruptionEvaluation(settings.pop("set", "cifar10c"), **settings)
    trainer = SmoothTrainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=str(folder), callbacks=[callback],
    )  # fmt: skip
    data = data or CIFAR10(str(clean_root), download=False, limit=2)
    trainer.test(module(seed, math.prod(data.image_shape)), datamodule=data, verbose=False)
    return callback.table


def certifier(**settings):
    return GaussianCertifier(0.25, n0=10, n=100, alpha=0.01, **settings)


def test_accuracy_is_that_of_the_model_on_each_cell(root, tmp_path):
    table = evaluated(root, tmp_path / "run")
    model, rights = module().model.eval(), set()
    assert table.wanted == [("fog", 1), ("fog", 5), ("contrast", 1), ("contrast", 5)]
    for corruption, severity in table.wanted:
        data = CIFAR10C(str(root), corruption=corruption, severity=severity)
        data.setup("test")
        images, labels, _ = data._source(train=False).__getitems__(range(N))
        with torch.no_grad():
            right = int((model(images).argmax(1) == labels).sum())
        cell = table.cell(corruption, severity)
        assert (cell.images, cell.correct, cell.certified_images) == (N, right, 0)
        rights.add(right)
        assert cell.data["origin"] == "made by lightning-smooth 0.1.0, seed 3"
    assert len(rights) > 1
    clean = CIFAR10(str(root), download=False)
    clean.setup("test")
    images, labels, _ = clean._source(train=False).__getitems__(range(N))
    with torch.no_grad():
        assert table.clean_correct == int((model(images).argmax(1) == labels).sum())
    assert set(table.left_out) == set(BENCHMARK) - {
        "fog", "contrast",
    }  # fmt: skip
    assert read_table(tmp_path / "run" / "corruptions.json") == table
    lines = (tmp_path / "run" / "corruptions.csv").read_text().splitlines()
    assert len(lines) == 5
    figures = json.loads((tmp_path / "run" / "summary.json").read_text())["corruptions"]
    rates = [cell.correct / N for cell in table.cells]
    assert figures["mean_accuracy"] == pytest.approx(np.mean(rates))
    assert figures["mce"] is None


def test_certificates_are_records_that_audit_accepts(root, tmp_path):
    table = evaluated(
        root, tmp_path, certifier=certifier(), certified_images=4, radii=[0.0, 0.1], images=10
    )
    for cell in table.cells:
        file = tmp_path / cell.records
        assert not audit(file).faults
        content = read_records(file)
        data = CIFAR10C(str(root), corruption=cell.corruption, severity=cell.severity)
        data.setup("test")
        assert content.header["data"] == data.fingerprint() == cell.data
        assert [c.index for c in content.certificates] == [0, 5, 10, 15]
        one = content.certificates[1]
        image, label = data.test_item(5)
        own = certifier()(module().model, image, index=5, label=label)
        assert (one.hits, one.radius, one.image) == (own.hits, own.radius, own.image)
        right = [c for c in content.certificates if c.correct]
        assert cell.smoothed == len(right)
        assert cell.certified == [len(right), sum(c.radius >= 0.1 for c in right)]
        assert cell.images == 10
        assert cell.guarantee == "certified"


def test_what_is_there_is_not_measured_again(root, tmp_path, monkeypatch):
    first = evaluated(root, tmp_path, corruptions=["fog"])
    seen = []
    own = CorruptionEvaluation._right

    def counted(self, trainer, pl_module, data, indices):
        seen.append(getattr(data, "corruption", "clean"))
        return own(self, trainer, pl_module, data, indices)

    monkeypatch.setattr(CorruptionEvaluation, "_right", counted)
    both = evaluated(root, tmp_path, corruptions=["fog", "contrast"])
    assert seen == ["contrast", "contrast"]
    assert both.cells[:2] == first.cells
    # A certifier may come later; and without it its figures stay.
    certified = evaluated(
        root, tmp_path, corruptions=["fog", "contrast"], certifier=certifier(), certified_images=2
    )
    assert [c.certified_images for c in certified.cells] == [2] * 4
    again = evaluated(root, tmp_path, corruptions=["fog", "contrast"])
    assert again.cells == certified.cells
    assert len(seen) == 2
    # Other radii are made from the certificates.
    record = tmp_path / "corruptions" / "fog-1.jsonl"
    before = record.read_text().splitlines()[1:]
    wide = evaluated(
        root, tmp_path, corruptions=["fog", "contrast"], certifier=certifier(), radii=[0.0],
        certified_images=2,
    )  # fmt: skip
    assert [len(c.certified) for c in wide.cells] == [1] * 4
    assert record.read_text().splitlines()[1:] == before
    with pytest.raises(RecordError, match="cells that are not asked for"):
        evaluated(root, tmp_path, corruptions=["fog"])


def test_an_evaluation_that_was_stopped_goes_on(root, tmp_path, monkeypatch):
    whole = evaluated(root, tmp_path / "whole", certifier=certifier(), certified_images=2)
    own, left = GaussianCertifier.certify_batch, [5]

    def cut(self, *args, **options):
        for one in own(self, *args, **options):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            yield one

    monkeypatch.setattr(GaussianCertifier, "certify_batch", cut)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        evaluated(root, tmp_path / "cut", certifier=certifier(), certified_images=2)
    assert len(read_table(tmp_path / "cut" / "corruptions.json").cells) == 2
    monkeypatch.setattr(GaussianCertifier, "certify_batch", own)
    rest = evaluated(root, tmp_path / "cut", certifier=certifier(), certified_images=2)
    assert rest.cells == whole.cells


@pytest.mark.parametrize(
    ("change", "said"),
    [({"seed": 1}, "model.weights"), ({"images": 5}, "selection.images: 20"),
     ({"certifier": certifier(seed=1)}, "certifier.seed")],
)  # fmt: skip
def test_a_table_of_something_else_is_refused(root, tmp_path, change, said):
    evaluated(root, tmp_path, certifier=certifier(), certified_images=2)
    settings = {"certified_images": 2, **change}
    with pytest.raises(RecordError, match=r"--corruptions\.records") as caught:
        evaluated(root, tmp_path, **settings)
    assert said in str(caught.value)
    assert evaluated(root, tmp_path, records="other", **settings).complete


def test_mce_is_relative_to_a_baseline(root, tmp_path):
    base = evaluated(root, tmp_path / "base", seed=1)
    file = str(tmp_path / "base" / "corruptions.json")
    table = evaluated(root, tmp_path / "run", baseline=file)
    by_hand = 0.0
    for corruption in ("fog", "contrast"):
        ours, theirs = (
            sum(1 - t.cell(corruption, s).correct / N for s in (1, 5)) for t in (table, base)
        )
        by_hand += ours / theirs / 2
    assert table.figures()["mce"] == pytest.approx(by_hand)
    assert table.baseline["model"] == base.model
    itself = evaluated(root, tmp_path / "base", seed=1, baseline=file)
    assert itself.figures()["mce"] == pytest.approx(1)


def test_a_baseline_of_something_else_is_refused(root, tmp_path):
    evaluated(root, tmp_path / "base", corruptions=["fog"], images=10)
    file = tmp_path / "base" / "corruptions.json"
    with pytest.raises(InputError, match=r"selection\.images: 10 there") as caught:
        evaluated(root, tmp_path / "run", baseline=str(file))
    assert "contrast" in str(caught.value)
    content = json.loads(file.read_text())
    content["cells"][0]["data"]["digest"] = "another"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"other images of fog .*made by"):
        evaluated(root, tmp_path / "run", corruptions=["fog"], images=10, baseline=str(file))
    for text, said in (("{}", "no table of corruptions"), ("[", "cannot be read")):
        file.write_text(text)
        with pytest.raises(RecordError, match=said):
            evaluated(root, tmp_path / "run", baseline=str(file))
    with pytest.raises(RecordError, match="There is no table"):
        evaluated(root, tmp_path / "run", baseline=str(tmp_path / "nothing.json"))


def test_a_missing_set_is_told_with_the_command_that_makes_it(root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(DataError) as caught:
        evaluated(root, tmp_path / "run", root=str(elsewhere))
    command = f"`lightning-smooth data corrupt cifar10 --root {root} --out {elsewhere}`"
    assert command in str(caught.value)
    assert not (tmp_path / "run" / "corruptions.json").exists()
    words = command.strip("`").split()[3:]
    make_corrupted(
        words[0], words[2], words[4], corruptions=["fog"], severities=[2], report=lambda line: None
    )
    assert evaluated(root, tmp_path / "run", root=str(elsewhere)).complete
    with pytest.raises(DataError, match=r"without snow .*lightning-smooth data corrupt"):
        evaluated(root, tmp_path / "b", root=str(elsewhere), corruptions=["fog", "snow"])
    with pytest.raises(DataError, match="without severity 3"):
        evaluated(root, tmp_path / "b", root=str(elsewhere), severities=[2, 3])


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"severities": [0]}, "severity"), ({"severities": [1, 6]}, "6"),
     ({"severities": []}, "name some"), ({"corruptions": ["fogg"]}, "did you mean fog"),
     ({"corruptions": ["fog", "fog"]}, "each once"), ({"images": 0}, "images"),
     ({"set": "cifar"}, "cifar10c"), ({"set": "mnistc", "severities": [3]}, "hold one"),
     ({"records": "a/b"}, "plain name"), ({"radii": [-1.0]}, "radii")],
)  # fmt: skip
def test_mistakes(settings, said):
    with pytest.raises(InputError, match=said):
        CorruptionEvaluation(settings.pop("set", "cifar10c"), **settings)


def test_the_data_must_be_the_clean_ones(root, tmp_path):
    corrupted = CIFAR10C(str(root), corruption="fog", severity=1)
    with pytest.raises(InputError, match="Expected the clean cifar10"):
        evaluated(root, tmp_path, data=corrupted)
    with pytest.raises(InputError, match="Expected the clean mnist"):
        evaluated(root, tmp_path, set="mnistc")


def test_labels_that_are_not_the_clean_ones_are_refused(root, tmp_path):
    shutil.copytree(root / "CIFAR-10-C", tmp_path / "CIFAR-10-C")
    file = tmp_path / "CIFAR-10-C" / "labels.npy"
    np.save(file, (np.load(file) + 1) % 10)
    with pytest.raises(DataError, match="labels are not those"):
        evaluated(root, tmp_path / "run", root=str(tmp_path))


def test_mnist_c_has_one_severity(tmp_path):
    root = tmp_path / "data"
    fakes.write_mnist(root)
    with fakes.fake_mnist(root):
        data = MNIST(str(root), download=False, val_size=8)
        make_corrupted("mnist", str(root), corruptions=["fog"], report=lambda line: None)
        table = evaluated(root, tmp_path, set="mnistc", data=data)
    assert table.wanted == [("fog", 3)]
    assert table.cells[0].images == 32
    assert {"frost", "snow"} <= set(table.left_out)


def test_a_published_mnist_c_has_its_own_corruptions(tmp_path, monkeypatch):
    root = tmp_path / "data"
    fakes.write_mnist(root)
    monkeypatch.setattr(MNISTC, "images_per_severity", 32)
    with fakes.fake_mnist(root):
        data = MNIST(str(root), download=False, val_size=8)
        data.setup("test")
        source = data._source(train=False)
        for name in ("zigzag", "identity"):
            folder = root / "mnist_c" / name
            folder.mkdir(parents=True)
            pixels = source.pixels(range(32)).permute(0, 2, 3, 1)
            np.save(folder / "test_images.npy", pixels.numpy())
            np.save(folder / "test_labels.npy", source.labels.numpy())
        table = evaluated(root, tmp_path, set="mnistc", data=data)
    assert table.wanted == [("zigzag", None)]
    assert table.cells[0].data["origin"] == "unchecked"
    assert table.cells[0].correct == table.clean_correct
