"""Bounds while drawing: error exactly, by recursion over the counts; draws; edges."""

import itertools
import math

import numpy as np
import pytest
from mpmath import mp, quad
from scipy.stats import binom

from lightning_smooth.errors import InputError
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.deciding import Fraction, Thresholds
from lightning_smooth.maths.radius import gaussian_probability, gaussian_radius
from lightning_smooth.maths.sequential import (
    Betting,
    Looks,
    betting_lower,
    log_wealth,
    look_sizes,
    stopping,
)

RULES = ("looks", "betting")


def crossing(rule, p):
    """Probability that the bound of some look exceeds `p`, by recursion over hits: exact."""
    alive, crossed, before = np.ones(1), 0.0, 0
    for look, n in enumerate(rule.sizes):
        step = binom.pmf(np.arange(n - before + 1), n - before, p)
        alive, before = np.convolve(alive, step), n
        above = np.array([rule.lower(look, hits) > p for hits in range(n + 1)])
        crossed += alive[above].sum()
        alive = np.where(above, 0.0, alive)
    return crossed


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("p", [0.2, 0.5, 0.841, 0.95, 0.999])
@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_no_bound_of_any_look_is_wrong_more_often_than_alpha(name, p, alpha):
    error = crossing(stopping(name, 1000, alpha), p)
    assert error <= alpha
    if name == "looks" and p < 0.99:
        assert error > 0.1 * alpha  # and alpha is used, not hoarded


def test_peeking_with_a_fixed_bound_would_be_wrong():
    class Peeking(Looks):
        def lower(self, look, hits):
            return clopper_pearson_lower(hits, self.sizes[look], self.alpha)

    assert crossing(Peeking(1000, 0.001), 0.8) > 0.003


@pytest.mark.parametrize("n", [1, 63, 64, 65, 1000, 100_000])
def test_looks_grow_and_end_with_all_draws(n):
    sizes = look_sizes(n)
    assert sizes[-1] == n
    assert all(a < b for a, b in itertools.pairwise(sizes))
    assert all(size % 64 == 0 for size in sizes[:-1])
    assert len(sizes) <= 2 + math.log(max(n, 64) / 64, 1.4)


@pytest.mark.parametrize("n", [1, 64, 100_000])
@pytest.mark.parametrize("name", RULES)
def test_the_ledger_adds_up_to_alpha(name, n):
    assert math.fsum(stopping(name, n, 0.001).ledger.values()) == pytest.approx(0.001, rel=1e-12)


def test_the_last_look_is_a_fixed_run_with_half_of_alpha():
    rule = Looks(10_000, 0.001)
    assert rule.lower(len(rule.sizes) - 1, 9000) == clopper_pearson_lower(9000, 10_000, 0.0005)
    assert Looks(50, 0.001).lower(0, 45) == clopper_pearson_lower(45, 50, 0.001)


@pytest.mark.parametrize(("hits", "n", "p"), [(3, 10, 0.1), (64, 64, 0.5), (90, 100, 0.7)])
def test_wealth_is_the_mixture_of_likelihood_ratios(hits, n, p):
    mp.dps = 30

    def bet(q):
        return mp.mpf(q) ** (hits - 0.5) * (1 - mp.mpf(q)) ** (n - hits - 0.5) / mp.pi

    expected = mp.log(quad(bet, [0, p, 1]) / mp.mpf(p) ** hits / (1 - mp.mpf(p)) ** (n - hits))
    assert log_wealth(hits, n, p) == pytest.approx(float(expected), rel=1e-7)


def test_wealth_is_a_martingale():
    p, n = 0.3, 12
    for hits in range(n + 1):
        now = math.exp(log_wealth(hits, n, p))
        up = math.exp(log_wealth(hits + 1, n + 1, p))
        down = math.exp(log_wealth(hits, n + 1, p))
        assert p * up + (1 - p) * down == pytest.approx(now, rel=1e-12)


