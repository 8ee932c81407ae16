"""A network behind a defence: passes, and what attacks ask of it."""

import pytest
import torch
from torch import nn

from lightning_smooth.defenses import (
    BitDepth,
    CropRescale,
    Defended,
    StochasticActivationPruning,
    is_stochastic,
    rejection_class,
)
from lightning_smooth.models import LeNet


class Shift(nn.Module):
    """Adds a number that it draws."""

    stochastic = True

    def forward(self, x):
        return x + torch.rand(len(x), 1, 1, 1)


def test_one_pass_is_the_network_of_the_defence():
    model = LeNet().eval()
    images = torch.rand(3, 1, 28, 28)
    defended = Defended(BitDepth(2), model)
    assert torch.equal(defended(images), model(BitDepth(2)(images)))
    assert [name for name, _ in defended.named_children()] == ["defense", "model"]


def test_passes_average_probabilities():
    images = torch.rand(5, 1, 2, 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    defended = Defended(Shift(), model, passes=4).eval()
    torch.manual_seed(0)
    scores = defended(images)
    torch.manual_seed(0)
    likely = sum(model(Shift()(images)).softmax(dim=1) for _ in range(4)) / 4
    torch.testing.assert_close(scores, likely.log())
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(5))


def test_a_network_that_draws_is_averaged_as_well():
    model = nn.Sequential(nn.Flatten(), StochasticActivationPruning(0.2), nn.Linear(4, 3))
    scores = Defended(nn.Identity(), model, passes=3)(torch.rand(5, 1, 2, 2))
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(5))


def test_where_nothing_draws_one_pass_is_made():
    calls = []
    model = nn.Flatten()
    model.register_forward_hook(lambda *_: calls.append(1))
    Defended(BitDepth(), model, passes=9)(torch.rand(1, 1, 2, 2))
    assert len(calls) == 1


def test_gradients_go_through_all_passes():
    images = torch.rand(2, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double()
    defended = Defended(CropRescale(4), model, passes=3)

    def loss(x):
        torch.manual_seed(0)
        return defended(x)[:, 0].sum()

    (slope,) = torch.autograd.grad(loss(images), images)
    way = torch.rand_like(images)
    expected = (loss(images + 1e-5 * way) - loss(images - 1e-5 * way)) / 2e-5
    torch.testing.assert_close((slope * way).sum(), expected, rtol=1e-7, atol=1e-9)


def test_what_draws_is_found_inside():
    assert is_stochastic(nn.Sequential(nn.Identity(), nn.Sequential(CropRescale())))
    assert not is_stochastic(nn.Sequential(BitDepth(), nn.Dropout()))


@pytest.mark.parametrize(("given", "found"), [(7, 7), (None, None), (True, None)])
def test_the_rejecting_column_is_found_inside(given, found):
    inner = nn.Flatten()
    inner.rejection_class = given
    assert rejection_class(Defended(BitDepth(), nn.Sequential(inner))) == found


def test_the_outermost_module_decides_on_rejection():
    inner, outer = nn.Flatten(), nn.Sequential()
    inner.rejection_class, outer.rejection_class = 3, 5
    outer.append(inner)
    assert rejection_class(outer) == 5
