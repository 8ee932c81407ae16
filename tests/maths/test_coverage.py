"""How much of a box is covered, against a count of points."""

import numpy as np
import pytest

from lightning_smooth.errors import InputError
from lightning_smooth.maths.coverage import box_norm, covered_radius, held_radius, rounding_to


def norm(theta, box, identity):
    """The definition, for one point."""
    shares = [0.0]
    for value, (low, high), origin in zip(theta, box, identity, strict=True):
        if value > origin:
            shares.append((value - origin) / (high - origin))
        elif value < origin:
            shares.append((origin - value) / (origin - low))
    return max(shares)


@pytest.mark.parametrize("seed", range(30))
def test_no_point_within_the_radius_is_uncovered_and_some_point_beyond_is(seed):
    rng = np.random.default_rng(seed)
    box, identity = [(-3.0, 5.0), (0.0, 2.0)], [0.0, 0.0]
    low = rng.uniform([-3, -1], [2, 1], size=(12, 2)).round(1)
    high = low + rng.uniform(0, 4, size=(12, 2)).round(1)
    radius = covered_radius(low, high, box, identity)
    points = rng.uniform([-3, 0], [5, 2], size=(4000, 2))
    points[:1000] *= 0.3
    inside = ((low <= points[:, None]) & (points[:, None] <= high)).all(axis=2).any(axis=1)
    norms = np.array([norm(point, box, identity) for point in points])
    assert inside[norms < radius].all()
    if radius < 1:
        assert not inside[norms < radius + 0.15].all()


def test_one_parameter_by_hand():
    box = [(-10.0, 10.0)]
    assert covered_radius([[-10.0]], [[10.0]], box, [0.0]) == 1.0
    assert covered_radius([], [], box, [0.0]) == 0.0
    assert covered_radius([[1.0]], [[10.0]], box, [0.0]) == 0.0
    gap = covered_radius([[-10.0], [3.0]], [[2.0], [10.0]], box, [0.0])
    assert 0.2 - 1e-12 < gap <= 0.2
    assert covered_radius([[0.0]], [[10.0]], [(0.0, 10.0)], [0.0]) == 1.0


def test_a_side_without_attacks_needs_no_cover():
    assert covered_radius([[0.0, 0.0]], [[1.0, 0.0]], [(0.0, 1.0), (0.0, 0.0)], [0.0, 0.0]) == 1.0


def test_norm_of_boxes_is_that_of_their_nearest_point():
    rng = np.random.default_rng(1)
    box, identity = [(-3.0, 5.0), (0.5, 2.0)], [0.0, 1.0]
    low = rng.uniform([-3, 0.5], [5, 2], size=(50, 2))
    high = np.minimum(low + rng.uniform(0, 2, size=(50, 2)), [5.0, 2.0])
    for least, most, found in zip(low, high, box_norm(low, high, box, identity), strict=True):
        points = rng.uniform(least, most, size=(2000, 2))
        points[0] = np.clip(identity, least, most)
        assert min(norm(p, box, identity) for p in points) == pytest.approx(found)


BOX = [(-10.0, 10.0)]


def test_held_radius_needs_the_identity():
    assert held_radius([((1.0,), (10.0,))], [], BOX, [0.0], 1.0) is None
    assert held_radius([((0.0,), (10.0,))], [], BOX, [0.0], 1.0) == 0.0
    assert held_radius([((-10.0,), (10.0,))], [], BOX, [0.0], 0.5) == 0.5
    assert held_radius([((-10.0,), (10.0,))], [], BOX, [0.0], 1.0) == 1.0


def test_a_single_value_that_is_not_held_counts():
    whole = [((-10.0,), (10.0,))]
    assert held_radius(whole, [((0.0,), (0.0,))], BOX, [0.0], 1.0) is None
    at_the_end = held_radius(whole, [((10.0,), (10.0,))], BOX, [0.0], 1.0)
    assert 0.999999 < at_the_end < 1
    inside = held_radius(whole, [((-4.0,), (-4.0,))], BOX, [0.0], 1.0)
    assert 0.3999 < inside < 0.4


def test_a_neighbour_that_is_not_held_takes_no_point_away():
    covers, lost = [((-10.0,), (0.0,))], [((0.0,), (1.0,))]
    assert held_radius(covers, lost, BOX, [0.0], 1.0) == 0.0


@pytest.mark.parametrize("box", [[(1.0, 2.0)], [(0.0, 0.0)]])
def test_a_box_is_around_the_identity(box):
    with pytest.raises(InputError, match="around"):
        covered_radius([[0.0]], [[1.0]], box, [0.0])


def test_shapes():
    with pytest.raises(InputError, match="low"):
        box_norm([[0.0, 1.0]], [[1.0, 1.0]], [(0.0, 1.0)], [0.0])


PATCHES = [(0.0, 5.0), (-4.0, 27.0)]


def test_places_do_not_count_and_are_anywhere_in_their_range():
    low, high = [[1.0, 3.0], [2.0, -9.0], [2.0, 30.0]], [[2.0, 3.0], [9.0, 40.0], [3.0, 31.0]]
    assert box_norm(low, high, PATCHES, [0.0, None]).tolist() == [0.2, 0.4, np.inf]
    # All of the places have to be covered, and one that is not takes the norm away.
    assert covered_radius([[0.0, -4.0]], [[3.0, 27.0]], PATCHES, [0.0, None]) == pytest.approx(0.6)
    assert covered_radius([[0.0, -4.0]], [[3.0, 26.0]], PATCHES, [0.0, None]) == 0.0
    whole = [((0.0, -4.0), (5.0, 27.0))]
    lost = [((2.5, 7.0), (3.5, 7.0))]
    assert held_radius(whole, lost, PATCHES, [0.0, None], 1.0) == pytest.approx(0.5, rel=1e-6)
    # Where nothing is changed, a single place is one of many with the same image.
    assert held_radius(whole, [((0.0, 7.0), (0.5, 7.0))], PATCHES, [0.0, None], 1.0) == 0.0
    assert held_radius(whole, [((0.0, 0.0), (0.0, 7.0))], PATCHES, [0.0, None], 1.0) is None
    with pytest.raises(InputError, match="not only of where"):
        box_norm(low, high, PATCHES, [None, None])


def test_real_parameters_that_round_to_whole_ones():
    rng = np.random.default_rng(2)
    box, whole = [(0.3, 4.5), (-2.5, 1.5), (0.0, 1.0)], [True, True, False]
    points = rng.uniform(*np.transpose(box), (2000, 3))
    points[:500] = np.clip(np.round(2 * points[:500]) / 2, *np.transpose(box))
    for low, high in (((1, -2, 0.2), (2, 0, 0.7)), ((0, -2, 0.0), (4, 2, 1.0))):
        least, most = rounding_to(low, high, box, whole)
        near = np.where(whole, np.round(points), points)
        inside = ((low <= near) & (near <= high)).all(axis=1)
        covered = ((least <= points) & (points <= most)).all(axis=1)
        between = ((least < points) & (points < most)).all(axis=1)
        assert covered[inside].all()
        assert inside[between].all()
        assert 20 < inside.sum() <= 2000
