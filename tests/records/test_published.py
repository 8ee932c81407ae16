import math
from pathlib import Path

import pytest

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.maths.certified import average_certified_radius, certified_accuracy
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.published import (
    read_published,
    round_down,
    write_published,
)
from lightning_smooth.records.published_rows import parse_seconds

LOGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "certification-logs"
HEADER = "idx\tlabel\tpredict\tradius\tcorrect\ttime"
ROWS = ("0\t3\t3\t0.377\t1\t0:00:14.172309", "1\t8\t-1\t0.0\t0\t0:00:14.1", "2\t8\t5\t.5\t0\t1.5")
RADII = (0, 0.25, 0.5, 0.75, 1, 1.5, 2)
KNOWN = {
    "mnist_gaussian_sigma0.25": ((0.9921, 0.9845, 0.9678, 0.9315, 0, 0, 0), 0.9110),
    "mnist_gaussian_sigma0.50": ((0.9916, 0.9838, 0.9689, 0.9438, 0.8987, 0.678, 0), 1.5591),
    "mnist_gaussian_sigma1.00": ((0.9633, 0.9441, 0.9142, 0.8681, 0.7983, 0.5942, 0.3248), 1.6187),
    "mnist_smoothmix_sigma1.00": (
        (0.9407, 0.9192, 0.8856, 0.8412, 0.7876, 0.6346, 0.4489),
        1.8229,
    ),
    "cifar10_gaussian_resnet110_sigma0.25": ((0.7665, 0.6116, 0.4225, 0.2506), 0.4240),
}
needs_logs = pytest.mark.skipif(not LOGS.is_dir(), reason=f"no published logs at {LOGS}")


def log(tmp_path, *lines, header=HEADER, end="\n", ending="\n"):
    path = tmp_path / "log.tsv"
    path.write_bytes((ending.join([header, *lines]) + end).encode())
    return path


def said(result, words):
    return any(words in note for note in result.notes)


@needs_logs
@pytest.mark.parametrize("name", KNOWN)
def test_shared_logs_give_their_known_values(name):
    accuracies, acr = KNOWN[name]
    frame = read_published(LOGS / f"{name}.tsv").frame
    got = certified_accuracy(frame["correct"], frame["radius"], RADII[: len(accuracies)])
    assert [round(float(a), 4) for a in got] == list(accuracies)
    assert round(average_certified_radius(frame["correct"], frame["radius"]), 4) == acr
    assert len(frame) == 10_000


@needs_logs
def test_shared_logs_with_faults():
    crlf = read_published(LOGS / "crlf.tsv")
    assert len(crlf.frame) == 250
    assert said(crlf, "CRLF")
    assert said(crlf, "steps of 20")
    assert read_published(LOGS / "header_only_or_empty.tsv").frame.empty
    partial = read_published(LOGS / "partial_run.tsv")
    assert len(partial.frame) == 9
    assert said(partial, "index 0 to 8")
    with pytest.raises(RecordError, match="PREDICT"):
        read_published(LOGS / "predict.tsv")


def test_rows_are_read_as_they_stand(tmp_path):
    result = read_published(log(tmp_path, *ROWS))
    frame = result.frame
    assert frame["index"].tolist() == [0, 1, 2]
    assert frame["predicted"].tolist() == [3, -1, 5]
    assert frame["radius"].tolist() == [0.377, 0.0, 0.5]
    assert frame["correct"].tolist() == [True, False, False]
    assert frame["abstained"].tolist() == [False, True, False]
    assert frame["seconds"].tolist() == [14.172309, 14.1, 1.5]
    assert frame["p_lower"].isna().all()
    assert not result.torn


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:00:14.172309", 14.172309),
        ("2:03:04", 7384.0),
        ("1 day, 0:00:01.5", 86401.5),
        ("3 days, 1:00:00", 262800.0),
        ("12.25", 12.25),
        ("1e-3", 0.001),
    ],
)
def test_times(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "", "1:2"])
def test_no_times(text):
    with pytest.raises(ValueError, match=r"duration|float"):
        parse_seconds(text)


def test_line_ends_of_windows(tmp_path):
    result = read_published(log(tmp_path, *ROWS, ending="\r\n", end="\r\n"))
    assert len(result.frame) == 3
    assert said(result, "CRLF")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_mark(tmp_path, encoding):
    path = tmp_path / "log.tsv"
    path.write_text("\n".join([HEADER, *ROWS, ""]), encoding=encoding)
    result = read_published(path)
    assert len(result.frame) == 3
    assert said(result, "byte order mark" if encoding == "utf-8-sig" else "UTF-16")


