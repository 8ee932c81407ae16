"""Methods beside Gaussian votes are computed again; what was changed is found."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from lightning_smooth.certify import (
    ExactGaussianCertifier,
    LipschitzCertifier,
    SoftGaussianCertifier,
    UniformCertifier,
)
from lightning_smooth.records import audit_more  # noqa: F401 - enters its methods
from lightning_smooth.records.audit import audit
from lightning_smooth.records.audit_case import subject
from lightning_smooth.records.audit_checks import CHECKS
from lightning_smooth.records.store import RecordStore


class Halfspace(nn.Module):
    """Class 1 where the mean is above 1/2; each score is 2-Lipschitz in l2: 8 / sqrt(16)."""

    def forward(self, x):
        score = 8 * (x.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([-score, score], dim=1)


CERTIFIERS = {
    "exact": ExactGaussianCertifier(0.5, n=1000),
    "soft": SoftGaussianCertifier(0.5, n=2000),
    "uniform": UniformCertifier(0.5, n=1000),
}
STEPS = (128, 140, 160, 180, 200, 220, 255)
IMAGES = [torch.full((1, 4, 4), steps / 255) for steps in STEPS]


def records(path, certifier, change=None):
    found = sorted(
        certifier.certify_batch(Halfspace(), IMAGES, indices=range(7), labels=[1] * 7),
        key=lambda c: c.index,
    )
    if change:
        found[4] = change(found[4])
    store = RecordStore(path / "records.jsonl")
    store.recover()
    header = {"name": "test", "model": "m", "certifier": certifier.describe(), "data": "d"}
    store.open({**header, "selection": {"skip": 1, "limit": None, "images": 7}})
    for certificate in found:
        store.append(certificate)
    store.merge()
    return path / "records.jsonl"


@pytest.mark.parametrize("name", CERTIFIERS)
def test_what_was_measured_passes(name, tmp_path):
    result = audit(records(tmp_path, CERTIFIERS[name]))
    assert result.faults == ()
    assert result.tallies["bound"].passed == result.tallies["radius"].passed == 7


def changed(**fields):
    return lambda c: dataclasses.replace(c, **fields)


def within(part, **values):
    return lambda c: dataclasses.replace(c, **{part: {**getattr(c, part), **values}})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("exact", lambda c: dataclasses.replace(c, radius=c.radius + 1e-6)),
        ("exact", within("parameters", clip=[-30, 31])),
        ("exact", within("parameters", generator="cuda-philox")),
        ("soft", lambda c: dataclasses.replace(c, p_lower=c.p_lower + 1e-6)),
        ("soft", lambda c: within("measured", sum=c.measured["sum"] + 2**20)(c)),
        ("soft", lambda c: within("measured", squares=c.measured["squares"] * 99 // 100)(c)),
        ("soft", within("measured", sum0=1, rival0=2)),
        ("soft", within("measured", squares=0.5)),
        ("soft", within("parameters", scale=0)),
        ("soft", changed(measured={})),
        ("uniform", changed(radius_unit="l2")),
        ("uniform", lambda c: dataclasses.replace(c, radius=c.radius * 1.001)),
        ("uniform", within("parameters", lam=1.0)),
    ],
)
def test_what_was_changed_is_found(name, change, tmp_path):
    faults = audit(records(tmp_path, CERTIFIERS[name], change)).faults
    assert faults
    assert {fault.index for fault in faults} == {4}


def problems(certificate):
    case = subject(certificate, {"certifier": LipschitzCertifier(2.0, 2.0**-20).describe()})
    found = {name: check(case) for name, (_, check) in CHECKS.items() if name != "ledger"}
    return {name: why for name, why in found.items() if why}


def test_a_margin_is_computed_again():
    for index, image in enumerate(IMAGES):
        c = LipschitzCertifier(2.0, 2.0**-20)(Halfspace(), image, index=index, label=1)
        assert problems(c) == {}
        # both scores change by 2 a unit, in opposite directions: the radius is the exact one
        assert c.radius == pytest.approx(4 * (STEPS[index] / 255 - 0.5), abs=1e-5)
    assert np.isclose(c.radius, 2.0, rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: dataclasses.replace(c, radius=c.radius * 1.001),
        changed(radius_unit="l1"),
        within("measured", top=1.0, second=2.0),
        within("parameters", lipschitz=1.0),
        within("parameters", norm="l3"),
        changed(n=10, n0=10),
        changed(predicted=-1, radius=0.0),
        changed(measured={"top": 1.0, "second": 1.0}),
    ],
)
def test_a_margin_that_was_changed_is_found(change):
    c = LipschitzCertifier(2.0, 2.0**-20)(Halfspace(), IMAGES[4], index=4, label=1)
    assert problems(change(c))
