"""An audit reads files: torn, damaged, doubled, in parts, or several of the same images."""

import json
import math

import pytest

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.records.audit import audit, audit_all
from lightning_smooth.records.audit_compare import compare
from lightning_smooth.records.audit_files import wanted_images
from tests.records.audited import GOOD, HEADER, IMAGE, ROWS, few, found, write

UNSOUND, LESS, WRONG = "unsound", "not reproducible", "contradiction"


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
    assert found(result.faults) == {("lines", "incomplete"), ("header", "incomplete")}


@pytest.mark.parametrize("part", ["model", "certifier", "data", "selection"])
@pytest.mark.parametrize("left", [None, {}])
def test_a_header_has_to_say_what_was_certified_how_and_of_what(tmp_path, part, left):
    result = audit(write(tmp_path / "records.jsonl", ROWS, HEADER | {part: left}))
    (fault,) = result.faults
    assert (fault.check, fault.kind, fault.recorded) == ("header", "incomplete", f"no {part}")


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
    for damaged in ({"skip": 0}, {"skip": "x", "images": math.nan}, {"images": -3}):
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
