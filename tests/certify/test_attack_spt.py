"""scripts/attack_spt: nothing where certificates hold, BUG and status 1 where they do not."""

import dataclasses
import json
import shutil
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
import torch
import yaml

from lightning_smooth.experiment import built, load_certifier, load_data, load_network
from lightning_smooth.models import fingerprint
from lightning_smooth.modules import SmoothingModule
from lightning_smooth.records.reading import FORMAT, VERSION, read_records

SCRIPT = Path(__file__).parents[2] / "scripts" / "attack_spt"
ROTATION = {"class_path": "lightning_smooth.transforms.Rotation"}
MODEL = {
    "class_path": "lightning_smooth.modules.GaussianAugmentation",
    "init_args": {
        "sigma": 1.0,
        "model": {
            "class_path": "lightning_smooth.models.SmallConvNet",
            "init_args": {"image_size": 8, "padding": 1},
        },
    },
}
SETTINGS = {"transform": ROTATION, "scale": 30.0, "sigma": 1.0, "radii": [0.0, 5.0], "n": 100}
ATTACKED = {
    "class_path": "lightning_smooth.data.StoredAttack",
    "init_args": {"transform": ROTATION, "box": {"angle": [-5.0, 5.0]}},
}


def run(folder, certifier, data, label=0):
    """A run whose network answers `label`, whatever it sees, certified on images that are one."""
    certification = {"certifier": {"class_path": f"lightning_smooth.certify.{certifier}"}}
    certification["certifier"]["init_args"] = dict(SETTINGS)
    described = {"class_path": "lightning_smooth.data.Digits", "init_args": data}
    config = {"data": described, "model": MODEL, "certification": certification}
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    module = built(SmoothingModule, MODEL)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        [*module.parameters()][-1][label] = 1
    torch.save({"state_dict": module.state_dict()}, folder / "checkpoints" / "best.ckpt")
    certifier, model, images = load_certifier(folder), load_network(folder), load_data(folder)
    indices = [i for i in range(100) if images.test_item(i)[1] == label][:2]
    shown = [images.test_item(index)[0] for index in indices]
    found = certifier.certify_batch(model, shown, indices=indices, labels=[label] * 2)
    write(folder, model, certifier, [*found])
    return folder


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    return run(tmp_path_factory.mktemp("certified") / "run", "DistSPTxCertifier", {})


def write(folder, model, certifier, certificates):
    header = {
        "records": FORMAT, "version": VERSION, "model": fingerprint(model),
        "certifier": certifier.describe(), "data": {}, "selection": {"images": len(certificates)},
    }  # fmt: skip
    lines = [json.dumps(header), *(c.to_json() for c in certificates)]
    (folder / "records.jsonl").write_text("".join(f"{line}\n" for line in lines))


def attack(*args):
    loader = SourceFileLoader("attack_spt", str(SCRIPT))
    script = module_from_spec(spec_from_loader("attack_spt", loader))
    loader.exec_module(script)
    few = ["--k", "5", "--ranking", "4", "--outer", "8", "--inner", "4"]
    return script.main([*map(str, args), *few])


@pytest.mark.parametrize("kind", ["clean", "attacked"])
def test_certificates_that_hold_are_attacked_in_vain(kind, certified, tmp_path, capsys):
    folder = certified
    if kind == "attacked":
        folder = run(tmp_path / "run", "IndivSPTCertifier", {"attack": ATTACKED})
    assert [c.radius for c in read_records(folder / "records.jsonl").certificates] == [5.0, 5.0]
    assert attack(folder) == 0
    assert "4 attacks on 2 certified images: 0 succeed" in capsys.readouterr().out


def test_a_wrong_certificate_is_found(certified, tmp_path, capsys):
    folder = Path(shutil.copytree(certified, tmp_path / "run"))
    content = read_records(folder / "records.jsonl")
    votes = {3: content.certificates[0].n0}
    wrong = [
        dataclasses.replace(c, candidate=3, predicted=3, label=3, votes0=votes)
        for c in content.certificates
    ]
    write(folder, load_network(folder), load_certifier(folder), wrong)
    assert attack(folder, "--worst", 1) == 1
    printed = capsys.readouterr().out
    assert f"BUG: image {wrong[0].index}: 0 of 8" in printed
    assert "2 attacks on 2 certified images: 2 succeed" in printed


def test_records_of_other_weights_are_refused(certified, tmp_path, capsys):
    state = torch.load(certified / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    torch.save({name: value + 1 for name, value in state.items()}, tmp_path / "other.pt")
    with pytest.raises(SystemExit):
        attack(certified, "--weights", tmp_path / "other.pt")
    assert "records of this network" in capsys.readouterr().err
