"""scripts/attack_range: a table where certificates hold, BUG and status 1 where they do not."""

import dataclasses
import json
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from lightning_smooth.errors import InputError
from lightning_smooth.experiment import (
    check_recorded,
    load_certifier,
    load_data,
    load_network,
)
from lightning_smooth.models import fingerprint
from lightning_smooth.records.reading import FORMAT, VERSION, RecordFile, read_records

SCRIPT = Path(__file__).parents[2] / "scripts" / "attack_range"
IMAGES = (0, 40, 80, 120)
BOX = {"angle": [-12.0, 12.0]}
CONFIG = {
    "data": {"class_path": "lightning_smooth.data.Digits", "init_args": {"val_size": 200}},
    "model": {
        "class_path": "lightning_smooth.modules.GaussianAugmentation",
        "init_args": {
            "sigma": 0.25,
            "model": {
                "class_path": "lightning_smooth.models.SmallConvNet",
                "init_args": {"image_size": 8, "padding": 1},
            },
        },
    },
    "certification": {
        "certifier": {
            "class_path": "lightning_smooth.certify.CoverCertifier",
            "init_args": {
                "transform": {"class_path": "lightning_smooth.transforms.Rotation"},
                "box": BOX,
                "sigma": 0.25,
                "n": 1000,
                "radii": [0.0, 0.5, 1.0],
            },
        }
    },
}


def trained(model, data):
    """A network that knows digits under noise and rotations of a few degrees, in two seconds."""
    images, labels, _ = data.train_dataloader().dataset.__getitems__(range(1200))
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(5):
        for batch in torch.randperm(len(images), generator=generator).split(60):
            optimizer.zero_grad()
            noise = torch.randn(images[batch].shape, generator=generator)
            cross_entropy(model(images[batch] + 0.25 * noise), labels[batch]).backward()
            optimizer.step()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run with a checkpoint and with records."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        (folder / "checkpoints").mkdir()
        data = load_data(folder)
        data.setup("fit")
        state = {"module": load_module(folder)}
        trained(state["module"].model, data)
    torch.save({"state_dict": state["module"].state_dict()}, folder / "checkpoints" / "best.ckpt")
    certifier, model = load_certifier(folder), load_network(folder)
    items = [data.test_item(index) for index in IMAGES]
    found = list(
        certifier.certify_batch(
            model, [x for x, _ in items], indices=IMAGES, labels=[y for _, y in items]
        )
    )
    write(folder / "records.jsonl", model, certifier, found)
    return folder


def load_module(folder):
    from lightning_smooth.experiment import built
    from lightning_smooth.modules import SmoothingModule

    return built(SmoothingModule, yaml.safe_load((folder / "config.yaml").read_text())["model"])


def write(path, model, certifier, certificates):
    header = {
        "records": FORMAT, "version": VERSION, "model": fingerprint(model),
        "certifier": certifier.describe(), "data": {}, "selection": {"images": len(certificates)},
    }  # fmt: skip
    lines = [json.dumps(header), *(c.to_json() for c in certificates)]
    path.write_text("".join(f"{line}\n" for line in lines))


def attack(*args):
    loader = SourceFileLoader("attack_range", str(SCRIPT))
    script = module_from_spec(spec_from_loader("attack_range", loader))
    loader.exec_module(script)
    script.keep_memory = lambda: None  # it would hold for all tests of this process
    few = ["--steps", "6", "--restarts", "3", "--draws", "8", "--ranking", "30", "--n", "400"]
    return script.main([*few, *map(str, args)])


