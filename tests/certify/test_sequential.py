"""Decisions and radii with as many draws as they need."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from lightning_smooth.certify import (
    AdaptiveGaussianCertifier,
    GaussianCertifier,
    SequentialGaussianCertifier,
)
from lightning_smooth.errors import InputError
from lightning_smooth.maths.sequential import Looks, stopping
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing import NoiseKey
from lightning_smooth.smoothing.rng import standard_normal

SIGMA = 0.5


class Halfspace(nn.Module):
    """Class 1 where the mean of 16 pixels is above 1/2: radius 4 |mean - 1/2|, known exactly."""

    def forward(self, x):
        score = x.mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([-score, score], dim=1)


def image(radius):
    return torch.full((1, 4, 4), 0.5 + radius / 4)


def plain(certificate):
    return dataclasses.replace(certificate, seconds=0.0)


def test_far_from_the_boundary_few_draws_decide():
    certifier = SequentialGaussianCertifier(SIGMA, [0.0, 0.5])
    sure = certifier(Halfspace(), image(1.5), index=0, label=1)
    assert sure.decisions == {"0.0": "held", "0.5": "held"}
    assert (sure.radius, sure.correct, sure.guarantee) == (0.5, True, "certified")
    assert sure.n <= 128
    hopeless = certifier(Halfspace(), image(0.15), index=0, label=1)
    assert hopeless.decisions == {"0.0": "held", "0.5": "not held"}
    assert (hopeless.radius, hopeless.predicted) == (0.0, 1)
    assert hopeless.n < 2000


def test_at_the_boundary_all_draws_leave_it_undecided():
    certifier = SequentialGaussianCertifier(SIGMA, [0.5], n=5000)
    certificate = certifier(Halfspace(), image(0.505), index=1)
    assert certificate.decisions == {"0.5": "undecided"}
    assert certificate.n == 5000
    assert certificate.radius == 0.0
    assert certificate.predicted == 1  # the bound is above one half


def test_neither_class_is_an_abstention():
    certificate = SequentialGaussianCertifier(SIGMA, [0.25], n=2000)(
        Halfspace(), image(0.0), index=0
    )
    assert certificate.abstained
    assert certificate.radius == 0.0


@pytest.mark.parametrize("rule", ["looks", "betting"])
def test_the_looks_are_prefixes_of_one_stream(rule):
    certifier = SequentialGaussianCertifier(SIGMA, [0.6], n=3000, seed=2, rule=rule)
    c = certifier(Halfspace(), image(0.7), index=5)
    blocks = [
        standard_normal(NoiseKey(2, 5, "estimation"), b, (1, 4, 4), torch.device("cpu"))
        for b in range(24)
    ]
    hits = (image(0.7) + SIGMA * torch.cat(blocks)).mean(dim=(1, 2, 3)) > 0.5
    assert len(c.looks) > 1
    assert all(int(hits[:n].sum()) == counted for n, counted in c.looks)
    assert c.looks[-1] == (c.n, c.hits)
    assert c.p_lower == stopping(rule, 3000, 0.001).running([counted for _, counted in c.looks])


def test_no_decision_differs_from_what_the_bound_says():
    certifier = SequentialGaussianCertifier(SIGMA, np.linspace(0, 1.4, 8), n=20_000)
    for index, radius in enumerate(np.linspace(0, 1.6, 17)):
        c = certifier(Halfspace(), image(radius), index=index)
        held = [float(r) for r, said in c.decisions.items() if said == "held"]
        assert held == [r for r in certifier.radii if norm.cdf(r / SIGMA) < c.p_lower]
        assert c.radius == max(held, default=0.0)
        assert c.radius <= radius or c.abstained  # alpha is .001 an image


def test_false_certificates_are_rarer_than_alpha():
    # the target is above the true radius by a hair; one look of many may be fooled
    certifier = SequentialGaussianCertifier(SIGMA, [0.301], n=1000, alpha=0.1, n0=1)
    images = [image(0.3)] * 800
    wrong = sum(
        c.radius > 0.3 for c in certifier.certify_batch(Halfspace(), images, indices=range(800))
    )
    assert wrong <= 0.1 * 800 + 3 * np.sqrt(0.1 * 0.9 * 800)


@pytest.mark.parametrize("batch_size", [1, 50, 128, 500, 1000])
def test_batches_and_neighbours_change_nothing(batch_size):
    certifier = SequentialGaussianCertifier(SIGMA, [0.2, 0.7], n=3000)
    radii = np.linspace(0, 1.2, 9)
    alone = [certifier(Halfspace(), image(r), index=i) for i, r in enumerate(radii)]
    other = SequentialGaussianCertifier(SIGMA, [0.2, 0.7], n=3000, batch_size=batch_size)
    together = other.certify_batch(
        Halfspace(), [image(r) for r in radii], indices=range(9), labels=None
    )
    found = sorted(together, key=lambda c: c.index)
    assert [plain(c) for c in found] == [plain(c) for c in alone]


def test_records_read_back_as_they_were():
    c = SequentialGaussianCertifier(SIGMA, [0.0, 0.5])(Halfspace(), image(1.0), index=0)
    assert Certificate.from_json(c.to_json()) == c


@pytest.mark.parametrize(
    ("radii", "n"), [([], 1000), ([-0.1], 1000), ([0.5, 1.3], 1000), ([float("nan")], 1000)]
)
def test_radii_that_cannot_be_decided_are_refused(radii, n):
    with pytest.raises(InputError, match=r"from 0 to 1\.21"):
        SequentialGaussianCertifier(SIGMA, radii, n=n)


def test_an_unknown_rule_is_refused():
    with pytest.raises(InputError, match="rule"):
        SequentialGaussianCertifier(SIGMA, [0.5], rule="hope")


def test_validation_takes_a_fixed_number_of_draws_of_its_own():
    validation = SequentialGaussianCertifier(SIGMA, [0.5]).for_validation(n0=10, n=100)
    assert type(validation) is GaussianCertifier
    assert validation(Halfspace(), image(1.0), index=0).n == 100


@pytest.mark.parametrize("radius", [0.1, 0.4, 1.0, 1.9])
def test_a_fraction_of_the_radius_for_a_part_of_the_draws(radius):
    adaptive = AdaptiveGaussianCertifier(SIGMA, 0.9, n=20_000)(Halfspace(), image(radius), index=0)
    fixed = GaussianCertifier(SIGMA, n=20_000)(Halfspace(), image(radius), index=0)
    assert adaptive.n < fixed.n
    assert 0.85 * fixed.radius <= adaptive.radius <= radius
    assert adaptive.decisions == {}


def test_the_largest_radius_is_that_of_unanimous_draws():
    certifier = AdaptiveGaussianCertifier(0.001, 0.999, n=1000)
    assert certifier(Halfspace(), image(1.0), index=0).radius <= certifier.largest_radius
    rule = Looks(1000, 0.001)
    assert certifier.largest_radius == pytest.approx(
        0.001 * norm.ppf(rule.running(rule.sizes)), rel=1e-9
    )
    assert certifier.describe()["fraction"] == 0.999


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0])
def test_a_fraction_lies_between_0_and_1(fraction):
    with pytest.raises(InputError, match="fraction"):
        AdaptiveGaussianCertifier(SIGMA, fraction)


class Always(nn.Module):
    """Class 1 everywhere."""

    def forward(self, x):
        return torch.tensor([[0.0, 1.0]]).expand(len(x), 2)


@pytest.mark.parametrize("rule", ["looks", "betting"])
@pytest.mark.parametrize("sigma", [0.12, 0.25, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("n", [100, 250, 1000])
def test_the_largest_radius_that_is_said_can_be_asked_for(rule, sigma, n):
    largest = SequentialGaussianCertifier(sigma, radii=[0.0], n=n, rule=rule).largest_radius
    certifier = SequentialGaussianCertifier(sigma, radii=[largest], n=n, rule=rule)
    c = certifier(Always(), image(0.0), index=0)
    assert (c.radius, c.decisions) == (largest, {repr(largest): "held"})
    with pytest.raises(InputError, match="the largest that"):
        SequentialGaussianCertifier(sigma, radii=[largest * (1 + 1e-12)], n=n, rule=rule)
