"""Gradients of a smoothed score: against closed forms, quadrature and finite differences."""

import math

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from lightning_smooth.attacks.gradients import ScoreGradient, differentiating
from lightning_smooth.errors import InputError
from lightning_smooth.maths.laws import GaussianLaw
from lightning_smooth.smoothing.laws import GaussianNoise, NoNoise, RoundedGaussianNoise
from lightning_smooth.smoothing.parameters import ParameterNoise
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.transforms import Brightness, BrightnessContrast, Pixelate, Rotation


class Logistic(nn.Module):
    """Scores 0 and slope (mean - threshold): class 1 above it."""

    def __init__(self, threshold, slope):
        super().__init__()
        self.threshold, self.slope = threshold, slope

    def forward(self, x):
        score = self.slope * (x.mean(dim=(1, 2, 3)) - self.threshold)
        return torch.stack([torch.zeros_like(score), score], dim=1)


def same(images):
    return images


def taken(law, model, images, labels, theta, transform, *, draws=1, encode=same, batch=None, step=0,
          indices=None):  # fmt: skip
    classifier = SmoothedClassifier(model, law)
    with differentiating(classifier.model):
        gradient = ScoreGradient(
            classifier, encode, transform, images[0], draws=draws, seed=3, batch_size=batch
        )
        indices = list(range(len(images))) if indices is None else indices
        return gradient(images, labels, indices, theta, step=step)