def test_certificates_that_hold_are_attacked_in_vain(run, capsys, tmp_path):
    out = tmp_path / "attacks.jsonl"
    assert attack(run, "--undefended", run, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "BUG" not in printed
    content = read_records(run / "records.jsonl")
    covered = [c for c in content.certificates if c.correct and c.radius == 1]
    partly = [c for c in content.certificates if not c.abstained and 0 < c.radius < 1]
    assert len(covered) >= 2
    row = next(line for line in printed.splitlines() if line.startswith("smoothed "))
    clean, certified, attacked, _ = map(float, row.split()[1:])
    assert certified == pytest.approx(len(covered) / len(IMAGES), abs=1e-3)
    assert certified <= attacked <= clean
    bare = [line.split()[-4:] for line in printed.splitlines()
            if line.startswith(("no noise", "undefended"))]  # fmt: skip
    assert len(bare) == 2
    assert bare[0] == bare[1]  # it is the same network
    assert f"{len(covered) + len(partly)} certificates attacked within their range: 0" in printed
    assert len(out.read_text().splitlines()) == 3 * len(IMAGES) + len(partly)


def test_a_certificate_that_does_not_hold_is_a_bug(run, capsys, tmp_path):
    content = read_records(run / "records.jsonl")
    certifier, model, data = load_certifier(run), load_network(run), load_data(run)
    # Of a network with a flaw: class 3 whatever it sees, and certificates of another one.
    torch.nn.init.zeros_(list(model.parameters())[-2])
    list(model.parameters())[-1].data.copy_(100.0 * torch.eye(10)[3])
    weights = tmp_path / "flawed.safetensors"
    save_file(model.state_dict(), weights)
    records = tmp_path / "records.jsonl"
    write(records, model, certifier, content.certificates)
    assert attack(run, "--weights", weights, "--records", records) == 1
    printed = capsys.readouterr().out
    wrong = [c for c in content.certificates
             if not c.abstained and c.predicted != 3 and c.radius > 0]  # fmt: skip
    assert len(wrong) >= 2
    for c in wrong:
        assert f"BUG: image {c.index}: certified as {c.predicted}" in printed
    assert "BUG: certified accuracy" in printed
    assert data.test_item(0)[0].shape == (1, 8, 8)


def test_a_radius_that_is_too_large_is_a_bug(run, capsys, tmp_path):
    # The range of a wide certifier, and certificates of the narrow one: they claim too much.
    folder = tmp_path / "wide"
    (folder / "checkpoints").mkdir(parents=True)
    config = json.loads(json.dumps(CONFIG))
    config["certification"]["certifier"]["init_args"]["box"] = {"angle": [-180.0, 180.0]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    model, certifier = load_network(run), load_certifier(folder)
    content = read_records(run / "records.jsonl")
    write(folder / "records.jsonl", model, certifier, content.certificates)
    assert attack(folder, "--weights", run / "checkpoints/best.ckpt") == 1
    printed = capsys.readouterr().out
    assert "BUG: image" in printed
    # An image of which only a part is claimed is attacked within that part alone.
    half = [dataclasses.replace(c, radius=1e-3) for c in content.certificates if not c.abstained]
    write(folder / "records.jsonl", model, certifier, half)
    assert attack(folder, "--weights", run / "checkpoints/best.ckpt") == 0
    assert f"{len(half)} certificates attacked" in capsys.readouterr().out


def test_records_of_another_network_or_other_images_are_refused(run, capsys, tmp_path):
    content = read_records(run / "records.jsonl")
    model, certifier = load_network(run), load_certifier(run)
    changed = [dataclasses.replace(c, image="0" * 16) for c in content.certificates]
    write(tmp_path / "records.jsonl", model, certifier, changed)
    with pytest.raises(SystemExit, match="another one than was certified"):
        attack(run, "--records", tmp_path / "records.jsonl")
    for parameter in model.parameters():
        parameter.data += 1
    with pytest.raises(InputError, match=r"model\.weights"):
        check_recorded(content, model, certifier)
    write(tmp_path / "records.jsonl", model, certifier, content.certificates)
    with pytest.raises(SystemExit, match="2"):
        attack(run, "--records", tmp_path / "records.jsonl")
    assert "of others" in capsys.readouterr().err


def test_what_an_experiment_lacks_is_named(run, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text((run / "config.yaml").read_text())
    with pytest.raises(InputError, match="give the weights"):
        load_network(tmp_path)
    for wrong in (tmp_path / "none", tmp_path / "none.yaml"):
        with pytest.raises(InputError, match="run's folder"):
            load_data(wrong)
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="to fit"):
        load_network(config, tmp_path / "other.safetensors")
    state = load_network(run).state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    for weights in (tmp_path / "weights.safetensors", run / "checkpoints" / "best.ckpt"):
        same = load_network(config, weights)
        assert all(torch.equal(state[name], value) for name, value in same.state_dict().items())
    assert load_certifier(config).describe() == load_certifier(run).describe()
    settings = json.loads(json.dumps(CONFIG))
    settings["certification"]["certifier"]["init_args"]["n"] = 2000
    (tmp_path / "certify.yaml").write_text(yaml.safe_dump(settings))
    assert load_certifier(tmp_path).draws > load_certifier(config).draws
    empty = RecordFile({"model": {}, "certifier": {}}, [])
    with pytest.raises(InputError, match=r"model\.architecture"):
        check_recorded(empty, load_network(run), load_certifier(run))
