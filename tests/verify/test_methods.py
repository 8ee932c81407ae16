"""The methods that verify ranges: what each of them is, and through the command line."""

import json
import re

import pytest
import torch
from torch import nn

from lightning_smooth.__main__ import main
from lightning_smooth.data import fakes
from lightning_smooth.errors import InputError
from lightning_smooth.records.audit import audit
from lightning_smooth.records.reading import read_records
from lightning_smooth.transforms import Brightness, Hue, Rotation, Scaling, Translation
from lightning_smooth.verify import (
    IntervalEnclosure,
    IntervalVerifier,
    LayerEnclosure,
    LinearEnclosure,
    LinearVerifier,
    SemantifyVerifier,
)

METHODS = {"interval": IntervalVerifier, "linear": LinearVerifier, "semantify": SemantifyVerifier}


def network():
    """Two filters and the class of the stronger: no answer is the same everywhere."""
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    )


def smooth_picture():
    axis = torch.linspace(-1, 1, 9)
    return (0.5 + 0.4 * torch.outer(torch.sin(2 * axis), torch.cos(3 * axis + 1)))[None]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("transform", "box", "parts"),
    [
        (Rotation(), {"angle": (-60.0, 60.0)}, 30),
        (Scaling(), {"scale": (0.6, 1.4)}, 30),
        (Translation(), {"dx": (-1.0, 1.0), "dy": (-1.0, 1.0)}, 8),
    ],
    ids=lambda one: type(one).__name__ if not isinstance(one, dict | int) else None,
)
def test_a_radius_ends_before_the_first_other_answer(name, transform, box, parts):
    model, image = network(), smooth_picture()
    verifier = METHODS[name](transform, box, parts=parts, boxes=500, stored="exact")
    c = verifier(model, image, index=0)
    axes = [torch.linspace(*ends, 1201 if len(box) == 1 else 61).double() for ends in box.values()]
    grid = torch.cartesian_prod(*axes).reshape(-1, len(box))
    ends, at = torch.tensor(list(box.values())).double(), torch.tensor(verifier.identity).double()
    norms = torch.maximum((grid - at) / (ends[:, 1] - at), (at - grid) / (at - ends[:, 0]))
    theta = transform.theta(**{one: grid[:, k] for k, one in enumerate(box)})
    with torch.no_grad():
        answers = model(transform(image[None], theta)).argmax(dim=1)
    other = norms.amax(dim=1)[answers != c.predicted]
    assert c.method == name
    assert 0.1 < c.radius <= min([1.0, *other.tolist()])
    assert c.measured.get("nearest", 1.0) >= c.radius


def test_each_has_its_enclosure():
    box = {"angle": (-1.0, 1.0)}
    assert isinstance(IntervalVerifier(Rotation(), box).enclosure, IntervalEnclosure)
    assert isinstance(SemantifyVerifier(Rotation(), box).enclosure, LayerEnclosure)
    found = LinearVerifier(Rotation(), box, pieces=5)
    assert isinstance(found.enclosure, LinearEnclosure)
    assert found.describe()["enclosure"] == {"parts": 5}
    assert found.describe()["parts"] == 16
    for kind in METHODS.values():
        assert kind(Rotation(), box).describe()["bound"] == "crown"
    assert IntervalVerifier(Rotation(), box, bound="interval").describe()["bound"] == "interval"
    assert LinearVerifier(Rotation(), box, intermediate="crown").intermediate == "crown"


def test_transformations_that_are_not_known_are_named():
    with pytest.raises(InputError, match="Hue"):
        IntervalVerifier(Hue(), {"hue": (-1.0, 1.0)})
    with pytest.raises(InputError, match="Brightness"):
        LinearVerifier(Brightness(), {"brightness": (-1.0, 1.0)})


def test_forms_are_exact_where_a_transformation_is_linear():
    model, image = network(), smooth_picture()
    box = {"brightness": (-0.3, 0.3)}
    layers = SemantifyVerifier(Brightness(), box, parts=1)(model, image, index=0)
    pixels = IntervalVerifier(Brightness(), box, parts=1)(model, image, index=0)
    assert layers.radius >= pixels.radius > 0
    assert layers.measured["boxes"] < pixels.measured["boxes"]


@pytest.mark.parametrize(
    "name", [n if n == "interval" else pytest.param(n, marks=pytest.mark.slow) for n in METHODS]
)
def test_the_command_certifies_audits_and_reports(name, tmp_path, monkeypatch, request, capsys):
    monkeypatch.chdir(request.config.rootpath)
    root, folder = tmp_path / "data", tmp_path / "run"
    fakes.write_mnist(root)
    with fakes.fake_mnist(root):
        shared = [
            "--config=configs/mnist_interval.yaml", f"--config=configs/certify/{name}.yaml",
            f"--data.root={root}", "--data.batch_size=8", "--data.val_size=8",
            "--data.num_workers=0", "--data.download=false", f"--output.folder={folder}",
            "--trainer.enable_progress_bar=false", "--certification.certifier.boxes=20",
            "--certification.certifier.parts=400",
        ]  # fmt: skip
        few = ["--trainer.max_steps=1", "--trainer.limit_val_batches=1", "--trainer.max_epochs=1"]
        assert main(["fit", *shared, *few]) == 0
        assert main(["certify", *shared, "--data.limit=2"]) == 0
    content = read_records(folder / "records.jsonl")
    assert content.header["certifier"]["method"] == name
    assert len(content.certificates) == 2
    for c in content.certificates:
        assert c.radius_unit == "box"
        assert c.measured["boxes"] <= 20
        assert c.seconds > 0
    assert audit(folder).faults == ()
    assert main(["audit", str(folder)]) == 0
    assert main(["report", str(folder)]) == 0
    said = re.sub(r"<[^>]*>|\s+", " ", (folder / "report" / "index.html").read_text())
    assert "part of the range: angle ±30" in said
    assert "certified" in said
    assert json.loads((folder / "summary.json").read_text())["certify"]["images"] == 2
    capsys.readouterr()
