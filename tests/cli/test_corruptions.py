"""From the YAMLs of AugMix and of corruptions to the report, on small made sets."""

import json
from pathlib import Path

import pytest
import yaml

from lightning_smooth.__main__ import main
from lightning_smooth.data import fakes
from lightning_smooth.records.corruption_tables import read_table

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "configs").glob("*_augmix*.yaml"))


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Fake data sets, and where their corrupted sets lie, by name."""
    root, made = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("made")
    fakes.write_mnist(root)
    fakes.write_cifar10(root)
    with fakes.fake_mnist(root), fakes.fake_cifar10(root):
        for name, few in (("mnist", []), ("cifar10", ["--severities", "1", "4"])):
            words = ["corrupt", name, "--root", str(root), "--out", str(made), *few]
            assert main(["data", *words, "--corruptions", "fog", "pixelate"]) == 0
        yield root, made


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_train_test_and_report(path, roots, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    root, made = roots
    run, kind = tmp_path / "run", path.stem.split("_")[0]
    network = yaml.safe_load(path.read_text())["model"]["init_args"]["model"].get("init_args", {})
    small = [f"--model.model.depth={10 if 'width' in network else 8}"] if network else []
    shared = [
        f"--data.root={root}", "--data.batch_size=8", "--data.val_size=8", "--data.num_workers=0",
        "--data.download=false", "--data.limit=4", "--trainer.accelerator=cpu",
        f"--output.folder={run}", "--trainer.enable_progress_bar=false",
    ]  # fmt: skip
    few = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1"]
    assert main(["fit", f"--config={path}", *shared, *few, *small]) == 0
    overlay = ROOT / "configs" / "corruptions" / f"{kind}.yaml"
    test = [
        "test", f"--config={run / 'config.yaml'}", f"--config={overlay}", *shared,
        f"--corruptions.root={made}", "--corruptions.images=10",
    ]  # fmt: skip
    certify = [
        "--corruptions.certifier=GaussianCertifier", "--corruptions.certifier.sigma=0.25",
        "--corruptions.certifier.n=50", "--corruptions.certifier.n0=5",
        "--corruptions.certified_images=2",
    ]  # fmt: skip
    assert main([*test, *certify]) == 0
    table = read_table(run / "corruptions.json")
    assert table.complete
    assert table.name == path.stem.replace("_", "-")
    assert table.severities == ([3] if kind == "mnist" else [1, 4])
    assert {c.images for c in table.cells} == {10}
    assert {c.certified_images for c in table.cells} == {2}
    summary = json.loads((run / "summary.json").read_text())
    assert summary["corruptions"]["complete"]
    assert summary["fit"]["finished"]
    metrics = "".join(file.read_text() for file in (run / "logs").rglob("metrics.csv"))
    assert "corruptions/fog@" in metrics
    assert "corruptions/mean_accuracy" in metrics
    records = sorted(map(str, (run / "corruptions").glob("*.jsonl")))
    assert len(records) == len(table.cells)
    assert main(["audit", *records]) == 0
    capsys.readouterr()
    assert main(["report", str(run)]) == 0
    assert "On corrupted images" in capsys.readouterr().out
    page = (run / "report" / "index.html").read_text()
    assert "On corrupted images" in page
    assert "made by lightning-smooth" in page


def test_mistakes_end_in_words(roots, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    root, made = roots
    shared = [
        "test", "--config=configs/mnist_augmix.yaml", "--config=configs/corruptions/mnist.yaml",
        f"--data.root={root}", "--data.val_size=8", "--data.download=false", "--data.limit=4",
        "--trainer.accelerator=cpu", f"--output.folder={tmp_path}",
        f"--model.weights={ROOT / 'checkpoints' / 'mnist-plain.safetensors'}",
    ]  # fmt: skip
    for more, said in (
        ([f"--corruptions.root={tmp_path}"], f"data corrupt mnist --root {root} --out {tmp_path}"),
        ([f"--corruptions.root={made}", "--corruptions.severities=[6]"], "1, 2, 3, 4 or 5"),
        ([f"--corruptions.root={made}", "--corruptions.baseline=no.json"], "no table of corr"),
    ):
        assert main([*shared, *more]) != 0
        assert said in " ".join(capsys.readouterr().err.split())
