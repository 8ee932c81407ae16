"""What is said of two headers that differ."""

from __future__ import annotations

from lightning_smooth.records.reading import differences

BLUR = "Preprocessing(vignette='circle', margin=None, blur=7, s={})"


def test_long_values_are_shown_where_they_differ() -> None:
    (line,) = differences({"preprocessing": BLUR.format(4.0)}, {"preprocessing": BLUR.format(8.0)})
    assert line == "preprocessing: ...ur=7, s=8.0) in the records, ...ur=7, s=4.0) now"


def test_digests_are_shown_by_their_beginning() -> None:
    (line,) = differences({"weights": "a" * 64}, {"weights": "b" * 64})
    assert line == f"weights: {'b' * 24}... in the records, {'a' * 24}... now"


def test_a_long_value_beside_none() -> None:
    (line,) = differences({"box": None}, {"box": list(range(30))}, place="there")
    assert line == "box: [0, 1, 2, 3, 4, 5, 6, 7,... there, None now"
