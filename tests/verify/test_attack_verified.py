"""scripts/attack_verified: nothing inside radii that hold, BUG and status 1 where they do not."""

import dataclasses
import json
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from lightning_smooth.experiment import load_certifier, load_data
from lightning_smooth.models import SmallConvNet, fingerprint
from lightning_smooth.records.reading import FORMAT, VERSION, read_records

SCRIPT = Path(__file__).parents[2] / "scripts" / "attack_verified"
IMAGES = (0, 40, 80, 120)
CONFIG = {
    "data": {"class_path": "lightning_smooth.data.Digits", "init_args": {"val_size": 200}},
    "model": {
        "class_path": "lightning_smooth.modules.AdversarialTraining",
        "init_args": {
            "model": {
                "class_path": "lightning_smooth.models.SmallConvNet",
                "init_args": {"image_size": 8, "padding": 1},
            },
        },
    },
    "certification": {
        "certifier": {
            "class_path": "lightning_smooth.verify.IntervalVerifier",
            "init_args": {
                "transform": {"class_path": "lightning_smooth.transforms.Rotation"},
                "box": {"angle": [-60.0, 60.0]},
                "parts": 64,
                "boxes": 300,
                "bound": "interval",
            },
        }
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    data = load_data(folder)
    data.setup("fit")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallConvNet(image_size=8, padding=1)
        images, labels, _ = data.train_dataloader().dataset.__getitems__(range(1000))
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(4):
            for batch in torch.randperm(len(images)).split(50):
                optimizer.zero_grad()
                cross_entropy(model(images[batch]), labels[batch]).backward()
                optimizer.step()
    model.eval()
    save_file(model.state_dict(), folder / "weights.safetensors")
    certifier = load_certifier(folder)
    items = [data.test_item(index) for index in IMAGES]
    found = list(
        certifier.certify_batch(
            model, [x for x, _ in items], indices=IMAGES, labels=[y for _, y in items]
        )
    )
    header = {
        "records": FORMAT, "version": VERSION, "model": fingerprint(model),
        "certifier": certifier.describe(), "data": {}, "selection": {"images": len(found)},
    }  # fmt: skip
    lines = [json.dumps(header), *(c.to_json() for c in found)]
    (folder / "records.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def tried(monkeypatch, run, *args):
    loader = SourceFileLoader("attack_verified", str(SCRIPT))
    script = module_from_spec(spec_from_loader("attack_verified", loader))
    loader.exec_module(script)
    script.keep_memory = lambda: None  # it would hold for all tests of this process
    few = ["--samples", "200", "--near", "20", "--boxes", "5", "--inside", "3"]
    weights = ["--weights", str(run / "weights.safetensors")]
    monkeypatch.setattr(sys, "argv", ["attack_verified", str(run), *weights, *few, *args])
    return script.main()


def test_certificates_that_hold_are_tried_in_vain(run, monkeypatch, capsys):
    assert tried(monkeypatch, run) == 0
    printed = capsys.readouterr().out
    assert "BUG" not in printed
    assert "Bounds: 0 of" in printed


def test_a_radius_beyond_a_counterexample_is_found(run, monkeypatch, capsys, tmp_path):
    content = read_records(run / "records.jsonl")
    short = min(content.certificates, key=lambda c: c.radius)
    assert "nearest" in short.measured
    assert short.radius < 1
    wrong = dataclasses.replace(short, radius=1.0)
    path = tmp_path / "wrong.jsonl"
    path.write_text(f"{json.dumps(dict(content.header))}\n{wrong.to_json()}\n")
    assert tried(monkeypatch, run, "--records", str(path)) == 1
    assert f"BUG: image {short.index}" in capsys.readouterr().out
