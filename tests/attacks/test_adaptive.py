"""The adaptive attack: it finds what others miss, stays in its box, and depends on no batch."""

import dataclasses
import itertools

import pytest
import torch
from torch import nn

from lightning_smooth.attacks import (
    AdaptiveAttack,
    GridAttack,
    RandomAttack,
    SmoothedSearch,
)
from lightning_smooth.certify import (
    ExactGaussianCertifier,
    GaussianCertifier,
    ResolvableCertifier,
)
from lightning_smooth.maths.laws import GaussianLaw
from lightning_smooth.transforms import (
    Brightness,
    BrightnessContrast,
    Compose,
    DefocusBlur,
    GaussianBlur,
    IntegerTranslation,
    Pixelate,
    Rotation,
    RotationalBlur,
    Scaling,
    Translation,
    ZoomBlur,
)
from tests.attacks.subjects import LABEL, SEARCHES, Peak, batch, network

BOX = {"brightness": (-0.5, 0.5), "contrast": (-0.4, 0.6)}


def halves(low=0.3, high=0.6):
    """Dark on the left, light on the right."""
    image = torch.full((1, 4, 4), low, dtype=torch.float64)
    image[:, :, 2:] = high
    return image


class Well(nn.Module):
    """Class 1, but for class 0 within `width` of one brightness and one contrast of `halves()`.

    tau gives e^k (x + b): k is read off the halves' difference, .3 e^k, and b off their mean.
    """

    def __init__(self, brightness, contrast, width, slope=10.0):
        super().__init__()
        self.brightness, self.contrast, self.width = brightness, contrast, width
        self.slope = slope

    def forward(self, x):
        left, right = x[..., :2].mean(dim=(1, 2, 3)), x[..., 2:].mean(dim=(1, 2, 3))
        k = ((right - left) / 0.3).log()
        b = (left + right) / 2 * torch.exp(-k) - 0.45
        away = ((b - self.brightness) ** 2 + (k - self.contrast) ** 2).sqrt()
        score = self.slope * (away - self.width)
        return torch.stack([-score, score], dim=1)


def test_gradients_find_a_worst_parameter_that_grids_and_random_ones_miss():
    model, image = Well(0.1234, -0.2718, 0.01), halves()[None]
    transform = BrightnessContrast()
    for attack in (
        RandomAttack(transform, BOX, k=300),
        GridAttack(transform, BOX, 12),
    ):
        (missed,) = attack(model, image, LABEL, indices=[0])
        assert missed.withstood
        assert missed.wrong == 0
    (found,) = AdaptiveAttack(transform, BOX, steps=40)(model, image, LABEL, indices=[0])
    assert found.broken
    assert found.clean == 1
    assert found.theta["brightness"] == pytest.approx(0.1234, abs=0.01)
    assert found.theta["contrast"] == pytest.approx(-0.2718, abs=0.01)
    assert found.method == "adaptive"
    # All of the box's grid and two points of each restart, at most.
    assert found.tried <= 25 + 5 * 2
    assert found.parameters["steps"] == 40


@pytest.mark.parametrize(
    "certifier",
    [
        GaussianCertifier(0.4, n=400),  # the mean of 256 pixels: .025
        ExactGaussianCertifier(0.4, n=400),
        ResolvableCertifier(Brightness(), {"brightness": GaussianLaw(0.025)}, n=400),
    ],
)
def test_gradients_find_where_a_smoothed_classifier_answers_wrongly(certifier):
    # P(class 0) is largest at -.237 by symmetry; above 1/2 for |e| < .04, within about .04 of it.
    image, box = torch.full((1, 1, 16, 16), 128 / 255), {"brightness": (-0.5, 0.5)}
    worst = 0.265 - 128 / 255
    if isinstance(certifier, ExactGaussianCertifier):
        box = {"brightness": (-0.5, 0.25)}
    attack = AdaptiveAttack(
        Brightness(), box, restarts=4, draws=8, grid=2, search=SmoothedSearch(certifier)
    )
    (found,) = attack(Peak(0.265, 0.04), image, LABEL, indices=[3])
    assert (found.clean, found.broken, found.predicted) == (1, True, 0)
    assert found.theta["brightness"] == pytest.approx(worst, abs=0.03)
    (harmless,) = attack(Peak(0.265, 0.005), image, LABEL, indices=[3])
    assert harmless.withstood  # P(class 0) is at most .16, and never the answer
    assert harmless.theta["brightness"] == pytest.approx(worst, abs=0.03)


