"""Records of attacks are audited: lines, answers, settings, order, and the summary."""

import json

import pytest

from lightning_smooth.records.audit import audit, audit_all
from lightning_smooth.report.audit import main
from tests.records.attacked import (
    GRID,
    MODEL,
    SMOOTHED,
    attack_file,
    certificate,
    outcome,
    records_file,
    summary,
    turned,
)

WRONG = "contradiction"
ROWS = [outcome(0), outcome(1, 7), outcome(2, -1), outcome(3, -1), outcome(4)]


def audited(tmp_path, rows, parts=SMOOTHED, **header):
    return audit(attack_file(tmp_path / "attack.jsonl", rows, parts, **header))


def checks(result):
    return {(fault.check, fault.kind) for fault in result.faults}


def test_records_in_order_pass_every_check(tmp_path):
    summary(tmp_path / "summary.json", ROWS)
    result = audited(tmp_path, ROWS)
    assert result.faults == ()
    assert (result.kind, result.certificates) == ("outcomes", 5)
    passed = {name for name, tally in result.tallies.items() if tally.passed}
    assert passed == set(result.tallies) - {"within"}
    turned_rows = [turned(i, 20.0) for i in range(3)]
    result = audited(tmp_path / "b", turned_rows, GRID)
    assert result.faults == ()
    assert result.tallies["within"].passed == 3
    assert result.tallies["answer"].unchecked == 3


def model(**changes):
    return outcome(9, parts=MODEL, **changes)


@pytest.mark.parametrize(
    ("row", "check"),
    [
        (model(misses=1), "answer"),
        (model(predicted=7, misses=0), "answer"),
        (model(predicted=7, wrong=0), "answer"),
        (model(wrong=1), "answer"),
        (model(predicted=-1, misses=1), "answer"),
        (model(evaluations=20, misses=18), "answer"),
        (model(evaluations=2), "settings"),
        (model(method="FGSM"), "settings"),
        (model(seed=1), "settings"),
        (model(bound=0.6), "settings"),
        (model(norm="linf"), "settings"),
        (model(parameters={**MODEL, "steps": 8, "classes": 10}), "settings"),
        (model(parameters={**MODEL, "more": 8, "classes": 10}), "settings"),
        (model(label=10, predicted=10, clean=10, wrong=0, misses=0), "label"),
        (model(clean=-2), "label"),
        (model(image="xyz"), "digest"),
        (model(queries=-1), "counts"),
        (model(seconds=-1.0), "counts"),
        (model(tried=0), "counts"),
        (model(distance=None), "counts"),
        (model(distance=-0.1), "counts"),
        (model(theta={"angle": 1.0}), "within"),
    ],
)
def test_an_outcome_that_contradicts_itself_or_the_header(tmp_path, row, check):
    assert checks(audited(tmp_path, [row], MODEL)) == {(check, WRONG)}


@pytest.mark.parametrize(
    "row",
    [
        model(evaluations=20, misses=17),  # 3 votes, of the others at most 2 each
        model(predicted=7, evaluations=20, misses=10, wrong=1),
        model(predicted=-1, misses=0),
        model(predicted=-1, misses=19, evaluations=20),
    ],
)
def test_answers_that_can_be(tmp_path, row):
    assert audited(tmp_path, [row], MODEL).faults == ()


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (outcome(0, misses=900), True),
        (outcome(0, misses=860), True),  # 140 votes, and 96 of another class at the least
        (outcome(0, misses=800), False),
        (outcome(0, 7, misses=5), True),
        (outcome(0, 7, misses=11), False),
        (outcome(0, -1, misses=0), False),
    ],
)
def test_what_predict_answers_leads_by_more_than_chance(tmp_path, row, found):
    assert bool(audited(tmp_path, [row]).faults) == found


def test_parameters_outside_of_the_box_are_found(tmp_path):
    rows = [turned(0, -20.5), turned(1, 20.0), turned(2, 0.0, theta={})]
    result = audited(tmp_path, rows, GRID)
    assert [(f.check, f.index) for f in result.faults] == [("within", 0), ("within", 2)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"distance": 0.51}, "beyond bound"),
        ({"misses": 1001}, "misses = 1001"),
        ({"wrong": 2}, "wrong = 2"),
        ({"queries": 1.5}, "`queries`"),
        ({"theta": 3}, "`theta`"),
    ],
)
def test_lines_that_are_no_outcomes_are_damaged(tmp_path, changes, said):
    line = json.dumps(json.loads(ROWS[1].to_json()) | changes)
    result = audited(tmp_path, [ROWS[0], line, *ROWS[2:]])
    (fault, missing) = result.faults
    assert (fault.check, fault.line, fault.index) == ("lines", 3, 1)
    assert said in fault.recorded
    assert missing.check == "complete"


def test_order_duplicates_and_torn_lines_are_found(tmp_path):
    result = audited(tmp_path, [ROWS[1], ROWS[0], *ROWS[2:]])
    assert [(f.check, f.index, f.line) for f in result.faults] == [("order", 0, 3)]
    again = [*ROWS[:2], ROWS[1], *ROWS[2:]]
    result = audited(tmp_path, again, selection={"images": 5})
    assert [(f.check, f.index, f.line) for f in result.faults] == [("once", 1, 4)]
    result = audited(tmp_path, ROWS, torn='{"index":', selection={"images": 6})
    assert checks(result) == {("lines", "incomplete"), ("complete", "incomplete")}


def test_a_summary_that_says_otherwise_is_found(tmp_path):
    summary(tmp_path / "summary.json", ROWS, broken=0.4, images=4)
    result = audited(tmp_path, ROWS)
    assert [f.recorded for f in result.faults] == ["attack: images = 4", "attack: broken = 0.4"]
    assert {f.file.name for f in result.faults} == {"summary.json"}
    path = attack_file(tmp_path / "attack-b.jsonl", ROWS)
    assert audit(path).tallies["summary"].unchecked == 1
    summary(tmp_path / "summary.json", ROWS, "attack attack-b", records="attack.jsonl")
    assert [f.check for f in audit(path).faults] == ["summary"]
    summary(tmp_path / "summary.json", ROWS, "attack attack-b", records="attack-b.jsonl")
    assert audit(path).faults == ()


def test_parts_are_unmerged_and_have_no_summary_yet(tmp_path):
    summary(tmp_path / "summary.json", ROWS[:1])
    attack_file(tmp_path / "attack.parts" / "rank0.jsonl", ROWS)
    (result,) = audit_all([tmp_path])
    assert checks(result) == {("merged", "incomplete")}
    assert result.tallies["summary"].unchecked == 1


def test_the_command_audits_all_that_a_folder_holds(tmp_path, capsys):
    held = [certificate(i, 0.75) for i in range(5)]
    records_file(tmp_path / "records.jsonl", held)
    attack_file(tmp_path / "attack.jsonl", ROWS)
    attack_file(tmp_path / "attack-b.jsonl", [model(misses=1)], MODEL)
    assert main([str(tmp_path / "attack.jsonl")]) == 0
    shown = capsys.readouterr().out
    assert "mnist: 5 outcomes, PGD, norm l2, bound 0.5, judge smoothed" in shown
    assert main([str(tmp_path), "--json"]) == 1
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [run["kind"] for run in runs] == ["certificates", "outcomes", "outcomes"]
    assert [fault["check"] for fault in runs[2]["faults"]] == ["answer"]
    assert main([str(tmp_path)]) == 1
    assert "compared" not in capsys.readouterr().out
