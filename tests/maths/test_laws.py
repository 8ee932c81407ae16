"""Laws of one parameter: the optimal bound, rounded to the safe side."""

import math

import mpmath
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from lightning_smooth.errors import InputError
from lightning_smooth.maths import laws as all_laws
from lightning_smooth.maths.laws import (
    LAWS,
    ExponentialLaw,
    FoldedGaussianLaw,
    GaussianLaw,
    LaplaceLaw,
    OneSidedUniformLaw,
    UniformLaw,
    law_from,
)
from lightning_smooth.maths.radius import gaussian_probability, gaussian_radius
from lightning_smooth.maths.shift import gaussian_after

mpmath.mp.dps = 40

TRUTH = {
    GaussianLaw(1.3): stats.norm(scale=1.3),
    LaplaceLaw(0.7): stats.laplace(scale=0.7),
    UniformLaw(1.1): stats.uniform(-1.1, 2.2),
    ExponentialLaw(10.0): stats.expon(scale=10.0),
    OneSidedUniformLaw(3.0): stats.uniform(0, 3.0),
    FoldedGaussianLaw(2.0): stats.halfnorm(scale=2.0),
}
each_law = pytest.mark.parametrize("law", TRUTH, ids=lambda law: law.kind)
PROBABILITIES = [0.02, 0.3, 0.5, 0.51, 0.7, 0.9, 0.99, 0.9999]


def spread(law):
    return float(TRUTH[law].std())


def exact_ppf(p):
    return mpmath.sqrt(2) * mpmath.erfinv(2 * mpmath.mpf(p) - 1)


def exact_radius(law, p):
    """THEORY section 4, in 40 digits."""
    scale, p = mpmath.mpf(next(iter(vars(law).values()))), mpmath.mpf(p)
    return (
        scale
        * {
            "gaussian": lambda: exact_ppf(p),
            "laplace": lambda: -mpmath.log(2 * (1 - p)),
            "uniform": lambda: 2 * p - 1,
            "exponential": lambda: -mpmath.log(2 - 2 * p),
            "one-sided uniform": lambda: p - mpmath.mpf(1) / 2,
            "folded gaussian": lambda: exact_ppf((1 + p) / 2) - exact_ppf(0.75),
        }[law.kind]()
    )


def exact_after(law, p, shift):
    """Mass that the moved law gives to (-inf, quantile(p)], worst for p > 1/2, in 40 digits."""
    scale, p, d = (mpmath.mpf(v) for v in (next(iter(vars(law).values())), p, shift))
    d /= scale
    if law.kind == "gaussian":
        return mpmath.ncdf(exact_ppf(p) - d)
    if law.kind == "folded gaussian":
        z = exact_ppf((1 + p) / 2) - d
        return mpmath.erf(z / mpmath.sqrt(2)) if z > 0 else mpmath.mpf(0)
    if law.kind == "laplace":
        t = -mpmath.log(2 * (1 - p)) - d
        return 1 - mpmath.exp(-t) / 2 if t > 0 else mpmath.exp(t) / 2
    if law.kind == "exponential":
        return max(mpmath.mpf(0), 1 - (1 - p) * mpmath.exp(d))
    return max(mpmath.mpf(0), p - d / (2 if law.kind == "uniform" else 1))


def neyman_pearson(truth, masses, shift, cells=60_000):
    """Least mass after the shift of a union of cells (one in part) of each mass: greedy, exact."""
    levels = np.linspace(0, 1, cells)
    edges = np.unique(np.concatenate([truth.ppf(levels), truth.ppf(levels) + shift]))
    before, after = np.diff(truth.cdf(edges)), np.diff(truth.cdf(edges - shift))
    with np.errstate(divide="ignore", invalid="ignore"):
        order = np.argsort(np.where(before > 0, after / before, np.inf))
    filled = np.concatenate([[0], np.cumsum(before[order])])
    kept = np.concatenate([[0], np.cumsum(after[order])])
    return np.interp(masses, filled, kept)


@each_law
def test_after_is_the_optimum_of_a_fine_neyman_pearson_search(law):
    for steps in (0.05, 0.3, 1.0, 2.5):
        best = neyman_pearson(TRUTH[law], PROBABILITIES, steps * spread(law))
        got = np.array([law.after(p, steps * spread(law)) for p in PROBABILITIES])
        # The search has fewer sets to choose from, so it is never below the optimum.
        assert (got <= best + 1e-9).all()
        np.testing.assert_allclose(got, best, atol=2e-5)


