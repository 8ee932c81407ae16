"""Mixtures of discretised logistics against scipy, sums over all levels, and frequencies."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from lightning_smooth.models.logistics import (
    LEVELS,
    LogisticMixture,
    parameter_count,
    scaled,
    to_levels,
)

EVERY = torch.arange(LEVELS)


def parameters(channels, mixtures, batch=2, places=(), seed=0, scale=-2.0):
    drawn = torch.Generator().manual_seed(seed)
    shape = (batch, parameter_count(channels, mixtures), *places)
    values = torch.randn(shape, generator=drawn, dtype=torch.float64)
    values[:, mixtures * (1 + channels) : mixtures * (1 + 2 * channels)] += scale
    return values


def masses(mean, scale):
    """Masses (256,) of one logistic, from scipy's distribution function."""
    edges = (np.arange(1, LEVELS) - 0.5) * 2 / 255 - 1
    below = stats.logistic.cdf(edges, mean, scale)
    return np.diff(np.concatenate([[0.0], below, [1.0]]))


def test_levels_are_the_nearest():
    images = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 1.0, 1.2, -0.1])
    assert to_levels(images).tolist() == [0, 0, 1, 255, 255, 0]
    assert torch.equal(to_levels(EVERY / 255), EVERY)
    assert scaled(torch.tensor([0, 51, 255])).tolist() == pytest.approx([-1.0, -0.6, 1.0])


def test_one_channel_is_the_weighted_sum_of_scipys_logistics():
    values = parameters(1, 3)
    found = LogisticMixture(values, 1).conditional(0, torch.zeros(2, 1).long(), EVERY)
    for row, (weights, means, scales) in zip(found, values.unflatten(1, (3, 3)), strict=True):
        weights = weights.softmax(0).numpy()
        by_hand = sum(
            w * masses(float(m), float(s.exp()))
            for w, m, s in zip(weights, means, scales, strict=True)
        )
        assert row.exp().numpy() == pytest.approx(by_hand, rel=1e-9, abs=1e-15)


def test_channels_depend_on_those_before_within_a_component():
    values = parameters(3, 2, batch=1)
    levels = torch.tensor([[200, 13, 255]])
    k = 2
    weights, rest = values[0, :k].log_softmax(0), values[0, k:]
    means, scales, slopes = rest[:6].view(3, k), rest[6:12].view(3, k), rest[12:].view(3, k).tanh()
    x = scaled(levels[0], torch.float64)
    terms = []
    for one in range(k):
        centre = [
            means[0, one],
            means[1, one] + slopes[0, one] * x[0],
            means[2, one] + slopes[1, one] * x[0] + slopes[2, one] * x[1],
        ]
        own = [
            np.log(masses(float(centre[c]), float(scales[c, one].exp()))[levels[0, c]])
            for c in range(3)
        ]
        terms.append(float(weights[one]) + sum(own))
    found = LogisticMixture(values, 3).log_prob(levels)
    assert float(found) == pytest.approx(logsumexp(terms), rel=1e-9)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_conditionals_sum_to_one_and_multiply_to_the_joint(channels):
    values = parameters(channels, 4, batch=3, places=(2, 2))
    mixture = LogisticMixture(values, channels)
    levels = torch.randint(LEVELS, (3, channels, 2, 2), generator=torch.Generator().manual_seed(1))
    joint = torch.zeros(3, 2, 2, dtype=torch.float64)
    for channel in range(channels):
        found = mixture.conditional(channel, levels, EVERY)
        assert found.shape == (3, 2, 2, LEVELS)
        torch.testing.assert_close(
            found.logsumexp(-1), torch.zeros(3, 2, 2).double(), atol=1e-12, rtol=0
        )
        joint += found.gather(-1, levels[:, channel].unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(mixture.log_prob(levels), joint)


def test_sharp_and_distant_logistics_keep_their_digits_in_float32():
    # The mass of level 0 under a logistic at 0.9 of scale e^-7 is about exp(-2e3): no underflow.
    values = torch.tensor([[0.0, 0.9, -9.0]])
    found = LogisticMixture(values, 1).conditional(0, torch.zeros(1, 1).long(), EVERY)
    assert found.isfinite().all()
    sharp = np.exp(7)
    assert float(found[0, 0]) == pytest.approx((-1 + 1 / 255 - 0.9) * sharp, rel=1e-5)
    assert float(found.double().exp().sum()) == pytest.approx(1, abs=1e-5)


def test_gradients_are_those_of_finite_differences():
    values = parameters(3, 2, batch=1).requires_grad_()
    for levels in ([[0, 7, 255]], [[255, 0, 100]]):
        given = torch.tensor(levels)
        assert torch.autograd.gradcheck(
            lambda v, x=given: LogisticMixture(v, 3).log_prob(x), values
        )


def test_draws_have_the_frequencies_of_the_distribution():
    values = parameters(2, 2, batch=1, scale=-1.0).expand(40_000, -1)
    mixture = LogisticMixture(values, 2)
    drawn = mixture.draw(torch.Generator().manual_seed(2))
    one = LogisticMixture(values[:1], 2)
    first = one.conditional(0, drawn[:1], EVERY)[0].exp()
    # The second channel's own distribution, by summing over the first.
    before = torch.stack([EVERY, 0 * EVERY], dim=1)
    every = LogisticMixture(values[:LEVELS], 2).conditional(1, before, EVERY).exp()
    for channel, expected in enumerate((first, first @ every)):
        found = torch.bincount(drawn[:, channel], minlength=LEVELS)
        # Eight neighbours together, so that no count is small.
        counts, shares = found.view(32, 8).sum(1), expected.view(32, 8).sum(1)
        assert stats.chisquare(counts, 40_000 * shares).pvalue > 0.001
    pairs = scaled(drawn, torch.float64).T
    joint = first[:, None] * every
    grid = scaled(EVERY, torch.float64)
    mean = grid @ joint @ grid
    assert float((pairs[0] * pairs[1]).mean()) == pytest.approx(float(mean), abs=0.01)
