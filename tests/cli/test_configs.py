"""Every YAML parses as its first line says, and every experiment runs one batch and certifies."""

import importlib
import shlex
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml

from lightning_smooth.__main__ import main
from lightning_smooth.data import fakes
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.reading import read_kind, read_records

ROOT = Path(__file__).parents[2]
YAMLS = sorted((ROOT / "configs").rglob("*.yaml"))
PROGRAM = ("lightning-smooth", "lightning_smooth")  # as a command, and as torchrun -m takes it
SURROGATES = sorted((ROOT / "configs").glob("*_surrogate_*.yaml"))
"""Experiments that train a transformation: there is nothing to certify."""
VERIFIERS = {"IntervalVerifier", "LinearVerifier", "SemantifyVerifier"}
RANGES = {"CoverCertifier", "GSmoothCertifier", "PathCertifier"}
WITHOUT = sorted(
    path
    for kind in ("pixelcnn", "wgan", "interval", "plain")
    for path in (ROOT / "configs").glob(f"*_{kind}.yaml")
)
"""Experiments of generative models, of interval and plain training: no certifier of draws."""
ATTACKED = sorted((ROOT / "configs" / "defenses").glob("*.yaml"))
"""Experiments that are attacked: their certifier would be of no defence."""
FEW = {"cifar10_cropping", "cifar10_jpeg", "mnist_lid", "mnist_thermometer"}
CORRUPTIONS = sorted((ROOT / "configs" / "corruptions").glob("*.yaml"))
"""Overlays of an experiment that has no certifier."""
AUGMIX = sorted((ROOT / "configs").glob("*_augmix*.yaml"))
OVERLAYS = sorted((ROOT / "configs" / "attack").glob("*.yaml"))
EXPERIMENTS = sorted(set((ROOT / "configs").glob("*.yaml")) - {*SURROGATES, *WITHOUT, *AUGMIX})


def command(path):
    lines = [line.removeprefix("#").strip() for line in path.read_text().splitlines()]
    text = lines[0]
    for line in lines[1:]:
        if not text.endswith("\\"):
            break
        text = text.removesuffix("\\") + line
    return shlex.split(text)


def test_there_are_experiments_for_every_data_set_of_the_readme():
    assert {path.stem for path in EXPERIMENTS} >= {"digits", "mnist", "cifar10", "imagenet"}


@contextmanager
def fake(name, root):
    """The named data set, small and in its real format, under `root`."""
    if name == "ImageNet":
        fakes.write_imagenet(root, classes=3, per_class=4)
        yield
    elif name == "Digits":  # comes with scikit-learn
        yield
    else:
        write, teach = {
            "MNIST": (fakes.write_mnist, fakes.fake_mnist),
            "CIFAR10": (fakes.write_cifar10, fakes.fake_cifar10),
        }[name]
        write(root)
        with teach(root):
            yield


def weights(network):
    """A file of weights as akamaster's scripts write it, of the network that a YAML names."""
    module, name = network["class_path"].rsplit(".", 1)
    if name in ("Standardized", "Vignetted"):
        return weights(network["init_args"]["model"])
    model = getattr(importlib.import_module(module), name)(**network["init_args"])
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("normalize")}
    return {
        "best_prec1": 91.78,
        "state_dict": {f"module.{k.replace('fc.', 'linear.')}": v for k, v in state.items()},
    }


