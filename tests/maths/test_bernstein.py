"""The empirical Bernstein bound: its formula, rounded down, and its error exactly."""

import mpmath
import numpy as np
import pytest
from scipy.stats import beta, binom

from lightning_smooth.errors import InputError
from lightning_smooth.maths.bernstein import empirical_bernstein_lower

mpmath.mp.dps = 50
SCALE = 2**20


def by_definition(values, alpha):
    n = len(values)
    mean = mpmath.fsum(values) / n
    variance = mpmath.fsum((v - mean) ** 2 for v in values) / (n - 1)
    log = mpmath.log(2 / mpmath.mpf(alpha))
    return mean - mpmath.sqrt(2 * variance * log / n) - 7 * log / (3 * (n - 1))


@pytest.mark.parametrize("n", [2, 50, 1000, 20_000])
@pytest.mark.parametrize("shape", [(9, 1), (0.1, 0.1), (200, 2)])
def test_it_is_the_formula_rounded_down(n, shape):
    rng = np.random.default_rng(n)
    q = [int(v) for v in np.floor(beta.rvs(*shape, size=n, random_state=rng) * SCALE)]
    got = empirical_bernstein_lower(sum(q), sum(v * v for v in q), n, 0.001, scale=SCALE)
    exact = by_definition([mpmath.mpf(v) / SCALE for v in q], 0.001)
    if exact <= 0:
        assert got == 0
    else:
        assert 0 <= exact - mpmath.mpf(got) < 1e-14


def test_it_errs_rarely_enough_with_coins():
    # for a coin the probability of error is a sum over its counts
    for p in (0.5, 0.9, 0.99, 0.999):
        for n in (20, 300):
            bounds = [empirical_bernstein_lower(k, k, n, 0.05) for k in range(n + 1)]
            wrong = binom.pmf(np.arange(n + 1), n, p)[np.array(bounds) > p].sum()
            assert wrong <= 0.05


def test_it_errs_rarely_enough_with_scores():
    rng = np.random.default_rng(0)
    q = np.floor(rng.beta(8, 2, size=(2000, 200)) * SCALE).astype(int)
    bounds = [
        empirical_bernstein_lower(int(row.sum()), int((row * row).sum()), 200, 0.2, scale=SCALE)
        for row in q
    ]
    assert np.mean(np.array(bounds) > 0.8) <= 0.2
    assert np.mean(bounds) > 0.7


def test_scores_that_vary_little_are_bounded_better_than_votes():
    n, mean = 10_000, int(0.9 * SCALE)
    steady = empirical_bernstein_lower(n * mean, n * mean * mean, n, 0.001, scale=SCALE)
    coins = empirical_bernstein_lower(9000, 9000, n, 0.001)
    assert steady > 0.898
    assert coins < 0.89


@pytest.mark.parametrize(
    ("total", "squares", "n", "alpha", "words"),
    [
        (1, 1, 1, 0.1, "`n`"),
        (1, 1, 2, 1.0, "`alpha`"),
        (-1, 1, 2, 0.1, "`total`"),
        (11, 11, 10, 0.1, "sums of 10"),
        (5, 2, 10, 0.1, "sums of 10"),  # the squares of whole numbers are no less than they
        (5, 6, 10, 0.1, "sums of 10"),
    ],
)
def test_sums_that_no_draws_have_are_refused(total, squares, n, alpha, words):
    with pytest.raises(InputError, match=words):
        empirical_bernstein_lower(total, squares, n, alpha)
