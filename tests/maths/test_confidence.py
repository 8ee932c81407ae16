"""Clopper-Pearson bounds against their definition, and against mpmath to 50 digits."""

import itertools
import math

import mpmath
import numpy as np
import pytest
from scipy.special import betaincinv
from scipy.stats import binom, binomtest

from lightning_smooth.errors import InputError
from lightning_smooth.maths.confidence import clopper_pearson_interval, clopper_pearson_lower

mpmath.mp.dps = 50


@pytest.mark.parametrize("n", [1, 10, 1000, 100_000])
@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_agrees_with_scipy_s_exact_interval(n, alpha):
    for hits in {1, n // 2, n - 1, n} - {0}:
        reference = binomtest(hits, n, alternative="greater").proportion_ci(1 - alpha, "exact").low
        assert clopper_pearson_lower(hits, n, alpha) == pytest.approx(reference, rel=1e-12)


@pytest.mark.parametrize(("n", "alpha"), [(100, 0.001), (1000, 0.001), (100_000, 0.01)])
def test_the_tail_at_the_bound_is_at_most_alpha(n, alpha):
    for hits in np.linspace(1, n, 37).astype(int):
        bound = clopper_pearson_lower(int(hits), n, alpha)
        assert binom.sf(hits - 1, n, bound) <= alpha
        # and not much below it: the bound is not loose
        assert binom.sf(hits - 1, n, bound * (1 + 1e-9)) > alpha * (1 - 1e-5)


def test_all_hits_has_a_closed_form():
    for n, alpha in itertools.product([1, 7, 1000, 100_000], [0.001, 0.3]):
        exact = mpmath.mpf(alpha) ** (mpmath.mpf(1) / n)
        assert float(exact) == pytest.approx(clopper_pearson_lower(n, n, alpha), rel=1e-13)


def test_an_alpha_too_small_to_invert_gives_no_bound():
    assert math.isnan(betaincinv(2, 99, 1e-200))
    assert clopper_pearson_lower(2, 100, 1e-200) == 0.0


def test_the_tail_is_at_most_alpha_in_50_digits():
    for hits, n, alpha in [(60, 100, 0.001), (990, 1000, 0.001), (5, 7, 0.05)]:
        p = mpmath.mpf(clopper_pearson_lower(hits, n, alpha))
        tail = mpmath.betainc(hits, n - hits + 1, 0, p, regularized=True)
        assert tail <= mpmath.mpf(alpha) * (1 + mpmath.mpf("1e-13"))


def test_coverage_is_exact_at_every_proportion():
    n, alpha = 60, 0.01
    bounds = np.array([clopper_pearson_lower(k, n, alpha) for k in range(n + 1)])
    for p in np.linspace(0.01, 0.99, 99):
        wrong = binom.pmf(np.arange(n + 1), n, p)[bounds > p].sum()
        assert wrong <= alpha


def test_the_bound_grows_with_the_hits():
    bounds = [clopper_pearson_lower(k, 200, 0.001) for k in range(201)]
    assert bounds[0] == 0
    assert (np.diff(bounds) > 0).all()
    assert bounds[-1] < 1


def test_the_interval_covers_and_ends_where_it_must():
    low, high = clopper_pearson_interval(np.array([0, 25, 50]), 50)
    assert low[0] == 0
    assert high[-1] == 1
    reference = binomtest(25, 50).proportion_ci(0.95, "exact")
    assert (low[1], high[1]) == pytest.approx((reference.low, reference.high), rel=1e-12)


@pytest.mark.parametrize(
    ("hits", "n", "alpha", "words"),
    [
        (11, 10, 0.1, "at most n = 10"),
        (-1, 10, 0.1, "`hits`"),
        (1, 0, 0.1, "`n`"),
        (1, 10, 0.0, "`alpha`"),
        (1, 10, 1.0, "`alpha`"),
        (1, 10, float("nan"), "`alpha`"),
    ],
)
def test_bad_input_is_named(hits, n, alpha, words):
    with pytest.raises(InputError, match=words):
        clopper_pearson_lower(hits, n, alpha)
