"""Which parameters the attacks try: ranges, distributions, and what they depend on."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from lightning_smooth.attacks import GridAttack, RandomAttack, RandomBallAttack
from lightning_smooth.errors import InputError
from lightning_smooth.transforms import (
    Brightness,
    BrightnessContrast,
    GaussianBlur,
    IntegerTranslation,
    Rotation,
    Translation,
)

BOX = {"contrast": (-0.2, 0.1), "brightness": (0.05, 0.3)}


def test_random_parameters_are_uniform_in_the_box():
    theta = RandomAttack(BrightnessContrast(), BOX, k=4000)._parameters(3).numpy()
    assert theta.shape == (4000, 2)
    for column, (low, high) in ((0, BOX["brightness"]), (1, BOX["contrast"])):
        assert theta[:, column].min() >= low
        assert theta[:, column].max() <= high
        assert kstest(theta[:, column], "uniform", (low, high - low)).pvalue > 1e-3
    assert abs(np.corrcoef(theta.T)[0, 1]) < 4 / math.sqrt(4000)


def test_random_whole_parameters_are_equally_likely():
    attack = RandomAttack(IntegerTranslation(), {"dx": (-2, 1.5), "dy": (-0.5, 3)}, k=6000)
    theta = attack._parameters(0).long().tolist()
    counts = {(dx, dy): 0 for dx in (-2, -1, 0, 1) for dy in (0, 1, 2, 3)}
    for dx, dy in theta:
        counts[dx, dy] += 1  # a KeyError outside of the box
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_parameters_that_are_not_in_the_box_stay_at_identity():
    theta = RandomAttack(BrightnessContrast(), {"contrast": (0.1, 0.2)}, k=5)._parameters(0)
    assert bool((theta[:, 0] == 0).all())
    assert bool((theta[:, 1] >= 0.1).all())


def test_random_points_of_a_ball_are_uniform():
    theta = RandomBallAttack(Translation(), 3.0, k=4000)._parameters(1).numpy()
    radius, angle = np.hypot(*theta.T), np.arctan2(*theta.T)
    assert radius.max() <= 3
    assert kstest((radius / 3) ** 2, "uniform").pvalue > 1e-3
    assert kstest(angle, "uniform", (-math.pi, 2 * math.pi)).pvalue > 1e-3


def test_whole_points_of_a_ball_are_equally_likely_its_sphere_included():
    theta = RandomBallAttack(IntegerTranslation("zero"), 2.0, k=5000)._parameters(1)
    points = [p for p in itertools.product(range(-2, 3), repeat=2) if math.hypot(*p) <= 2]
    counts = dict.fromkeys(points, 0)
    for dx, dy in theta.long().tolist():
        counts[dx, dy] += 1
    assert len(counts) == 13
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_a_ball_of_one_parameter_is_a_range():
    theta = RandomBallAttack(Rotation(), 10.0, k=3000)._parameters(0).numpy()[:, 0]
    assert kstest(theta, "uniform", (-10, 20)).pvalue > 1e-3


@pytest.mark.parametrize(
    "attack",
    [
        lambda k, seed: RandomAttack(BrightnessContrast(), BOX, k=k, seed=seed),
        lambda k, seed: RandomBallAttack(Translation(), 3.0, k=k, seed=seed),
    ],
)
def test_random_parameters_depend_on_seed_and_index_alone(attack):
    theta = attack(300, 0)._parameters(5)
    assert torch.equal(theta, attack(300, 0)._parameters(5))
    assert torch.equal(theta[:100], attack(100, 0)._parameters(5))  # more of them begin the same
    for other in (attack(300, 1)._parameters(5), attack(300, 0)._parameters(6)):
        assert not bool((theta == other).any())
    assert len(theta.unique(dim=0)) == 300  # no block is repeated


def test_a_grid_has_both_ends_and_the_identity():
    theta = GridAttack(Brightness(), {"brightness": (-0.3, 0.2)}, 6).theta[:, 0].tolist()
    assert {-0.3, 0.0, 0.2} <= set(theta)
    assert sorted({round(value, 12) for value in theta}) == [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2]
    blur = GridAttack(GaussianBlur(), {"variance": (1.0, 2.0)}, 3).theta[:, 0].tolist()
    assert blur == [1.0, 1.5, 2.0, 0.0]


def test_a_grid_over_two_parameters_has_all_pairs():
    theta = GridAttack(BrightnessContrast(), {"brightness": (0, 1), "contrast": (-1, 1)}, 3).theta
    assert set(map(tuple, theta.tolist())) == set(itertools.product((0, 0.5, 1), (-1, 0, 1)))


def test_a_grid_of_whole_parameters_has_each_once():
    theta = GridAttack(IntegerTranslation(), {"dx": (-1.5, 2.7), "dy": (0, 0)}, 50).theta
    assert theta.tolist() == [[-1, 0], [0, 0], [1, 0], [2, 0]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomAttack(Brightness(), {}), "`box`"),
        (lambda: RandomAttack(Brightness(), {"contrast": (0, 1)}), "`box`"),
        (lambda: RandomAttack(Brightness(), {"brightness": (1, 0)}), "`brightness`"),
        (lambda: RandomAttack(Brightness(), {"brightness": (0, math.nan)}), "`brightness`"),
        (lambda: RandomAttack(GaussianBlur(), {"variance": (-1, 1)}), "at least 0"),
        (lambda: RandomAttack(IntegerTranslation(), {"dx": (0.2, 0.8)}), "no whole number"),
        (lambda: RandomAttack(Brightness(), {"brightness": (0, 1)}, k=0), "`k`"),
        (lambda: RandomAttack(Brightness(), {"brightness": (0, 1)}, seed=-1), "`seed`"),
        (lambda: RandomBallAttack(GaussianBlur(), 1.0), "at least 0"),
        (lambda: RandomBallAttack(BrightnessContrast(), 1.0), "one unit"),
        (lambda: RandomBallAttack(Rotation(), -1.0), "`radius`"),
        (lambda: GridAttack(Rotation(), {"angle": (0, 1)}, 1), "`steps`"),
    ],
)
def test_what_does_not_fit_is_named(make, words):
    with pytest.raises(InputError, match=words):
        make()
