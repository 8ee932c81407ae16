"""Cutting ranges into parts, against ranges whose held parts are known."""

import itertools
import math

import numpy as np
import pytest

from lightning_smooth.maths.coverage import box_norm, held_radius
from lightning_smooth.verify.splitting import Splitting, merged

TENS = [(-10.0, 10.0)]


def radius(parts):
    ends = tuple(e[0] for e in parts.box), tuple(e[1] for e in parts.box)
    most = max(parts.radii)
    return held_radius([ends], parts.uncovered(), parts.box, parts.identity, most)


def search(parts, holds, other=lambda theta: False, batch=5):
    """Examine parts: those that `holds` says, and a counterexample where `other` has one."""
    seen = []
    while found := parts.next(batch):
        for part in found:
            seen.append(part)
            if holds(part.low, part.high):
                parts.hold(part)
                continue
            if other(part.center):
                norm = box_norm([part.center], [part.center], parts.box, parts.identity)
                parts.found(float(norm[0]))
            parts.split(part)
    return seen


def splitting(box=TENS, identity=(0.0,), radii=(1.0,), parts=4, most=10_000):
    return Splitting(box, identity, radii=radii, parts=parts, most=most)


@pytest.mark.parametrize(("left", "right"), [(7.0, 3.3), (0.01, 9.0), (9.99, 10.5)])
def test_the_radius_is_where_parts_stop_to_hold(left, right):
    parts = splitting()
    search(parts, lambda low, high: -left < low[0] and high[0] < right)
    exact = min(left, right) / 10
    assert exact - 1e-5 < radius(parts) < exact
    assert parts.examined < 200


def test_all_that_holds_is_a_radius_of_one():
    parts = splitting()
    seen = search(parts, lambda low, high: True)
    assert (radius(parts), parts.uncovered()) == (1.0, ())
    assert (parts.examined, parts.held, parts.depth, len(seen)) == (4, 4, 0, 4)
    parts = splitting(parts=3)
    search(parts, lambda low, high: high[0] - low[0] <= 2)
    assert radius(parts) == 1.0
    assert parts.examined == 2 * parts.held - 3
    assert parts.depth == 2


def test_parts_go_outward_from_the_identity():
    seen = search(splitting(parts=8, box=[(-10.0, 20.0)]), lambda low, high: True, batch=1)
    norms = [part.norm for part in seen]
    assert norms == sorted(norms)
    assert len(set(norms)) > 4


def test_nothing_beyond_the_goal_is_examined():
    parts = splitting(radii=(0.0, 0.3), parts=6)
    seen = search(parts, lambda low, high: True)
    assert max(abs(x) for part in seen for x in (*part.low, *part.high)) < 3.0001
    assert radius(parts) == 0.3
    parts = splitting(radii=(0.0,))
    assert not search(parts, lambda low, high: True)
    assert radius(parts) == 0.0


def test_nothing_beyond_a_counterexample_is_examined_but_what_is_within():
    parts = splitting(parts=16)
    parts.found(0.8)
    seen = search(
        parts, lambda low, high: low[0] > -6.3 and high[0] < 5.3, lambda theta: theta[0] > 5.3
    )
    assert 5.3 <= parts.nearest * 10 < 5.32
    assert 0.53 - 2e-3 < radius(parts) < 0.53
    assert all(part.norm < 0.8 for part in seen)
    # asked for closely, it is looked at closely
    close = splitting(parts=16, radii=(0.5299, 1.0))
    search(close, lambda low, high: low[0] > -6.3 and high[0] < 5.3, lambda theta: theta[0] > 5.3)
    assert radius(close) > 0.5299


def test_the_budget_ends_it_and_the_rest_is_uncovered():
    parts = splitting(parts=8, most=5)
    seen = search(parts, lambda low, high: True, batch=2)
    assert len(seen) == parts.examined == parts.held == 5
    assert radius(parts) == pytest.approx(0.5, abs=1e-6)
    parts = splitting(parts=2, most=7)
    search(parts, lambda low, high: False)
    assert parts.examined == 7
    assert parts.uncovered() == (((-10.0,), (10.0,)),)


