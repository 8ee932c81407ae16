"""Certificates as lines of JSON: fields that are left out, and values that are none."""

import json

import pytest

from lightning_smooth.errors import RecordError
from lightning_smooth.records.certificate import Certificate

PLAIN = Certificate(
    index=0, label=1, candidate=1, predicted=1, radius=0.1, radius_unit="l2",
    guarantee="certified", hits=9, n=10, n0=5, p_lower=0.6, alpha=0.001,
    ledger={"estimation": 0.001}, method="gaussian", parameters={}, seed=0, seconds=0.1,
)  # fmt: skip


def line(**fields):
    return json.dumps({**json.loads(PLAIN.to_json()), **fields})


def test_what_is_empty_is_left_out_and_read_as_empty():
    fields = json.loads(PLAIN.to_json())
    assert "looks" not in fields
    assert "measured" not in fields
    assert Certificate.from_json(PLAIN.to_json()).measured == {}


def test_measured_numbers_keep_every_digit():
    measured = {"squares": 2**62 + 1, "top": 0.1 + 0.2}
    read = Certificate.from_json(line(measured=measured))
    assert read.measured == measured
    assert isinstance(read.measured["squares"], int)
    assert Certificate.from_json(read.to_json()) == read


@pytest.mark.parametrize(
    "measured", [{}, [], None, 1.5, {"x": "y"}, {"x": None}, {"x": True}, {"x": 2**63}, {"x": {}}]
)
def test_measured_values_that_are_none_are_refused(measured):
    with pytest.raises(RecordError, match="measured"):
        Certificate.from_json(line(measured=measured))
