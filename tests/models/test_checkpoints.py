"""Every shipped checkpoint is what its card and its records say."""

import importlib
import json
from pathlib import Path

import pytest

from lightning_smooth.maths.certified import average_certified_radius, certified_accuracy
from lightning_smooth.models import fingerprint
from lightning_smooth.models.weights import load_weights, read_state_dict
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.attacked import summarise_attack
from lightning_smooth.records.audit import audit
from lightning_smooth.records.reading import read_kind, read_records

ROOT = Path(__file__).parents[2]
ALL = sorted((ROOT / "checkpoints").glob("*.json"))
SURROGATES = [path for path in ALL if "surrogate" in path.stem]
GENERATIVE = [path for path in ALL if path.stem.endswith(("-pixelcnn", "-wgan"))]
"""Their cards: tests/models/test_generative_checkpoints.py."""
PARTS = [path for path in ALL if path.stem in ("cifar10-quilting-bank", "mnist-lid")]
ATTACKED = [
    path for path in ALL if "attacked_accuracy" in json.loads(path.read_text()).get("measured", {})
]
CARDS = [path for path in ALL if path not in (*SURROGATES, *GENERATIVE, *PARTS, *ATTACKED)]
RECORDS = [
    *(ROOT / "docs").rglob("records.jsonl"),
    *(ROOT / "docs" / "results" / "ranges").glob("*.jsonl"),
]


def built(described):
    """The network of a card's class path and arguments."""
    if not isinstance(described, dict) or "class_path" not in described:
        return described
    module, name = described["class_path"].rsplit(".", 1)
    arguments = {k: built(v) for k, v in described.get("init_args", {}).items()}
    return getattr(importlib.import_module(module), name)(**arguments)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_card_weights_and_records_agree(path):
    card = json.loads(path.read_text())
    weights = path.with_name(card["file"])
    assert weights.stat().st_size < 2_000_000
    model = built(card["model"])
    model.load_state_dict(read_state_dict(weights))
    content = read_records(ROOT / card["measured"]["records"])
    assert fingerprint(model) == content.header["model"]
    assert fingerprint(model)["weights"] == card["weights"]
    correct = [c.correct for c in content.certificates]
    radius = [c.radius for c in content.certificates]
    for at, rate in card["measured"]["certified_accuracy"].items():
        assert certified_accuracy(correct, radius, [float(at)])[0] == pytest.approx(rate)
    if "acr" in card["measured"]:
        acr = average_certified_radius(correct, radius)
        assert acr == pytest.approx(card["measured"]["acr"], abs=5e-5)


@pytest.mark.parametrize("path", SURROGATES, ids=lambda path: path.stem)
def test_a_surrogate_is_what_its_card_says(path):
    card = json.loads(path.read_text())
    weights = path.with_name(card["file"])
    model = built(card["model"])
    model.load_state_dict(read_state_dict(weights))
    assert weights.stat().st_size < 2_000_000
    assert fingerprint(model)["weights"] == card["weights"]
    assert model.lipschitz() == card["measured"]["lipschitz"]


@pytest.mark.parametrize("path", sorted(RECORDS), ids=str)
def test_every_verdict_follows_from_its_counts(path):
    content = read_records(path)
    assert len(content.certificates) == content.header["selection"]["images"]
    result = audit(path)
    assert not result.faults
    assert result.tallies["radius"].passed == len(content.certificates)


@pytest.mark.parametrize("path", ATTACKED, ids=lambda path: path.stem)
def test_what_was_attacked_is_what_its_card_says(path):
    card = json.loads(path.read_text())
    weights = path.with_name(card["file"])
    assert weights.stat().st_size < 2_000_000
    model = built(card["model"])
    load_weights(model, weights)
    content = read_kind(ROOT / card["measured"]["records"], AttackOutcome)
    assert fingerprint(model) == content.header["model"]
    assert content.header["attack"] == card["measured"]["attack"]
    figures = summarise_attack(content.results)
    for name in ("clean_accuracy", "attacked_accuracy"):
        assert figures[name] == pytest.approx(card["measured"][name])


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.stem)
def test_a_part_of_a_defense_is_what_its_card_says(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    card = json.loads(path.read_text())
    assert path.with_name(card["file"]).stat().st_size < 2_000_000
    model = built(card["model"])
    assert fingerprint(model)["weights"] == card["weights"]
