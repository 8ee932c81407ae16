"""Stability training: the loss against a plain computation."""

import math

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

from lightning_smooth.modules import StabilityTraining


def linear():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 4))


def batch():
    generator = torch.Generator().manual_seed(3)
    return torch.rand(6, 1, 4, 4, generator=generator), torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.mark.parametrize("stability", [0.0, 2.0, 7.5])
def test_the_loss_is_the_paper_s(stability):
    model, (images, labels) = linear(), batch()
    module = StabilityTraining(model, 0.7, stability)
    loss, logits = module.loss(images, labels, torch.Generator().manual_seed(9))
    noise = module.law.like(images, torch.Generator().manual_seed(9))
    expected = []
    for i, label in enumerate(labels):
        with torch.no_grad():
            clean = special.softmax(model(images[i : i + 1]).numpy()[0])
            noisy = special.softmax(model(images[i : i + 1] + noise[i : i + 1]).numpy()[0])
        assert special.softmax(logits[i].detach().numpy()) == pytest.approx(noisy, rel=1e-5)
        cross = -sum(p * math.log(q) for p, q in zip(clean, noisy, strict=True))
        expected.append(-math.log(clean[label]) + stability * cross)
    assert float(loss.detach()) == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_gradient_goes_through_the_clean_prediction():
    """The noise of a model without weights is nothing: both predictions are softmax(bias)."""
    model = linear()
    nn.init.zeros_(model[1].weight)
    images, labels = batch()
    loss, _ = StabilityTraining(model, 0.5, 3.0).loss(images, labels, torch.Generator())
    loss.backward()
    p = model[1].bias.detach().double().softmax(0)
    share = torch.bincount(labels, minlength=4) / 6
    surprise = -p.log()
    entropy = float((p * surprise).sum())
    # d H(softmax(b)) / d b = p (-ln p - H); without the clean side it would be 0.
    expected = (p - share) + 3 * p * (surprise - entropy)
    torch.testing.assert_close(model[1].bias.grad.double(), expected, rtol=1e-4, atol=1e-6)


def test_image_and_copy_have_batch_statistics_of_their_own():
    model = nn.Sequential(nn.BatchNorm2d(1, momentum=1.0), nn.Flatten(), nn.Linear(16, 4))
    images, labels = batch()
    module = StabilityTraining(model, 3.0)
    module.loss(images, labels, torch.Generator().manual_seed(0))
    noisy = images + module.law.like(images, torch.Generator().manual_seed(0))
    assert float(model[0].running_var) == pytest.approx(float(noisy.var()), rel=1e-4)
