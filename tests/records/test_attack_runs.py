"""Attacks in run folders: which files are attacks, what is torn, what they are called."""

from pathlib import Path

import pytest

from lightning_smooth.errors import RecordError
from lightning_smooth.records.attack_runs import alone, load_attacked, load_attacks
from lightning_smooth.records.runs import load_run
from tests.records.attacked import (
    MODEL,
    attack_file,
    certificate,
    outcome,
    records_file,
)

ROWS = [outcome(i, parts=MODEL) for i in range(4)]


def test_a_file_is_an_attack_by_its_header_alone(tmp_path):
    records_file(tmp_path / "records.jsonl", [certificate(0)])
    attack_file(tmp_path / "attack.jsonl", ROWS, MODEL)
    attack_file(tmp_path / "attack-b.jsonl", ROWS[:2], MODEL)
    attack_file(tmp_path / "other.name.jsonl", ROWS[:1], MODEL)
    (tmp_path / "attacks.jsonl").write_text(ROWS[0].to_json() + "\n")
    (tmp_path / "notes.jsonl").write_text("nothing\n")
    found = load_attacks(tmp_path)
    names = ["attack.jsonl", "attack-b.jsonl", "other.name.jsonl"]
    assert [(a.path.name, len(a.outcomes)) for a in found] == list(
        zip(names, (4, 2, 1), strict=True)
    )
    assert all(a.complete and a.notes == () for a in found)
    assert not alone(tmp_path)
    assert alone(tmp_path / "attack.jsonl")
    assert not alone(tmp_path / "records.jsonl")


def test_an_attack_that_goes_on_is_shown_as_far_as_it_is(tmp_path):
    asked = {"selection": {"images": 9}}
    attack_file(tmp_path / "attack.jsonl", ROWS[:1], MODEL, **asked)
    parts = tmp_path / "attack.parts"
    attack_file(parts / "rank0.jsonl", ROWS[1:3], MODEL, torn='{"index":7', **asked)
    (parts / "rank1.jsonl").write_text((parts / "rank0.jsonl").read_text()[:120])
    (attack,) = load_attacks(tmp_path)
    assert [o.index for o in attack.outcomes] == [0, 1, 2]
    assert (attack.complete, attack.requested) == (False, 9)
    said = " ".join(attack.notes)
    assert "rank0.jsonl is torn" in said
    assert "rank1.jsonl ends within its header" in said
    assert "3 of 9 images" in said
    (tmp_path / "attack.jsonl").unlink()
    assert [o.index for o in load_attacks(tmp_path)[0].outcomes] == [1, 2]
    assert alone(tmp_path)


def test_a_damaged_line_is_named(tmp_path):
    attack_file(tmp_path / "attack.jsonl", [ROWS[0], "nonsense", ROWS[1]], MODEL)
    with pytest.raises(RecordError, match=r"attack\.jsonl, line 3 is damaged"):
        load_attacks(tmp_path)


def test_attacks_alone_have_names_of_their_own(tmp_path):
    for place in ("a", "b", "c"):
        attack_file(tmp_path / place / "attack.jsonl", ROWS, MODEL)
    records_file(tmp_path / "a" / "records.jsonl", [certificate(0)])
    (tmp_path / "d").mkdir()
    records_file(tmp_path / "d" / "records.jsonl", [certificate(0)], name="else")
    paths = [Path(tmp_path / place) for place in ("b", "a", "d", "c")]
    runs = [load_run(tmp_path / "a"), load_run(tmp_path / "d")]
    found = load_attacked(paths, runs)
    assert [one.name for one in found] == ["mnist (b)", "mnist", "mnist (c)"]
    assert [one.run is None for one in found] == [True, False, True]