def test_what_cannot_be_cut_further_ends_the_search():
    parts = splitting(most=10**6)
    search(parts, lambda low, high: not low[0] <= math.pi <= high[0])
    assert parts.examined < 100
    ((low,), (high,)) = parts.uncovered()[0]
    assert low <= math.pi <= high
    assert radius(parts) == pytest.approx(math.pi / 10, abs=1e-5)


@pytest.mark.parametrize(
    ("box", "identity"),
    [
        ([(-2.0, 2.0), (-1.0, 3.0)], (0.0, 0.0)),
        ([(0.7, 1.0), (-1.0, 3.0)], (1.0, 0.0)),
        ([(-2.0, 2.0), (0.5, 0.5)], (0.0, 0.5)),
        ([(0.5, 0.5), (0.0, 1.0)], (0.5, 0.0)),
    ],
)
@pytest.mark.parametrize("goal", [1.0, 0.6, 0.0])
def test_held_and_uncovered_make_up_the_box(box, identity, goal):
    generator = np.random.default_rng(0)
    parts = splitting(box, identity, radii=(goal,), parts=3, most=60)
    held = []
    while found := parts.next(4):
        for part in found:
            if generator.random() < 0.6:
                parts.hold(part)
                held.append((part.low, part.high))
            else:
                parts.split(part)
    everything = [*held, *parts.uncovered()]
    points = generator.uniform(*np.transpose(box), (2000, 2))
    for point in points:
        assert any(
            all(a <= x <= b for a, x, b in zip(low, point, high, strict=True))
            for low, high in everything
        )
    found = radius(parts)
    assert found is not None
    for low, high in parts.uncovered():
        assert box_norm([low], [high], box, identity)[0] >= found
        assert not any(
            all(max(a, c) < min(b, d) or a == b for a, b, c, d in zip(low, high, *one, strict=True))
            for one in held
        )


def test_a_long_list_is_cut_short_at_the_same_radius():
    box = [(-1.0, 1.0), (-1.0, 1.0)]
    parts = splitting(box, (0.0, 0.0), parts=16, most=256)
    search(parts, lambda low, high: (round(8 * low[0]) + round(8 * low[1])) % 2 or
           max(map(abs, (*low, *high))) <= 0.5, batch=256)  # fmt: skip
    listed = parts.uncovered()
    assert len(listed) == 4
    assert radius(parts) == pytest.approx(0.5, abs=1e-6)


def test_merged_boxes_are_the_same_set():
    generator = np.random.default_rng(1)
    for _ in range(30):
        cells = [c for c in itertools.product(range(6), repeat=2) if generator.random() < 0.7]
        found = merged([((float(i), float(j)), (i + 1.0, j + 1.0)) for i, j in cells])
        assert len(found) < len(cells)
        inside = [
            (i, j)
            for low, high in found
            for i in range(int(low[0]), int(high[0]))
            for j in range(int(low[1]), int(high[1]))
        ]
        assert sorted(inside) == sorted(cells)
    assert merged([]) == []
    assert merged([((0.0,), (1.0,)), ((1.0,), (2.0,)), ((3.0,), (4.0,))]) == [
        ((0.0,), (2.0,)), ((3.0,), (4.0,)),
    ]  # fmt: skip


PATCH = [(0.0, 5.0), (-2.0, 3.4), (0.5, 2.5)]
"""Sides, and places where the whole numbers are -2 to 3 and 0 to 2: 0.5 is 0, and 2.5 is 2."""


def patches(radii=(1.0,), parts=2, most=10_000, box=PATCH):
    return Splitting(
        box, (0.0, None, None), radii=radii, parts=parts, most=most, whole=(True, True, True)
    )


def inside(point, ranges):
    return any(
        all(a <= x <= b for a, x, b in zip(low, point, high, strict=True)) for low, high in ranges
    )