def test_not_text(tmp_path):
    path = tmp_path / "log.tsv"
    path.write_bytes(b"idx\tlabel\xff\xfe\n")
    with pytest.raises(RecordError, match="UTF-8"):
        read_published(path)


def test_empty_file_and_header_alone(tmp_path):
    path = tmp_path / "empty.tsv"
    path.write_bytes(b"")
    assert said(read_published(path), "empty")
    result = read_published(log(tmp_path))
    assert result.frame.empty
    assert said(result, "header without rows")


def test_no_file(tmp_path):
    with pytest.raises(RecordError, match="Check the path"):
        read_published(tmp_path / "none.tsv")


def test_further_columns_are_ignored_and_named(tmp_path):
    lines = [f"{row}\t0.9" for row in ROWS]
    result = read_published(log(tmp_path, *lines, header=f"{HEADER}\tpABar"))
    assert len(result.frame) == 3
    assert said(result, "pABar")


def test_columns_in_another_order(tmp_path):
    result = read_published(
        log(tmp_path, "1\t0.5\t7\t3\t3", header="correct\tradius\tidx\tlabel\tpredict")
    )
    assert result.frame["index"].tolist() == [7]


def test_surplus_fields(tmp_path):
    result = read_published(log(tmp_path, ROWS[0] + "\t", *ROWS[1:]))
    assert len(result.frame) == 3
    assert said(result, "Line 2 has more fields")


def test_no_time_column(tmp_path):
    lines = [row.rsplit("\t", 1)[0] for row in ROWS]
    result = read_published(log(tmp_path, *lines, header=HEADER[: -len("\ttime")]))
    assert result.frame["seconds"].isna().all()
    assert said(result, "times are unknown")


def test_unreadable_time_is_unknown(tmp_path):
    result = read_published(log(tmp_path, ROWS[0], "1\t8\t8\t0.1\t1\tlong", ROWS[2]))
    assert math.isnan(result.frame["seconds"][1])
    assert said(result, "Line 3 has no readable time")


def test_summary_below_the_rows(tmp_path):
    result = read_published(log(tmp_path, *ROWS, "", "certified accuracy: 0.33", "ACR\t0.126"))
    assert len(result.frame) == 3
    assert said(result, "certified accuracy: 0.33")
    assert said(result, "ACR")
    assert said(result, "1 blank line")
    assert not result.torn


def test_text_between_the_rows(tmp_path):
    with pytest.raises(RecordError, match="line 3: expected 6 tab-separated fields"):
        read_published(log(tmp_path, ROWS[0], "warning: low memory", ROWS[1]))


def test_repeated_header(tmp_path):
    result = read_published(log(tmp_path, ROWS[0], HEADER, *ROWS[1:]))
    assert len(result.frame) == 3
    assert said(result, "line 3, which repeats the header")


@pytest.mark.parametrize("cut", range(1, len(ROWS[2])))
@pytest.mark.parametrize("columns", [5, 6])
def test_last_row_cut_anywhere(tmp_path, cut, columns):
    """What is kept is right; what is cut before its verdict is left out and noted."""
    names = "\t".join(HEADER.split("\t")[:columns])
    rows = ["\t".join(row.split("\t")[:columns]) for row in ROWS]
    last = rows[2][:cut]
    result = read_published(log(tmp_path, *rows[:2], last, header=names, end=""))
    if len(result.frame) == 3:
        assert result.frame["radius"].tolist() == [0.377, 0.0, 0.5]
        assert not result.torn
    else:
        assert len(result.frame) == 2
        assert result.torn
        assert said(result, "Left out line 4")


def test_short_row_in_the_middle(tmp_path):
    with pytest.raises(RecordError, match="line 2: expected 6 tab-separated fields"):
        read_published(log(tmp_path, "0\t3\t3", *ROWS[1:]))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("0\t3\t3\t0.377\t0\t1.0", "line 2: expected `correct` to say whether"),
        ("0\t3\t4\t0.377\t1\t1.0", "line 2: expected `correct` to say whether"),
        ("0\t3\t3\t0.377\tyes\t1.0", "`correct` to be 0 or 1"),
        ("0\t3\t3\t-0.1\t1\t1.0", "`radius` to be a finite number of at least 0"),
        ("0\t3\t3\tnan\t1\t1.0", "`radius` to be a finite number"),
        ("0\t3\t3\tinf\t1\t1.0", "`radius` to be a finite number"),
        ("0\t3\t3\t?\t1\t1.0", "`radius` to be a finite number"),
        ("0\t3\t-1\t0.2\t0\t1.0", "radius 0 for an abstention"),
        ("0\t3\t-2\t0.2\t0\t1.0", "`predict` to be an integer of at least -1"),
        ("0\t-1\t-1\t0.0\t1\t1.0", "`label` to be an integer of at least 0"),
        ("-4\t3\t3\t0.2\t1\t1.0", "`idx` to be an integer of at least 0"),
        ("0\t3.5\t3\t0.2\t0\t1.0", "`label` to be an integer"),
        ("1\t8\t8\t0.2\t1\t1.0", "image 1 to occur once, but got it also on line 2"),
    ],
)
def test_a_row_that_cannot_be(tmp_path, row, words):
    with pytest.raises(RecordError) as caught:
        read_published(log(tmp_path, row, *ROWS[1:]))
    assert words in str(caught.value)
    assert "log.tsv, line" in str(caught.value)