def smoothed_logistic(theta, mean, threshold, slope, sigma):
    """ln((1 - q) / q) and its derivative, q = E[sigmoid], by quadrature; that of one noiseless."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    z = slope * (mean + theta[:, None] + sigma * nodes - threshold)
    q = expit(z) @ weights
    change = slope * (expit(z) * expit(-z)) @ weights
    return np.log((1 - q) / q), -change / (q * (1 - q))


DRAWS = 20_000


@pytest.mark.parametrize(
    ("law", "sigma", "rounding"),
    [
        (GaussianNoise(0.8), 0.2, 0.0),  # the mean of 16 pixels
        (ParameterNoise(Brightness(), {"brightness": GaussianLaw(0.2)}), 0.2, 0.0),
        # Clipped and rounded: passed as if not, and q is of what is rounded.
        (RoundedGaussianNoise(0.1), 0.025, 0.01),
    ],
)
def test_the_gradient_is_that_of_the_smoothed_score_to_monte_carlo_error(law, sigma, rounding):
    theta = np.array([-0.3, -0.1, 0.0, 0.15])
    mean, threshold, slope = 0.5, 0.45, 8.0
    images = torch.full((4, 1, 4, 4), mean, dtype=torch.float64)
    loss, slopes = taken(
        law, Logistic(threshold, slope), images, torch.ones(4).long(), torch.tensor(theta)[:, None],
        Brightness(), draws=DRAWS, indices=[7, 8, 9, 10],
    )  # fmt: skip
    expected, change = smoothed_logistic(theta, mean, threshold, slope, sigma)
    error = 5 * slope / math.sqrt(DRAWS) + rounding * slope
    np.testing.assert_allclose(loss.numpy(), expected, atol=error)
    np.testing.assert_allclose(slopes[:, 0].numpy(), change, atol=error)
    if sigma > 0.1:  # and not the gradient of the model, which is -slope everywhere
        assert (change > -slope + 2 * error).all()


def test_the_mean_is_of_scores_and_not_of_their_logarithms():
    # One draw in two is sure of the label: q is about 1/2, and the mean logarithm far below.
    class Alternating(nn.Module):
        def forward(self, x):
            odd = torch.arange(len(x)) % 2
            return torch.stack([torch.zeros(len(x)), 40.0 - 80.0 * odd], dim=1) + 0 * x.mean()

    image = torch.full((1, 1, 4, 4), 0.5)
    loss, _ = taken(
        GaussianNoise(0.1), Alternating(), image, torch.tensor([1]), torch.zeros(1, 1).double(),
        Brightness(), draws=64,
    )  # fmt: skip
    assert float(loss) == pytest.approx(0.0, abs=1e-6)


def network(size=8):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Dropout(), nn.Linear(6 * (size // 2) ** 2, 4),
    ).double()  # fmt: skip
    model[1].running_mean.uniform_(-0.2, 0.2)
    model[1].running_var.uniform_(0.5, 2.0)
    return model


def batch(count=5, size=8):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 1, size, size, generator=generator, dtype=torch.float64)
    return images, torch.randint(4, (count,), generator=generator)


@pytest.mark.parametrize("transform", [Rotation(), BrightnessContrast()])
@pytest.mark.parametrize("draws", [1, 3])
def test_the_gradient_is_the_difference_of_losses_of_the_same_draws(transform, draws):
    model, (images, labels) = network(), batch()
    theta = torch.full((5, len(transform.parameters)), 0.15, dtype=torch.float64)
    theta += torch.arange(5)[:, None] * 0.07
    law = NoNoise() if draws == 1 else GaussianNoise(0.3)
    _, slopes = taken(law, model, images, labels, theta, transform, draws=draws)
    for column in range(theta.shape[1]):
        change = torch.zeros_like(theta)
        change[:, column] = 1e-5
        (more, _), (less, _) = (
            taken(law, model, images, labels, at, transform, draws=draws)
            for at in (theta + change, theta - change)
        )
        numeric = (more - less) / 2e-5
        torch.testing.assert_close(slopes[:, column], numeric, rtol=1e-4, atol=1e-7)
        assert bool((numeric.abs() > 1e-4).all())


def test_the_loss_has_the_order_and_the_direction_of_minus_log_of_the_score():
    model, (images, labels) = network(), batch()
    theta = torch.linspace(-20, 20, 5, dtype=torch.float64)[:, None].requires_grad_()
    loss, slopes = taken(NoNoise(), model, images, labels, theta, Rotation())
    model.eval()
    plain = nn.functional.cross_entropy(model(Rotation()(images, theta)), labels, reduction="none")
    (direction,) = torch.autograd.grad(plain.sum(), theta)
    torch.testing.assert_close(loss, torch.expm1(plain.detach()).log())
    torch.testing.assert_close(slopes, direction / (1 - torch.exp(-plain.detach()))[:, None])


def test_the_gradient_does_not_vanish_where_the_score_is_one():
    images = torch.full((2, 1, 4, 4), 0.9)
    theta = torch.zeros(2, 1).double()
    for slope in (10.0, 1e5):
        loss, slopes = taken(
            NoNoise(), Logistic(0.4, slope), images, torch.ones(2).long(), theta, Brightness()
        )
        torch.testing.assert_close(slopes, torch.full((2, 1), -slope).double(), rtol=1e-5, atol=0)
        assert float(loss[0]) == pytest.approx(-0.5 * slope, rel=1e-5)


def test_draws_are_of_seed_index_and_step_and_shared_by_an_image_s_points():
    model, (images, labels) = network(), batch(2)
    theta, transform = torch.tensor([[3.0], [3.0], [3.0]]).double(), Rotation()
    three, classes = images[[0, 0, 1]], labels[[0, 0, 1]]

    def losses(step=0, indices=(4, 4, 5), draws=300, batch=None, images=three):
        return taken(
            GaussianNoise(0.5), model, images, classes, theta, transform,
            draws=draws, step=step, indices=list(indices), batch=batch,
        )[0]  # fmt: skip

    first = losses()
    assert float(first[0]) == pytest.approx(float(first[1]), rel=1e-12)
    for other in (losses(step=1), losses(indices=(6, 6, 7))):
        assert bool((other != first).all())
    for size in (1, 300, 650, 10_000):  # how many points go together
        torch.testing.assert_close(losses(batch=size), first, rtol=1e-10, atol=1e-12)
    # The same image under another index is another image.
    same_image = losses(indices=(4, 9, 5))
    assert float(same_image[0]) == pytest.approx(float(first[0]), rel=1e-10)
    assert float(same_image[1]) != pytest.approx(float(first[1]), rel=1e-6)


def test_no_two_steps_share_a_draw():
    law, asked = GaussianNoise(0.5), []
    block = law.block

    def spy(key, number, shape, device, *, draws=128):
        asked.append((key.index, number, draws))
        return block(key, number, shape, device, draws=draws)

    law.block = spy
    model, (images, labels) = network(), batch(2)
    for step in (0, 1, 2):
        taken(law, model, images, labels, torch.zeros(2, 1).double(), Rotation(), draws=300,
              step=step)  # fmt: skip
    counts = (128, 128, 44)
    assert asked == [
        (index, 3 * step + part, counts[part])
        for step in range(3)
        for index in range(2)
        for part in range(3)
    ]


def test_what_is_encoded_is_what_noise_is_added_to():
    def pooled(images):
        return nn.functional.avg_pool2d(images, 2) ** 2

    model, (images, labels) = network(size=4), batch()
    theta = torch.full((5, 1), 0.2).double()
    loss, slopes = taken(
        GaussianNoise(0.3), model, images, labels, theta, Brightness(), draws=4, encode=pooled
    )
    direct, _ = taken(
        GaussianNoise(0.3), model, pooled(images + 0.2), labels, 0 * theta, Brightness(), draws=4
    )
    torch.testing.assert_close(loss, direct)
    up, down = (
        taken(GaussianNoise(0.3), model, images, labels, theta + change, Brightness(), draws=4,
              encode=pooled)[0]
        for change in (1e-5, -1e-5)
    )  # fmt: skip
    torch.testing.assert_close(slopes[:, 0], (up - down) / 2e-5, rtol=1e-4, atol=1e-7)


def test_nothing_comes_back_from_what_is_piecewise_constant():
    model, (images, labels) = network(), batch()
    theta = torch.full((5, 1), 0.3).double()
    loss, slopes = taken(NoNoise(), model, images, labels, theta, Pixelate())
    assert slopes is None
    assert bool(loss.isfinite().all())


def test_scores_that_are_not_finite_are_the_worst_and_give_no_direction():
    class Damaged(Logistic):
        def forward(self, x):
            damaged = (x.mean(dim=(1, 2, 3)) > 0.9)[:, None]
            return torch.where(damaged, torch.nan, 1.0) * super().forward(x)

    images = torch.full((2, 1, 4, 4), 0.5)
    loss, slopes = taken(
        NoNoise(), Damaged(0.4, 5.0), images, torch.ones(2).long(),
        torch.tensor([[0.0], [0.5]]).double(), Brightness(),
    )  # fmt: skip
    assert float(loss[0]) == pytest.approx(-0.5, rel=1e-5)
    assert float(loss[1]) == math.inf
    assert slopes[:, 0].tolist() == pytest.approx([-5.0, 0.0])


def test_modes_and_parameters_are_put_back_whatever_happens():
    model = network().train()
    model[0].weight.requires_grad_(False)
    model[1].eval()
    before = [(p.requires_grad, p.grad) for p in model.parameters()]
    classifier = SmoothedClassifier(model, NoNoise())

    def fails():
        with torch.inference_mode(), differentiating(classifier.model):
            assert not model.training
            assert not any(p.requires_grad for p in model.parameters())
            assert not torch.is_inference_mode_enabled()
            assert torch.is_grad_enabled()
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert [(p.requires_grad, p.grad) for p in model.parameters()] == before
    assert [m.training for m in model.modules()] == [True, True, False] + [True] * 5


def test_a_label_that_is_no_class_is_refused():
    model, (images, labels) = network(), batch()
    with pytest.raises(InputError, match=r"0\.\.3"):
        taken(NoNoise(), model, images, labels + 4, torch.zeros(5, 1).double(), Rotation())
