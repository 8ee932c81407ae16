"""The rounded Gaussian: no step has more than its mass, and next to none is lost."""

import mpmath
import numpy as np
import pytest

from lightning_smooth.errors import InputError
from lightning_smooth.maths.rounded import BITS, GRID, clip_range, rounded_gaussian

SIGMAS = [0.001, 0.01, 0.12, 0.25, 1 / 3, 0.5, 1.0, 2.5]


def masses(law):
    """Probability of every step to 60 digits, the tails in the two ends."""
    with mpmath.workdps(60):
        scale = GRID * mpmath.mpf(law.sigma)
        tails = [mpmath.erfc((i + mpmath.mpf(1) / 2) / scale / mpmath.sqrt(2)) / 2
                 for i in range(law.largest)]  # fmt: skip
        side = [a - b for a, b in zip(tails, [*tails[1:], mpmath.mpf(0)], strict=True)]
        return [*reversed(side), 1 - 2 * tails[0], *side]


@pytest.mark.parametrize("sigma", SIGMAS)
def test_no_step_has_more_than_its_mass_and_less_than_two_integers_below_it(sigma):
    law = rounded_gaussian(sigma)
    exact = masses(law)
    assert len(exact) == len(law.counts) == 2 * law.largest + 1
    with mpmath.workdps(60):
        assert abs(mpmath.fsum(exact) - 1) < mpmath.mpf(10) ** -50
        short = [2**BITS * mass - int(count) for mass, count in zip(exact, law.counts, strict=True)]
    assert min(short) >= 0
    assert max(short) < 1 + 1e-9
    assert 0 <= law.lost <= len(law.counts)


@pytest.mark.parametrize("sigma", [0.01, 0.25, 1.0])
def test_places_are_those_of_a_search_over_all_thresholds(sigma):
    law = rounded_gaussian(sigma)
    ends = law.thresholds.astype(object)
    near = {int(t) + d for t in ends for d in (-1, 0, 1)}
    edges = np.array([v for v in sorted(near) if 0 <= v < 2**BITS], dtype=np.uint64)
    rng = np.random.default_rng(0)
    anywhere = rng.integers(0, 2**BITS, size=20_000, dtype=np.uint64)
    for integers in (edges, anywhere.reshape(100, 200)):
        expected = np.searchsorted(law.thresholds, integers, side="right")
        assert np.array_equal(law.places(integers), expected)
    # each step has as many integers as its count: the first and the last of its range give it
    held = np.flatnonzero(law.counts)
    first = law.thresholds[held] - law.counts[held]
    assert np.array_equal(law.places(first), held)
    assert np.array_equal(law.places(law.thresholds[held] - np.uint64(1)), held)


def test_what_no_step_has_is_a_failure():
    law = rounded_gaussian(0.25)
    left_over = np.arange(2**BITS - law.lost, 2**BITS, dtype=np.uint64)
    assert len(left_over) > 0
    assert (law.places(left_over) == len(law.counts)).all()


def test_a_table_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        rounded_gaussian(0.25).counts[0] = 1


@pytest.mark.parametrize(
    ("sigma", "ends"), [(0.05, (-1, 2)), (0.25, (-1, 2)), (0.5, (-3, 4)), (1, (-6, 7))]
)
def test_pixels_are_clipped_six_sigma_away(sigma, ends):
    assert clip_range(sigma) == ends
    assert rounded_gaussian(float(sigma)).largest == GRID * ends[1]


@pytest.mark.parametrize(("sigma", "words"), [(0.0, "above 0"), (127.5, "by 255")])
def test_a_sigma_in_other_units_is_named(sigma, words):
    with pytest.raises(InputError, match=words):
        rounded_gaussian(sigma)