def test_what_is_found_is_ranked_and_judged_by_fresh_draws():
    search = SmoothedSearch(GaussianCertifier(0.4, n=300), n_rank=40)
    attack = AdaptiveAttack(Brightness(), {"brightness": (-0.5, 0.5)}, seed=5, search=search)
    drawn, block = [], search.certifier.law.block

    def spy(key, number, shape, device, *, draws=128):
        drawn.append((key, number))
        return block(key, number, shape, device, draws=draws)

    search.certifier.law.block = spy
    image = torch.full((1, 1, 8, 8), 0.5)
    (found,) = attack(Peak(0.3, 0.05), image, LABEL, indices=[11])
    assert len(drawn) == len(set(drawn))
    uses = {(key.stream, key.part) for key, _ in drawn}
    assert uses == {
        ("attack", 1), ("attack ranking", 0), ("attack verdict", 0), ("prediction", 0)
    }  # fmt: skip
    steps = {number for key, number in drawn if key.stream == "attack"}
    assert steps == set(range(20))  # fresh ones for each step, and one block for all restarts
    assert {key.seed for key, _ in drawn if key.stream != "prediction"} == {5}
    assert sum(key.stream == "attack ranking" for key, _ in drawn) == found.tried


@pytest.mark.parametrize("search", SEARCHES)
def test_neither_batch_nor_order_nor_what_surrounds_matters(search):
    model, (images, labels) = network(), batch()

    def attacked(order, size):
        attack = AdaptiveAttack(
            Translation(), {"dx": (-2, 2), "dy": (-1, 3)}, steps=6, search=search(size)
        )
        return attack(model, images[order], labels[order], indices=[10 + i for i in order])

    outcomes = attacked(list(range(6)), None)
    assert len({tuple(o.theta.values()) for o in outcomes}) >= 4
    with torch.inference_mode():
        others = attacked([4, 0, 5], 7)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        others += attacked([2], 1)
    for found in others:
        expected = outcomes[found.index - 10]
        assert found.theta == pytest.approx(expected.theta, abs=1e-9)
        same = {"theta": found.theta, "loss": found.loss, "seconds": found.seconds}
        assert found.loss == pytest.approx(expected.loss, abs=1e-9)
        assert dataclasses.replace(expected, **same) == dataclasses.replace(
            found, parameters=expected.parameters
        )


def test_images_made_in_inference_mode_are_attacked_too():
    model, (images, labels) = network(), batch(2)
    attack = AdaptiveAttack(Rotation(), {"angle": (-30, 30)}, steps=4)
    expected = attack(model, images, labels, indices=[0, 1])
    with torch.inference_mode():
        found = attack(model, images.clone(), labels.clone(), indices=[0, 1])
    assert [o.theta for o in found] == [o.theta for o in expected]


