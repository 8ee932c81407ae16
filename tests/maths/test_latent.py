"""Costs of shifts, against the true probabilities of classifiers that are known."""

import numpy as np
import pytest
from scipy import integrate
from scipy.special import ndtr, ndtri

from lightning_smooth.errors import InputError
from lightning_smooth.maths.latent import LatentShift, rate, thinned

RNG = np.random.default_rng(0)


def test_without_slopes_it_is_the_distance():
    latents = RNG.normal(size=(6, 5))
    wanted = np.linalg.norm(latents[:, None] - latents, axis=2) / 0.3
    np.testing.assert_allclose(LatentShift(0.3).pairs(latents), wanted, rtol=1e-6, atol=1e-9)


def test_constant_slopes_give_the_mahalanobis_distance():
    # F1(theta) + e is then Gaussian, and no bound is smaller than that of its covariance.
    slope = RNG.normal(size=(1, 5, 2))
    scales, sigma = np.array([0.7, 1.9]), 0.4
    latents = RNG.normal(size=(6, 5))
    covariance = sigma**2 * np.eye(5) + slope[0] @ np.diag(scales**2) @ slope[0].T
    difference = latents[:, None] - latents
    wanted = np.sqrt(np.einsum("abl,lm,abm->ab", difference, np.linalg.inv(covariance), difference))
    found = LatentShift(sigma, scales, slope).pairs(latents)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


def test_what_is_not_tried_would_have_saved_next_to_nothing(monkeypatch):
    skipped, gained = 0, 0
    for size in (0.02, 0.05, 0.1, 0.5):
        for count in (1, 2):
            slopes = size * (RNG.normal(size=12) + 0.1 * RNG.normal(size=(7, 12)))[:, :, None]
            slopes = np.concatenate([slopes, size * RNG.normal(size=(7, 12, count - 1))], axis=2)
            shift, latents = LatentShift(0.3, [0.8] * count, slopes), RNG.normal(size=(30, 12))
            monkeypatch.setattr("lightning_smooth.maths.latent._WORTH", 0.01)
            found = shift.pairs(latents)
            monkeypatch.setattr("lightning_smooth.maths.latent._WORTH", -1.0)
            best = shift.pairs(latents)
            assert (best <= found).all()
            assert (found <= best / np.sqrt(1 - 0.01) * (1 + 1e-9)).all()
            skipped += int((best < found).sum())
            plain = LatentShift(0.3).pairs(latents)
            gained += int((found < plain * (1 - 1e-6)).sum())
    assert skipped
    assert gained


def test_one_slope_apart_from_the_others_does_not_hide_what_is_saved():
    slopes = np.array([[1, x] for x in np.linspace(-0.3, 0.3, 12)] + [[-0.2, 1.0]])[:, :, None]
    mean = slopes.mean(axis=0).ravel()
    latents = np.array([[0, 0], mean / np.linalg.norm(mean), [0.7, 0.7], [0.5, 0.9]])
    assert LatentShift(0.1, [100.0], slopes).pairs(latents)[0, 2] < 8.73


def probability(cut, at, sigma, scale, move):
    """P(direction . (F(theta) + e + at) > cut), in one dimension, by quadrature."""

    def given(theta):
        return ndtr((move(theta) + at - cut) / sigma) * np.exp(-((theta / scale) ** 2) / 2)

    total, _ = integrate.quad(given, -8 * scale, 8 * scale, limit=200)
    return total / (scale * np.sqrt(2 * np.pi))