@each_law
def test_no_union_of_intervals_keeps_less_than_after(law):
    rng, truth = np.random.default_rng(0), TRUTH[law]
    for _ in range(400):
        ends = np.sort(rng.uniform(truth.ppf(1e-4) - 0.1, truth.ppf(1 - 1e-4), rng.integers(2, 9)))
        if len(ends) % 2:
            ends = np.append(ends, np.inf)
        shift = rng.exponential(0.7) * spread(law) * (1 if law.one_sided else rng.choice([-1, 1]))
        p = np.diff(truth.cdf(ends))[::2].sum()
        kept = np.diff(truth.cdf(ends - shift))[::2].sum()
        assert kept >= law.after(min(p, 1 - 1e-12), shift) - 1e-12


@each_law
def test_a_simulated_half_line_keeps_exactly_after(law):
    noise = law.quantile(np.random.default_rng(1).uniform(size=400_000))
    for p, steps in ((0.6, 0.1), (0.9, 0.5), (0.97, 0.8), (0.99, 1.5)):
        shift = steps * spread(law)
        kept = np.mean(noise + shift <= law.quantile(p))
        expected = law.after(p, shift)
        assert abs(kept - expected) <= 5 * math.sqrt(0.25 / len(noise))


@each_law
def test_the_rate_is_the_slope_of_after_at_no_shift(law):
    for p in PROBABILITIES[:-1]:
        h = 1e-6 * spread(law)
        assert (p - law.after(p, h)) / h == pytest.approx(law.rate(p), rel=1e-4)


@each_law
def test_the_radius_is_the_integral_of_the_rate(law):
    for p in (0.55, 0.8, 0.95, 0.999):
        if law.one_sided:
            integral = quad(lambda q: 1 / law.rate(q), 0.5, p)[0]
        else:
            integral = quad(lambda q: 1 / law.rate(q), 1 - p, p, points=[0.5])[0] / 2
        assert law.radius(p) == pytest.approx(integral, rel=1e-7)


def grid():
    rng = np.random.default_rng(2)
    near_half = 0.5 + 10.0 ** -rng.uniform(2, 15, 30)
    near_one = 1 - 10.0 ** -rng.uniform(2, 15.5, 30)
    return [*near_half, *rng.uniform(0.5, 1, 80), *near_one, 0.5 + 2**-53, 1 - 2**-53]


@each_law
def test_the_radius_is_never_above_the_exact_one_and_close_below(law):
    for p in map(float, grid()):
        exact, got = exact_radius(law, p), law.radius(p)
        assert 0 <= got <= exact
        # The folded radius is a difference, so its error near 1/2 is absolute.
        assert float(exact) - got <= 2e-14 * float(exact) + 1e-14 * spread(law)


@each_law
def test_after_is_never_above_the_exact_bound_and_close_below(law):
    rng = np.random.default_rng(3)
    for p in map(float, grid()):
        for steps in (1e-12, rng.uniform(0, 1), rng.uniform(0, 8)):
            shift = float(steps) * spread(law)
            exact, got = exact_after(law, p, shift), law.after(p, shift)
            assert got <= exact
            assert float(exact) - got <= 5e-14


@pytest.mark.parametrize("z", [-30.0, -12.0, -3.0, -0.2])
def test_gaussian_tails_are_rounded_down_relative_to_themselves(z):
    p = 0.7
    exact = mpmath.ncdf(exact_ppf(p) - mpmath.mpf(-z))
    got = gaussian_after(p, -z)
    assert exact * (1 - mpmath.mpf(10) ** -11) <= got <= exact


@each_law
def test_after_is_above_one_half_below_the_radius_alone(law):
    for p in (0.5001, 0.6, 0.9, 0.99999):
        radius = law.radius(p)
        assert law.after(p, radius * (1 - 1e-9)) > 0.5
        assert law.after(p, radius * (1 + 1e-9) + 1e-14) <= 0.5
        if not law.one_sided:
            assert law.after(p, -0.8 * radius) == law.after(p, 0.8 * radius)


@each_law
def test_needed_certifies_the_shift_and_little_less_does_not(law):
    shifts = [0.0, 1e-300, 1e-17, 1e-12, *np.geomspace(1e-6, 3, 60) * spread(law)]
    for shift in map(float, shifts):
        p = law.needed(shift)
        assert p > 0.5
        if p < 1:
            assert law.radius(p) >= shift
        else:
            assert law.radius(math.nextafter(1.0, 0.0)) < shift
        if shift > 1e-6:
            assert law.radius(p - 1e-14) < shift
    assert law.needed(1e6 * spread(law)) == 1


