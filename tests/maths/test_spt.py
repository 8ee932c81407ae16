"""The statistics of SPT against closed forms and simulation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import beta, binom, norm

from lightning_smooth.errors import InputError
from lightning_smooth.maths.confidence import clopper_pearson_lower, clopper_pearson_upper
from lightning_smooth.maths.sequential import Looks
from lightning_smooth.maths.spt import (
    OuterTest,
    alpha_of_attempt,
    failures_allowed,
    hit_needed,
    hits_shown,
    passes_needed,
)


@pytest.mark.parametrize("rho", [0.0, 0.001, 0.02, 0.3])
@pytest.mark.parametrize("radius", [0.0, 3.0, 30.0])
def test_the_probability_that_a_radius_needs(radius: float, rho: float) -> None:
    needed = hit_needed(radius, 20.0, rho)
    exact = norm.cdf(radius / 20 + norm.ppf(0.5 + rho))
    assert exact <= needed <= exact + 1e-12
    # Shifted by the attack, less rho, it is still above one half.
    assert norm.cdf(norm.ppf(needed) - radius / 20) - rho >= 0.5 - 1e-15


def test_rho_costs_less_than_before_the_shift() -> None:
    # As published, p - rho is shifted: the same radius then needs more.
    published = norm.cdf(30 / 20) + 0.02
    assert hit_needed(30.0, 20.0, 0.02) < published


def test_nothing_is_enough_beyond_one_half() -> None:
    assert hit_needed(1.0, 1.0, 0.5) == 1.0
    with pytest.raises(InputError, match="rho"):
        hit_needed(1.0, 1.0, -0.1)
    with pytest.raises(InputError, match="rho"):
        hit_needed(1.0, 1.0, float("nan"))


def test_tests_must_pass_more_often_than_hits_happen() -> None:
    assert passes_needed(0.9, 0.01) == pytest.approx(0.01 + 0.99 * 0.9, abs=1e-12)
    assert passes_needed(1.0, 0.01) == 1.0


@pytest.mark.parametrize("hits", [0, 1, 37, 399, 400])
def test_the_upper_bound_is_that_of_clopper_and_pearson(hits: int) -> None:
    exact = 1.0 if hits == 400 else beta.ppf(0.999, hits + 1, 400 - hits)
    assert exact <= clopper_pearson_upper(hits, 400, 0.001) + 1e-12
    assert clopper_pearson_upper(hits, 400, 0.001) == pytest.approx(exact, abs=1e-9)


def test_decisions_follow_from_the_bound() -> None:
    test = OuterTest(Looks(1000, 0.008), [0.0, 10.0, 30.0, 60.0], 30.0, 0.015, 0.001)
    assert set(test.decisions.values()) == {"undecided"}
    while not test.decider.observe(test.decider.draws):  # every test passes
        pass
    assert test.decisions["30.0"] == "held"
    bound = test.decider.p_lower
    assert test.radius(bound) in (30.0, 60.0)
    assert test.certified(bound)
    assert test.decided(0.2)["0.0"] == "undecided"
    assert test.radius(0.2) == 0.0
    assert not test.certified(0.2)


def test_a_radius_out_of_reach_is_not_held_and_no_error() -> None:
    test = OuterTest(Looks(200, 0.004), [10.0, 85.0], 30.0, 0.3, 0.001)
    assert test.needed[1] > test.decider.rule.running(test.decider.rule.sizes)
    while not test.decider.observe(test.decider.draws):
        pass
    assert test.decisions == {"10.0": "held", "85.0": "not held"}
    nothing = OuterTest(Looks(64, 0.004), [60.0], 30.0, 0.49, 0.001)
    nothing.decider.observe(64)
    assert nothing.decisions == {"60.0": "not held"}


def test_inner_mistakes_do_not_make_false_radii() -> None:
    # The probability of a hit is just too small for 10 degrees, and inner tests are wrong as often
    # as their level says: the radius may be held in at most 5 % of runs.
    level, rng = 0.02, np.random.default_rng(0)
    hit = hit_needed(10.0, 30.0, 0.01) - 1e-4
    rule = Looks(400, 0.05)
    held = 0
    for _ in range(600):
        test = OuterTest(rule, [10.0], 30.0, 0.01, level)
        passed = np.cumsum(rng.random(400) < hit + (1 - hit) * level)
        while not test.decider.observe(int(passed[test.decider.draws - 1])):
            pass
        held += test.decisions["10.0"] == "held"
    assert held / 600 <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5


@pytest.mark.parametrize(("draws", "rho", "level"), [(400, 0.02, 0.05), (700, 0.01, 0.001)])
def test_failures_that_show_a_rate_are_rare_where_it_is_larger(
    draws: int, rho: float, level: float
) -> None:
    allowed = failures_allowed(draws, rho, level)
    assert binom.cdf(allowed, draws, rho) <= level < binom.cdf(allowed + 1, draws, rho)


def test_too_few_draws_show_nothing() -> None:
    assert failures_allowed(297, 0.01, 0.05) == -1  # .99^297 = .0505
    assert failures_allowed(299, 0.01, 0.05) == 0
    assert failures_allowed(2, 0.99, 0.5) == 1  # and never that all of them failed


@pytest.mark.parametrize("passed", [0, 17, 290, 300])
def test_what_tests_show_is_what_they_need(passed: int) -> None:
    shown = hits_shown(passed, 300, 0.05, 0.001)
    lower = clopper_pearson_lower(passed, 300, 0.001)
    assert 0 <= shown < 1
    level = Fraction(0.05)
    assert level + (1 - level) * Fraction(shown) <= max(Fraction(lower), level)
    assert shown == pytest.approx(max(0.0, (lower - 0.05) / 0.95), abs=1e-14)


def test_no_number_of_attempts_spends_more_than_alpha() -> None:
    assert sum(alpha_of_attempt(0.01, attempt) for attempt in range(1, 60)) <= 0.01
    with pytest.raises(InputError, match="attempt"):
        alpha_of_attempt(0.01, 0)


def test_a_fraction_is_overstated_as_rarely_as_alpha_says() -> None:
    # The worst population: good images always pass, bad ones just fail to deserve it.
    q, images, draws, rho, level, alpha = 0.9, 200, 400, 0.02, 0.05, 0.05
    allowed = failures_allowed(draws, rho, level)
    shown = np.array([hits_shown(passed, images, level, alpha) for passed in range(images + 1)])
    rng, runs = np.random.default_rng(1), 4000
    rates = np.where(rng.random((runs, images)) < q, 0.0, rho * (1 + 1e-9))
    passes = (rng.binomial(draws, rates) <= allowed).sum(axis=1)
    wrong = float((shown[passes] > q).mean())
    assert alpha / 3 < wrong <= alpha + 3 * (alpha * (1 - alpha) / runs) ** 0.5
    # Without what bad images add, it would be overstated far more often.
    careless = np.array([clopper_pearson_lower(p, images, alpha) for p in range(images + 1)])
    assert float((careless[passes] > q).mean()) > wrong
