"""The Lipschitz radius: exact but for one rounding, downward."""

import math
from fractions import Fraction

import numpy as np
import pytest

from lightning_smooth.errors import InputError
from lightning_smooth.maths.lipschitz import lipschitz_radius


def test_it_is_the_largest_float_that_is_not_above_the_exact_value():
    rng = np.random.default_rng(0)
    for _ in range(500):
        top, second = sorted((float(v) for v in rng.normal(size=2) * 10.0 ** rng.integers(-9, 9)),
                             reverse=True)  # fmt: skip
        lipschitz, rounding = float(rng.uniform(0.01, 100)), float(rng.uniform(0, 1e-6))
        margin = Fraction(top) - Fraction(second) - 4 * Fraction(rounding)
        got = lipschitz_radius(top, second, lipschitz, rounding=rounding)
        if margin <= 0:
            assert got is None
            continue
        exact = margin / 2 / Fraction(lipschitz)
        assert Fraction(got) <= exact < Fraction(math.nextafter(got, math.inf))


def test_a_difference_that_floats_would_round_away_stays():
    # 1 - 2^-60 is 1 in float64
    assert lipschitz_radius(1.0, 2.0**-60, 0.5) == math.nextafter(1.0, 0.0)


def test_no_margin_certifies_nothing():
    assert lipschitz_radius(0.5, 0.5, 1.0) is None
    assert lipschitz_radius(0.5, 0.4, 1.0, rounding=0.03) is None


def test_extremes_stay_finite():
    assert lipschitz_radius(1e308, -1e308, 1e-3) == math.nextafter(math.inf, 0.0)
    assert lipschitz_radius(5e-324, 0.0, 1e9) == 0.0


@pytest.mark.parametrize(
    ("top", "second", "lipschitz", "rounding", "words"),
    [
        (1.0, 2.0, 1.0, 0.0, "larger first"),
        (math.nan, 0.0, 1.0, 0.0, "finite scores"),
        (math.inf, 0.0, 1.0, 0.0, "finite scores"),
        (1.0, 0.0, 0.0, 0.0, "`lipschitz`"),
        (1.0, 0.0, math.inf, 0.0, "`lipschitz`"),
        (1.0, 0.0, 1.0, -1e-9, "`rounding`"),
        (1.0, 0.0, 1.0, math.nan, "`rounding`"),
    ],
)
def test_bad_input_is_named(top, second, lipschitz, rounding, words):
    with pytest.raises(InputError, match=words):
        lipschitz_radius(top, second, lipschitz, rounding=rounding)
