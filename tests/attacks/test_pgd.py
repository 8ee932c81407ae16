"""FGSM and PGD: against the closed form of linear models, and against themselves."""

import itertools
import math

import pytest
import torch
from torch import nn

from lightning_smooth.attacks import BPDA, EOT, FGSM, PGD, SmoothedJudge
from lightning_smooth.attacks.norms import distance
from lightning_smooth.certify import GaussianCertifier
from lightning_smooth.errors import InputError
from tests.attacks.images import Coin, Jitter, Linear, network, pictures, quantised, run

NORMS = ["linf", "l2", "l1"]
DUAL = {"linf": 1, "l2": 2, "l1": math.inf}


@pytest.mark.parametrize(("norm", "bound"), [("linf", 0.03), ("l2", 0.1), ("l1", 0.3)])
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_one_step_on_a_linear_model_gains_the_bound_times_the_dual_norm(norm, bound, loss):
    model, images = Linear(), pictures(20)
    labels = model(images).argmax(dim=1)
    found = run(FGSM(bound, norm, loss), model, images)
    gain = model.margin(found.clipped, labels) - model.margin(images, labels)
    size = torch.linalg.vector_norm(model.slope(labels), ord=DUAL[norm], dim=1)
    torch.testing.assert_close(gain, bound * size, rtol=2e-6, atol=0)
    expected = model.margin(images, labels) + bound * size > 0
    assert torch.equal(found.success, expected)
    assert 0 < int(found.success.sum()) < 20
    torch.testing.assert_close(found.norm, torch.full((20,), bound).double(), rtol=2e-6, atol=0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("random_start", [False, True])
def test_many_steps_on_a_linear_model_reach_the_same_optimum(norm, random_start):
    model, images = Linear(), pictures(20)
    labels = model(images).argmax(dim=1)
    attack = PGD(0.1, norm, steps=40, random_start=random_start, loss="margin")
    found = run(attack, model, images)
    gain = model.margin(found.clipped, labels) - model.margin(images, labels)
    size = torch.linalg.vector_norm(model.slope(labels), ord=DUAL[norm], dim=1)
    torch.testing.assert_close(gain, 0.1 * size, rtol=2e-3, atol=0)
    assert float(found.norm.max()) <= 0.1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_steps_fall_linearly_to_the_last(norm):
    model, images = Linear(), pictures()
    attack = PGD(0.1, norm, steps=4, step=0.1, final_step=0.04, random_start=False)
    found = run(attack, model, images)
    moved = torch.full((6,), 0.1 * (0.1 + 0.08 + 0.06 + 0.04), dtype=torch.float64)
    torch.testing.assert_close(found.norm, moved)  # one way all along: the slope is constant
    assert attack.describe()["final_step"] == 0.04
    assert "final_step" not in PGD(0.1, norm).describe()
    one = run(PGD(0.1, norm, steps=1, step=0.1, final_step=0.04, random_start=False), model, images)
    torch.testing.assert_close(one.norm, torch.full((6,), 0.01, dtype=torch.float64))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_restarts_are_never_worse(momentum):
    model, images = network(), pictures(40, low=0.0, high=1.0)
    counts = []
    for restarts in (1, 2, 5):
        attack = PGD(0.04, steps=4, restarts=restarts, momentum=momentum, seed=3)
        found = run(attack, model, images)
        counts.append(found)
    for fewer, more in itertools.pairwise(counts):
        assert bool((more.success | ~fewer.success).all())
    assert int(counts[-1].success.sum()) > int(counts[0].success.sum()) or momentum
    assert counts[-1].tried == 5


def test_what_is_fooled_takes_no_more_queries():
    model, images = network(), pictures(30)
    one = run(PGD(0.2, steps=10, restarts=1, loss="margin"), model, images)
    four = run(PGD(0.2, steps=10, restarts=4, loss="margin"), model, images)
    assert int(one.success.sum()) > 0
    assert bool((four.queries[one.success] == one.queries[one.success]).all())
    left = ~four.success
    assert bool((four.queries[left] == 4 * one.queries[left]).all())


def test_a_quantiser_withstands_plain_gradients_and_falls_to_bpda():
    model, images = quantised(levels=32), pictures(20)
    with pytest.raises(InputError, match=r"shattered.*BPDA"):
        run(PGD(0.1), model, images)
    blind = run(PGD(0.1, shattered=True), model, images)
    bpda = run(PGD(0.1, gradient=BPDA({"steps": "identity"})), model, images)
    whole = run(PGD(0.1), model.head, images)
    assert int(bpda.success.sum()) > 2 * int(blind.success.sum())
    assert int(bpda.success.sum()) >= int(whole.success.sum()) - 2


def test_a_sure_model_is_not_taken_for_shattered():
    class Sure(Linear):
        def forward(self, x):
            return 1e4 * super().forward(x)

    model, images = Sure(), pictures(20)
    labels = model(images).argmax(dim=1)
    sure = model.margin(images, labels).abs() > 2e3  # its cross-entropy is flat in float64
    assert int(sure.sum()) > 5
    found = run(PGD(0.1, random_start=False), model, images[sure])
    assert not found.success.any()
    assert run(PGD(0.1, loss="margin"), model, images).success.any()


def test_a_model_that_draws_falls_to_the_mean_over_draws():
    """Under x (1 +- 1) a linear model sees the image or none: one draw of two shows a gradient."""
    model, images = nn.Sequential(Jitter(0.9), Linear(seed=4)), pictures(20)
    plain = model[1]
    labels = plain(images).argmax(dim=1)
    attack = PGD(0.3, steps=10, gradient=EOT(8), loss="margin", judge=None)
    found = run(attack, model, images, labels)
    assert found.verdict.evaluations == 20
    assert int(found.success.sum()) >= int(run(PGD(0.1), plain, images, labels).success.sum())


def test_luck_breaks_no_model_that_draws():
    """Right with probability .7: many restarts find points of bad luck, judged again by others."""
    torch.manual_seed(0)
    model, images = Coin(0.7), pictures(30)
    attack = PGD(0.1, steps=1, restarts=20, shattered=True)
    found = run(attack, model, images, torch.zeros(30).long())
    # P(Binomial(20, .3) >= 10) = .048: of 30 images, 1.4 by chance; without fresh evaluations 28.
    assert int(found.success.sum()) <= 7


def test_a_smoothed_classifier_is_attacked_by_its_own_gradient():
    model, images = network().float(), pictures(12).float()
    judge = SmoothedJudge(GaussianCertifier(0.1, n=100))
    attack = PGD(0.5, "l2", steps=10, judge=judge)
    assert attack.gradient.describe()["gradient"] == "smoothed"
    found = run(attack, model, images)
    assert found.success.any()
    assert float(found.norm.max()) <= 0.5
    assert int(found.queries[0]) == 10 * 16


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"bound": 0.0}, "bound"), ({"bound": -0.1}, "bound"), ({"bound": math.nan}, "bound"),
        ({"steps": 0}, "steps"), ({"step": 0.0}, "step"), ({"final_step": 0.0}, "final_step"),
        ({"restarts": 0}, "restarts"),
        ({"momentum": -1.0}, "momentum"), ({"norm": "l3"}, "norm"), ({"loss": "x"}, "loss"),
        ({"seed": -1}, "seed"), ({"batch_size": 0}, "batch_size"),
    ],
)  # fmt: skip
def test_settings_out_of_range(settings, name):
    with pytest.raises(InputError, match=f"`{name}`"):
        PGD(**{"bound": 0.1, **settings})


def test_images_near_the_ends_of_the_box_stay_in_it():
    model = Linear()
    images = pictures(20, low=0.0, high=1.0).round()
    labels = model(images).argmax(dim=1)
    for norm in NORMS:
        found = run(PGD(0.3, norm, steps=10), model, images, labels)
        assert float(found.clipped.min()) >= 0
        assert float(found.clipped.max()) <= 1
        assert float(found.norm.max()) <= 0.3
        assert torch.equal(found.norm, distance(norm, found.clipped - images))
