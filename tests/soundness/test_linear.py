"""Against classifiers whose smoothed version is known in closed form, on many seeds."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm
from torch import nn

from lightning_smooth.certify import GaussianCertifier

IMAGE = torch.full((1, 4, 4), 0.5)


def halfspace(distance):
    """f = [w.x > b], ||w|| = 1, IMAGE at `distance` inside class 1: g's exact radius."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    weight = torch.linspace(-1, 1, 16)
    weight = weight / weight.norm()
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([-weight, weight]))
        score = float(weight @ IMAGE.flatten())
        model[1].bias.copy_(torch.tensor([score - distance, distance - score]))
    return model


@pytest.mark.parametrize("distance", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("sigma", [0.25, 0.5])
def test_a_linear_classifier_s_exact_radius_is_never_exceeded(distance, sigma):
    # Smoothing does not move a hyperplane: the exact l2 radius of g is the distance to it.
    model, certifiers = halfspace(distance), range(40)
    radii = [
        GaussianCertifier(sigma, n0=20, n=400, seed=s)(model, IMAGE, index=s).radius
        for s in certifiers
    ]
    # alpha = .001 for each of 40: more than one beyond the exact radius has probability 8e-4
    assert sum(radius > distance for radius in radii) <= 1
    assert max(radii) > 0 if distance > 0.3 else True


def test_the_radius_approaches_the_exact_one():
    certificate = GaussianCertifier(0.5, n=20_000)(halfspace(0.5), IMAGE, index=0)
    assert 0.47 < certificate.radius <= 0.5


def test_hits_have_the_exact_distribution():
    # distance .25 at sigma .5: a draw hits with probability CDF(.5)
    p, n, runs = norm.cdf(0.5), 250, 300
    model = halfspace(0.25)
    hits = [
        GaussianCertifier(0.5, n0=1, n=n)(model, IMAGE, index=i).votes.get(1, 0)
        for i in range(runs)
    ]
    total = sum(hits)
    spread = math.sqrt(runs * n * p * (1 - p))
    assert abs(total - runs * n * p) < 4.5 * spread
    assert 0.75 < np.var(hits) / (n * p * (1 - p)) < 1.3


def test_coverage_by_simulation():
    # The bound exceeds the true probability in at most alpha of the runs; alpha is large here,
    # so that a wrong bound would show.
    alpha, runs, n = 0.2, 400, 60
    p = norm.cdf(0.5)
    model = halfspace(0.25)
    above = 0
    for i in range(runs):
        c = GaussianCertifier(0.5, n0=20, n=n, alpha=alpha)(model, IMAGE, index=i)
        above += c.candidate == 1 and c.p_lower > p
    assert above <= binom.ppf(1 - 1e-4, runs, alpha)
    # and it is no wonder: the bound is not trivially low
    assert above >= binom.ppf(1e-4, runs, alpha / 2)


def test_selection_draws_are_not_counted_again():
    # At a tie, choosing and bounding on the same draws would err about twice as often.
    alpha, runs = 0.1, 600
    model = halfspace(0.0)
    wrong = 0
    for i in range(runs):
        c = GaussianCertifier(0.5, n0=100, n=100, alpha=alpha)(model, IMAGE, index=i)
        wrong += not c.abstained
    assert wrong <= binom.ppf(1 - 1e-3, runs, alpha)


def test_no_point_inside_the_radius_is_classified_otherwise():
    # Attack inside the certificate: along the gradient, where a linear classifier breaks first.
    model = halfspace(0.3)
    certificate = GaussianCertifier(0.5, n=5000)(model, IMAGE, index=0)
    weight = model[1].weight[1].detach().reshape(IMAGE.shape)
    attacked = (IMAGE - weight * certificate.radius * 0.999).clamp(0, 1)
    assert float((attacked - IMAGE).norm()) < certificate.radius
    answer = GaussianCertifier(0.5, n=20_000).predict(model, attacked, index=1)
    assert answer.predicted in (certificate.predicted, -1)