@each_law
def test_monotone_in_the_probability_and_the_shift(law):
    shifts = np.linspace(0, 3, 40) * spread(law)
    ps = np.linspace(0, 0.9999, 60)
    table = np.array([[law.after(p, d) for d in shifts] for p in ps])
    assert (np.diff(table, axis=1) <= 0).all()
    assert (np.diff(table, axis=0) >= -1e-15).all()
    assert (table[:, 0] == ps).all()
    assert (np.diff([law.radius(p) for p in ps[ps > 0.5]]) > 0).all()
    assert (np.diff([law.needed(d) for d in shifts]) >= 0).all()


@each_law
def test_quantiles_are_those_of_scipy(law):
    u = np.linspace(0.001, 0.999, 334)
    np.testing.assert_allclose(law.quantile(u), TRUTH[law].ppf(u), rtol=1e-9, atol=1e-15)
    assert law.quantile(u.reshape(-1, 2)).shape == (167, 2)
    tails = np.array([1e-14, 1e-9, 1e-5, 1 - 1e-5, 1 - 1e-9, 1 - 1e-12])
    np.testing.assert_allclose(TRUTH[law].cdf(law.quantile(tails)), tails, rtol=1e-2, atol=0)
    np.testing.assert_allclose(TRUTH[law].sf(law.quantile(tails)), 1 - tails, rtol=1e-2, atol=0)
    for bad in (0.0, 1.0, float("nan")):
        with pytest.raises(InputError, match="`u`"):
            law.quantile(np.array([0.5, bad]))


def test_the_gaussian_is_that_of_the_pixels():
    law = GaussianLaw(0.3)
    for p in grid():
        assert law.radius(p) == gaussian_radius(p, 0.3)
    for r in np.linspace(0, 2, 50):
        assert law.needed(float(r)) == gaussian_probability(float(r), 0.3)


def test_published_blur_radii():
    # exponential noise of mean 10 on the variance, unanimous among 1e5 draws at alpha = .001
    p = 0.001 ** (1 / 100_000)
    assert ExponentialLaw(10.0).radius(p) == pytest.approx(10 * math.log(0.5 / (1 - p)))
    assert ExponentialLaw(10.0).needed(36.0) == pytest.approx(0.986338, abs=1e-6)


@each_law
def test_no_majority_no_radius(law):
    assert [law.radius(p) for p in (0.0, 0.3, 0.5)] == [0, 0, 0]


@each_law
def test_a_description_gives_the_law_back(law):
    assert law_from(law.describe()) == law
    assert law.describe()["kind"] == law.kind
    assert isinstance(law, LAWS[law.kind])


def test_every_law_is_tested_here():
    assert {type(law) for law in TRUTH} == set(LAWS.values())
    named = {getattr(all_laws, name) for name in all_laws.__all__ if name.endswith("Law")}
    assert named == {*LAWS.values(), all_laws.ParameterLaw}


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"kind": "cauchy", "scale": 1.0}, "one of .*'exponential'"),
        ({"scale": 1.0}, "got None"),
        ({"kind": ["gaussian"]}, "one of"),
        ({"kind": "gaussian", "sigma": 1.0}, r"\['scale'\]"),
        ({"kind": "uniform"}, r"\['half_width'\]"),
        ({"kind": "exponential", "mean": 0.0}, "`mean`"),
        ({"kind": "laplace", "scale": "wide"}, "`scale`"),
    ],
)
def test_bad_descriptions_are_named(described, said):
    with pytest.raises(InputError, match=said):
        law_from(described)


@each_law
def test_bad_input_is_named(law):
    for p in (1.0, -0.1, float("nan")):
        with pytest.raises(InputError, match="p_lower"):
            law.radius(p)
        with pytest.raises(InputError, match="p_lower"):
            law.after(p, 0.1)
    for shift in (math.inf, float("nan")):
        with pytest.raises(InputError, match="shift"):
            law.after(0.9, shift)
        with pytest.raises(InputError, match="shift"):
            law.needed(shift)
    with pytest.raises(InputError, match="shift"):
        law.needed(-1e-9)
    with pytest.raises(InputError, match="`p`"):
        law.rate(1.0)
    if law.one_sided:
        with pytest.raises(InputError, match=f"{law.kind} noise, which is never below"):
            law.after(0.9, -0.1)