@pytest.mark.parametrize("search", SEARCHES)
def test_a_model_is_left_as_it_was(search):
    model, (images, labels) = network().train(), batch()
    model[0].bias.requires_grad_(False)
    model[2].eval()
    seen, weights = [], {k: v.clone() for k, v in model.state_dict().items()}
    model.register_forward_hook(lambda m, i, out: seen.append((m.training, out.requires_grad)))
    before = [p.requires_grad for p in model.parameters()]
    attack = AdaptiveAttack(Rotation(), {"angle": (-30, 30)}, steps=3, search=search(None))
    attack(model, images, labels, indices=range(6))
    assert set(seen) == {(False, True), (False, False)}  # with gradients, and without
    assert [p.requires_grad for p in model.parameters()] == before
    assert all(p.grad is None for p in model.parameters())
    assert [m.training for m in model] == [True, True, False, True, True, True]
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("transform", "box"),
    [
        (Rotation(), {"angle": (5.0, 35.0)}),
        (Scaling(), {"scale": (0.7, 1.1)}),
        (Translation(), {"dy": (-2.0, 0.5)}),
        (GaussianBlur(), {"variance": (0.0, 4.0)}),
        (DefocusBlur(), {"radius": (0.0, 3.0)}),
        (ZoomBlur(), {"zoom": (0.0, 0.5)}),
        (RotationalBlur(), {"angle": (0.0, 10.0)}),
        (Brightness(), {"brightness": (0.25, 0.25)}),
        (IntegerTranslation("zero"), {"dx": (-30.5, 30.0), "dy": (-9.0, 12.5)}),
        (Pixelate(), {"strength": (0.1, 0.45)}),
        (Compose([Rotation(), Pixelate(), IntegerTranslation()]),
         {"angle": (-9, 4), "strength": (0.2, 0.4), "dx": (0.4, 3.6)}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_candidates_stay_in_the_box(transform, box):
    model, (images, labels) = network(), batch(3)
    attack = AdaptiveAttack(transform, box, steps=4, step=1.0)
    for theta in attack._candidates(model, images, labels.tolist(), [3, 1, 2]):
        assert len(theta) > (0 if box == {"brightness": (0.25, 0.25)} else 3)
        assert len(theta.unique(dim=0)) == len(theta)
        for column, parameter in zip(theta.T, transform.parameters, strict=True):
            low, high = box.get(parameter.name, (parameter.identity, parameter.identity))
            assert bool(((column >= low) & (column <= high)).all())
            assert not parameter.whole or torch.equal(column, column.round())
            if (
                parameter.name in box
                and not parameter.whole
                and not isinstance(transform, Pixelate)
            ):
                assert (float(column.min()), float(column.max())) == (low, high)
    (found, *_) = attack(model, images, labels, indices=[3, 1, 2])
    assert set(found.theta) == set(transform.names)


def test_starts_are_of_seed_and_index_and_have_both_corners():
    def starts(index=3, restarts=6, seed=0, box=BOX):
        return AdaptiveAttack(BrightnessContrast(), box, restarts=restarts, seed=seed).starts(index)

    theta = starts()
    assert theta[-2:].tolist() == [[-0.5, -0.4], [0.5, 0.6]]
    assert torch.equal(theta[:2], starts(restarts=4)[:2])
    assert torch.equal(theta[:4], RandomAttack(BrightnessContrast(), BOX, k=4)._parameters(3))
    assert not bool((theta[:4] == starts(index=4)[:4]).any())
    assert not bool((theta[:4] == starts(seed=1)[:4]).any())
    assert [len(starts(restarts=k)) for k in (1, 2, 3)] == [1, 2, 3]


def test_restarts_that_stand_still_end():
    # The loss falls with brightness: every restart runs to the low end, and stays there.
    model, passes = Peak(-1.0, 0.2), []
    model.register_forward_hook(lambda m, i, out: passes.append(len(out)) if out.requires_grad
                                else None)  # fmt: skip
    image = torch.full((1, 1, 4, 4), 0.5)
    attack = AdaptiveAttack(Brightness(), {"brightness": (-0.5, 0.5)}, grid=2)
    (found,) = attack(model, image, LABEL, indices=[0])
    assert found.theta["brightness"] == -0.5
    assert passes[:3] == [5, 5, 4]  # the one that begins at the end has two steps
    assert len(passes) < 20
    assert sorted(passes, reverse=True) == passes


def test_a_restart_ends_after_two_such_steps_in_a_row(monkeypatch):
    signs, points = [-1, 1, 1, -1, -1, -1, 1], []

    class Led:
        def __init__(self, *args, **kwargs):
            pass

        def __call__(self, images, labels, indices, theta, *, step):
            points.append(theta[:, 0].tolist())
            return torch.zeros(len(theta)).double(), signs[step] * torch.ones_like(theta)

    monkeypatch.setattr("lightning_smooth.attacks.adaptive.ScoreGradient", Led)
    attack = AdaptiveAttack(Brightness(), {"brightness": (-0.5, 0.5)}, step=9.0, steps=20, grid=2)
    attack(Peak(-1.0, 0.2), torch.full((1, 1, 4, 4), 0.5), LABEL, indices=[0])
    # From end to end: all begin inside or at an end, and all are at one after a step.
    assert points[0][-2:] == [-0.5, 0.5]
    assert points[1:] == [[end] * 5 for end in (-0.5, 0.5, 0.5, -0.5, -0.5)]


@pytest.mark.parametrize("size", [(12, 12), (6, 9)])
def test_every_level_of_pixelate_is_tried_once(size):
    transform, (low, high) = Pixelate(), (0.1, 0.5)
    attack = AdaptiveAttack(transform, {"strength": (low, high)})
    image = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0))
    (theta,) = attack._candidates(Peak(0.3, 0.1), image, [1], [0])
    shown = {tuple(x.flatten().tolist()) for x in transform(image, theta)}
    dense = torch.linspace(low, high, 4001, dtype=torch.float64)[:, None]
    assert shown == {tuple(x.flatten().tolist()) for x in transform(image, dense)}
    assert len(theta) == len(shown)
    whole = AdaptiveAttack(transform, {"strength": (0.0, 1.0)})
    (theta,) = whole._candidates(Peak(0.3, 0.1), image, [1], [0])
    assert len(theta) == len(transform.levels(size))


