"""Mean scores: whole sums, the bound that follows, and radii against exact ones."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from lightning_smooth.certify import SoftGaussianCertifier
from lightning_smooth.certify.soft import MOST, SCALE, soft_scores
from lightning_smooth.errors import InputError
from lightning_smooth.maths.bernstein import empirical_bernstein_lower
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing import NoiseKey
from lightning_smooth.smoothing.rng import standard_normal

SIGMA = 0.5


class Smoothly(nn.Module):
    """Softmax score CDF(4 (mean - 1/2) / width) for class 1: its mean under noise is known."""

    def __init__(self, width):
        super().__init__()
        self.width = width

    def forward(self, x):
        z = 4 * (x.double().mean(dim=(1, 2, 3)) - 0.5) / self.width
        return torch.stack([torch.special.log_ndtr(-z), torch.special.log_ndtr(z)], dim=1)


def image(distance):
    return torch.full((1, 4, 4), 0.5 + distance / 4)


def exact(distance, width):
    """E CDF((d + e)/w) for e ~ N(0, sigma^2), and the exact radius, which is the distance."""
    return norm.cdf(distance / math.hypot(width, SIGMA))


def plain(certificate):
    return dataclasses.replace(certificate, seconds=0.0)


def test_parts_of_a_draw_never_add_up_to_more_than_one():
    generator = torch.Generator().manual_seed(0)
    for classes in (2, 10, 1000):
        for size in (1e-6, 1.0, 30.0, 1e4):
            scores = size * torch.randn(2000, classes, generator=generator)
            parts, squares = soft_scores(scores).split(classes, dim=1)
            assert int(parts.sum(dim=1).max()) <= SCALE
            assert int(parts.min()) >= 0
            assert torch.equal(squares, parts**2)
            below = scores.double().softmax(1) - parts / SCALE
            assert 0 <= float(below.min()) <= float(below.max()) < 1 / SCALE
    ties = torch.zeros(1, 7)
    assert soft_scores(ties)[0, :7].tolist() == [SCALE // 7] * 7


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_count_as_nothing(value):
    assert soft_scores(torch.tensor([[1.0, value]])).tolist() == [[0, 0, 0, 0]]


def test_sums_are_those_of_a_plain_loop():
    c = SoftGaussianCertifier(SIGMA, n0=50, n=300, seed=3)(Smoothly(1.0), image(0.6), index=7)
    blocks = [
        standard_normal(NoiseKey(3, 7, "estimation"), b, (1, 4, 4), torch.device("cpu"))
        for b in range(3)
    ]
    scores = Smoothly(1.0)(image(0.6) + SIGMA * torch.cat(blocks)[:300])
    q = [math.floor(SCALE * math.exp(float(row[1]))) for row in scores]
    assert abs(c.measured["sum"] - sum(q)) <= 2  # exp here, softmax there
    assert c.measured["squares"] == pytest.approx(sum(v * v for v in q), rel=1e-5)
    assert c.hits == c.measured["sum"] // SCALE
    total, squares = c.measured["sum"], c.measured["squares"]
    assert c.p_lower == empirical_bernstein_lower(total, squares, 300, 0.001, scale=SCALE)
    assert c.radius == gaussian_radius(c.p_lower, SIGMA) > 0
    assert c.measured["sum0"] + c.measured["rival0"] <= 50 * SCALE
    assert (c.candidate, c.predicted, c.guarantee, c.radius_unit) == (1, 1, "certified", "l2")


@pytest.mark.parametrize("width", [0.1, 1.0])
@pytest.mark.parametrize("distance", [0.2, 0.7])
def test_the_bound_nears_the_known_mean_score(distance, width):
    c = SoftGaussianCertifier(SIGMA, n=20_000)(Smoothly(width), image(distance), index=0)
    p = exact(distance, width)
    assert c.measured["sum"] / SCALE / c.n == pytest.approx(p, abs=0.01)
    assert p - 0.04 < c.p_lower < p
    assert c.radius <= distance


def test_no_point_inside_the_radius_has_another_class():
    # the mean score is at least 1/2 up to the distance, and the radius stays below it
    radii = [
        SoftGaussianCertifier(SIGMA, n0=20, n=500, seed=s)(Smoothly(0.3), image(0.4), index=s)
        for s in range(60)
    ]
    assert sum(c.radius > 0.4 for c in radii) == 0
    assert np.mean([c.p_lower > exact(0.4, 0.3) for c in radii]) == 0
    assert max(c.radius for c in radii) > 0.2


def test_steady_scores_need_fewer_draws_than_votes():
    # a flat score of .9: no draw differs from another, and 2000 of them show nearly all of it
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    nn.init.zeros_(model[1].weight)
    model[1].bias.data = torch.tensor([0.0, math.log(9.0)])
    c = SoftGaussianCertifier(SIGMA, n=2000)(model, image(0.5), index=0)
    assert c.p_lower == pytest.approx(0.9, abs=0.01)


def test_a_coin_is_abstained_on():
    c = SoftGaussianCertifier(SIGMA, n=1000)(Smoothly(1.0), image(0.0), index=0, label=1)
    assert (c.predicted, c.radius, c.correct) == (-1, 0.0, False)


@pytest.mark.parametrize("batch_size", [1, 50, 128, 1000])
def test_batches_and_neighbours_change_nothing(batch_size):
    images = [image(d) for d in np.linspace(0, 1.2, 5)]
    model = Smoothly(1.0)
    alone = [SoftGaussianCertifier(SIGMA, n=400)(model, x, index=i) for i, x in enumerate(images)]
    together = SoftGaussianCertifier(SIGMA, n=400, batch_size=batch_size).certify_batch(
        model, images, indices=range(5)
    )
    found = sorted(together, key=lambda c: c.index)
    assert [plain(c) for c in found] == [plain(c) for c in alone]


def test_the_largest_radius_is_that_of_full_scores():
    certifier = SoftGaussianCertifier(0.01, n=1000)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    nn.init.zeros_(model[1].weight)
    model[1].bias.data = torch.tensor([0.0, 1e4])
    c = certifier(model, image(0.5), index=0)
    assert (c.hits, c.radius) == (1000, certifier.largest_radius)
    assert certifier.largest_radius == pytest.approx(0.01 * norm.ppf(1 - 0.017754), rel=1e-3)


def test_validation_draws_are_others():
    certifier = SoftGaussianCertifier(SIGMA, n=400)
    validation = certifier.for_validation(n0=50, n=400)
    one, other = (c(Smoothly(1.0), image(0.4), index=0) for c in (certifier, validation))
    assert type(validation) is SoftGaussianCertifier
    assert one.measured != other.measured


def test_records_read_back_as_they_were():
    c = SoftGaussianCertifier(SIGMA, n=200)(Smoothly(1.0), image(0.8), index=0, label=1)
    assert Certificate.from_json(c.to_json()) == c
    assert isinstance(Certificate.from_json(c.to_json()).measured["squares"], int)
    assert SoftGaussianCertifier(SIGMA).describe()["scale"] == SCALE


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"n": 1}, "`n`"), ({"n": MOST + 1}, "63 bits"), ({"n0": MOST + 1}, "63 bits"),
     ({"n0": 0}, "`n0`"), ({"sigma": -1.0}, "`sigma`")],
)  # fmt: skip
def test_settings_out_of_range_are_named(settings, words):
    with pytest.raises(InputError, match=words):
        SoftGaussianCertifier(**{"sigma": SIGMA, **settings})


def test_the_most_draws_still_add_up():
    assert MOST * SCALE**2 < 2**63
