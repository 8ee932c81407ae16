import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_smooth.certify import AdaptiveGaussianCertifier
from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.radius import gaussian_radius, largest_gaussian_radius
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.limits import largest_radius, targets
from lightning_smooth.records.runs import load_run, load_runs, on_common_images

SIGMA, N, ALPHA = 0.5, 1000, 0.001
LOG = "idx\tlabel\tpredict\tradius\tcorrect\ttime\n0\t3\t3\t0.377\t1\t0:00:14.1\n"


def certificate(index, hits=990, label=3, guarantee="certified", seconds=0.5):
    bound = clopper_pearson_lower(hits, N, ALPHA)
    return Certificate(
        index=index, label=label, candidate=3, predicted=3 if bound > 0.5 else -1,
        radius=gaussian_radius(bound, SIGMA), radius_unit="l2", guarantee=guarantee, hits=hits,
        n=N, n0=100, p_lower=bound, alpha=ALPHA, ledger={"test": ALPHA}, method="gaussian",
        parameters={"sigma": SIGMA}, seed=0, seconds=seconds,
    )  # fmt: skip


def header(name="mnist", images=3, **certifier):
    settings = {"method": "gaussian", "sigma": SIGMA, "n0": 100, "n": N, "alpha": ALPHA, "seed": 0}
    return {
        "records": "lightning_smooth",
        "version": 1,
        "name": name,
        "model": {"architecture": "small", "weights": "abc"},
        "certifier": settings | certifier,
        "data": {"name": "mnist", "split": "test", "images": 10000, "digest": "def"},
        "selection": {"skip": 20, "limit": 3, "images": images},
        "class_names": [str(k) for k in range(10)],
        "environment": {"torch": "2.11"},
    }


def write(path, head, certificates, torn=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(head), *(c.to_json() for c in certificates)]
    path.write_text("\n".join(lines) + "\n" + torn)
    return path


def test_a_run_folder(tmp_path):
    held = [certificate(40), certificate(0, hits=400), certificate(20, label=5)]
    write(tmp_path / "records.jsonl", header(), held)
    run = load_run(tmp_path)
    assert run.name == "mnist"
    assert run.frame["index"].tolist() == [0, 20, 40]
    assert run.frame["abstained"].tolist() == [True, False, False]
    assert run.frame["correct"].tolist() == [False, False, True]
    assert run.frame["radius"].tolist() == [0.0, held[0].radius, held[0].radius]
    assert run.frame["p_lower"].tolist()[2] == held[0].p_lower
    assert (run.guarantee, run.sigma, run.requested, run.complete) == ("certified", SIGMA, 3, True)
    assert run.largest_radius == largest_gaussian_radius(N, ALPHA, SIGMA)
    assert run.notes == ()
    assert load_run(tmp_path / "records.jsonl").frame.equals(run.frame)


def test_an_interrupted_run(tmp_path):
    parts = tmp_path / "records.parts"
    write(parts / "rank0.jsonl", header(), [certificate(0)], torn='{"index": 2')
    write(parts / "rank1.jsonl", header(), [certificate(20)])
    (parts / "rank2.jsonl").write_text('{"records"')
    run = load_run(tmp_path)
    assert run.frame["index"].tolist() == [0, 20]
    assert run.complete is False
    notes = " ".join(run.notes)
    assert "2 of 3 images" in notes
    assert "rank0.jsonl is torn" in notes
    assert "rank2.jsonl ends within its header" in notes


def test_a_resumed_run_joins_what_is_merged_and_what_is_not(tmp_path):
    write(tmp_path / "records.jsonl", header(), [certificate(0), certificate(20)])
    again = [certificate(20, seconds=9.0), certificate(40)]
    write(tmp_path / "records.parts" / "rank0.jsonl", header(), again)
    run = load_run(tmp_path)
    assert run.frame["index"].tolist() == [0, 20, 40]
    assert run.complete is True


