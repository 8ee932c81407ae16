"""An audit finds what was changed in real records, names the image, and passes what is right."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import norm

from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.records import audit_methods
from lightning_smooth.records.audit import audit
from lightning_smooth.records.audit_case import limits
from lightning_smooth.records.audit_methods import Recomputed, Verdict, audits
from lightning_smooth.records.certificate import Certificate
from tests.records.audited import (
    GOOD,
    HEADER,
    IMAGE,
    PLACE,
    REAL,
    ROWS,
    few,
    found,
    parameters,
    write,
)


def test_the_published_records_of_this_repository_pass():
    result = audit(REAL)
    assert result.faults == ()
    assert (result.certificates, result.name) == (500, "mnist")
    tallies = {name: (t.passed, t.failed, t.unchecked) for name, t in result.tallies.items()}
    of_files = {"merged": (1, 0, 0), "header": (1, 0, 0)}
    old = dict.fromkeys(
        ("digest", "decisions", "radii"), (0, 0, 500)
    )  # written before there were digests
    assert {k: v for k, v in tallies.items() if v != (500, 0, 0)} == of_files | old
    assert audit(REAL.parent).faults == ()


UNSOUND, LESS, WRONG = "unsound", "not reproducible", "contradiction"
TAMPERED = [
    ({"radius": GOOD["radius"] * 1.01}, {("radius", UNSOUND)}),
    ({"radius": GOOD["radius"] * (1 + 1e-11)}, {("radius", UNSOUND)}),
    ({"radius": GOOD["radius"] * 0.99}, {("radius", LESS)}),
    ({"radius": GOOD["radius"] * (1 - 1e-8)}, {("radius", LESS)}),
    ({"radius": None}, {("radius", LESS)}),
    ({"radius": -0.5}, {("radius", LESS)}),
    ({"radius_unit": "linf"}, {("guarantee", UNSOUND)}),
    ({"p_lower": 0.97}, {("bound", UNSOUND)}),
    ({"p_lower": GOOD["p_lower"] + 1e-12}, {("bound", UNSOUND)}),
    ({"p_lower": 0.9}, {("bound", LESS)}),
    ({"predicted": -1, "radius": 0.0}, {("verdict", LESS)}),
    ({"predicted": -1}, {("verdict", LESS), ("radius", WRONG)}),
    ({"predicted": 4}, {("lines", WRONG), ("complete", "incomplete")}),
    ({"candidate": 7, "predicted": 7}, {("hits", WRONG), ("candidate", WRONG)}),
    ({"hits": 96666}, {("hits", WRONG), ("bound", LESS), ("radius", LESS)}),
    ({"hits": 96664}, {("hits", WRONG), ("bound", UNSOUND), ("radius", UNSOUND)}),
    (
        {"hits": 40000, "votes": {"9": 40000}},
        {("bound", UNSOUND), ("verdict", UNSOUND), ("radius", UNSOUND)},
    ),
    ({"hits": 100001}, {("lines", WRONG), ("complete", "incomplete")}),
    ({"n": 100001}, {("settings", WRONG), ("bound", UNSOUND), ("radius", UNSOUND)}),
    ({"n0": 99}, {("settings", WRONG), ("votes", WRONG)}),
    ({"n0": 101}, {("settings", WRONG)}),
    ({"alpha": 0.01}, {("settings", WRONG)}),
    ({"alpha": 0.0001}, {("settings", WRONG), ("ledger", UNSOUND)}),
    ({"alpha": 1.5}, {("settings", WRONG), ("ledger", WRONG)}),
    (
        {"ledger": {"estimation": 0.01}},
        {("ledger", UNSOUND), ("bound", LESS), ("radius", LESS)},
    ),
    (
        {"ledger": {"estimation": 0.0005}},
        {("bound", UNSOUND), ("radius", UNSOUND)},
    ),
    ({"ledger": {"estimation": 0.001, "error": 1e-9}}, {("ledger", UNSOUND)}),
    ({"ledger": {"estimation": 0.001, "error": -1e-9}}, {("ledger", UNSOUND)}),
    ({"ledger": {"test": 0.001}}, {("bound", WRONG)}),
    ({"ledger": {}}, {("bound", WRONG), ("ledger", WRONG)}),
    ({"guarantee": "estimated"}, {("guarantee", LESS)}),
    ({"guarantee": "proven"}, {("lines", WRONG), ("complete", "incomplete")}),
    ({"method": "no such method"}, {("method", "unknown"), ("settings", WRONG)}),
    (parameters(sigma=0.25), {("settings", WRONG), ("radius", UNSOUND)}),
    (parameters(sigma=1.0), {("settings", WRONG), ("radius", LESS)}),
    (parameters(sigma=-1.0), {("settings", WRONG), ("bound", WRONG)}),
    (parameters(sigma="half"), {("settings", WRONG), ("bound", WRONG)}),
    (parameters(precision="float32"), {("settings", WRONG)}),
    (parameters(block=64), {("settings", WRONG)}),
    (parameters(classes=9), {("votes", WRONG), ("label", WRONG)}),
    ({"parameters": {}}, {("bound", WRONG), ("settings", "incomplete")}),
    (parameters(classes=1000), {("votes", WRONG)}),
    ({"votes": {}}, {("votes", "incomplete")}),
    ({"votes0": {}}, {("votes", "incomplete")}),
    ({"seed": 1}, {("settings", WRONG)}),
    ({"label": 10}, {("label", WRONG)}),
    ({"label": -1}, {("lines", WRONG), ("complete", "incomplete")}),
    ({"image": "0123"}, {("digest", WRONG)}),
    ({"seconds": -1}, {("lines", WRONG), ("complete", "incomplete")}),
    ({"votes": {"9": 96664, "7": 3336}}, {("hits", WRONG)}),
    ({"votes": {"9": 96665, "7": 3336}}, {("votes", WRONG)}),
    ({"votes": {"9": 96665, "12": 1}}, {("votes", WRONG)}),
    ({"votes": {"9": 96665, "7": -1}}, {("lines", WRONG), ("complete", "incomplete")}),
    ({"votes": {"9": 96665, "09": 1}}, {("lines", WRONG), ("complete", "incomplete")}),
    ({"votes0": {"9": 40, "7": 60}}, {("candidate", WRONG)}),
    ({"votes0": {"9": 101}}, {("votes", WRONG)}),
    ({"decisions": {"0.5": "held"}}, {("decisions", UNSOUND)}),
    ({"decisions": {"0.5": "undecided"}}, {("decisions", LESS)}),
    ({"looks": [[64, 64], [100000, 96665]]}, {("bound", WRONG)}),
    ({"looks": [[64, 64]]}, {("bound", WRONG), ("hits", WRONG)}),
    ({"index": 40}, {("once", WRONG), ("complete", "incomplete")}),
    ({"index": 30}, {("complete", "incomplete"), ("complete", WRONG)}),
    ({"colour": "red"}, {("lines", WRONG), ("complete", "incomplete")}),
]


@pytest.mark.parametrize(("change", "expected"), TAMPERED, ids=[str(c)[:70] for c, _ in TAMPERED])
def test_a_changed_field_is_found_and_its_image_named(change, expected, tmp_path):
    result = audit(few(tmp_path, change))
    assert found(result.faults) == expected
    named = {IMAGE, change.get("index", IMAGE)}
    assert {fault.index for fault in result.faults} <= named
    lines = {fault.line for fault in result.faults if fault.check != "complete"}
    assert lines <= {PLACE + 2, PLACE + 3}


def test_every_field_of_a_real_line_was_changed():
    assert set(GOOD) <= {name for change, _ in TAMPERED for name in change}


def test_both_values_are_given(tmp_path):
    (fault,) = audit(few(tmp_path, {"radius": 0.95})).faults
    assert (fault.index, fault.line, fault.file.name) == (IMAGE, PLACE + 2, "records.jsonl")
    assert fault.recorded == 0.95
    assert fault.expected == GOOD["radius"]


def test_the_bound_and_the_radius_are_computed_from_the_counts_alone(tmp_path):
    bound = clopper_pearson_lower(60000, 100000, 0.001)
    change = {"hits": 60000, "votes": {"9": 60000}, "p_lower": bound}
    true = gaussian_radius(bound, 0.5)
    assert audit(few(tmp_path / "a", change | {"radius": true})).faults == ()
    (fault,) = audit(few(tmp_path / "b", change)).faults
    assert (fault.check, fault.kind, fault.expected) == ("radius", "unsound", true)


def test_nothing_is_passed_over_in_silence(tmp_path):
    change = {"method": "no such method", "votes": {}, "votes0": {}, "label": None}
    result = audit(few(tmp_path, change))
    unchecked = {name for name, tally in result.tallies.items() if tally.unchecked == 1}
    expected = {"bound", "verdict", "radius", "guarantee", "hits", "votes", "candidate", "label"}
    assert unchecked == expected
    assert ("method", "unknown") in found(result.faults)


# rounding of another scipy


@pytest.mark.parametrize("n", [100, 100_000, 10_000_000, 10**12])
@pytest.mark.parametrize("missed", [0, 1, 37])
def test_another_rounding_of_the_bound_passes(n, missed, tmp_path):
    hits = n - missed
    p = clopper_pearson_lower(hits, n, 0.001)
    for p_lower in (math.nextafter(p, 1), p, math.nextafter(p, 0), p - 1e-10 * min(p, 1 - p)):
        change = {
            "n": n, "hits": hits, "votes": {"9": hits}, "p_lower": p_lower,
            "radius": gaussian_radius(p_lower, 0.5), "predicted": 9 if p_lower > 0.5 else -1,
        }  # fmt: skip
        result = audit(few(tmp_path, change))
        # That line has another n than the header says: no other fault, and in no other line.
        assert found(result.faults) <= {("settings", "contradiction")}
        assert result.tallies["settings"].passed == (6 if n == GOOD["n"] else 5)


def test_the_limits_are_narrow_where_the_radius_is_steep():
    for p in np.concatenate([np.linspace(0.01, 0.99, 99), 1 - np.logspace(-2, -9, 50)]):
        low, high = limits(p)
        assert low < p < high < 1
        z = norm.ppf(p)
        roundings = 1e-15 + 2e-15 / norm.pdf(z)
        mills = math.sqrt(math.pi / 2)  # of min(p, 1 - p) / pdf(z), the largest
        assert norm.ppf(high) - z < mills * 1e-12 + roundings
        assert z - norm.ppf(low) < mills * 1e-9 + roundings
    assert limits(0.0) == (0.0, 0.0)


def test_a_verdict_at_one_half_may_be_rounded_either_way(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_methods, "_METHODS", dict(audit_methods._METHODS))

    def toy(p):
        return lambda c: Recomputed(
            p_lower=p, conclude=lambda p: Verdict(certified=p > 0.5, radius=max(0.0, p - 0.5))
        )

    for p in (math.nextafter(0.5, 1), 0.5, math.nextafter(0.5, 0)):
        audits("toy")(toy(p))
        change = {"method": "toy", "p_lower": p, "radius": 0.0}
        for predicted in (9, -1):
            faults = audit(few(tmp_path, change | {"predicted": predicted})).faults
            assert {(f.check, f.expected) for f in faults} == {("settings", "'gaussian' (header)")}


# whatever stands in a line, an audit answers

NASTY = [None, True, -1, 1.5, 1e300, 2**70, -(2**70), "", "x", [], [1], [[1, 2]], {}, {"x": "y"}]
NASTY += [{"1": 2**70}, {"sigma": 1e300, "estimation": 2.0}, {"sigma": {}}, [[2, 1], [1, 2]]]


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Certificate)])
def test_no_value_stops_an_audit(field, tmp_path):
    said = {}
    for value in NASTY:
        result = audit(few(tmp_path, {field: value}))
        said[repr(value)] = bool(result.faults)
        assert result.tallies["lines"].passed + result.tallies["lines"].failed == 6
    harmless = {
        "label": {"None"}, "seconds": {"1.5"}, "image": {"''"}, "decisions": {"{}"},
        "looks": {"[]"}, "radii": {"{}"},
    }  # fmt: skip
    assert {value for value, faulty in said.items() if not faulty} == harmless.get(field, set())


@pytest.mark.parametrize("field", ["name", "model", "certifier", "data", "selection"])
def test_no_header_stops_an_audit(field, tmp_path):
    for value in NASTY:
        result = audit(few(tmp_path, **{field: value}))
        assert result.tallies["bound"].passed == 6


# a further method is one function


def test_a_method_is_added_by_one_function(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_methods, "_METHODS", dict(audit_methods._METHODS))
    radii = (0.5, 0.75, 1.0)

    @audits("toy decisions")
    def toy(c):
        bounds = [clopper_pearson_lower(hits, n, 0.0005) for n, hits in c.looks]

        def conclude(p):
            held = [r for r in radii if gaussian_radius(p, 0.5) >= r]
            decisions = {str(r): "held" if r in held else "undecided" for r in radii}
            return Verdict(certified=p > 0.5, radius=max(held, default=0.0), decisions=decisions)

        return Recomputed(p_lower=max(bounds), conclude=conclude, stops_early=True)

    good = {
        "method": "toy decisions", "looks": [[64, 63], [1000, 966]], "n": 1000, "hits": 966,
        "votes": {"9": 966}, "p_lower": clopper_pearson_lower(966, 1000, 0.0005), "radius": 0.75,
        "decisions": {"0.5": "held", "0.75": "held", "1.0": "undecided"},
    }  # fmt: skip
    settings = HEADER["certifier"] | {"method": "toy decisions"}
    rows = [ROWS[0], {**GOOD, **good}]

    def faults(**change):
        selection = {"skip": 20, "limit": 2, "images": 2}
        path = tmp_path / "records.jsonl"
        header = HEADER | {"certifier": settings, "selection": selection}
        write(path, [rows[0], rows[1] | change], header)
        return {(f.check, f.kind) for f in audit(path).faults if f.index == IMAGE}

    assert faults() == set()
    assert faults(decisions=good["decisions"] | {"1.0": "held"}) == {("decisions", UNSOUND)}
    assert faults(decisions={"0.5": "held", "0.75": "held"}) == {("decisions", LESS)}
    assert faults(radius=1.0) == {("radius", UNSOUND)}
    assert faults(radius=0.5) == {("radius", LESS)}
    assert ("hits", WRONG) in faults(looks=[[64, 63], [900, 870]])
    assert ("hits", WRONG) in faults(looks=[[64, 64], [100, 60], [1000, 966]])
    assert ("settings", WRONG) in faults(n=100001, hits=966, looks=[[100001, 966]])
