"""The Gaussian radius: rounded down, and equal to the published largest radii."""

import mpmath
import numpy as np
import pytest

from lightning_smooth.errors import InputError
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.radius import gaussian_radius, largest_gaussian_radius

mpmath.mp.dps = 50


def exact_ppf(p):
    return mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(p) - 1)


@pytest.mark.parametrize("sigma", [0.12, 0.25, 0.5, 1.0, 1 / 3])
def test_never_above_the_exact_value_and_close_below_it(sigma):
    rng = np.random.default_rng(0)
    near_one = [clopper_pearson_lower(n - k, n, 0.001) for n in (1000, 100_000) for k in range(9)]
    for p in [0.5 + 1e-12, 0.5001, *rng.uniform(0.5, 1, 300), *near_one, 1 - 2**-53]:
        exact = mpmath.mpf(sigma) * exact_ppf(float(p))
        got = gaussian_radius(float(p), sigma)
        assert mpmath.mpf(got) <= exact
        # 1 - p carries the rounding of p itself, so near 1/2 the margin is absolute.
        assert float(exact) - got <= 1e-14 * float(exact) + 1e-15


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5])
def test_no_majority_no_radius(p):
    assert gaussian_radius(p, 1.0) == 0


@pytest.mark.parametrize(("n", "units"), [(1000, 2.46), (10_000, 3.20), (100_000, 3.81)])
def test_largest_radii_of_the_literature(n, units):
    assert largest_gaussian_radius(n, 0.001, 1.0) == pytest.approx(units, abs=0.005)


def test_published_logs_have_this_largest_radius():
    # sigma .25 at n = 1e5, alpha = .001: the logs' largest entry is .953
    assert largest_gaussian_radius(100_000, 0.001, 0.25) == pytest.approx(0.9529, abs=5e-5)


@pytest.mark.parametrize(("p", "sigma"), [(1.0, 1.0), (-0.1, 1.0), (0.9, 0.0), (0.9, -1.0)])
def test_bad_input_is_named(p, sigma):
    with pytest.raises(InputError, match=r"p_lower|sigma"):
        gaussian_radius(p, sigma)