def settings(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--print_config"])
    assert stop.value.code in (0, None)
    return yaml.safe_load(capsys.readouterr().out)


def test_a_null_for_a_class_within_a_class_stays_one(capsys):
    means = "--model.model.mean", "[0.5]", "--model.model.std", "[0.5]"
    arguments = ["fit", "--config", str(ROOT / "configs/mnist.yaml"), *means]
    found = settings(arguments, capsys)["model"]["init_args"]["model"]["init_args"]
    assert (found["mean"], found["std"]) == ([0.5], [0.5])
    arguments += ["--model.model.mean", "null", "--model.model.std=null"]
    found = settings(arguments, capsys)["model"]["init_args"]["model"]["init_args"]
    assert (found["mean"], found["std"]) == (None, None)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_the_first_line_is_a_command_that_parses(path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = command(path)
    start = next(place for place, word in enumerate(words) if word in PROGRAM)
    launcher, (verb, *arguments) = words[:start], words[start + 1 :]
    assert launcher[:1] in ([], ["srun"], ["torchrun"])
    assert str(path.relative_to(ROOT)) in arguments
    arguments = [a for a in arguments if "STAMP" not in a and a != "--ckpt_path"]
    found = settings([verb, *arguments], capsys)
    assert found["trainer"]["max_epochs"] > 0
    if path in (*ATTACKED, *OVERLAYS):
        assert found["attacking"]["attack"]["init_args"]["bound"] > 0
        assert path.stem == "smoothed" or found["certification"]["certifier"] is None
        return
    assert (found["corruptions"]["data"] is not None) == (path in CORRUPTIONS)
    if path in (*SURROGATES, *WITHOUT, *AUGMIX, *CORRUPTIONS):
        assert found["certification"]["certifier"] is None
        return
    certifier = found["certification"]["certifier"]["init_args"]
    names = ("sigma", "lam", "lipschitz", "largest", "boxes")
    numbers = (certifier.get(name, 0) > 0 for name in names)
    assert certifier.get("laws") or any(numbers)


def test_later_files_win_and_keep_what_they_do_not_name(capsys):
    arguments = ["certify", "--config=configs/mnist.yaml", "--config=configs/certify/quick.yaml"]
    found = settings([*arguments, "--certification.certifier.alpha=0.01"], capsys)
    certifier = found["certification"]["certifier"]["init_args"]
    assert (certifier["sigma"], certifier["n"], certifier["alpha"]) == (0.5, 1000, 0.01)


def first_of_their_kind(paths):
    """Each path, small data first; those whose module and certifier came before are slow."""
    seen = set()
    for path in sorted(paths, key=lambda path: not path.stem.startswith(("digits", "mnist"))):
        given = yaml.safe_load(path.read_text())
        kind = given["model"]["class_path"], given["certification"]["certifier"]["class_path"]
        yield pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if kind in seen else [])
        seen.add(kind)


@pytest.mark.parametrize("path", list(first_of_their_kind(EXPERIMENTS)))
def test_every_experiment_runs_a_batch_and_certifies_an_image(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    root = tmp_path / "data"
    name = yaml.safe_load(path.read_text())["data"]["class_path"].rsplit(".", 1)[1]
    with fake(name, root):
        shared = [
            f"--config={path}", f"--data.root={root}", "--data.batch_size=8",
            "--data.val_size=8" if name != "ImageNet" else "--data.val_size=2",
            "--data.num_workers=0", "--trainer.accelerator=cpu", "--data.download=false",
            "--certification.val_n=5", "--certification.val_n0=2",
            "--certification.val_images=2", "--certification.val_every_n_epochs=1",
            f"--output.folder={tmp_path / 'run'}", "--trainer.enable_progress_bar=false",
        ]  # fmt: skip
        given = yaml.safe_load(path.read_text())["certification"]["certifier"]
        certifier, n = given["init_args"], 20
        kind = given["class_path"].rsplit(".", 1)[1]
        if kind in VERIFIERS:
            n = 0
            shared.append("--certification.certifier.boxes=2")
        else:
            shared.append("--certification.certifier.n0=5")
        if kind in RANGES:  # 20 draws show nothing of an anchor
            n = 200
            shared.append("--certification.certifier.anchors=1")
        if n:
            shared.append(f"--certification.certifier.n={n}")
        if "error_draws" in certifier:
            shared.append("--certification.certifier.error_draws=[10,40]")
            shared.append("--certification.certifier.inner=200")
        if "radii" in certifier:  # 20 draws decide no large ones
            shared.append("--certification.certifier.radii=[0]")
        if "--model.weights" in command(path):
            network = yaml.safe_load(path.read_text())["model"]["init_args"]["model"]
            torch.save(weights(network), tmp_path / "weights.th")
            shared.append(f"--model.weights={tmp_path / 'weights.th'}")
        if name == "ImageNet":
            shared += ["--model.model.name=resnet18", "--model.model.num_classes=3"]
        few = ["--trainer.max_steps=1", "--trainer.limit_val_batches=1", "--trainer.max_epochs=1"]
        assert main(["fit", *shared, *few]) == 0
        assert main(["certify", *shared, "--data.limit=1"]) == 0
    (certificate,) = read_records(tmp_path / "run" / "records.jsonl").certificates
    assert certificate.index == 0
    assert certificate.n == 0 if kind in VERIFIERS else 0 < certificate.n <= n


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in FEW else [pytest.mark.slow])
        for path in ATTACKED
    ],
)
def test_every_defense_is_attacked_naively_and_rightly(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    root, given = tmp_path / "data", yaml.safe_load(path.read_text())
    name = given["data"]["class_path"].rsplit(".", 1)[1]
    naive = ROOT / "configs" / "attack" / "naive.yaml"
    with fake(name, root):
        shared = [
            f"--config={path}", f"--data.root={root}", "--data.batch_size=8", "--data.val_size=8",
            "--data.num_workers=0", "--data.download=false", "--trainer.accelerator=cpu",
            f"--output.folder={tmp_path / 'run'}", "--trainer.enable_progress_bar=false",
        ]  # fmt: skip
        if "PATH" in command(path):
            network = given["model"]["init_args"]["model"]
            network = network["init_args"].get("model", network)  # within its defence
            torch.save(weights(network), tmp_path / "weights.th")
            shared.append(f"--model.weights={tmp_path / 'weights.th'}")
        elif command(path)[1] == "fit":
            few = ["--trainer.max_steps=1", "--trainer.limit_val_batches=0"]
            assert main(["fit", *shared, *few, "--trainer.max_epochs=1"]) == 0
        quick = ["--data.skip=1", "--data.limit=2", "--attacking.attack.steps=1"]
        assert main(["attack", *shared, *quick]) == 0
        assert main(["attack", *shared, f"--config={naive}", *quick]) == 0
    for file, plain in (("attack", False), ("naive", True)):
        content = read_kind(tmp_path / "run" / f"{file}.jsonl", AttackOutcome)
        assert len(content.results) == 2
        undefended = path.stem in ("mnist_plain", "mnist_adversarial", "mnist_fgsm")
        undefended |= path.stem in ("mnist_cascade", "mnist_lid", "cifar10_adversarial")
        assert (content.header["attack"]["gradient"] == "plain") == (plain or undefended)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if place else [])
        for place, path in enumerate(SURROGATES)
    ],
)
def test_every_surrogate_trains_a_batch_and_is_tested(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    root, out = tmp_path / "data", tmp_path / "run"
    with fake("MNIST", root):
        shared = [
            f"--data.root={root}", "--data.batch_size=8", "--data.val_size=8",
            "--data.download=false", "--trainer.accelerator=cpu", f"--output.folder={out}",
            "--trainer.enable_progress_bar=false",
        ]  # fmt: skip
        few = ["--trainer.limit_train_batches=1", "--trainer.max_epochs=1"]
        assert main(["fit", f"--config={path}", *shared, *few]) == 0
        assert (out / "surrogate.png").is_file()
        assert main(["test", f"--config={out / 'config.yaml'}", *shared]) == 0
    assert "test/largest_error" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):  # a surrogate is nothing to certify
        main(["run", f"--config={path}", *shared])
