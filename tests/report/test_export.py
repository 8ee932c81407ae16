"""Runs exported as published logs: read back, they say nothing that the certificates do not."""

import json
from pathlib import Path

import numpy as np
import pytest

from lightning_smooth.errors import InputError
from lightning_smooth.maths.certified import certified_accuracy
from lightning_smooth.records.published import read_published
from lightning_smooth.records.runs import load_run, load_runs
from lightning_smooth.report import main, write_report
from lightning_smooth.report.export import export_logs

REAL = Path(__file__).parents[2] / "docs" / "results" / "mnist" / "records.jsonl"
LINES = REAL.read_text().splitlines()
LOG = "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"


def records(path, *, name="mnist", count=3, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = json.loads(LINES[0]) | {"name": name, "selection": {"images": count}}
    rows = [json.loads(line) | changes for line in LINES[1 : count + 1]]
    path.write_text("\n".join(map(json.dumps, [header, *rows])) + "\n")
    return path


def curve(frame, radii):
    return certified_accuracy(frame["correct"].to_numpy(), frame["radius"].to_numpy(), radii)


def test_a_log_read_back_has_the_certified_accuracy_of_the_records(tmp_path):
    (path,) = write_report([REAL], tmp_path / "out", export="tsv").logs
    assert path == tmp_path / "out" / "log-mnist.tsv"
    before, after = load_run(REAL).frame, load_run(path).frame
    for column in ("index", "label", "predicted", "correct", "abstained"):
        assert after[column].tolist() == before[column].tolist()
    np.testing.assert_allclose(after["seconds"], before["seconds"], rtol=1e-12)
    assert (after["radius"] <= before["radius"]).all()
    assert (after["radius"] > 0.99 * before["radius"] - 1e-12).all()
    of_three_digits = [*np.arange(0, 1, 0.001).round(3), *np.arange(1, 2, 0.01).round(2)]
    np.testing.assert_array_equal(curve(after, of_three_digits), curve(before, of_three_digits))
    others = np.sort(np.concatenate([before["radius"], np.linspace(0, 2, 999)]))
    assert (curve(after, others) <= curve(before, others)).all()


def test_several_runs_have_a_file_each_whatever_their_names(tmp_path):
    named = {"a": "Mine/x y", "b": "mine-x-y", "c": "Mine x y", "d": "../../up", "e": "", "f": "é"}
    paths = [records(tmp_path / k / "records.jsonl", name=v) for k, v in named.items()]
    logs = export_logs(load_runs(paths), tmp_path)
    assert [log.name for log in logs] == [
        "log-Mine-x-y.tsv",
        "log-mine-x-y-2.tsv",
        "log-Mine-x-y-3.tsv",
        "log-up.tsv",
        "log-records.tsv",
        "log-é.tsv",
    ]
    assert {log.parent for log in logs} == {tmp_path}
    assert len(set(logs.values())) == 1


def test_a_published_log_is_written_anew_and_never_over_itself(tmp_path):
    source = tmp_path / "log-mine.tsv"
    text = LOG.replace("\n", "\r\n") + "0\t3\t3\t0.9529\t1\t0:00:01.5\r\n\r\n20\t3\t-1\t0.0\t0\tx"
    source.write_bytes(text.encode())
    link = tmp_path / "mine.tsv"
    link.symlink_to(source)
    for given in (source, link):
        (log,) = write_report([given], tmp_path, export="tsv").logs
        assert source.read_bytes() == text.encode()
        assert log not in (source, link)
        assert (
            log.read_text() == LOG + "0\t3\t3\t0.952\t1\t0:00:01.500000\n20\t3\t-1\t0.0\t0\tnan\n"
        )


def test_common_images_alone_are_exported_where_they_alone_are_reported(tmp_path):
    source = tmp_path / "theirs.tsv"
    source.write_text(LOG + "".join(f"{i}\t3\t3\t0.5\t1\t0:00:01.0\n" for i in range(30)))
    logs = write_report([REAL, source], tmp_path / "out", common=True, export="tsv").logs
    assert [read_published(log).frame["index"].tolist() for log in logs] == [[0, 20], [0, 20]]
    assert logs[1].name == "log-theirs.tsv"


def test_what_a_log_cannot_hold_is_said_before_anything_is_written(tmp_path):
    path = records(tmp_path / "records.jsonl", label=None)
    with pytest.raises(InputError, match=r"records\.jsonl cannot be exported: .*`label`"):
        write_report([path], tmp_path / "out", export="tsv")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="Expected `export` to be one of tsv, but got 'csv'"):
        export_logs([load_run(REAL)], tmp_path, form="csv")


def test_nothing_is_exported_unasked(tmp_path):
    assert write_report([REAL], tmp_path / "out").logs == ()
    assert list((tmp_path / "out").glob("*.tsv")) == []


def test_the_command_names_the_logs_and_what_they_do_not_say(tmp_path, capsys):
    path = records(tmp_path / "records.jsonl", guarantee="estimated")
    assert main([str(path), "--export", "tsv", "--out", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    log = tmp_path / "out" / "log-mnist.tsv"
    assert f"Log: {log} (its radii are estimated, which a log does not say)" in said
    assert main([str(REAL), "--export", "tsv", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.endswith(f"Log: {log}\n")
    assert len(read_published(log).frame) == 500


def test_the_command_knows_one_format(capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(REAL), "--export", "csv"])
    assert stop.value.code == 2
    assert "'tsv'" in capsys.readouterr().err


def test_radii_of_another_unit_are_not_exported(tmp_path):
    path = records(tmp_path / "records.jsonl", radius_unit="l1")
    with pytest.raises(InputError, match="its radii are in l1"):
        write_report([path], tmp_path / "out", export="tsv")
