"""Total variation: the objective by hand, and its least value by another solver."""

import numpy as np
import pytest
import torch
from scipy import optimize, sparse

from lightning_smooth.defenses import TotalVariation
from lightning_smooth.defenses.variation import objective, smoothest


def test_the_objective_by_hand():
    images = torch.tensor([[0.0, 1.0], [0.5, 0.25]]).view(1, 1, 2, 2)
    result = torch.tensor([[0.0, 0.5], [0.5, 0.5]]).view(1, 1, 2, 2)
    kept = torch.tensor([[True, True], [False, True]]).view(1, 1, 2, 2)
    # (1 - .5)^2 + (.25 - .5)^2, and steps of .5 down and to the right of the first pixel
    assert float(objective(result, images, kept, 0.1)) == pytest.approx(0.3125 + 0.1)


def least(image, kept, weight):
    """The least objective of one image (H, W), as a quadratic programme in z and |differences|."""
    height, width = image.shape
    pixels = np.arange(height * width).reshape(height, width)
    pairs = np.concatenate(
        [
            np.stack([pixels[1:], pixels[:-1]], -1).reshape(-1, 2),
            np.stack([pixels[:, 1:], pixels[:, :-1]], -1).reshape(-1, 2),
        ]
    )
    n, m = pixels.size, len(pairs)
    rows = np.arange(m)
    ones = np.ones(m)
    steps = sparse.coo_array((ones, (rows, pairs[:, 0])), (m, n)).toarray()
    steps -= sparse.coo_array((ones, (rows, pairs[:, 1])), (m, n)).toarray()
    constraints = np.block([[np.eye(m), -steps], [np.eye(m), steps]])
    target, counts = image.ravel(), kept.ravel().astype(float)

    def value(t):
        return counts @ (t[m:] - target) ** 2 + weight * t[:m].sum()

    def slope(t):
        return np.concatenate([np.full(m, weight), 2 * counts * (t[m:] - target)])

    start = np.concatenate([np.ones(m), np.full(n, 0.5)])
    above = {"type": "ineq", "fun": lambda t: constraints @ t, "jac": lambda _: constraints}
    options = {"maxiter": 500, "ftol": 1e-12}
    found = optimize.minimize(
        value, start, jac=slope, method="SLSQP", constraints=above, options=options
    )
    assert found.success
    return found.fun


@pytest.mark.parametrize("weight", [0.03, 0.3])
def test_it_is_as_low_as_another_solvers(weight):
    torch.manual_seed(2)
    images = torch.rand(3, 1, 5, 6, dtype=torch.float64)
    kept = torch.rand(3, 1, 5, 6) < 0.5
    got = objective(smoothest(images, kept, weight, iterations=300), images, kept, weight)
    for one, mask, reached in zip(images, kept, got, strict=True):
        lowest = least(one[0].numpy(), mask[0].numpy(), weight)
        assert lowest * (1 - 1e-6) <= float(reached) <= lowest * 1.01


def test_a_step_of_two_halves_is_known():
    # Columns of one value each; n rows of them, all kept: each half moves by weight / (2 width)
    images = torch.zeros(1, 1, 8, 6, dtype=torch.float64)
    images[..., 3:] = 1
    kept = torch.ones(1, 1, 8, 6, dtype=torch.bool)
    out = smoothest(images, kept, 0.3, iterations=2000)
    torch.testing.assert_close(out[..., :3], torch.full_like(out[..., :3], 0.05), atol=1e-5, rtol=0)
    torch.testing.assert_close(out[..., 3:], torch.full_like(out[..., 3:], 0.95), atol=1e-5, rtol=0)


def test_pixels_that_are_dropped_say_nothing():
    torch.manual_seed(0)
    images, others = torch.rand(2, 3, 9, 9), torch.rand(2, 3, 9, 9)
    kept = torch.rand(2, 1, 9, 9) < 0.5
    mixed = torch.where(kept, images, others)
    first, second = (smoothest(x, kept, 0.03, iterations=100) for x in (images, mixed))
    assert torch.equal(first, second)


def test_channels_and_images_are_done_by_themselves():
    images, kept = torch.rand(4, 3, 7, 8), torch.rand(4, 1, 7, 8) < 0.5
    whole = smoothest(images, kept, 0.03, iterations=60)
    for i in range(4):
        for c in range(3):
            one = smoothest(images[i, c][None, None], kept[i][None], 0.03, iterations=60)
            torch.testing.assert_close(whole[i, c], one[0, 0])


def test_the_share_that_is_kept(monkeypatch):
    seen = []

    def spy(images, kept, weight, *, iterations):
        seen.append((kept, weight, iterations))
        return images

    monkeypatch.setattr("lightning_smooth.defenses.variation.smoothest", spy)
    torch.manual_seed(0)
    TotalVariation(0.3, 0.2, iterations=7)(torch.rand(10, 3, 40, 40))
    kept, weight, iterations = seen[0]
    assert kept.shape == (10, 1, 40, 40)
    assert float(kept.float().mean()) == pytest.approx(0.3, abs=5 * (0.21 / 16000) ** 0.5)
    assert (weight, iterations) == (0.2, 7)


def test_nothing_kept_is_black_and_a_flat_image_stays():
    none = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    assert not smoothest(torch.rand(1, 1, 6, 6), none, 0.03, iterations=20).any()
    flat = torch.full((2, 3, 6, 6), 0.7)
    torch.testing.assert_close(TotalVariation()(flat), flat)
