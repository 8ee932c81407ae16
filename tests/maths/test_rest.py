"""The two-class test, the ledger, and the figures of a data set."""

import doctest
import importlib
import math
import pkgutil

import numpy as np
import pytest
from scipy.stats import binom

import lightning_smooth.maths
from lightning_smooth.errors import InputError, SoundnessError
from lightning_smooth.maths.certified import (
    average_certified_radius,
    certified_accuracy,
    certified_accuracy_band,
    certified_hits,
)
from lightning_smooth.maths.hypothesis import top_two_p_value
from lightning_smooth.maths.ledger import check_ledger

MODULES = [m.name for m in pkgutil.iter_modules(lightning_smooth.maths.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_doctests_print_their_numbers(name):
    module = importlib.import_module(f"lightning_smooth.maths.{name}")
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(("top", "second"), [(60, 40), (50, 50), (100, 0), (1, 0)])
def test_p_value_by_enumeration(top, second):
    n = top + second
    pmf = binom.pmf(np.arange(n + 1), n, 0.5)
    expected = min(1.0, pmf[pmf <= pmf[top] * (1 + 1e-9)].sum())
    assert top_two_p_value(top, second) == pytest.approx(expected, rel=1e-9)


def test_no_votes_decide_nothing():
    assert top_two_p_value(0, 0) == 1


def test_the_runner_up_cannot_lead():
    with pytest.raises(InputError, match="second"):
        top_two_p_value(1, 2)


def test_predict_s_test_errs_at_most_alpha():
    # Between two equally likely classes every answer is an error: P(p-value <= alpha) <= alpha.
    n, alpha = 100, 0.05
    pmf = binom.pmf(np.arange(n + 1), n, 0.5)
    answered = [top_two_p_value(max(k, n - k), min(k, n - k)) <= alpha for k in range(n + 1)]
    assert pmf[np.array(answered)].sum() <= alpha


def test_ledger_holds_and_breaks():
    check_ledger({"a": 0.004, "b": 0.005, "c": 0.001}, 0.01)
    check_ledger({}, 0.01)
    for bad in ({"a": 0.011}, {"a": 0.006, "b": 0.005}, {"a": -0.001}, {"a": math.nan}):
        with pytest.raises(SoundnessError):
            check_ledger(bad, 0.01)


def test_figures_against_a_plain_count():
    rng = np.random.default_rng(0)
    correct = rng.random(500) < 0.8
    radius = np.where(rng.random(500) < 0.1, 0.0, rng.uniform(0, 2, 500))
    radii = [0.0, 0.5, 1.0, float(radius[7]), 3.0]
    for r, hits in zip(radii, certified_hits(correct, radius, radii), strict=True):
        assert hits == sum(1 for c, q in zip(correct, radius, strict=True) if c and q >= r)
    accuracy = certified_accuracy(correct, radius, radii)
    low, high = certified_accuracy_band(correct, radius, radii)
    assert (low <= accuracy).all()
    assert (accuracy <= high).all()
    expected = sum(q for c, q in zip(correct, radius, strict=True) if c) / 500
    assert average_certified_radius(correct, radius) == pytest.approx(expected)


def test_no_images_no_figure():
    assert np.isnan(certified_accuracy([], [], [0.0])).all()
    assert math.isnan(average_certified_radius([], []))


def test_columns_of_two_lengths_are_refused():
    with pytest.raises(InputError, match="one shape"):
        certified_accuracy([True], [1.0, 2.0], [0.0])