@pytest.mark.parametrize("names", ["idx\tlabel\tpredict\tradius", "a\tb", HEADER + "\tradius"])
def test_a_header_that_cannot_be(tmp_path, names):
    with pytest.raises(RecordError, match="line 1: expected the tab-separated header"):
        read_published(log(tmp_path, header=names))


def test_predictions_are_recognised(tmp_path):
    names = "idx\tlabel\tpredict\tbasePredict\tcorrect\ttime"
    with pytest.raises(RecordError, match="without certified radii"):
        read_published(log(tmp_path, "0\t3\t3\t2\t1\t0:00:03.1", header=names))


def certificate(index, radius, label=3, predicted=3, seconds=1.25):
    return Certificate(
        index=index, label=label, candidate=3, predicted=predicted, radius=radius, radius_unit="l2",
        guarantee="certified", hits=990, n=1000, n0=100, p_lower=0.97, alpha=0.001,
        ledger={"test": 0.001}, method="gaussian", parameters={"sigma": 0.5}, seed=0,
        seconds=seconds,
    )  # fmt: skip


def test_a_radius_never_grows_on_paper(tmp_path):
    radii = [0.95289, 1.9999, 0.00123456, 0.1, 12.345, 1e-9, 123456.0, 0.3 - 1e-17, 2.675]
    path = tmp_path / "log.tsv"
    write_published([certificate(i, r) for i, r in enumerate(radii)], path)
    frame = read_published(path).frame
    for before, after in zip(radii, frame["radius"], strict=True):
        assert 0.99 * before < after <= before
    again = tmp_path / "again.tsv"
    write_published(frame, again)
    assert again.read_bytes() == path.read_bytes()


def test_written_as_the_literature_does(tmp_path):
    path = tmp_path / "log.tsv"
    rows = [
        certificate(0, 0.95289, seconds=3661.5),
        certificate(20, 0.0, predicted=-1, seconds=0.25),
    ]
    write_published(rows, path)
    assert path.read_bytes().decode().split("\n") == [
        HEADER,
        "0\t3\t3\t0.952\t1\t1:01:01.500000",
        "20\t3\t-1\t0.0\t0\t0:00:00.250000",
        "",
    ]


@needs_logs
def test_a_published_log_is_written_back_as_it_was(tmp_path):
    source = LOGS / "mnist_gaussian_sigma0.50.tsv"
    path = tmp_path / "log.tsv"
    frame = read_published(source).frame
    write_published(frame, path)
    assert read_published(path).frame.equals(frame)


def test_unknown_times_are_not_written_as_zero(tmp_path):
    lines = [row.rsplit("\t", 1)[0] for row in ROWS]
    frame = read_published(log(tmp_path, *lines, header=HEADER[: -len("\ttime")])).frame
    path = tmp_path / "out.tsv"
    write_published(frame, path)
    assert "time" not in path.read_text()
    frame.loc[0, "seconds"] = 1.0
    write_published(frame, path)
    assert read_published(path).frame["seconds"].isna().tolist() == [False, True, True]


def test_what_the_format_cannot_hold(tmp_path):
    with pytest.raises(InputError, match="image 7 has none"):
        write_published([certificate(7, 0.5, label=None)], tmp_path / "log.tsv")
    with pytest.raises(InputError, match="`radius`, but image 7"):
        write_published([certificate(7, None)], tmp_path / "log.tsv")
    with pytest.raises(InputError, match="Give another path"):
        write_published([certificate(7, 0.5)], tmp_path / "none" / "log.tsv")


def test_round_down():
    assert round_down(0.30000000000000004) == "0.300"
    with pytest.raises(InputError, match="finite number"):
        round_down(-1.0)
