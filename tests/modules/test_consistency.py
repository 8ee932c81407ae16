"""Consistency regularisation: the loss against a plain computation."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

from lightning_smooth.modules import ConsistencyRegularization


def linear():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 4))


def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.rand(6, 1, 4, 4, generator=generator), torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.mark.parametrize(("copies", "consistency", "entropy"), [(2, 10.0, 0.5), (5, 3.0, 0.0)])
def test_the_loss_is_the_paper_s(copies, consistency, entropy):
    model, (images, labels) = linear(), batch()
    module = ConsistencyRegularization(model, 0.7, copies, consistency, entropy)
    loss, _ = module.loss(images, labels, torch.Generator().manual_seed(9))
    noise = module.noise(images, torch.Generator().manual_seed(9))
    expected = []
    for i, label in enumerate(labels):
        with torch.no_grad():
            p = [special.softmax(model(images[i : i + 1] + e[i : i + 1]).numpy()[0]) for e in noise]
        mean = np.mean(p, axis=0)
        expected.append(
            np.mean([-math.log(q[label]) for q in p])
            + consistency * np.mean([stats.entropy(mean, q) for q in p])
            + entropy * stats.entropy(mean)
        )
    assert float(loss.detach()) == pytest.approx(np.mean(expected), rel=1e-5)


def test_a_constant_model_disagrees_with_nothing():
    model = linear()
    nn.init.zeros_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    module = ConsistencyRegularization(model, 0.5, consistency=100.0, entropy=0.25)
    loss, _ = module.loss(*batch(), torch.Generator())
    assert float(loss.detach()) == pytest.approx(1.25 * math.log(4), rel=1e-5)


def test_the_gradient_is_that_of_the_whole_loss():
    model, (images, labels) = linear().double(), batch()
    images = images.double()
    module = ConsistencyRegularization(model, 0.7)
    noise = module.noise(images, torch.Generator().manual_seed(9))

    def value():
        p = torch.stack([model(images + e).softmax(1) for e in noise])
        mean = p.mean(0)
        kl = (mean * (mean.log() - p.log())).sum(-1).mean()
        nll = -p[:, torch.arange(6), labels].log().mean()
        return float(nll + 10 * kl - 0.5 * (mean * mean.log()).sum(1).mean())

    loss, _ = module.loss(images, labels, torch.Generator().manual_seed(9))
    loss.backward()
    weight, slope = model[1].weight, model[1].weight.grad[1, 3]
    with torch.no_grad():
        weight[1, 3] += 1e-5
        above = value()
        weight[1, 3] -= 2e-5
        below = value()
    assert float(slope) == pytest.approx((above - below) / 2e-5, rel=1e-3)
