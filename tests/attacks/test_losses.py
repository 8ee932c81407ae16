"""Losses: by hand, and where scores are extreme."""

import math

import pytest
import torch

from lightning_smooth.attacks.losses import check_loss, cross_entropy, fooled, margin
from lightning_smooth.errors import InputError

SCORES = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, -1.0]], dtype=torch.float64)


def test_the_margin_is_that_of_the_best_other_class():
    assert margin(SCORES, torch.tensor([1, 2])).tolist() == [-1.0, 1.0]
    assert margin(SCORES, torch.tensor([0, 0])).tolist() == [2.0, 0.0]


def test_the_cross_entropy_by_hand():
    expected = math.log(math.exp(1) + math.exp(3) + math.exp(2)) - 3
    assert float(cross_entropy(SCORES, torch.tensor([1, 2]))[0]) == pytest.approx(expected)


def test_the_margin_has_a_slope_where_the_cross_entropy_is_flat():
    scores = torch.tensor([[200.0, 0.0]], requires_grad=True)
    labels = torch.tensor([0])
    (flat,) = torch.autograd.grad(cross_entropy(scores, labels).sum(), scores)
    (steep,) = torch.autograd.grad(margin(scores, labels).sum(), scores)
    assert not flat.any()
    assert steep.tolist() == [[-1.0, 1.0]]


def test_fooled_is_another_class_of_finite_scores():
    scores = torch.tensor([[1.0, 2.0], [2.0, 1.0], [math.nan, 1.0], [1.0, math.inf]])
    assert fooled(scores, torch.tensor([0, 0, 0, 0])).tolist() == [True, False, False, False]


def test_a_loss_that_is_not_known():
    assert check_loss("margin") == "margin"
    with pytest.raises(InputError, match="cross_entropy, margin"):
        check_loss("hinge")