def test_contradicting_records(tmp_path):
    write(tmp_path / "records.jsonl", header(), [certificate(0)])
    part = tmp_path / "records.parts" / "rank0.jsonl"
    write(part, header(), [certificate(0, hits=980)])
    with pytest.raises(RecordError, match="second record of image 0"):
        load_run(tmp_path)
    write(part, header(sigma=0.25), [certificate(20)])
    with pytest.raises(RecordError, match=r"certifier.sigma: 0.5 in the records, 0.25 now"):
        load_run(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(RecordError, match="nothing is there"):
        load_run(tmp_path / "none")
    with pytest.raises(RecordError, match=r"Looked for records.jsonl and records.parts"):
        load_run(tmp_path)
    (tmp_path / "records.jsonl").write_text('{"records": "lightning')
    with pytest.raises(RecordError, match="no image was certified yet"):
        load_run(tmp_path)


def test_a_folder_of_run_folders(tmp_path):
    write(tmp_path / "one" / "records.jsonl", header(), [certificate(0)])
    write(tmp_path / "two" / "records.parts" / "rank0.jsonl", header(), [certificate(0)])
    with pytest.raises(RecordError, match=r"holds run folders: .*one, .*two"):
        load_run(tmp_path)


def test_records_of_another_name_are_named(tmp_path):
    write(tmp_path / "other.jsonl", header(), [certificate(0)])
    with pytest.raises(RecordError, match=r"other names: .*other.jsonl"):
        load_run(tmp_path)


def test_kinds_are_told_by_content(tmp_path):
    (tmp_path / "a.txt").write_text(LOG)
    run = load_run(tmp_path / "a.txt")
    assert (run.name, run.guarantee, run.header, run.complete) == ("a", "unknown", None, None)
    write(tmp_path / "b.tsv", header(), [certificate(0)])
    assert load_run(tmp_path / "b.tsv").header is not None
    (tmp_path / "c.jsonl").write_text("accuracy 0.5\n")
    with pytest.raises(RecordError, match=r"starts with 'accuracy 0\.5'"):
        load_run(tmp_path / "c.jsonl")
    (tmp_path / "d.tsv").write_text("")
    assert load_run(tmp_path / "d.tsv").complete is False


def test_names_are_distinct(tmp_path):
    for stamp in ("one", "two"):
        write(tmp_path / stamp / "records.jsonl", header(), [certificate(0)])
        write(tmp_path / "other" / stamp / "records.jsonl", header(), [certificate(0)])
    write(tmp_path / "three" / "records.jsonl", header("cifar"), [certificate(0)])
    runs = load_runs([tmp_path / "one", tmp_path / "two", tmp_path / "three"])
    assert [run.name for run in runs] == ["mnist (one)", "mnist (two)", "cifar"]
    runs = load_runs([tmp_path / "one", tmp_path / "other" / "one"])
    assert len({run.name for run in runs}) == 2
    with pytest.raises(InputError, match="given twice"):
        load_runs([tmp_path / "one", tmp_path / "two" / ".." / "one"])
    with pytest.raises(InputError, match="at least one run"):
        load_runs([])


def test_guarantees_that_differ(tmp_path):
    held = [certificate(0), certificate(20, guarantee="estimated")]
    write(tmp_path / "records.jsonl", header(), held)
    run = load_run(tmp_path)
    assert run.guarantee == "certified, estimated"
    assert "1 certified, 1 estimated" in " ".join(run.notes)


@pytest.mark.parametrize("certifier", [{"method": "other"}, {"n": None}, {"alpha": 2.0}])
def test_a_largest_radius_that_is_not_known(tmp_path, certifier):
    write(tmp_path / "records.jsonl", header(**certifier), [certificate(0)])
    assert load_run(tmp_path).largest_radius is None


def test_neither_torch_nor_lightning_is_imported():
    code = (
        "import sys, lightning_smooth.report, lightning_smooth.records.runs;"
        "heavy = 'torch', 'pytorch_lightning', 'matplotlib.pyplot';"
        "print([module for module in heavy if module in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert run.stdout.strip() == "[]"


def test_runs_are_compared_on_the_images_that_all_have(tmp_path):
    rows = [f"{i}\t1\t1\t0.{i}\t1\t0.1" for i in range(1, 8)]
    head = "idx\tlabel\tpredict\tradius\tcorrect\ttime"
    (tmp_path / "all.tsv").write_text("\n".join([head, *rows]) + "\n")
    (tmp_path / "some.tsv").write_text("\n".join([head, *rows[1::2]]) + "\n")
    (tmp_path / "other.tsv").write_text(head + "\n9\t1\t1\t0.5\t1\t0.1\n")
    whole, part = on_common_images(load_runs([tmp_path / "all.tsv", tmp_path / "some.tsv"]))
    assert whole.frame["index"].tolist() == part.frame["index"].tolist() == [2, 4, 6]
    assert whole.frame["radius"].tolist() == [0.2, 0.4, 0.6]
    assert any("4 images that not every run has" in note for note in whole.notes)
    with pytest.raises(InputError, match="No image is common"):
        on_common_images(load_runs([tmp_path / "all.tsv", tmp_path / "other.tsv"]))


def test_runs_that_decided_radii_say_so(tmp_path):
    notes = []
    decided = {"method": "gaussian sequential", "sigma": 0.5, "n": 1000, "radii": [0.0, 0.5]}
    assert targets(decided, notes) == (0.0, 0.5)
    assert "0, 0.5 alone" in notes[0]
    assert largest_radius(decided, notes) is None
    assert targets({"method": "gaussian"}, notes) is None


def test_the_largest_radius_of_adaptive_draws_is_that_of_the_last_look():
    settings = {"method": "gaussian adaptive", "sigma": 0.5, "n": 1000, "alpha": 0.001}
    found = largest_radius({**settings, "rule": "looks", "fraction": 0.9}, [])
    assert found == pytest.approx(AdaptiveGaussianCertifier(0.5, n=1000).largest_radius)
    notes = []
    assert largest_radius({**settings, "rule": "luck"}, notes) is None
    assert "luck" in notes[0]


def test_what_claims_more_than_its_counts_is_not_called_certified(tmp_path):
    false = dataclasses.replace(certificate(20), radius=9.9, ledger={"estimation": ALPHA})
    write(tmp_path / "records.jsonl", header(), [certificate(0), false, certificate(40)])
    run = load_run(tmp_path)
    assert run.guarantee == "unknown"
    assert "1 of 3 certificates claim more" in run.notes[0]
    assert "image 20 first" in run.notes[0]


@pytest.mark.parametrize("field", ["votes", "votes0"])
def test_counts_without_an_end_are_a_damaged_line(tmp_path, field):
    line = certificate(0).to_json()
    endless = json.dumps({**json.loads(line), field: {"3": math.inf}})
    lines = [json.dumps(header()), line, endless, line]
    (tmp_path / "records.jsonl").write_text("\n".join(lines))
    with pytest.raises(RecordError, match=field):
        load_run(tmp_path)
