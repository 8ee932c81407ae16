"""Attacks by scores alone: what linear models allow, their budgets, and the patterns."""

import numpy as np
import pytest
import torch

from lightning_smooth.attacks import PGD, RandomNoise, Square
from lightning_smooth.attacks.square import _moved, _pattern, _tiles
from lightning_smooth.errors import InputError
from tests.attacks.images import Linear, answered, network, pictures, quantised, run


def gained(attack, model, images):
    labels = answered(model, images)
    found = run(attack, model, images, labels)
    return found, model.margin(found.clipped, labels) - model.margin(images, labels)


@pytest.mark.parametrize(("norm", "bound", "least"), [("linf", 0.02, 0.999), ("l2", 0.08, 0.5)])
def test_on_a_linear_model_squares_come_near_the_optimum(norm, bound, least):
    model, images = Linear(), pictures(10)
    labels = answered(model, images)
    size = torch.linalg.vector_norm(model.slope(labels), ord={"linf": 1, "l2": 2}[norm], dim=1)
    found, gain = gained(Square(bound, norm, queries=300), model, images)
    held = ~found.success
    assert int(held.sum()) > 3
    assert float((gain / (bound * size))[held].min()) > least
    assert bool((gain <= bound * size * (1 + 1e-9)).all())
    assert found.queries[held].tolist() == [300] * int(held.sum())
    assert float(found.norm.max()) <= bound


def test_squares_need_no_gradient():
    model, images = quantised(levels=64), pictures(20)
    found = run(Square(0.05, queries=200), model, images)
    best = run(PGD(0.05, loss="margin"), model.head, images)
    assert int(found.success.sum()) >= int(best.success.sum()) - 3
    assert int(found.success.sum()) > 5


def test_random_points_are_weaker_than_squares_and_more_of_them_are_better():
    model, images = network(), pictures(40)
    random = [run(RandomNoise(0.05, draws=k), model, images).success for k in (1, 50)]
    squares = run(Square(0.05, queries=50), model, images).success
    assert bool((random[1] | ~random[0]).all())
    assert int(squares.sum()) > int(random[1].sum())


def test_what_is_fooled_is_asked_no_more():
    model, images = network(), pictures(30)
    found = run(Square(0.3, queries=100), model, images)
    assert found.success.any()
    assert int(found.queries[found.success].min()) < 100


@pytest.mark.parametrize("side", [1, 2, 3, 5, 8])
def test_a_pattern_has_norm_1_and_both_signs(side):
    made = _pattern(side, np.random.default_rng(0))
    assert made.shape == (side, side)
    assert np.linalg.norm(made) == pytest.approx(1)
    assert side == 1 or (made.max() > 0 > made.min())
    if side == 8:  # a pyramid: greater inside than at the edge
        assert abs(made[1, 3]) > abs(made[0, 0]) or abs(made[3, 1]) > abs(made[0, 0])


def test_moving_the_length_of_a_window_keeps_the_norm():
    drawing = np.random.default_rng(0)
    change = _tiles(np.zeros((3, 12, 12)), 0.7, drawing)
    assert np.linalg.norm(change) == pytest.approx(0.7)
    for side in (1, 2, 5, 8):
        moved = _moved(change, 0.7, drawing, side)
        assert np.linalg.norm(moved) == pytest.approx(0.7)
        assert not np.allclose(moved, change)
        # Outside of two windows nothing moves, but for a common factor.
        ratio = (moved[change != 0] / change[change != 0]).round(9)
        _, counts = np.unique(ratio, return_counts=True)
        assert counts.max() >= 3 * (100 - 2 * side**2)


def test_colour_images_and_small_ones():
    for shape in ((3, 6, 5), (1, 1, 2), (2, 2, 2)):
        model, images = Linear(shape=shape), pictures(6, shape=shape)
        for norm in ("linf", "l2"):
            found, gain = gained(Square(0.05, norm, queries=60), model, images)
            assert bool((gain[~found.success] > 0).all())


@pytest.mark.parametrize(
    ("attack", "settings", "name"),
    [
        (Square, {"norm": "l1"}, "norm"), (Square, {"queries": 0}, "queries"),
        (Square, {"share": 1.0}, "share"), (Square, {"bound": 0.0}, "bound"),
        (RandomNoise, {"draws": 0}, "draws"), (RandomNoise, {"norm": "l0"}, "norm"),
    ],
)  # fmt: skip
def test_settings_out_of_range(attack, settings, name):
    with pytest.raises(InputError, match=f"`{name}`"):
        attack(**{"bound": 0.1, **settings})
