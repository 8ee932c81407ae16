"""Every shipped checkpoint is what its card and its records say."""

import json
from pathlib import Path

import pytest

from lightning_smooth.maths.certified import average_certified_radius, certified_accuracy
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.models import SmallConvNet, fingerprint
from lightning_smooth.models.weights import read_state_dict
from lightning_smooth.records.reading import read_records

ROOT = Path(__file__).parents[2]
CARDS = sorted((ROOT / "checkpoints").glob("*.json"))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_card_weights_and_records_agree(path):
    card = json.loads(path.read_text())
    weights = path.with_name(card["file"])
    assert weights.stat().st_size < 2_000_000
    model = SmallConvNet(image_size=28)
    model.load_state_dict(read_state_dict(weights))
    content = read_records(ROOT / card["measured"]["records"])
    assert fingerprint(model) == content.header["model"]
    assert fingerprint(model)["weights"] == card["weights"]
    correct = [c.correct for c in content.certificates]
    radius = [c.radius for c in content.certificates]
    for at, rate in card["measured"]["certified_accuracy"].items():
        assert certified_accuracy(correct, radius, [float(at)])[0] == pytest.approx(rate)
    acr = average_certified_radius(correct, radius)
    assert acr == pytest.approx(card["measured"]["acr"], abs=5e-5)


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("records.jsonl")), ids=str)
def test_every_radius_follows_from_its_counts(path):
    content = read_records(path)
    assert len(content.certificates) == content.header["selection"]["images"]
    for c in content.certificates:
        assert c.hits == c.votes.get(c.candidate, 0)
        assert sum(c.votes.values()) <= c.n
        p_lower = clopper_pearson_lower(c.hits, c.n, c.ledger["estimation"])
        assert c.p_lower == pytest.approx(p_lower, rel=1e-12)
        assert c.radius <= gaussian_radius(p_lower, c.parameters["sigma"]) * (1 + 1e-12)
        assert c.abstained == (p_lower <= 0.5)