@pytest.mark.parametrize(
    ("hits", "n"), [(0, 10), (1, 10), (64, 64), (900, 1000), (99_999, 100_000)]
)
def test_the_betting_bound_is_where_the_wealth_is_reached(hits, n):
    bound = betting_lower(hits, n, 0.001)
    assert 0 <= bound < max(hits / n, 1e-300)
    if bound > 1e-9:
        assert log_wealth(hits, n, bound) >= -math.log(0.001)
        assert log_wealth(hits, n, bound + 1e-7) < -math.log(0.001) + 1e-3


def test_the_running_bound_is_the_best_so_far():
    rule = Looks(1000, 0.001)
    hits = [64, 100, 140]
    assert rule.running(hits) == rule.lower(0, 64) > rule.lower(2, 140)
    assert rule.running([]) == 0.0


@pytest.mark.parametrize("name", RULES)
def test_reach_is_the_fewest_hits_that_do(name):
    rule = stopping(name, 500, 0.001)
    hits = rule.reach(0.8)
    last = len(rule.sizes) - 1
    assert rule.lower(last, hits) >= 0.8 > rule.lower(last, hits - 1)
    assert rule.reach(0.9999) == 500


@pytest.mark.parametrize(("radius", "sigma"), [(0.0, 1.0), (0.5, 0.5), (1.0, 0.25), (3.9, 1.0)])
def test_a_probability_that_certifies_its_radius_and_hardly_more(radius, sigma):
    p = gaussian_probability(radius, sigma)
    assert p > 0.5
    assert gaussian_radius(p, sigma) >= radius
    assert gaussian_radius(p - 1e-9, sigma) < radius or radius == 0


def test_one_look_may_decide_every_threshold():
    test = Thresholds(Looks(100_000, 0.001), [0.5, 0.8])
    assert test.observe(64)
    assert test.decisions == ["held", "held"]
    assert test.path == [(64, 64)]


def test_a_bound_once_reached_stays_reached():
    test = Thresholds(Looks(1000, 0.001), [0.8, 0.95])
    assert not test.observe(64)
    assert test.observe(70)  # the rest were misses: 0.95 is given up
    assert test.decisions == ["held", "not held"]


def test_draws_that_run_out_leave_it_undecided():
    test = Thresholds(Looks(100, 0.001), [0.7])
    assert not test.observe(48)
    assert test.observe(75)
    assert test.decisions == ["undecided"]


@pytest.mark.parametrize("thresholds", [[], [0.0], [0.999], [0.5, 1.0], [float("nan")]])
def test_thresholds_out_of_reach_are_refused(thresholds):
    with pytest.raises(InputError, match="100 draws"):
        Thresholds(Looks(100, 0.001), thresholds)


@pytest.mark.parametrize("p", [0.45, 0.6, 0.9, 0.99, 0.9995, 1.0])
def test_a_fraction_of_the_radius_with_fewer_draws(p):
    rng = np.random.default_rng(1)
    rule, n = Looks(100_000, 0.001), 100_000
    drawn, parts = [], []
    for _ in range(20):
        test = Fraction(rule, lambda q: gaussian_radius(q, 1.0), 0.9, gaussian_probability(0, 1.0))
        hits, done, before = 0, False, 0
        while not done:
            now = test.draws
            hits += rng.binomial(now - before, p)
            before, done = now, test.observe(hits)
        hits += rng.binomial(n - before, p)
        fixed = gaussian_radius(clopper_pearson_lower(hits, n, 0.001), 1.0)
        drawn.append(before)
        parts.append(gaussian_radius(test.p_lower, 1.0) / fixed if fixed else 1.0)
    assert np.mean(drawn) < 0.6 * n
    assert np.mean(parts) > 0.88
    if p < 0.5:
        assert max(drawn) < 10_000


@pytest.mark.parametrize("arguments", [("luck", 10, 0.1), ("looks", 0, 0.1), ("looks", 10, 0.0)])
def test_what_is_no_rule_is_refused(arguments):
    with pytest.raises(InputError):
        stopping(*arguments)


def test_betting_needs_more_draws_than_looks_where_it_is_close():
    looks, betting = Looks(100_000, 0.001), Betting(100_000, 0.001)
    last = len(looks.sizes) - 1
    assert betting.lower(last, 90_000) < looks.lower(last, 90_000)
