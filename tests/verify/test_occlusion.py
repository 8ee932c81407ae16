"""Patches verified some at once: the same answers as one by one, for real parameters as well."""

import math
import re

import pytest
import torch
from torch import nn

from lightning_smooth.__main__ import main
from lightning_smooth.data import fakes
from lightning_smooth.errors import InputError
from lightning_smooth.records.audit import audit
from lightning_smooth.records.audit_case import subject
from lightning_smooth.records.audit_checks import CHECKS
from lightning_smooth.records.reading import read_records
from lightning_smooth.transforms import Occlusion
from lightning_smooth.verify import EnumerationCertifier, SemantifyVerifier

SIDES = tuple(side / 5 for side in range(6))


def network(seed=7, share=1.0):
    """Scores that are equal, as to a share, of an image amid `pictures`: other classes are near."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    )
    with torch.no_grad():
        model[4].bias.sub_(share * model(torch.stack(pictures(12)).mean(dim=0)[None])[0])
    return model


def pictures(count):
    torch.manual_seed(0)
    axis = torch.linspace(-1, 1, 9)
    turns = 3 * torch.rand(count, 2)
    waves = [torch.outer(torch.sin(a * axis + b), torch.cos(3 * axis + a)) for a, b in turns]
    return [(0.5 + 0.4 * wave)[None] for wave in waves]


def problems(certifier, certificate):
    case = subject(certificate, {"certifier": certifier.describe()})
    return [problem for _, check in CHECKS.values() for problem in check(case) or []]


def sides_held(certificate):
    """The largest side of a patch below the radius, of 5."""
    return math.floor(5 * certificate.radius) if certificate.radius < 1 else 5


@pytest.mark.parametrize("parts", [1, 3, 8])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_every_side_is_decided_as_by_trying_them_all(parts, value):
    chosen = (3, 4, 6, 8, 10, 11)
    models, images = [network(share=k / 12) for k in chosen], [pictures(12)[k] for k in chosen]
    transform, box = Occlusion(value), {"side": (0, 5), "x": (-4, 8), "y": (-4, 8)}
    verifier = SemantifyVerifier(transform, box, SIDES, parts=parts, boxes=5000)
    tried = EnumerationCertifier(transform, 5.0)
    found = [verifier(models[k], image, index=k) for k, image in enumerate(images)]
    listed = [tried(models[k], image, index=k) for k, image in enumerate(images)]
    assert len({sides_held(c) for c in found}) > 2
    for one, other in zip(found, listed, strict=True):
        nearest = other.measured.get("nearest", math.inf)
        assert one.predicted == other.predicted
        assert one.decisions == {
            repr(side / 5): "held" if side < nearest else "not held" for side in range(6)
        }
        assert sides_held(one) == math.floor(other.radius)
        assert one.measured.get("nearest_side", math.inf) == nearest
        assert problems(verifier, one) == []
        if one.radius == 1:
            assert one.measured["held"] < 0.8 * other.measured["listed"]


def test_places_are_where_the_box_has_them():
    """One pixel decides: patches that cannot reach it change nothing."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(25, 2))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[0, 5 * 2 + 3] = 1.0  # row 2, column 3
        model[1].bias.copy_(torch.tensor([-0.5, 0.0]))
    image = torch.ones(1, 5, 5)

    def radius(side, x, y):
        box = {"side": (0, side), "x": x, "y": y}
        verifier = SemantifyVerifier(Occlusion(), box, (0.0, 1.0), parts=2)
        c = verifier(model, image, index=0)
        assert problems(verifier, c) == []
        assert (c.radius == 1) == (c.uncovered == ()) == ("nearest" not in c.measured)
        return c.radius

    assert radius(3, (0, 4), (3, 4)) == 1
    assert radius(3, (0, 0), (0, 4)) == 1
    assert radius(4, (0, 0), (0, 4)) == pytest.approx(3.5 / 4, rel=1e-6)
    assert radius(2, (0, 4), (0, 2)) == pytest.approx(0.5 / 2, rel=1e-6)
    assert radius(2, (0, 2.5), (1, 1)) == pytest.approx(1.5 / 2, rel=1e-6)
    # 2.5 is 2, and what is beyond is 3.
    assert radius(1, (0, 2.5), (2, 2)) == 1
    assert radius(1, (0, 2.6), (2, 2)) == pytest.approx(0.5, rel=1e-6)
    assert radius(2.5, (3, 3), (2, 2)) == pytest.approx(0.2, rel=1e-6)
    assert radius(0.5, (3, 3), (2, 2)) == 1
    # Of a side alone the patch is in the corner.
    alone = SemantifyVerifier(Occlusion(), {"side": (0, 5)})(model, image, index=0)
    assert alone.radius == pytest.approx(0.7, rel=1e-6)
    assert alone.measured["nearest_side"] == 4


