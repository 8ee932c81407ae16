"""Judges: models that draw are asked often, rejection is no miss, smoothed ones vote anew."""

import pytest
import torch
from torch import nn

from lightning_smooth.attacks import EOT, PlainGradient, SmoothedGradient, SmoothedJudge
from lightning_smooth.attacks.judges import ModelJudge
from lightning_smooth.certify import GaussianCertifier
from lightning_smooth.errors import InputError
from lightning_smooth.types import ABSTAIN
from tests.attacks.images import Coin, Linear, Rejecting, pictures


def judged(judge, model, points, labels, part=0, seed=0):
    indices = range(len(points))
    return judge(model, points, labels, indices=indices, seed=seed, part=part)


def test_a_model_that_draws_nothing_is_asked_once():
    model, points = Linear(3), pictures(40)
    labels = torch.randint(3, (40,), generator=torch.Generator().manual_seed(0))
    verdict = judged(ModelJudge(), model, points, labels)
    scores = model(points).detach()
    assert torch.equal(verdict.predicted, scores.argmax(dim=1))
    assert torch.equal(verdict.misses, (scores.argmax(dim=1) != labels).long())
    torch.testing.assert_close(
        verdict.loss, nn.functional.cross_entropy(scores, labels, reduction="none")
    )
    assert (verdict.evaluations, verdict.classes) == (1, 3)
    assert ModelJudge().evaluations(model) == 1


def test_a_model_that_is_right_seven_times_in_ten_is_right():
    torch.manual_seed(0)
    model, points = Coin(0.7), pictures(60)
    verdict = judged(ModelJudge(100), model, points, torch.zeros(60).long())
    assert verdict.evaluations == 100
    assert not verdict.predicted.any()
    # 60 images, 100 draws each: 5 sigma of a share of .3.
    assert abs(float(verdict.misses.double().mean()) / 100 - 0.3) < 5 * (0.21 / 6000) ** 0.5
    lone = judged(ModelJudge(1), model, points, torch.zeros(60).long())
    assert 0 < int(lone.predicted.sum()) < 60


def test_of_as_many_answers_the_wrong_one_counts():
    class Turns(nn.Module):
        stochastic = True
        asked = 0

        def forward(self, x):
            self.asked += 1
            return torch.eye(2)[self.asked % 2].expand(len(x), 2)

    for label in (0, 1):
        verdict = judged(ModelJudge(4), Turns(), pictures(3), torch.full((3,), label))
        assert verdict.predicted.tolist() == [1 - label] * 3
        assert verdict.misses.tolist() == [2, 2, 2]


def test_a_rejection_is_an_abstention_and_no_miss():
    model = Rejecting(Linear(), most=0.5)
    points = torch.cat([pictures(5, low=0.0, high=0.3), pictures(5, low=0.7, high=1.0)])
    labels = model.inner(points).argmax(dim=1)
    verdict = judged(ModelJudge(), model, points, labels)
    assert torch.equal(verdict.predicted[:5], labels[:5])
    assert verdict.predicted[5:].tolist() == [ABSTAIN] * 5
    assert not verdict.misses.any()
    assert verdict.classes == 2
    expected = nn.functional.cross_entropy(model.inner(points), labels, reduction="none")
    torch.testing.assert_close(verdict.loss, expected.detach())
    with pytest.raises(InputError):
        judged(ModelJudge(), model, points, torch.full((10,), 2))  # the rejection is no class


def test_batches_are_all_the_same():
    model, points = Linear(4), pictures(11)
    labels = torch.zeros(11).long()
    for size in (1, 3, 50):
        verdict = judged(ModelJudge(batch_size=size), model, points, labels)
        whole = judged(ModelJudge(), model, points, labels)
        assert torch.equal(verdict.predicted, whole.predicted)
        torch.testing.assert_close(verdict.loss, whole.loss)


def test_a_smoothed_judge_votes_by_fresh_keyed_draws():
    model, points = Linear().float(), pictures(8).float()
    labels = model(points).argmax(dim=1)
    judge = SmoothedJudge(GaussianCertifier(0.25, n=1000), n=200)
    verdict = judged(judge, model, points, labels)
    assert (verdict.evaluations, verdict.classes) == (200, 2)
    # P(class) under noise is Phi(margin / (sigma |w|)) for a linear model.
    away = -model.margin(points, labels) / (0.25 * model.slope(labels).norm(dim=1))
    share = torch.distributions.Normal(0, 1).cdf(away).double()
    error = 5 * (share * (1 - share) / 200).sqrt() + 1e-9
    assert bool(((1 - verdict.misses / 200) - share).abs().le(error).all())
    torch.testing.assert_close(verdict.loss, (201 / (201 - verdict.misses.double())).log())
    again = judged(judge, model, points, labels)
    other = judged(judge, model, points, labels, part=1)
    assert torch.equal(again.misses, verdict.misses)
    assert not torch.equal(other.misses, verdict.misses)


def test_gradients_suit_the_judge():
    smoothed = SmoothedJudge(GaussianCertifier(0.25, n=100)).gradient()
    assert isinstance(smoothed, SmoothedGradient)
    assert smoothed.law.sigma == 0.25
    assert isinstance(ModelJudge().gradient(), PlainGradient | EOT)


def test_numbers_out_of_range():
    with pytest.raises(InputError, match="evaluations"):
        ModelJudge(0)
    with pytest.raises(InputError, match="batch_size"):
        ModelJudge(batch_size=0)
