"""Tables of corruptions: their figures by hand, on disk, and what is refused."""

import csv
import json
import math

import pytest

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.records.corruption_runs import corruptions_alone, load_corrupted
from lightning_smooth.records.corruption_tables import (
    baseline_of,
    check_baseline,
    continued,
    read_table,
)
from lightning_smooth.records.corruptions import mean_corruption_error
from tests.records.corrupted import CORRECT, cell, table, written

FEW = {"gaussian_noise": (80, 70), "fog": (60, 20)}


def test_mce_by_hand():
    errors = {"fog": [0.1, 0.3], "snow": [0.2, 0.2]}
    assert mean_corruption_error(errors, {"fog": 0.8, "snow": 0.5}) == pytest.approx(0.65)
    own = {name: math.fsum(values) for name, values in errors.items()}
    assert mean_corruption_error(errors, own) == 1
    assert mean_corruption_error(errors, {**own, "snow": 0.0}) is None
    with pytest.raises(InputError, match="snow"):
        mean_corruption_error(errors, {"fog": 1.0})


def test_figures_by_hand(tmp_path):
    other = table(FEW, name="b")
    ours = table(certified=(9, 8, 3), baseline=baseline_of(other, tmp_path / "b.json"))
    figures = ours.figures()
    assert figures["clean_accuracy"] == 0.95
    assert figures["mean_accuracy"] == pytest.approx(0.7)
    assert figures["mean_error"] == pytest.approx(0.3)
    # noise: (.1 + .2) / (.2 + .3), fog: (.3 + .6) / (.4 + .8)
    assert figures["mce"] == pytest.approx((0.3 / 0.5 + 0.9 / 1.2) / 2)
    assert figures["smoothed_accuracy"] == pytest.approx(0.9)
    assert figures["certified_accuracy@0.5"] == pytest.approx(0.3)
    # Of a corruption whose cells are not all there, no error is told.
    part = table(left=1)
    assert list(part.errors()) == ["gaussian_noise"]
    assert not part.complete
    assert part.figures()["mean_accuracy"] == pytest.approx((0.9 + 0.8 + 0.7) / 3)
    assert table(left=4).figures()["mean_accuracy"] is None


def test_a_table_comes_back_as_it_was_written(tmp_path):
    made = table(certified=(9, 8, 3))
    folder = written(tmp_path, certified=(9, 8, 3))
    assert read_table(folder / "corruptions.json") == made
    with (folder / "corruptions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["corruption"], r["severity"], r["accuracy"]) for r in rows][1] == (
        "gaussian_noise", "2", "0.8",
    )  # fmt: skip
    assert rows[3]["certified_accuracy@0.25"] == "0.8"
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize(
    ("change", "said"),
    [({"kind": "certificates"}, "no table"), ({"version": 2}, "format version 2"),
     ({"cells": [{}]}, "damaged"), ({"clean_correct": 101}, "counts"),
     ({"clean_images": 0}, "counts")],
)  # fmt: skip
def test_damaged_tables_are_refused(tmp_path, change, said):
    file = written(tmp_path) / "corruptions.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(RecordError, match=said):
        read_table(file)


def test_impossible_counts_are_refused(tmp_path):
    file = written(tmp_path) / "corruptions.json"
    content = json.loads(file.read_text())
    content["cells"][2]["correct"] = 101
    file.write_text(json.dumps(content))
    with pytest.raises(RecordError, match="counts"):
        read_table(file)


def test_cells_are_replaced_and_keep_their_order():
    part = table(left=2).add(cell("fog", 2, 1)).add(cell("fog", 1, 2)).add(cell("fog", 2, 3))
    assert [c.key for c in part.cells] == part.wanted
    assert part.cell("fog", 2).correct == 3


def test_going_on_keeps_what_is_still_asked_for(tmp_path):
    old = table(certified=(9, 8, 3))
    path = tmp_path / "corruptions.json"
    bare = table(left=4, clean_images=0, clean_correct=0)
    kept = continued(bare, old, path)
    assert (kept.cells, kept.certifier, kept.clean_correct) == (old.cells, old.certifier, 95)
    other = table(left=4, certified=(9, 8, 3), radii=[0.0])
    assert [(c.correct, c.certified_images) for c in continued(other, old, path).cells] == [
        (c.correct, 0) for c in old.cells
    ]
    for change, said in (
        ({"model": {"weights": "x"}}, "model.weights: a in corruptions.json, x now"),
        ({"title": "CIFAR-100-C"}, "set: CIFAR-10-C in"),
        ({"severities": [1]}, "2 cells that are not asked for"),
    ):
        with pytest.raises(RecordError, match=said):
            continued(table(left=4, **change), old, path)


def test_a_baseline_is_of_the_same_images():
    check_baseline(table(left=4), table(FEW, name="b"), "b.json")
    check_baseline(table({"fog": (1, 2)}, left=2), table(FEW, name="b"), "b.json")
    for other, said in (
        (table(FEW, severities=[1, 2, 3]), "severities"),
        (table(FEW, left=1), "lacks: fog"),
        (table(FEW, title="CIFAR-100-C"), "set: CIFAR-100-C there"),
        (table(FEW, selection={"skip": 2, "limit": None, "images": 50}), "selection.images"),
    ):
        with pytest.raises(InputError, match=said):
            check_baseline(table(left=4), other, "b.json")


def test_tables_are_found_in_folders_beside_other_files(tmp_path):
    one, two = written(tmp_path / "one"), written(tmp_path / "two", CORRECT)
    (one / "summary.json").write_text("{}")
    found = load_corrupted([one, two / "corruptions.json", tmp_path])
    assert [c.name for c in found] == ["a (one)", "a (two)"]
    assert corruptions_alone(one)
    assert corruptions_alone(two / "corruptions.json")
    (one / "records.jsonl").write_text("{}\n")
    assert not corruptions_alone(one)
    assert not corruptions_alone(tmp_path)