@pytest.mark.parametrize("seed", range(3))
def test_real_parameters_within_the_radius_have_the_answer(seed):
    model, image = network(seed), pictures(3)[seed]
    box = {"side": (0.0, 3.5), "x": (-1.5, 8.3), "y": (0.5, 7.5)}
    c = SemantifyVerifier(Occlusion(), box, (0.0, 1.0), parts=4, boxes=3000)(model, image, index=0)
    generator = torch.Generator().manual_seed(1)
    ends = torch.tensor(list(box.values()), dtype=torch.float64)
    drawn = torch.rand(4000, 3, generator=generator, dtype=torch.float64)
    drawn = torch.cat([drawn, drawn.round(), (drawn * 8).round() / 8])
    theta = ends[:, 0] + drawn * (ends[:, 1] - ends[:, 0])
    theta = torch.cat([theta, (2 * theta).round().div(2).clamp(ends[:, 0], ends[:, 1])])
    with torch.no_grad():
        for dtype in (torch.float32, torch.float64):
            shown = Occlusion()(image[None].to(dtype), theta)
            other = model(shown.float()).argmax(dim=1) != c.predicted
            least = float((theta[:, 0][other] / 3.5).min()) if bool(other.any()) else 1.0
            assert 0 < c.radius <= least
            assert (c.radius == 1) == (not bool(other.any()))
    if c.radius < 1:
        assert c.radius == pytest.approx(c.measured["nearest"], rel=1e-6)
        at = [[c.measured[f"nearest_{name}"] for name in box]]
        shown = Occlusion()(image[None], torch.tensor(at, dtype=torch.float64))
        assert int(model(shown).argmax()) == c.measured["nearest_class"] != c.predicted


def test_a_counterexample_at_the_end_of_the_range_is_one():
    """A side of 1.5 is 2: the only attack with another answer, as large as the range allows."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[0] = 1 / 9
        model[1].bias.copy_(torch.tensor([-0.7, 0.0]))
    box = {"side": (0, 1.5), "x": (0, 1), "y": (0, 1)}
    verifier = SemantifyVerifier(Occlusion(), box, (0.5, 1.0))
    c = verifier(model, torch.ones(1, 3, 3), index=0)
    assert 0.99999 < c.radius < 1
    assert c.measured["nearest"] == 1
    assert c.measured["nearest_side"] == 2
    assert c.decisions == {"0.5": "held", "1.0": "not held"}
    assert problems(verifier, c) == []


def test_margins_within_rounding_are_left_and_the_search_ends():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, -1.0, 1.0, -1.0], [0.0] * 4]))
        model[1].bias.copy_(torch.tensor([1e-7, 0.0]))
    box = {"side": (0, 2), "x": (0, 1), "y": (0, 1)}
    verifier = SemantifyVerifier(Occlusion(0.5), box, (0.0, 0.5, 1.0), parts=1)
    c = verifier(model, torch.full((1, 2, 2), 0.5), index=0)
    assert c.radius == 0
    assert c.measured["held"] == 0
    assert "nearest" not in c.measured
    assert c.decisions == {"0.0": "held", "0.5": "undecided", "1.0": "undecided"}
    assert problems(verifier, c) == []


def test_what_a_verifier_is_not_asked():
    for box, message in (
        ({"x": (0, 4)}, "not only of where"),
        ({"x": (0, 4), "y": (0, 4)}, "not only of where"),
        ({"side": (-1, 5), "x": (0, 4), "y": (0, 4)}, "`side`"),
        ({"side": (1, 5), "x": (0, 4)}, "around"),
        ({"side": (0, 0), "x": (0, 4)}, "more than a point"),
        ({"side": (0, 5), "x": (0.2, 0.8)}, "no whole number"),
        ({"side": (0, 5), "z": (0, 4)}, "side, x, y"),
        ({"side": (0, 5), "x": (0, 3.5 - 1e-9)}, "move it away from the half"),
        ({"side": (0, 2.5 + 1e-9)}, "move it away from the half"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            SemantifyVerifier(Occlusion(), box)


@pytest.mark.slow
def test_the_command_certifies_audits_and_reports(tmp_path, monkeypatch, request, capsys):
    monkeypatch.chdir(request.config.rootpath)
    root, folder = tmp_path / "data", tmp_path / "run"
    fakes.write_mnist(root)
    with fakes.fake_mnist(root):
        shared = [
            "--config=configs/mnist_interval_rotation.yaml",
            "--config=configs/certify/occlusion.yaml", f"--data.root={root}",
            "--data.num_workers=0", "--data.download=false", f"--output.folder={folder}",
            "--trainer.enable_progress_bar=false", "--certification.certifier.boxes=100",
            "--model.weights=checkpoints/mnist-interval-rotation.safetensors",
        ]  # fmt: skip
        assert main(["certify", *shared, "--data.skip=1", "--data.limit=2"]) == 0
    content = read_records(folder / "records.jsonl")
    assert content.header["certifier"]["identity"] == [0.0, None, None]
    assert [c.radius_unit for c in content.certificates] == ["box", "box"]
    assert audit(folder).faults == ()
    assert main(["report", str(folder)]) == 0
    said = re.sub(r"<[^>]*>|\s+", " ", (folder / "report" / "index.html").read_text())
    assert "part of the range: side 0 to 5, anywhere in x -4 to 27, y -4 to 27" in said
    capsys.readouterr()
