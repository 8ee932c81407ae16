"""MACER: the loss against a plain computation, and where it saturates."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

from lightning_smooth.modules import Macer
from lightning_smooth.modules.macer import radius_gap


def linear():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 4))


def batch():
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(8, 1, 4, 4, generator=generator)
    return images, torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])


class Given(nn.Module):
    """Answers with given logits (copies, B, K), whatever it sees."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images):
        return self.logits.flatten(0, 1)


@pytest.mark.parametrize(
    ("copies", "robustness", "gamma", "beta"), [(16, 12.0, 8.0, 16.0), (5, 3.0, 0.4, 1.0)]
)
def test_the_loss_is_the_paper_s(copies, robustness, gamma, beta):
    model, (images, labels) = linear(), batch()
    module = Macer(model, 0.7, copies, robustness, gamma, beta)
    loss, _ = module.loss(images, labels, torch.Generator().manual_seed(9))
    noise = module.noise(images, torch.Generator().manual_seed(9))
    expected, hinges = [], []
    for i, label in enumerate(labels):
        with torch.no_grad():
            logits = [model(images[i : i + 1] + e[i : i + 1]).double().numpy()[0] for e in noise]
        soft = np.mean([special.softmax(z) for z in logits], axis=0)
        sharp = np.mean([special.softmax(beta * z) for z in logits], axis=0)
        second, first = np.sort(sharp)[-2:]
        hinge = 0.0
        if sharp.argmax() == label:
            hinge = max(0.0, gamma - (stats.norm.ppf(first) - stats.norm.ppf(second)))
            hinges.append(hinge)
        expected.append(-math.log(soft[label]) + robustness * 0.7 / 2 * hinge)
    assert 0 < len(hinges) < 8, "both kinds of images are among them"
    assert float(loss.detach()) == pytest.approx(np.mean(expected), rel=1e-4)


def test_the_case_of_one_copy_and_two_classes_by_hand():
    model = Given(torch.tensor([[[0.5, 0.0], [0.0, 1.0]]]))
    module = Macer(model, 1.0, copies=1, robustness=2.0, gamma=3.0, beta=2.0)
    loss, _ = module.loss(torch.rand(2, 1, 2, 2), torch.tensor([0, 0]), torch.Generator())
    # Image 0 is right: sigmoid(1) = .731059 against .268941, a gap of 1.232035.
    first = math.log(1 + math.exp(-0.5)) + 2 * 0.5 * (3 - 1.232035)
    second = math.log(1 + math.e)  # wrong: no hinge
    assert float(loss.detach()) == pytest.approx((first + second) / 2, rel=1e-5)


def test_the_hinge_ends_at_gamma():
    images, labels = torch.rand(1, 1, 2, 2), torch.tensor([0])
    for gamma, flat in ((1.3, False), (1.2, True)):  # the gap is 1.232
        model = Given(torch.tensor([[[0.5, 0.0]]]))
        module = Macer(model, 1.0, copies=1, robustness=1e6, gamma=gamma, beta=2.0)
        loss, _ = module.loss(images, labels, torch.Generator())
        loss.backward()
        assert (float(model.logits.grad.abs().max()) < 1) is flat


def test_the_hinge_widens_the_gap():
    model = Given(torch.tensor([[[0.5, 0.0, -1.0]], [[-0.2, 0.1, -1.0]]]))
    module = Macer(model, 1.0, copies=2, robustness=100.0)
    loss, _ = module.loss(torch.rand(1, 1, 2, 2), torch.tensor([0]), torch.Generator())
    loss.backward()
    assert (model.logits.grad[:, 0, 0] < 0).all()
    assert (model.logits.grad[:, 0, 1] > 0).all()


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e3, 1e6])
def test_sure_predictions_give_finite_losses_and_gradients(scale):
    logits = scale * torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]]])
    model = Given(logits)
    loss, _ = Macer(model, 0.5, copies=1).loss(
        torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 2]), torch.Generator()
    )
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(model.logits.grad).all()


@pytest.mark.parametrize("rest", [0.3, 1e-3, 1e-8, 1e-15, 1e-25])
def test_gaps_are_exact_where_the_largest_entry_rounds_to_one(rest):
    found, right = radius_gap(torch.tensor([[1 - rest, 0.9 * rest, 0.1 * rest]]), torch.tensor([0]))
    mpmath.mp.dps = 50

    def tail(p):  # the x beyond which a standard normal has probability p
        start = float(stats.norm.isf(p))
        return mpmath.findroot(lambda x: mpmath.erfc(x / mpmath.sqrt(2)) / 2 - p, start)

    assert float(found) == pytest.approx(float(tail(rest) + tail(0.9 * rest)), rel=2e-5)
    assert float(right) == 1


def test_the_hinge_waits_for_its_epoch():
    images, _ = batch()
    labels = linear()(images).argmax(1)

    def loss(**settings):
        module = Macer(linear(), 0.7, **settings)
        return float(module.loss(images, labels, torch.Generator().manual_seed(0))[0].detach())

    assert loss(start_epoch=1) == loss(robustness=0.0)
    assert loss(start_epoch=0) > loss(start_epoch=1)
