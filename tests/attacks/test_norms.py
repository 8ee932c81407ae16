"""Balls: against quadratic programmes, brute force and each other; inside to the last bit."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from lightning_smooth.attacks.norms import (
    check_norm,
    distance,
    legal,
    project,
    random_change,
    steepest,
)
from lightning_smooth.errors import InputError
from lightning_smooth.smoothing.rng import NoiseKey

NORMS = ["linf", "l2", "l1"]


def changes(count=5, size=6, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, 1, 2, size // 2, generator=generator, dtype=torch.float64)


def nearest(norm, point, bound):
    """The nearest point of the ball as a quadratic programme: in l1 of two non-negative parts."""
    size = len(point)
    if norm == "linf":
        limits = [(-bound, bound)] * size
        done = minimize(lambda v: ((v - point) ** 2).sum(), np.zeros(size), bounds=limits)
        return done.x
    if norm == "l2":
        ball = {"type": "ineq", "fun": lambda v: bound**2 - (v**2).sum()}
        return minimize(
            lambda v: ((v - point) ** 2).sum(), 0.1 * bound * point, constraints=[ball],
            method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
        ).x  # fmt: skip
    ball = {"type": "ineq", "fun": lambda v: bound - v.sum()}
    start = np.full(2 * size, bound / (4 * size))
    done = minimize(
        lambda v: ((v[:size] - v[size:] - point) ** 2).sum(), start, constraints=[ball],
        bounds=[(0, None)] * (2 * size), method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    return done.x[:size] - done.x[size:]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bound", [0.1, 0.7, 2.0])
def test_a_projection_is_the_nearest_point_of_the_ball(norm, bound):
    far = changes(3)
    made = project(norm, far, torch.full((3,), bound)).flatten(1).numpy()
    expected = np.stack([nearest(norm, row, bound) for row in far.flatten(1).numpy()])
    np.testing.assert_allclose(made, expected, atol=2e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_inside_stays_and_each_row_has_its_own_bound(norm):
    far = changes(4, scale=0.1)
    size = distance(norm, far)
    bounds = size * torch.tensor([1.1, 1.0, 0.5, 2.0])
    made = project(norm, far, bounds)
    torch.testing.assert_close(made[[0, 1, 3]], far[[0, 1, 3]], rtol=1e-12, atol=0)
    assert distance(norm, made)[2] == pytest.approx(float(bounds[2]), rel=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bound", [1e-9, 1e-7, 8 / 255, 0.3, 3.0])
def test_legal_points_are_inside_exactly(norm, dtype, bound):
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(40, 1, 5, 5, generator=generator).to(dtype)
    images[:10] = images[:10].round()
    points = images + 2 * torch.randn(40, 1, 5, 5, generator=generator).to(dtype)
    bounds = torch.full((40,), bound, dtype=torch.float64)
    made = legal(norm, points, images, bounds)
    assert made.dtype == dtype
    assert bool((distance(norm, made.double() - images.double()) <= bounds).all())
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_legal_loses_next_to_nothing_of_a_bound(norm):
    images = torch.full((3, 1, 4, 4), 0.5)
    bounds = torch.full((3,), 0.05, dtype=torch.float64)
    points = images + changes(3, 16).reshape(3, 1, 4, 4).float()
    made = distance(norm, legal(norm, points, images, bounds).double() - images.double())
    assert bool((made > 0.0499).all())


@pytest.mark.parametrize("norm", NORMS)
def test_legal_leaves_what_is_legal_bit_for_bit(norm):
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(50, 1, 4, 4, generator=generator)
    points = (images + 0.01 * torch.randn(50, 1, 4, 4, generator=generator)).clamp(0, 1)
    bounds = distance(norm, points.double() - images.double())
    assert torch.equal(legal(norm, points, images, bounds), points)
    assert torch.equal(legal(norm, points, images, None), points)


def test_points_that_are_not_finite_become_the_images():
    images = torch.full((2, 1, 1, 2), 0.25)
    points = torch.tensor([[torch.nan, 0.3], [torch.inf, -torch.inf]]).reshape(2, 1, 1, 2)
    made = legal("linf", points, images, torch.full((2,), 0.1, dtype=torch.float64))
    torch.testing.assert_close(made.flatten(), torch.tensor([0.25, 0.3, 0.25, 0.25]))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_change_of_norm_1_goes_up_more_than_the_steepest(norm):
    slope = changes(4, 6, seed=5)
    best = steepest(norm, slope)
    torch.testing.assert_close(distance(norm, best), torch.ones(4).double())
    tried = changes(4000, 6, seed=6).repeat_interleave(1, 0)
    tried = tried.sign() if norm == "linf" else tried / distance(norm, tried)[:, None, None, None]
    gains = tried.flatten(1) @ slope.flatten(1).T
    assert bool(((best * slope).flatten(1).sum(1) >= gains.amax(dim=0) - 1e-12).all())


def test_the_steepest_of_l1_is_the_largest_pixel_and_shares_among_equals():
    slope = torch.tensor([[1.0, -3.0, 2.0, 0.0], [2.0, -2.0, 0.0, 1.0]]).reshape(2, 1, 2, 2)
    made = steepest("l1", slope).flatten(1)
    assert made.tolist() == [[0.0, -1.0, 0.0, 0.0], [0.5, -0.5, 0.0, 0.0]]


@pytest.mark.parametrize("norm", NORMS)
def test_the_steepest_of_a_slope_of_0_is_0_and_tiny_slopes_keep_their_direction(norm):
    assert not steepest(norm, torch.zeros(2, 1, 2, 2)).any()
    slope = changes(3, seed=7).float()
    tiny = steepest(norm, slope * 1e-30)
    torch.testing.assert_close(tiny, steepest(norm, slope), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_random_changes_are_in_the_ball_keyed_and_go_everywhere(norm):
    image = torch.zeros(1, 3, 3)
    made = [random_change(norm, NoiseKey(0, i, "attack"), 0, image, 0.5) for i in range(300)]
    drawn = torch.stack(made)
    size = distance(norm, drawn)
    assert float(size.max()) <= 0.5 * (1 + 1e-6)
    assert drawn.flatten(1).mean(dim=0).abs().max() < 0.05
    uniform = size / 0.5 if norm != "linf" else (drawn[:, 0, 0, 0] / 0.5 + 1) / 2
    # Kolmogorov-Smirnov at 1 in 1000: 1.95 / sqrt(300).
    grid = (torch.arange(300) + 0.5) / 300
    assert float((uniform.double().sort().values - grid).abs().max()) < 0.113
    again = random_change(norm, NoiseKey(0, 7, "attack"), 0, image, 0.5)
    assert torch.equal(again, made[7])
    other = random_change(norm, NoiseKey(0, 7, "attack"), 1, image, 0.5)
    assert not torch.equal(other, made[7])


def test_a_norm_that_is_not_known():
    assert check_norm("l2") == "l2"
    with pytest.raises(InputError, match="l2, l1, linf"):
        check_norm("l3")