@pytest.mark.parametrize("bend", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_no_classifier_changes_by_more(bend, scale):
    sigma = 0.5

    def move(theta):
        return 2 * theta + bend * np.sin(theta)

    slopes = np.array([[[2 + bend * c]] for c in np.linspace(-1, 1, 41)])
    shift = LatentShift(sigma, [scale], slopes, radius=bend / 40)
    ends = np.array([[0.0], [0.4], [1.0], [2.5]])
    costs = shift.pairs(ends)[0]
    for end, cost in zip(ends[:, 0], costs, strict=True):
        for cut in np.linspace(-2, 3, 11):
            before = ndtri(probability(cut, 0.0, sigma, scale, move))
            after = ndtri(probability(cut, end, sigma, scale, move))
            assert abs(after - before) <= cost + 1e-6
    if not bend:  # and a half-space attains it
        gained = [
            ndtri(probability(c, 2.5, sigma, scale, move))
            - ndtri(probability(c, 0.0, sigma, scale, move))
            for c in (-1.0, 0.0, 1.0)
        ]
        assert max(gained) == pytest.approx(costs[-1], rel=1e-4)


def test_it_is_never_worse_than_noise_in_latents_alone_and_any_k_is_a_bound():
    slopes = RNG.normal(size=(1, 5, 2)) + 0.05 * RNG.normal(size=(7, 5, 2))
    latents = RNG.normal(size=(9, 5))
    shift = LatentShift(0.4, [0.5, 2.0], slopes, radius=0.2)
    costs = shift.pairs(latents)
    plain = np.linalg.norm(latents[:, None] - latents, axis=2) / 0.4
    assert (costs <= plain * (1 + 1e-6) + 1e-6).all()
    assert (costs[0, 1:] < 0.9 * plain[0, 1:]).any()
    np.testing.assert_allclose(costs, costs.T, rtol=1e-5, atol=1e-5)


def test_a_detour_costs_no_less():
    slopes, points = RNG.normal(size=(7, 5, 1)), RNG.normal(size=(12, 5))
    shift = LatentShift(0.4, [0.5], slopes, radius=0.1)
    steps, ks = np.diff(points, axis=0), RNG.normal(size=(11, 1))
    path = shift.cost(steps, ks).sum()
    straight = shift.cost(steps.sum(axis=0)[None], ks.sum(axis=0)[None])[0]
    assert straight <= path * (1 + 1e-9)


def test_wider_radius_costs_more():
    slopes, shifts = RNG.normal(size=(3, 4, 1)), RNG.normal(size=(5, 4))
    k = np.ones((5, 1))
    near = LatentShift(0.5, [1.0], slopes, radius=0.0).cost(shifts, k)
    far = LatentShift(0.5, [1.0], slopes, radius=0.5).cost(shifts, k)
    rest = np.sqrt(near**2 - 1) * 0.5
    np.testing.assert_allclose(far, np.hypot(1, (rest + 0.5) / 0.5), rtol=1e-6)


def test_thinned_slopes_are_near_what_they_stand_for():
    curve = np.stack([np.cos(t := np.linspace(0, 3, 200)), np.sin(t), 2 + 0 * t], axis=1)
    left, radius = thinned(curve[:, :, None], 0.25)
    apart = np.linalg.norm(curve[:, None] - left[None, :, :, 0], axis=2).min(axis=1).max()
    assert 5 < len(left) < 100
    assert apart <= radius - 0.25 <= 0.02 * np.sqrt(5) * 1.001
    assert thinned(left, 0.25)[0].shape == left.shape


def test_rate_of_a_surrogate_that_fits_exactly_is_one_over_its_scale():
    slope = RNG.normal(size=(1, 6, 1))
    steps = np.full(4, 0.25)
    differences = steps[:, None] * slope[0, :, 0]
    lower, upper = rate(LatentShift(0.3, [2.0], slope), differences, steps)
    assert lower == pytest.approx(0.5, rel=1e-5)
    assert upper == pytest.approx(0.5, rel=1e-5)


def test_rate_brackets():
    slopes = RNG.normal(size=(5, 6, 1))
    differences, steps = RNG.normal(size=(8, 6)), RNG.uniform(0.1, 1, size=8)
    lower, upper = rate(LatentShift(0.3, [2.0], slopes, radius=0.2), differences, steps)
    speeds = differences / steps[:, None]
    apart = np.linalg.norm(speeds[:, None] - slopes[:, :, 0], axis=2).max()
    assert lower == pytest.approx(np.hypot(0.5, apart / 0.3), rel=1e-9)
    assert upper == pytest.approx(np.hypot(0.5, (apart + 0.2) / 0.3), rel=1e-6)


def test_errors():
    with pytest.raises(InputError, match="sigma"):
        LatentShift(0.0)
    with pytest.raises(InputError, match="slopes"):
        LatentShift(0.5, [1.0], np.zeros((3, 4)))
    with pytest.raises(InputError, match="no k"):
        LatentShift(0.5).cost(np.zeros((1, 2)), np.zeros((1, 1)))