def test_whole_parameters_are_all_tried_while_they_are_few():
    model, (images, labels) = network(), batch(2)
    few = AdaptiveAttack(IntegerTranslation("zero"), {"dx": (-3.5, 2), "dy": (0, 4)})
    for found in few(model, images, labels, indices=[0, 1]):
        assert found.tried == 6 * 5
    (theta, _) = few._candidates(model, images, [0, 0], [0, 1])
    shifts = set(map(tuple, theta.tolist()))
    assert shifts == set(itertools.product(range(-3, 3), range(5)))
    many = AdaptiveAttack(IntegerTranslation("zero"), {"dx": (-20, 20), "dy": (-20, 20)})
    for found in many(model, images, labels, indices=[0, 1]):
        assert 100 < found.tried <= 5**2 + 5 * 20


def test_without_gradients_of_the_model_random_parameters_are_tried():
    class Voting(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return nn.functional.one_hot(self.model(x).argmax(dim=1), 2).double()

    model, image = Voting(Well(0.1, 0.1, 0.25)), halves()[None]
    attack = AdaptiveAttack(BrightnessContrast(), BOX, steps=30, seed=2)
    (found,) = attack(model, image, LABEL, indices=[0])
    assert found.broken
    assert found.tried == 25 + 5 * 30
    (theta,) = attack._candidates(model, image, [1], [0])
    drawn = RandomAttack(BrightnessContrast(), BOX, k=150, seed=2)._parameters(0)
    assert torch.equal(theta[25:], drawn)


def test_of_a_chain_what_has_no_gradient_stays_where_it_began():
    chain = Compose([IntegerTranslation("zero"), BrightnessContrast()])
    box = {"dx": (-1, 1), **BOX}
    attack = AdaptiveAttack(chain, box, steps=40, restarts=8, grid=2)
    starts = attack.starts(0)
    image = halves()[None]
    (theta,) = attack._candidates(Well(0.1234, -0.2718, 0.01), image, [1], [0])
    assert set(theta[:, 0].tolist()) == set(starts[:, 0].tolist()) | {-1.0, 1.0}
    unshifted = theta[theta[:, 0] == 0][:, 2:]  # those that a shift does not hide
    assert float((unshifted - torch.tensor([0.1234, -0.2718])).norm(dim=1).min()) < 0.01


def test_more_steps_and_restarts_are_no_worse_and_the_settings_are_kept():
    model, image = Well(0.31, 0.42, 0.02), halves()[None]
    few = AdaptiveAttack(BrightnessContrast(), BOX, steps=1, restarts=1, grid=2)
    many = AdaptiveAttack(BrightnessContrast(), BOX, grid=2)
    (first,), (second,) = (a(model, image, LABEL, indices=[0]) for a in (few, many))
    assert second.loss > first.loss
    assert "restarts=5" in repr(many)
    assert many.describe()["kept"] == 1
    assert many.describe()["box"] == {name: list(ends) for name, ends in BOX.items()}
