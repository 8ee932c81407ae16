"""The l1 radius of uniform smoothing: rounded down, and tight."""

from fractions import Fraction

import numpy as np
import pytest

from lightning_smooth.errors import InputError
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.uniform import largest_uniform_radius, uniform_radius


@pytest.mark.parametrize("lam", [0.1, 1 / 3, 0.5, 1.0, 3.7])
def test_never_above_the_exact_value_and_close_below_it(lam):
    rng = np.random.default_rng(0)
    for p in [0.5 + 2**-53, 0.5001, *rng.uniform(0.5, 1, 300), 1 - 2**-53]:
        exact = 2 * Fraction(lam) * (Fraction(float(p)) - Fraction(1, 2))
        got = uniform_radius(float(p), lam)
        assert 0 < exact - Fraction(got) <= exact * Fraction(1, 2**51)


def test_the_cube_keeps_at_least_what_the_radius_counts_on():
    # overlap of the cube and its shift by d, as a part of its volume
    rng = np.random.default_rng(1)
    lam = 0.5
    for _ in range(500):
        d = rng.uniform(-1, 1, size=rng.integers(1, 6)) * rng.choice([0.01, 0.3, 1.0])
        overlap = np.prod(np.clip(1 - abs(d) / (2 * lam), 0, None))
        assert overlap >= 1 - abs(d).sum() / (2 * lam) - 1e-12
    # and on an axis it keeps no more: the radius is tight
    p = 0.83
    radius = uniform_radius(p, lam)
    assert p - radius / (2 * lam) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5])
def test_no_majority_no_radius(p):
    assert uniform_radius(p, 1.0) == 0


def test_the_largest_radius_is_that_of_unanimous_draws():
    p = clopper_pearson_lower(1000, 1000, 0.001)
    assert largest_uniform_radius(1000, 0.001, 0.7) == uniform_radius(p, 0.7)
    assert largest_uniform_radius(1000, 0.001, 0.7) == pytest.approx(0.7 * (2 * p - 1))


@pytest.mark.parametrize(("p", "lam"), [(1.0, 1.0), (-0.1, 1.0), (0.9, 0.0), (0.9, -1.0)])
def test_bad_input_is_named(p, lam):
    with pytest.raises(InputError, match=r"p_lower|lam"):
        uniform_radius(p, lam)
