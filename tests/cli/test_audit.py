"""`lightning-smooth audit`: what it says, and its exit status, on real records and on mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_smooth.__main__ import main

from .conftest import QUICK

REAL = Path("docs/results/mnist/records.jsonl")


def said(capsys, *arguments):
    status = main(["audit", *map(str, arguments)])
    captured = capsys.readouterr()
    assert captured.err == ""
    return status, " ".join(captured.out.split())


def refused(capsys, *arguments):
    try:
        status = main(["audit", *map(str, arguments)])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert "Traceback" not in captured.err
    return " ".join(captured.err.split())


def changed(tmp_path, changes, name="records.jsonl"):
    """The real records, with fields of some images changed."""
    lines = REAL.read_text().splitlines()
    for number, line in enumerate(lines):
        fields = json.loads(line)
        lines[number] = json.dumps(fields | changes.get(fields.get("index"), {}))
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_records_of_this_repository_are_all_right(capsys):
    status, text = said(capsys, REAL)
    assert status == 0
    assert "mnist: 500 certificates, gaussian, sigma 0.5, n 100000, alpha 0.001" in text
    assert "radius the radius follows from the bound 500 0 0" in text
    assert "All right: 16 checks passed, none failed." in text
    assert "Unchecked where the records do not tell enough: digest." in text


def test_faults_are_listed_with_image_line_and_both_values(capsys, tmp_path):
    changes = {20: {"radius": 0.95}, 40: {"radius": 1.25}}
    status, text = said(capsys, changed(tmp_path, changes))
    assert status == 1
    assert "radius the radius follows from the bound 498 2 0" in text
    assert "unsound (1): claims more than its counts give" in text
    assert "20 radius 0.95 0.9050439630949904 3" in text
    assert "not reproducible (1): claims less than its counts give" in text
    assert "40 radius 1.25 1.4065065529081096 4" in text
    assert "Faults: 1 unsound, 1 not reproducible; 2 images." in text


def test_a_long_list_is_cut_short_and_says_so(capsys, tmp_path):
    path = changed(tmp_path, {20 * k: {"seed": 1} for k in range(30)})
    _, text = said(capsys, path, "--faults", 2)
    assert "20 settings seed = 1 0 (header) 3 ... settings 28 more" in text
    _, text = said(capsys, path, "--faults", 0)
    assert "contradiction (30)" in text
    assert "seed = 1" not in text


def test_markup_in_records_is_shown_as_it_is(capsys, tmp_path):
    _, text = said(capsys, changed(tmp_path, {20: {"radius_unit": "[bold]"}}))
    assert "unit [bold]" in text


def test_several_files_are_compared(capsys, tmp_path):
    same = changed(tmp_path, {})
    status, text = said(capsys, REAL, same)
    assert status == 0
    assert text.count("All right") == 2
    assert "images yes the same 500 in each" in text
    assert "labels yes of all 500 images" in text
    assert "digests not told" in text
    other = changed(tmp_path, {40: {"label": 3}}, "other.jsonl")
    status, text = said(capsys, REAL, other)
    assert status == 1
    assert text.count("All right") == 2
    assert "labels no 1 of 500 differ, image 40 first: 1 and 3" in text
    assert "40 label 3 1, as docs/results/mnist/records.jsonl says" in text


def test_json_has_every_fault(capsys, tmp_path):
    path = changed(tmp_path, {20 * k: {"radius": 2.0} for k in range(30)})
    status, text = said(capsys, path, "--json", REAL)
    content = json.loads(text)
    assert status == content["status"] == 1
    tampered, clean = content["runs"]
    assert (clean["faults"], clean["certificates"]) == ([], 500)
    assert tampered["checks"]["radius"] == {"passed": 470, "failed": 30, "unchecked": 0}
    assert len(tampered["faults"]) == 30
    assert tampered["faults"][1] == {
        "check": "radius", "kind": "unsound", "index": 20, "recorded": 2.0,
        "expected": 0.9050439630949904, "file": str(path), "line": 3,
    }  # fmt: skip
    assert content["comparison"]["statements"]["images"]["same"] is True
    assert json.loads(said(capsys, REAL, "--json")[1])["comparison"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required: RECORDS"),
        (["nowhere"], "nothing is there. Check the path"),
        (["README.md"], "Expected README.md to be a records file"),
        (["docs/results"], "it holds docs/results/mnist/records.jsonl"),
        (["docs/results/mnist/curve.png"], "to be a records file"),
        (["configs"], "Certify first"),
        ([REAL, REAL.parent], "Expected each file once"),
        ([REAL, "--faults", "-1"], "Expected `--faults` to be at least 0"),
        ([REAL, "--faults", "many"], "invalid int value"),
        ([REAL, "--fix"], "unrecognized arguments: --fix"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(arguments, words, capsys):
    assert words in refused(capsys, *arguments)


def test_help_says_what_is_checked_and_the_exit_status(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["audit", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    assert "Exit status: 0 all right, 1 faults found" in text
    assert "lightning-smooth audit runs/mnist" in text
    assert main(["--help"]) == 0
    assert "  audit     check certificates again" in capsys.readouterr().out


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_leaves_early_ends_it_quietly(form):
    command = [sys.executable, "-m", "lightning_smooth", "audit", str(REAL)]
    with subprocess.Popen(
        [*command, *form], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        error = process.stderr.read()
    assert process.returncode == 141
    assert error == ""


def test_what_the_certifier_writes_passes_and_a_running_one_is_incomplete(
    capsys, checkpoint, tmp_path
):
    command = ["certify", *QUICK, f"--output.folder={tmp_path}", f"--ckpt_path={checkpoint}"]
    assert main([*command, "--data.limit=5"]) == 0
    capsys.readouterr()
    status, text = said(capsys, tmp_path)
    assert status == 0
    assert "Unchecked" not in text
    path = tmp_path / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    (tmp_path / "records.parts").mkdir()
    path.rename(tmp_path / "records.parts" / "rank0.jsonl")
    status, text = said(capsys, tmp_path)
    assert status == 1
    assert "incomplete (1)" in text
    assert "a part in records.parts/" in text
    path.write_text("".join(lines[:-1]))
    (tmp_path / "records.parts" / "rank0.jsonl").unlink()
    status, text = said(capsys, tmp_path)
    assert status == 1
    assert f"{json.loads(lines[-1])['index']} complete none a record" in text
