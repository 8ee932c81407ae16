"""Records on disk: appended, killed, torn, merged, and bound to what they were measured on."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.reading import differences, gather, read_records
from lightning_smooth.records.store import RecordStore

HEADER = {
    "name": "test",
    "model": {"weights": "abc"},
    "certifier": {"method": "gaussian", "sigma": 0.5},
    "data": {"name": "digits", "digest": "d"},
}


def certificate(index, **changes):
    base = Certificate(
        index=index, label=1, candidate=1, predicted=1, radius=0.1 + index / 7, radius_unit="l2",
        guarantee="certified", hits=90, n=100, n0=10, p_lower=0.8, alpha=0.001,
        ledger={"estimation": 0.001}, method="gaussian", parameters={"sigma": 0.5}, seed=0,
        seconds=0.25, votes={1: 90, 0: 10}, votes0={1: 10},
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def session(path, indices, *, rank=0, header=HEADER):
    store = RecordStore(path, rank=rank)
    store.recover()
    store.read()
    store.open(header)
    for index in indices:
        store.append(certificate(index))
    store.release()
    return store


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "records.jsonl"
    merged = session(path, [4, 2, 9]).merge()
    assert [c.index for c in merged] == [2, 4, 9]
    content = read_records(path)
    assert content.certificates == [certificate(i) for i in (2, 4, 9)]
    assert content.header["records"] == "lightning_smooth"
    assert content.header["certifier"]["sigma"] == 0.5
    assert content.torn == ""
    assert not (tmp_path / "records.parts").exists()


def test_ranks_are_merged_by_index_and_the_bytes_are_the_same(tmp_path):
    one = tmp_path / "one" / "records.jsonl"
    session(one, range(6)).merge()
    two = tmp_path / "two" / "records.jsonl"
    stores = [RecordStore(two, rank=rank) for rank in range(2)]
    stores[0].recover()
    for rank, store in enumerate(stores):
        store.read()
        store.open(HEADER)
        for index in range(rank, 6, 2):
            store.append(certificate(index))
        store.close()
    stores[0].merge()
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("cut", range(0, 2000, 97))
def test_cut_off_anywhere_it_goes_on_and_ends_the_same(tmp_path, cut):
    whole = tmp_path / "whole" / "records.jsonl"
    session(whole, range(4)).merge()
    path = tmp_path / "cut" / "records.jsonl"
    session(path, range(4))
    part = path.parent / "records.parts" / "rank0.jsonl"
    content = part.read_bytes()
    part.write_bytes(content[: min(cut, len(content))])
    store = RecordStore(path)
    store.recover()
    store.read()
    done = {c.index for c in store.certificates}
    assert done == set(range(len(done)))
    store.open(HEADER)
    for index in set(range(4)) - done:
        store.append(certificate(index))
    store.merge()
    assert path.read_bytes() == whole.read_bytes()


def test_a_torn_line_is_kept_aside_and_announced(tmp_path):
    path = tmp_path / "records.jsonl"
    session(path, [0, 1]).merge()
    with path.open("a") as file:
        file.write('{"index": 2, "lab')
    assert read_records(path).torn == '{"index": 2, "lab'
    (note,) = RecordStore(path).recover()
    assert "measured again" in note
    assert [c.index for c in read_records(path).certificates] == [0, 1]
    assert path.with_suffix(".torn").read_text() == '{"index": 2, "lab\n'


def test_a_process_killed_while_writing_loses_nothing_whole(tmp_path):
    path = tmp_path / "records.jsonl"
    code = (
        "import sys, pathlib, importlib.util as u\n"
        f"spec = u.spec_from_file_location('t', {str(__file__)!r})\n"
        "t = u.module_from_spec(spec); spec.loader.exec_module(t)\n"
        f"store = t.RecordStore(pathlib.Path({str(path)!r})); store.recover(); store.read()\n"
        "store.open(t.HEADER)\n"
        "for i in range(100000):\n    store.append(t.certificate(i)); print(i, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    seen = 0
    for line in process.stdout:
        seen = int(line)
        if seen >= 50:
            break
    with pytest.raises(RecordError, match="Another process is writing"):
        RecordStore(path).recover()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.05)
    store = RecordStore(path)
    store.recover()
    indices = [c.index for c in read_records(path).certificates]
    assert indices == list(range(len(indices)))
    assert len(indices) > seen


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": {"weights": "xyz"}}, "model.weights: abc in the records, xyz now"),
        (
            {"certifier": {"method": "gaussian", "sigma": 0.25}},
            "certifier.sigma: 0.5 in the records, 0.25 now",
        ),
        ({"data": {"name": "mnist", "digest": "d"}}, "data.name: digits in the records, mnist now"),
    ],
)
def test_records_of_something_else_are_refused_and_kept(tmp_path, change, words):
    path = tmp_path / "records.jsonl"
    session(path, [0, 1]).merge()
    before = path.read_bytes()
    store = RecordStore(path)
    store.recover()
    store.read()
    with pytest.raises(RecordError, match="belong to something else") as caught:
        store.open({**HEADER, **change})
    assert words in str(caught.value)
    assert path.read_bytes() == before


def test_other_settings_of_the_environment_may_change(tmp_path):
    path = tmp_path / "records.jsonl"
    session(path, [0]).merge()
    session(path, [1], header={**HEADER, "environment": {"host": "other"}}).merge()
    assert [c.index for c in read_records(path).certificates] == [0, 1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{oops", "line 2 is damaged"),
        ('{"index": 0}', "missing fields"),
        (json.dumps({**json.loads(certificate(0).to_json()), "extra": 1}), "unknown fields"),
        (json.dumps({**json.loads(certificate(0).to_json()), "hits": "9"}), "`hits` is '9'"),
        (certificate(0).to_json().replace("0.8", "NaN"), "not a finite number"),
        (certificate(0).to_json().replace('{"1":90,"0":10}', "[90]"), "not class -> count"),
        (certificate(0).to_json().replace('"hits":90', '"hits":101'), "contradict each other"),
        (certificate(0).to_json().replace('"certified"', '"sure"'), "`guarantee` is 'sure'"),
    ],
)
def test_a_damaged_line_is_named_with_its_repair(tmp_path, line, words):
    path = tmp_path / "records.jsonl"
    session(path, [0, 1]).merge()
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, lines[2]]) + "\n")
    with pytest.raises(RecordError, match="Delete that line") as caught:
        read_records(path)
    assert words in str(caught.value)


def test_two_records_of_one_image_must_agree(tmp_path):
    path = tmp_path / "records.jsonl"
    session(path, [0, 1]).merge()
    store = session(path, [])
    store.open(HEADER)
    store.append(certificate(1, seconds=9.0))  # the same but for the time: kept once
    assert len(store.merge()) == 2
    store = session(path, [])
    store.open(HEADER)
    store.append(certificate(1, hits=91))
    with pytest.raises(RecordError, match="second record of image 1"):
        store.merge()


@pytest.mark.parametrize("text", ["", "not json\n", '{"a": 1}\n'])
def test_files_that_are_no_records_are_refused(tmp_path, text):
    path = tmp_path / "records.jsonl"
    path.write_text(text)
    with pytest.raises(RecordError, match="header"):
        read_records(path)


def test_records_of_another_format_version_are_refused(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text('{"records": "lightning_smooth", "version": 2}\n')
    with pytest.raises(RecordError, match="version 2; this package reads 1"):
        read_records(path)


def test_no_records_are_no_traceback(tmp_path):
    with pytest.raises(RecordError, match="There are no records"):
        read_records(tmp_path / "records.jsonl")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        RecordStore(tmp_path / "file" / "records.jsonl")


def test_a_full_disk_is_said(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    store = session(tmp_path / "records.jsonl", [0])
    store.open(HEADER)
    store._file.close()
    store._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    with pytest.raises(RecordError, match="make room"):
        store.append(certificate(1))
    store.close()
    assert [c.index for c in store.merge()] == [0]


def test_records_in_use_are_refused_until_they_are_released(tmp_path):
    path = tmp_path / "records.jsonl"
    first = RecordStore(path)
    first.recover()
    first.open(HEADER)
    first.close()  # done appending, not yet merged
    with pytest.raises(RecordError, match="Another process"):
        RecordStore(path).recover()
    first.merge()
    RecordStore(path).recover()


def test_an_extended_run_that_stopped_knows_what_was_asked_for(tmp_path):
    path = tmp_path / "records.jsonl"
    session(path, range(4), header={**HEADER, "selection": {"images": 4}}).merge()
    session(path, range(4, 9), header={**HEADER, "selection": {"images": 20}})
    header, certificates, _ = gather([path, *(tmp_path / "records.parts").glob("*.jsonl")])
    assert (header["selection"]["images"], len(certificates)) == (20, 9)
    RecordStore(path).recover()
    assert read_records(path).header["selection"]["images"] == 20


def test_the_environments_of_all_parts_are_kept(tmp_path):
    path = tmp_path / "records.jsonl"
    for number in range(3):
        session(path, [number], header={**HEADER, "environment": {"run": number}}).merge()
    header = read_records(path).header
    assert header["environment"] == {"run": 2}
    assert header["earlier_environments"] == [{"run": 0}, {"run": 1}]


def test_differences_reach_into_nested_settings():
    assert differences({"a": {"b": 1}}, {"a": {"b": 1}}) == []
    assert differences({"a": 1}, {}) == ["a: None in the records, 1 now"]
