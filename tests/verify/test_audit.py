"""Enumerated certificates are computed again from their records; what was changed is found."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from lightning_smooth.records.audit import audit
from lightning_smooth.records.audit_case import subject
from lightning_smooth.records.audit_checks import CHECKS
from lightning_smooth.records.measure import measure
from lightning_smooth.records.store import RecordStore
from lightning_smooth.transforms import (
    IntegerTranslation,
    LevelBrightness,
    NearestRotation,
    Occlusion,
    Pixelate,
)
from lightning_smooth.verify import EnumerationCertifier

CERTIFIERS = {
    "shifts": EnumerationCertifier(IntegerTranslation("cyclic"), 3.0),
    "levels": EnumerationCertifier(Pixelate(), 0.8),
    "turns": EnumerationCertifier(NearestRotation(), 40.0),
    "brightness": EnumerationCertifier(LevelBrightness(), 200.0),
    "patches": EnumerationCertifier(Occlusion(), 5.0),
}


def network():
    torch.manual_seed(4)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3, bias=False)).double()


def certificates(certifier):
    torch.manual_seed(0)
    spread = torch.linspace(0.02, 1, 30, dtype=torch.float64)[:, None, None, None]
    ramp = torch.linspace(0, 1, 6, dtype=torch.float64)
    noise = torch.rand(30, 1, 6, 6, dtype=torch.float64)
    images = list((1 - spread) * (0.4 + 0.2 * ramp) + spread * noise)
    found = certifier.certify_batch(network(), images, indices=range(30), labels=[1] * 30)
    return sorted(found, key=lambda c: c.index)


@pytest.mark.parametrize("name", CERTIFIERS)
def test_what_was_measured_passes(name, tmp_path):
    certifier, found = CERTIFIERS[name], certificates(CERTIFIERS[name])
    assert len({c.radius for c in found}) > 2
    store = RecordStore(tmp_path / "records.jsonl")
    store.recover()
    header = {"name": "test", "model": "m", "certifier": certifier.describe(), "data": "d"}
    store.open({**header, "selection": {"skip": 1, "limit": None, "images": 30}})
    for c in found:
        store.append(c)
    store.merge()
    result = audit(tmp_path / "records.jsonl")
    assert result.faults == ()
    for check in ("bound", "verdict", "radius", "guarantee", "settings"):
        assert result.tallies[check].passed == 30


def problems(certifier, change):
    """Those of the certificate with the smallest radius, once changed."""
    c = change(min(certificates(certifier), key=lambda c: c.radius))
    case = subject(c, {"certifier": certifier.describe()})
    return [problem.kind for _, check in CHECKS.values() for problem in check(case) or []]


def within(part, **values):
    return lambda c: dataclasses.replace(c, **{part: {**getattr(c, part), **values}})


@pytest.mark.parametrize("name", CERTIFIERS)
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda c: dataclasses.replace(c, radius=c.radius + 0.01), "unsound"),
        (lambda c: dataclasses.replace(c, radius_unit="l2"), "unsound"),
        (lambda c: dataclasses.replace(c, predicted=-1, radius=0.0), "not reproducible"),
        (lambda c: dataclasses.replace(c, p_lower=0.9), "unsound"),
        (lambda c: dataclasses.replace(c, n0=1), "contradiction"),
        (lambda c: dataclasses.replace(c, measured={"listed": 9, "agreed": 3}), "contradiction"),
        (within("measured", agreed=0), "contradiction"),
        (lambda c: within("measured", agreed=c.measured["listed"])(c), "contradiction"),
        (within("parameters", transform="Rotation()"), "contradiction"),
        (within("parameters", largest=9.0), "contradiction"),
    ],
)
def test_a_change_is_found(name, change, kind):
    assert problems(CERTIFIERS[name], lambda c: c) == []
    assert kind in problems(CERTIFIERS[name], change)


def test_a_record_without_the_nearest_other_answer_reaches_no_farther_than_was_tried():
    certifier = CERTIFIERS["shifts"]
    whole = max(certificates(certifier), key=lambda c: c.radius)
    assert whole.radius == 3.0
    case = subject(dataclasses.replace(whole, radius=math.sqrt(10)), {})
    assert [problem.kind for problem in CHECKS["radius"][1](case)] == ["unsound"]


def test_reports_say_what_was_attacked():
    shifts, levels = (CERTIFIERS[name] for name in ("shifts", "levels"))
    said = measure(shifts.radius_unit, shifts.describe())
    assert said.axis == "ℓ₂ norm of (dx, dy), whole pixels"
    assert said.below("3").startswith("IntegerTranslation(padding='cyclic') of (dx, dy) of")
    said = measure(levels.radius_unit, levels.describe())
    assert said.below("0.5") == "Pixelate() of a strength below 0.5 share of pixels"
