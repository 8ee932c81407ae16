"""An audit finds what was changed in real records, names the image, and passes what is right."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.records import audit_methods
from lightning_smooth.records.audit import audit, audit_all
from lightning_smooth.records.audit_checks import limits
from lightning_smooth.records.audit_compare import compare
from lightning_smooth.records.audit_files import wanted_images
from lightning_smooth.records.audit_methods import Recomputed, Verdict, audits
from lightning_smooth.records.certificate import Certificate

REAL = Path(__file__).parents[2] / "docs" / "results" / "mnist" / "records.jsonl"
HEADER, *ROWS = [json.loads(line) for line in REAL.read_text().splitlines()]
IMAGE = 20
PLACE = 1
GOOD = ROWS[PLACE]


def write(path, rows, header=HEADER, torn=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(header),
        *(row if isinstance(row, str) else json.dumps(row) for row in rows),
    ]
    path.write_text("\n".join(lines) + "\n" + torn)
    return path


def few(path, changed=None, count=6, **header):
    """A file of the first certificates, one of them changed, whose header asks for just them."""
    rows = [*ROWS[:count]]
    rows[PLACE] = {**rows[PLACE], **(changed or {})}
    selection = {"skip": 20, "limit": count, "images": count}
    return write(path / "records.jsonl", rows, HEADER | {"selection": selection} | header)


def found(faults):
    return {(fault.check, fault.kind) for fault in faults}


def parameters(**changes):
    return {"parameters": GOOD["parameters"] | changes}


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
    ({"parameters": {}}, {("bound", WRONG)}),
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
        result = audit(few(tmp_path, change, certifier={}))
        assert result.faults == ()
        assert result.tallies["settings"].unchecked == 6


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
            path = few(tmp_path, change | {"predicted": predicted}, certifier={})
            assert audit(path).faults == ()


# files


def test_a_torn_line_is_found(tmp_path):
    path = write(tmp_path / "records.jsonl", ROWS[:-1], torn=json.dumps(ROWS[-1])[:-40])
    result = audit(path)
    assert found(result.faults) == {("lines", "incomplete"), ("complete", "incomplete")}
    torn, missing = result.faults
    assert torn.line == 501
    assert missing.index == 9980


@pytest.mark.parametrize("line", ["", "nonsense", "[1, 2]", '{"index": 20', "NaN", "[" * 100_000])
def test_a_damaged_line_is_found_and_the_rest_is_checked(line, tmp_path):
    result = audit(write(tmp_path / "records.jsonl", [ROWS[0], line, *ROWS[2:]]))
    assert found(result.faults) == {("lines", WRONG), ("complete", "incomplete")}
    assert [fault.line for fault in result.faults] == [3, None]
    assert result.faults[1].index == IMAGE
    assert result.tallies["bound"].passed == 499


def test_bytes_that_are_no_text_are_a_damaged_line(tmp_path):
    path = few(tmp_path)
    lines = path.read_bytes().split(b"\n")
    lines[2] = b'{"index": "\xff"}'
    path.write_bytes(b"\n".join(lines))
    assert ("lines", WRONG) in found(audit(path).faults)


def test_a_field_that_occurs_twice_is_found(tmp_path):
    line = json.dumps(GOOD).replace('"seed": 0', '"seed": 0, "radius": 2.5')
    (fault, _) = audit(write(tmp_path / "r.jsonl", [ROWS[0], line, *ROWS[2:]])).faults
    assert (fault.recorded, fault.expected) == ("`radius` 2 times", "`radius` once")


def test_windows_line_ends_are_no_fault(tmp_path):
    path = few(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert audit(path).faults == ()


def test_missing_and_foreign_images_are_named(tmp_path):
    rows = [*ROWS[:3], *ROWS[5:], {**ROWS[3], "index": 61}]
    faults = audit(write(tmp_path / "records.jsonl", rows)).faults
    assert [(f.index, f.kind) for f in faults] == [
        (60, "incomplete"),
        (80, "incomplete"),
        (61, "contradiction"),
    ]


def test_a_duplicate_is_named_whether_it_says_the_same_or_not(tmp_path):
    rows = [*ROWS, ROWS[7], {**ROWS[8], "label": 0}]
    faults = audit(write(tmp_path / "records.jsonl", rows)).faults
    assert [(f.check, f.index, f.line) for f in faults] == [("once", 140, 502), ("once", 160, 503)]
    assert "the same" in faults[0].recorded
    assert f"label = 0 instead of {ROWS[8]['label']}" in faults[1].recorded


def test_parts_are_read_and_said_to_be_unmerged(tmp_path):
    parts = tmp_path / "records.parts"
    write(parts / "rank0.jsonl", ROWS[:250])
    write(parts / "rank1.jsonl", ROWS[250:])
    (parts / "lock").touch()
    (parts / "rank2.jsonl").touch()
    result = audit(tmp_path)
    assert found(result.faults) == {("merged", "incomplete")}
    assert [fault.file.name for fault in result.faults] == ["rank0.jsonl", "rank1.jsonl"]
    assert result.tallies["bound"].passed == 500
    write(tmp_path / "records.jsonl", ROWS[:100])
    for path in (tmp_path, tmp_path / "records.jsonl"):
        assert found(audit(path).faults) == {("merged", "incomplete")}


def test_parts_that_contradict_each_other_are_found(tmp_path):
    write(tmp_path / "records.jsonl", ROWS)
    other = HEADER | {"model": HEADER["model"] | {"weights": "0" * 64}}
    changed = {**GOOD, "label": 1}
    write(tmp_path / "records.parts" / "rank0.jsonl", [ROWS[0], changed], other)
    result = audit(tmp_path)
    kinds = {("merged", "incomplete"), ("header", WRONG), ("once", WRONG)}
    assert found(result.faults) == kinds
    once = next(fault for fault in result.faults if fault.check == "once")
    assert (once.index, once.recorded) == (IMAGE, "label = 1 instead of 9")
    header = next(fault for fault in result.faults if fault.check == "header")
    assert header.recorded.startswith("model.weights = '0000")


def test_a_file_that_ends_within_its_header(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(HEADER, separators=(",", ":"))[:60])
    assert found(audit(path).faults) == {("lines", "incomplete")}


def test_a_header_alone_is_not_all_right(tmp_path):
    nothing = {k: v for k, v in HEADER.items() if k != "selection"}
    result = audit(write(tmp_path / "records.jsonl", [], nothing))
    assert found(result.faults) == {("lines", "incomplete")}


def test_what_a_header_tells_of_the_images(tmp_path):
    def faults(rows, **changes):
        return found(audit(write(tmp_path / "records.jsonl", rows, HEADER | changes)).faults)

    unknown = {"name": "Mine"}
    nothing = {"skip": None, "limit": None, "images": None}
    assert faults(ROWS[:3], data=unknown, selection=nothing) == set()
    assert faults(ROWS[:3], data=unknown, selection=nothing | {"images": 3}) == set()
    few = {("complete", "incomplete")}
    assert faults(ROWS[:3], data=unknown, selection=nothing | {"images": 4}) == few
    assert faults(ROWS, selection={"skip": 20, "limit": None, "images": 500}) == set()
    assert faults(ROWS, selection={"skip": 20, "limit": 500, "images": 499}) == {("header", WRONG)}
    for damaged in (None, [], {"skip": 0}, {"skip": "x", "images": math.nan}, {"images": -3}):
        assert faults(ROWS, selection=damaged) == set()


def test_wanted_images_are_those_that_the_data_module_chooses():
    from lightning_smooth.data.sources import chosen

    for size in (0, 1, 19, 20, 21, 360):
        for skip in (1, 7, 20):
            for limit in (None, 1, 3, 1000):
                selection = {"skip": skip, "limit": limit}
                wanted = wanted_images({"selection": selection, "data": {"images": size}})
                assert list(wanted) == chosen(size, skip=skip, limit=limit)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("Hello\n", "starts with 'Hello'"),
        ('{"a": 1}', "Expected .* to be a records file"),
        ('{"records": "lightning_smooth", "version": 99}\n', "format version 99"),
        ("idx\tlabel\tpredict\tradius\tcorrect\ttime\n", "without the counts"),
        ("\x00\x01", "to be a records file"),
    ],
)
def test_what_is_no_records_file_is_refused(text, words, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(text)
    with pytest.raises(RecordError, match=words):
        audit(path)


def test_folders_without_records_say_what_they_hold(tmp_path):
    with pytest.raises(RecordError, match="nothing is there"):
        audit(tmp_path / "none")
    with pytest.raises(RecordError, match="Certify first"):
        audit(tmp_path)
    write(tmp_path / "a" / "records.jsonl", ROWS)
    with pytest.raises(RecordError, match=r"it holds .*a/records.jsonl"):
        audit(tmp_path)
    write(tmp_path / "a" / "other.jsonl", ROWS[:1])
    with pytest.raises(InputError, match="Expected each file once"):
        audit_all([tmp_path / "a", tmp_path / "a" / "records.jsonl"])


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
        "looks": {"[]"}, "radii": {"{}"}, "votes": {"{}"}, "votes0": {"{}"},
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


# several files


def with_digests(rows):
    return [{**row, "image": f"{row['index']:016x}"} for row in rows]


def test_two_files_of_the_same_images_agree(tmp_path):
    rows = with_digests(ROWS)
    a = write(tmp_path / "a.jsonl", rows)
    b = write(tmp_path / "b.jsonl", rows[:100], HEADER | {"selection": {"skip": 20, "limit": 100}})
    same = compare(audit_all([a, b]))
    assert same.faults == ()
    assert {s.what: s.same for s in same.statements} == {
        "data": True, "images": False, "labels": True, "digests": True, "votes": True,
    }  # fmt: skip
    images = next(s.said for s in same.statements if s.what == "images")
    assert images == "100 in each; 400 not in all, image 2000 first"
    assert all(result.notes == () for result in audit_all([a, b]))


def test_another_label_or_digest_of_an_image_is_named(tmp_path):
    rows = with_digests(ROWS)
    a = write(tmp_path / "a.jsonl", rows)
    rows[3] = {**rows[3], "label": (rows[3]["label"] + 1) % 10}
    rows[4] = {**rows[4], "image": "f" * 16}
    b = write(tmp_path / "b.jsonl", rows)
    audits_ = audit_all([a, b])
    assert all(result.faults == () for result in audits_)  # one file alone cannot tell
    faults = compare(audits_).faults
    assert [(f.check, f.index, f.file.name) for f in faults] == [
        ("label", 60, "b.jsonl"),
        ("digest", 80, "b.jsonl"),
    ]
    assert faults[0].recorded == rows[3]["label"]


def test_other_data_may_have_other_labels(tmp_path):
    a = write(tmp_path / "a.jsonl", ROWS)
    other = HEADER | {"data": HEADER["data"] | {"digest": "0"}}
    changed = [{**row, "label": (row["label"] + 1) % 10} for row in ROWS]
    result = compare(audit_all([a, write(tmp_path / "b.jsonl", changed, other)]))
    assert result.faults == ()
    said = {s.what: s.same for s in result.statements}
    assert said == {"data": False, "images": True, "labels": False, "digests": None}


def test_votes_that_the_same_settings_gave_otherwise_are_counted(tmp_path):
    a = write(tmp_path / "a.jsonl", ROWS)
    changed = {**GOOD, "votes0": {"9": 100}}
    b = write(tmp_path / "b.jsonl", [ROWS[0], changed, *ROWS[2:]])
    votes = compare(audit_all([a, b])).statements[-1]
    assert (votes.what, votes.same) == ("votes", False)
    assert votes.said.startswith("1 of 500 differ")


def test_equal_images_are_noted_and_are_no_fault(tmp_path):
    rows = with_digests(ROWS)
    rows[9] = {**rows[9], "image": rows[2]["image"]}
    result = audit(write(tmp_path / "records.jsonl", rows))
    assert result.faults == ()
    (note,) = result.notes
    assert "Images 40 and 180 have the same digest" in note
