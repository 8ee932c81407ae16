"""Sequential methods are computed again from their looks; what was changed is found."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from lightning_smooth.certify import AdaptiveGaussianCertifier, SequentialGaussianCertifier
from lightning_smooth.records.audit import audit
from lightning_smooth.records.store import RecordStore


class Halfspace(nn.Module):
    def forward(self, x):
        score = x.mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([-score, score], dim=1)


CERTIFIERS = {
    "looks": SequentialGaussianCertifier(0.5, [0.0, 0.3, 0.6], n=3000),
    "betting": SequentialGaussianCertifier(0.5, [0.0, 0.3, 0.6], n=3000, rule="betting"),
    "adaptive": AdaptiveGaussianCertifier(0.5, 0.9, n=3000),
}


def records(path, certifier, change=None):
    radii = np.linspace(0, 1.5, 7)
    images = [torch.full((1, 4, 4), 0.5 + radius / 4) for radius in radii]
    found = sorted(
        certifier.certify_batch(Halfspace(), images, indices=range(7), labels=[1] * 7),
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


def shrinking(c):
    return dataclasses.replace(c, looks=(c.looks[0], (c.looks[1][0], 3), *c.looks[2:]))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("looks", changed(radius=0.9)),
        ("looks", changed(decisions={"0.0": "held", "0.3": "held", "0.6": "undecided"})),
        ("looks", changed(ledger={"looks": 0.0001, "last look": 0.0005})),
        ("looks", lambda c: dataclasses.replace(c, p_lower=c.p_lower * 1.001)),
        ("looks", lambda c: dataclasses.replace(c, looks=c.looks[1:])),
        ("looks", changed(looks=())),
        ("betting", lambda c: dataclasses.replace(c, parameters={**c.parameters, "rule": "luck"})),
        ("adaptive", lambda c: dataclasses.replace(c, radius=c.radius + 1e-6)),
        ("adaptive", shrinking),
        ("adaptive", lambda c: dataclasses.replace(c, looks=c.looks[:-1])),
    ],
)
def test_what_was_changed_is_found(name, change, tmp_path):
    faults = audit(records(tmp_path, CERTIFIERS[name], change)).faults
    assert faults
    assert {fault.index for fault in faults} == {4}
