"""Which anchors are tested, and what they are said to cover."""

import numpy as np
import pytest

from lightning_smooth.certify.anchoring import Anchoring, runs
from lightning_smooth.maths.radius import gaussian_probability, gaussian_radius


def line(length=10.0, cells=100):
    """Vertices and cells of a line: a step costs what it is long."""
    ends = np.linspace(0, length, cells + 1)
    between = np.abs(ends[:, None] - ends)
    cost = np.maximum(between[:, :-1], between[:, 1:])
    return ends, cost, ends[:-1] / length


def search(ends, cost, norms, probability, *, goal=1.0, reach=1.2, most=64):
    """Run to the end with exact bounds of a known probability at each vertex."""
    found = Anchoring(cost, norms, goal=goal, reach=reach, most=most, draws=10_000, best=0.9999)
    while (wanted := found.next()) is not None:
        p = probability(ends[wanted.vertex])
        ended = p < wanted.needed
        if not found.observe(wanted, [(100, int(100 * p))], p, ended=ended):
            break
    return found


def test_few_anchors_cover_a_line_that_is_easy():
    ends, cost, norms = line()
    found = search(ends, cost, norms, lambda _: 0.9)
    assert found.outcome == "held"
    assert found.frontier is None
    # A test that shows 1.28 covers 2.56 of 10, and what is asked for is 1.2.
    assert len(found.tested) in (4, 5)


def test_what_is_covered_costs_less_than_the_bound_shows():
    ends, cost, norms = line()
    found = search(ends, cost, norms, lambda at: 0.9 if at < 4 else 0.7)
    for anchor in found.anchors(ends[:, None], ends[:-1, None], ends[1:, None]):
        budget = gaussian_radius(anchor.p_lower, 1.0)
        for low, high in anchor.covers:
            assert anchor.cost < budget
            assert max(abs(low[0] - anchor.theta[0]), abs(high[0] - anchor.theta[0])) < budget
    assert found.outcome == "held"


def test_where_the_class_is_lost_it_ends_and_says_how_far_it_got():
    ends, cost, norms = line()
    found = search(ends, cost, norms, lambda at: 0.95 if at < 6 else 0.3)
    assert found.outcome == "not held"
    covered = [i for tested in found.tested for i in tested.cells]
    assert sorted(covered) == list(range(len(covered)))  # from 0 on, without gaps
    assert 6 - 0.2 <= ends[len(covered)] <= 6 + gaussian_radius(0.95, 1.0)


def test_it_comes_nearer_where_less_is_shown():
    ends, cost, norms = line()
    little = gaussian_probability(0.3, 1.0) + 1e-6
    found = search(ends, cost, norms, lambda _: little)
    assert found.outcome == "held"
    assert 17 <= len(found.tested) <= 30


def test_it_stops_at_its_number_of_tests():
    ends, cost, norms = line()
    found = search(ends, cost, norms, lambda _: 0.9, most=2)
    assert (found.outcome, len(found.tested)) == ("undecided", 2)


def test_the_last_of_all_tests_has_all_draws():
    _, cost, norms = line()
    found = Anchoring(cost, norms, goal=1.0, reach=1.2, most=2, draws=10_000, best=0.9999)
    first = found.next()
    found.observe(first, [(100, 90)], 0.89, ended=False)
    assert (first.draws, found.next().draws) == (1024, 10_000)


def test_nothing_beyond_the_goal_is_tested():
    ends, cost, norms = line()
    found = search(ends, cost, norms, lambda _: 0.9, goal=0.2)
    assert len(found.tested) in (1, 2)
    assert search(ends, cost, norms, lambda _: 0.9, goal=0.0).outcome == "held"


def test_what_no_draws_would_show_is_not_asked_for():
    ends, cost, norms = line()
    found = Anchoring(cost + 5, norms, goal=1.0, reach=1.2, most=9, draws=99, best=0.99)
    assert found.next() is None
    assert (found.outcome, found.tested) == ("undecided", [])
    assert found.uncovered(ends[:-1, None], ends[1:, None]) == (((0.0,), (10.0,)),)


def test_no_anchor_is_asked_for_half_or_less():
    still = np.zeros((4, 3))
    first = Anchoring(still, np.zeros(3), goal=1.0, reach=1.2, most=4, draws=99, best=0.99).next()
    assert first.vertex == 0
    assert first.needed > 0.5
    assert first.draws == 99


@pytest.mark.parametrize("seed", range(5))
def test_runs_cover_what_the_boxes_cover(seed):
    rng = np.random.default_rng(seed)
    axis = np.linspace(0, 1, 6)
    low = np.array([(a, b) for a in axis[:-1] for b in axis[:-1]])
    high = low + 0.2
    kept = rng.random(len(low)) < 0.7
    merged = runs(low[kept], high[kept])
    assert len(merged) < kept.sum()
    middle = (low + high) / 2
    inside = [
        any(
            all(a <= m <= b for a, m, b in zip(least, at, most, strict=True))
            for least, most in merged
        )
        for at in middle
    ]
    assert inside == kept.tolist()
