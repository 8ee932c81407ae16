"""Ways to take gradients: against closed forms, autograd by hand, and their own variance."""

import math

import pytest
import torch
from torch import nn

from lightning_smooth.attacks import BPDA, EOT, Bypass, PlainGradient, SmoothedGradient
from lightning_smooth.attacks.gradients import differentiating, noise
from lightning_smooth.attacks.losses import cross_entropy, margin
from lightning_smooth.attacks.strategies import At
from lightning_smooth.errors import InputError
from lightning_smooth.smoothing import GaussianNoise
from lightning_smooth.smoothing.rng import NoiseKey
from lightning_smooth.transforms import Brightness
from tests.attacks.images import Jitter, Linear, Rejecting, network, pictures, quantised


def same(points):
    return points


def taken(gradient, model, points, labels, loss=margin, step=0, indices=None, change=same):
    keys = [NoiseKey(0, i, "attack", 1) for i in indices or range(len(points))]
    with differentiating(model), gradient.installed(model):
        return gradient.slope(model, points, At(labels, loss, keys, step), change)


class Quadratic(nn.Module):
    """Class 1 is above class 0 by sum a x^2: under x (1 + s), s = +-w, slope 2 a x (1 + w^2)."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.a = nn.Parameter(torch.randn(16, generator=generator, dtype=torch.float64))

    def forward(self, x):
        score = (self.a * x.flatten(1) ** 2).sum(dim=1)
        return torch.stack([torch.zeros_like(score), score], dim=1)


def test_the_plain_gradient_is_autograds():
    model, points, labels = network(), pictures(), torch.tensor([0, 1, 2, 3, 0, 1])
    slope = taken(PlainGradient(), model, points, labels, cross_entropy)
    leaf = points.clone().requires_grad_()
    loss = cross_entropy(model(leaf), labels)
    (expected,) = torch.autograd.grad(loss.sum(), leaf)
    torch.testing.assert_close(slope.gradient, expected)
    torch.testing.assert_close(slope.loss, loss.detach())
    assert slope.variance is None
    assert not slope.gradient.requires_grad


def test_a_gradient_that_is_no_number_and_one_that_is_missing_are_0():
    class Root(Linear):
        def forward(self, x):
            return super().forward((x - x.detach()).sqrt())

    labels = torch.zeros(6).long()
    assert not taken(PlainGradient(), Root(), pictures(), labels).gradient.isnan().any()

    class Detached(Linear):
        def forward(self, x):
            return super().forward(x.detach())

    assert not taken(PlainGradient(), Detached(), pictures(), labels).gradient.any()


def test_bpda_gives_what_a_quantiser_hides():
    model, points, labels = quantised(), pictures(), torch.zeros(6).long()
    assert not taken(PlainGradient(), model, points, labels).gradient.any()
    slope = taken(BPDA({"steps": "identity"}), model, points, labels)
    torch.testing.assert_close(slope.gradient.flatten(1), model.head.slope(labels))
    torch.testing.assert_close(slope.loss, margin(model(points), labels).detach())


def test_a_bypassed_module_is_not_run():
    model, points, labels = quantised(levels=2), pictures(), torch.zeros(6).long()
    slope = taken(Bypass(["steps"]), model, points, labels)
    torch.testing.assert_close(slope.loss, margin(model.head(points), labels).detach())
    torch.testing.assert_close(slope.gradient.flatten(1), model.head.slope(labels))
    with pytest.raises(InputError, match="it has steps, head"):
        taken(Bypass(["x"]), model, points, labels)
    with pytest.raises(InputError, match="list of names"):
        Bypass("steps")


WIDTH = 0.5


def jittered():
    return nn.Sequential(Jitter(WIDTH), Quadratic())


def test_the_gradient_over_draws_has_the_right_mean_and_its_variance_is_that_of_one_by_m():
    """Of s = +-w: slope 2 a x (1 + s)^2, mean 2 a x (1 + w^2), variance (2 a x)^2 (2 w)^2."""
    model, points, labels = jittered(), pictures(2), torch.zeros(2).long()
    unit = 2 * model[1].a.detach() * points.flatten(1)
    mean, single = unit * (1 + WIDTH**2), (unit**2).sum(dim=1) * (2 * WIDTH) ** 2
    for draws in (4, 16):
        repeats = 160 if draws == 4 else 60
        torch.manual_seed(0)
        made = [taken(EOT(draws), model, points, labels) for _ in range(repeats)]
        slopes = torch.stack([one.gradient.flatten(1) for one in made])
        reported = torch.stack([one.variance for one in made]).mean(dim=0)
        error = 5 * math.sqrt(float(single.max()) / draws / repeats)
        torch.testing.assert_close(slopes.mean(dim=0), mean, atol=error, rtol=0)
        # Relative error of a mean of sample variances, and of a sample variance: loose at 5 sigma.
        torch.testing.assert_close(reported, single / draws, rtol=5 / math.sqrt(repeats), atol=0)
        spread = (slopes - mean).square().sum(dim=2).mean(dim=0)
        torch.testing.assert_close(spread, single / draws, rtol=10 / math.sqrt(repeats), atol=0)


def test_a_single_draw_has_no_variance_and_of_nothing_random_it_is_0():
    model, points, labels = Quadratic(), pictures(3), torch.zeros(3).long()
    assert taken(EOT(1), model, points, labels).variance is None
    assert float(taken(EOT(5), model, points, labels).variance.max()) < 1e-24


def test_noise_and_transformation_are_drawn_uniformly_and_keyed():
    """Slope of a x^2 at x + b + n is 2 a (x + b + n): its mean moves with those of b and n."""
    model, points, labels = Quadratic(), pictures(2), torch.zeros(2).long()
    gradient = EOT(
        800, noise=GaussianNoise(0.1), transform=Brightness(), box={"brightness": (0.0, 0.4)}
    )
    slope = taken(gradient, model, points, labels).gradient.flatten(1)
    a = model.a.detach()
    expected = 2 * a * (points.flatten(1) + 0.2)
    error = 5 * 2 * float(a.abs().max()) * math.sqrt((0.1**2 + 0.4**2 / 12) / 800)
    torch.testing.assert_close(slope, expected, atol=error, rtol=0)
    few = EOT(3, noise=GaussianNoise(0.1), transform=Brightness(), box={"brightness": (0.0, 0.4)})
    one = taken(few, model, points, labels, indices=[5, 9])
    torch.testing.assert_close(
        taken(few, model, points[1:], labels[1:], indices=[9]).gradient, one.gradient[1:]
    )
    for other in (
        taken(few, model, points, labels, indices=[5, 9], step=1),
        taken(few, model, points, labels, indices=[6, 10]),
    ):
        assert not torch.allclose(one.gradient, other.gradient, rtol=1e-3)


def test_scores_over_draws_are_the_logarithm_of_the_mean_softmax():
    model, points, labels = network(), pictures(2), torch.zeros(2).long()
    law, keys = GaussianNoise(0.3), [NoiseKey(0, i, "attack", 1) for i in range(2)]
    slope = taken(EOT(4, noise=law), model, points, labels)
    drawn = torch.stack([noise(law, k, 0, 4, (1, 4, 4), points.device) for k in keys], dim=1)
    soft = torch.stack([model(points + one).softmax(dim=1) for one in drawn]).mean(dim=0)
    torch.testing.assert_close(slope.scores.softmax(dim=1), soft.detach())


def test_the_smoothed_gradient_is_that_of_the_mean_softmax_by_hand():
    model, points, labels = network(), pictures(3), torch.tensor([1, 0, 2])
    law = GaussianNoise(0.3)
    slope = taken(SmoothedGradient(law, draws=7), model, points, labels, step=2)
    for row in range(3):
        leaf = points[row].clone().requires_grad_()
        drawn = noise(law, NoiseKey(0, row, "attack", 1), 2, 7, (1, 4, 4), leaf.device)
        q = model(leaf + drawn.double()).softmax(dim=1)[:, labels[row]].mean()
        loss = ((1 - q) / q).log()
        (expected,) = torch.autograd.grad(loss, leaf)
        torch.testing.assert_close(slope.gradient[row], expected, rtol=1e-5, atol=1e-8)
        assert float(slope.loss[row]) == pytest.approx(float(loss.detach()), rel=1e-5)


def test_gradients_go_through_a_change_of_variable():
    model, labels = network(), torch.tensor([1, 0])
    latents = torch.randn(2, 16, generator=torch.Generator().manual_seed(0)).double()
    for gradient in (PlainGradient(), EOT(2, noise=GaussianNoise(0.1)),
                     SmoothedGradient(GaussianNoise(0.1), 2)):  # fmt: skip
        slope = taken(
            gradient, model, latents, labels, change=lambda z: z.sigmoid().reshape(-1, 1, 4, 4)
        )
        images = latents.sigmoid().reshape(-1, 1, 4, 4)
        direct = taken(gradient, model, images, labels).gradient.flatten(1)
        expected = direct * (images * (1 - images)).flatten(1)
        torch.testing.assert_close(slope.gradient, expected, rtol=1e-5, atol=1e-8)


def test_passes_and_descriptions():
    inner = BPDA({"steps": "identity"}, gradient=EOT(3))
    outer = EOT(2, gradient=inner)
    assert (outer.passes, inner.passes, SmoothedGradient(GaussianNoise(1.0), 5).passes) == (6, 3, 5)
    described = outer.describe()
    assert described["of"]["rules"] == {"steps": "identity"}
    assert described["of"]["of"]["draws"] == 3
    with pytest.raises(InputError, match="draws"):
        EOT(0)
    with pytest.raises(InputError, match="draws"):
        SmoothedGradient(GaussianNoise(1.0), draws=0)


def test_a_score_for_rejection_takes_no_part():
    model = Rejecting(Linear(), 10.0)
    from lightning_smooth.attacks import PGD

    labels = torch.zeros(6).long()
    found = PGD(0.05, steps=3).attacked(model, pictures(), labels, indices=range(6))
    plain = PGD(0.05, steps=3).attacked(model.inner, pictures(), labels, indices=range(6))
    torch.testing.assert_close(found.raw, plain.raw)