@pytest.mark.parametrize("parts", [1, 2, 4, 100])
def test_whole_parameters_are_cut_between_numbers_until_they_are_one(parts):
    split = patches(parts=parts)
    first = [(part.low, part.high) for part in split.first()]
    assert len(first) == min(parts, 6) * min(parts, 6) * min(parts, 3)
    seen = search(split, lambda low, high: low == high)
    held = [part.low for part in seen if part.low == part.high]
    assert sorted(held) == sorted(itertools.product(range(6), range(-2, 4), range(3)))
    assert (radius(split), split.uncovered()) == (1.0, ())
    assert split.examined == 2 * split.held - len(first)
    for part in seen:
        assert all(x == round(x) for x in (*part.low, *part.high, *part.center))
        assert inside(part.center, [(part.low, part.high)])


@pytest.mark.parametrize("seed", range(5))
def test_held_and_uncovered_patches_make_up_the_real_range(seed):
    generator = np.random.default_rng(seed)
    bad = {(int(generator.integers(1, 6)), int(generator.integers(-2, 4)), 1) for _ in range(3)}
    split = patches()
    held = []

    def holds(low, high):
        numbers = itertools.product(
            *(range(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))
        )
        good = not bad & set(numbers)
        if good:
            held.append((low, high))
        return good

    search(split, holds)
    side = min(one[0] for one in bad)
    assert radius(split) == pytest.approx((side - 0.5) / 5, rel=1e-6)
    points = generator.uniform(*np.transpose(PATCH), (3000, 3))
    points[:1000] = np.clip(np.round(2 * points[:1000]) / 2, *np.transpose(PATCH))
    for point in points:
        whole = tuple(round(x) for x in point)
        assert inside(whole, held) or inside(point, split.uncovered())
        if point[0] / 5 < radius(split):
            assert whole not in bad
            assert inside(whole, held)


def test_a_patch_that_is_not_held_stays_alone():
    """Where nothing smaller is left, the rest of its side is examined no further."""
    split = patches(parts=100)
    search(split, lambda low, high: low != (2.0, 0.0, 1.0))
    assert split.nearest == math.inf
    assert radius(split) == pytest.approx(1.5 / 5, rel=1e-6)
    assert inside((1.6, 0.1, 1.2), split.uncovered())
    assert not inside((1.4, 0.1, 1.2), split.uncovered())


def test_the_norm_of_a_patch_is_that_of_the_least_parameter_that_gives_it():
    split = patches()
    one = (3.0, 1.0, 1.0)
    assert split.norms([(one, one), ((0.0, 0.0, 0.0), one)]) == [0.5, 0.0]
    split.found(0.5)
    seen = search(split, lambda low, high: True)
    assert max(part.low[0] for part in seen) == 0  # {0, 1, 2} and {3, 4, 5}
    assert radius(split) == pytest.approx(0.5, rel=1e-6)


def test_no_larger_patches_than_asked_for_are_examined():
    split = patches(radii=(0.0, 0.4), parts=8)
    seen = search(split, lambda low, high: True)
    assert {part.low[0] for part in seen} == {0.0, 1.0, 2.0}
    assert radius(split) == 0.4
    assert split.uncovered() == (((2.5, -2.0, 0.5), (5.0, 3.4, 2.5)),)
    nothing = patches(radii=(0.0,))
    assert not search(nothing, lambda low, high: True)
    assert nothing.uncovered() == (tuple(zip(*PATCH, strict=True)),)
    assert radius(nothing) == 0.0


def test_the_budget_of_patches_leaves_the_rest_uncovered():
    split = patches(parts=100, most=40)
    search(split, lambda low, high: True)
    assert split.held == 40  # 18 places each of the sides 0 and 1, and some of 2
    assert radius(split) == pytest.approx(1.5 / 5, rel=1e-6)
    thin = patches(parts=100, most=5, box=[(0.0, 1.0), (0.0, 2.0), (0.5, 1.0)])
    search(thin, lambda low, high: True)
    assert radius(thin) == 0.0  # some places of side 0 are left
