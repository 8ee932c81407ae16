"""SmoothAdv: its search where the answer is known, the loss, its draws, what is refused."""

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import nn
from torch.nn import functional

from lightning_smooth.errors import InputError
from lightning_smooth.modules import SmoothAdv
from lightning_smooth.transforms import Rotation


def linear(classes=2, scale=1.0, size=16):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(size, classes))
    with torch.no_grad():
        model[1].weight.mul_(scale)
    return model


def batch(count=6, side=4):
    generator = torch.Generator().manual_seed(3)
    images = 0.4 + 0.2 * torch.rand(count, 1, side, side, generator=generator)
    return images, torch.arange(count) % 2


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def searched(model, images, labels, kind=SmoothAdv, **settings):
    module = kind(model, 0.3, **{"copies": 3, "warmup_epochs": 1, **settings})
    return module.search(images, labels, module.noise(images, generator()))


def away(model, labels):
    """The direction in which a linear classifier of two classes leaves each label, not scaled."""
    way = (model[1].weight[1] - model[1].weight[0]).detach()
    return ((1.0 - 2.0 * labels.float())[:, None] * way).view(-1, 1, 4, 4)


class Recorder(nn.Module):
    """A network that keeps what it is shown, with batch normalisation."""

    def __init__(self, side=8):
        super().__init__()
        self.net = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(side * side, 10))
        self.seen = []

    def forward(self, images):
        self.seen.append(images.detach().clone())
        return self.net(images)


def recorder(side=8):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Recorder(side)


@pytest.mark.parametrize("copies", [1, 5])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_optimum_of_a_linear_classifier_is_found_where_no_pixel_ends(steps, copies):
    model, (images, labels) = linear(), batch()
    found = searched(model, images, labels, epsilon=0.3, steps=steps, copies=copies)
    way = functional.normalize(away(model, labels).flatten(1), dim=1).view_as(images)
    torch.testing.assert_close(found, images + 0.3 * way, atol=1e-6, rtol=0)


def optimum(start, way, epsilon):
    """Greatest <way, x> in the ball around `start` and in [0, 1]: clip(start + t way), some t."""

    def at(t):
        return np.clip(start + t * way, 0, 1)

    if np.linalg.norm(at(1e9) - start) <= epsilon:
        return at(1e9)
    return at(optimize.brentq(lambda t: np.linalg.norm(at(t) - start) - epsilon, 0, 1e9))


@pytest.mark.parametrize("epsilon", [0.4, 1.0, 1.7, 9.0])
def test_the_optimum_is_approached_where_pixels_end(epsilon):
    model, (images, labels) = linear(), batch(4)
    images[:2, :, :2] = 0.0  # black pixels cannot get darker
    settings = {"epsilon": epsilon, "steps": 900, "step_size": epsilon / 50, "copies": 1}
    found = searched(model, images, labels, **settings)
    for x, way, end in zip(images, away(model, labels), found, strict=True):
        best = optimum(x.numpy().ravel(), way.numpy().ravel(), epsilon)
        np.testing.assert_allclose(end.numpy().ravel(), best, atol=0.04)
        gain = float((way * (end - x)).sum())
        assert gain > 0.995 * float(way.numpy().ravel() @ (best - x.numpy().ravel()))


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("step_size", [None, 0.05, 20.0])
def test_the_search_stays_in_the_ball_and_in_the_range_of_pixels(steps, step_size):
    images = torch.rand(40, 1, 4, 4, generator=generator(5)).round(decimals=1)
    labels = torch.arange(40) % 4
    found = searched(linear(4, 20.0), images, labels, epsilon=0.7, steps=steps, step_size=step_size)
    assert found.min() >= 0
    assert found.max() <= 1
    far = (found - images).flatten(1).norm(dim=1)
    assert far.max() <= 0.7 * (1 + 1e-6)
    assert not found.requires_grad
    if step_size == 0.05:
        assert far.max() <= 0.05 * steps * (1 + 1e-6)


def test_the_search_raises_the_loss_of_the_soft_smoothed_classifier():
    model, (images, labels) = linear(4, 20.0), batch()
    module = SmoothAdv(model, 0.3, epsilon=0.5, warmup_epochs=1)
    noise = module.noise(images, generator())

    @torch.no_grad()
    def loss(at):
        q = torch.stack([model(at + e).softmax(1) for e in noise]).mean(0)
        return -q[torch.arange(len(at)), labels].log()

    assert (loss(module.search(images, labels, noise)) > loss(images) + 0.1).all()


def test_the_slope_is_the_derivative_of_the_mean_prediction_s_loss():
    model, (images, labels) = linear(4, 8.0), batch(3)
    module = SmoothAdv(model, 0.3, copies=4)
    noise = module.noise(images, generator())
    slope = module.slope(images, labels, noise)
    exact, point = linear(4, 8.0).double(), images.double().requires_grad_()
    q = torch.stack([exact(point + e.double()).softmax(1) for e in noise]).mean(0)
    (expected,) = torch.autograd.grad(-q[torch.arange(3), labels].log().sum(), point)
    torch.testing.assert_close(slope.double(), expected, atol=1e-5, rtol=1e-4)


def test_a_sure_network_is_searched_with_whole_steps_and_a_constant_one_not_at_all():
    images, labels = batch(4)[0], torch.zeros(4, dtype=torch.long)
    model = linear()
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([55.0, 0.0]))  # the slope's square is below float32
    found = searched(model, images, labels, epsilon=0.2, copies=1)
    assert (found - images).flatten(1).norm(dim=1).tolist() == pytest.approx([0.2] * 4, rel=1e-4)
    assert torch.equal(searched(linear(scale=0.0), images, labels), images)


@pytest.mark.parametrize(
    ("epoch", "warmup_epochs", "share"), [(0, 1, 1.0), (0, 10, 0.1), (4, 10, 0.5), (30, 10, 1.0)]
)
@pytest.mark.parametrize("step_size", [None, 0.02])
def test_epsilon_and_steps_grow_linearly_over_the_warm_up(epoch, warmup_epochs, share, step_size):
    class At(SmoothAdv):
        current_epoch = epoch

    images, labels = batch()
    settings = {"epsilon": 0.2, "steps": 3, "warmup_epochs": warmup_epochs, "step_size": step_size}
    found = searched(linear(), images, labels, At, **settings)
    length = 0.2 * share if step_size is None else 3 * 0.02 * share
    assert (found - images).flatten(1).norm(dim=1).tolist() == pytest.approx([length] * 6, rel=1e-4)


def test_the_search_leaves_modes_statistics_and_gradients_alone():
    model = recorder().train()
    images, labels = batch(side=8)
    searched(model, images, labels, steps=3)
    assert len(model.seen) == 3
    assert model.net[0].training
    assert float(model.net[0].running_mean) == 0
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_the_draws_of_the_search_are_those_of_the_loss():
    model, (images, labels) = recorder(), batch(side=8)
    module = SmoothAdv(model, 0.3, copies=3, epsilon=0.5, steps=4, warmup_epochs=1)
    noise = module.noise(images, generator())
    adversarial = module.search(images, labels, noise)
    model.seen.clear()
    loss, logits = module.loss(images, labels, generator())
    assert [len(seen) for seen in model.seen] == [18] * 5
    first, last = (seen.view(3, 6, 1, 8, 8) for seen in (model.seen[0], model.seen[4]))
    assert torch.equal(first, images + noise)
    assert torch.equal(last, adversarial + noise)
    assert (adversarial - images).flatten(1).norm(dim=1).min() > 0.1
    model.train()
    expected = model.net(last.flatten(0, 1))
    torch.testing.assert_close(logits, expected[:6])
    torch.testing.assert_close(loss, functional.cross_entropy(expected, labels.repeat(3)))


def test_without_steps_it_is_gaussian_training():
    model, (images, labels) = linear(4, 8.0), batch()
    module = SmoothAdv(model, 0.3, copies=1, steps=0)
    loss, _ = module.loss(images, labels, generator())
    noise = module.law.like(images, generator())
    torch.testing.assert_close(loss, functional.cross_entropy(model(images + noise), labels))


def test_one_copy_and_one_step_is_the_l2_step_of_spt():
    model, (images, labels) = linear(4, 8.0), batch()
    module = SmoothAdv(model, 0.3, copies=1, steps=1, epsilon=0.2, warmup_epochs=1)
    loss, _ = module.loss(images, labels, generator())
    noise = module.law.like(images, generator())
    point = images.clone().requires_grad_()
    functional.cross_entropy(model(point + noise), labels, reduction="sum").backward()
    step = 0.2 * functional.normalize(point.grad.flatten(1), dim=1).view_as(images)
    expected = functional.cross_entropy(model((images + step).clamp(0, 1) + noise), labels)
    torch.testing.assert_close(loss, expected)


def test_the_gradient_is_the_derivative_at_fixed_adversarial_images():
    model, (images, labels) = linear(4, 3.0).double(), batch(12)
    images = images.double()
    module = SmoothAdv(model, 0.3, copies=2, steps=3, epsilon=0.4, warmup_epochs=1)
    loss, _ = module.loss(images, labels, generator(5))
    loss.backward()
    slope = float(model[1].weight.grad[0, 3])
    noise = module.noise(images, generator(5))
    adversarial = module.search(images, labels, noise)

    @torch.no_grad()
    def value():
        p = torch.stack([model(adversarial + e) for e in noise]).log_softmax(2)
        return float(-p[:, torch.arange(12), labels].mean())

    assert float(loss.detach()) == pytest.approx(value(), rel=1e-5)
    weight = model[1].weight.data
    weight[0, 3] += 1e-5
    above = value()
    weight[0, 3] -= 2e-5
    assert slope == pytest.approx((above - value()) / 2e-5, rel=1e-3)


def test_draws_are_a_function_of_seed_epoch_rank_and_batch():
    images, labels = batch(side=8)

    def seen(seed=1, epoch=0, rank=0, place=0):
        class At(SmoothAdv):
            current_epoch, global_rank = epoch, rank

        model = recorder()
        module = At(model, 0.3, transform=Rotation(), box={"angle": (-60, 60)}, steps=1)
        module._base_seed = seed
        module.loss(images, labels, module._generator(images, place))
        return torch.stack(model.seen)

    first = seen()
    assert torch.equal(first, seen())
    others = [seen(seed=2), seen(epoch=1), seen(rank=1), seen(place=1)]
    for i, one in enumerate([first, *others]):
        for other in others[i:]:
            assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("sigma", 0.0), ("copies", 0), ("epsilon", 0.0), ("epsilon", -1.0),
        ("epsilon", float("inf")), ("steps", -1), ("steps", 1.5), ("step_size", 0.0),
        ("warmup_epochs", 0),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(InputError, match=f"`{setting}`"):
        SmoothAdv(nn.Flatten(), **{"sigma": 0.5, setting: value})


def test_labels_and_scores_that_do_not_fit_are_refused():
    images, labels = batch(side=8)
    with pytest.raises(InputError, match=r"0\.\.9"):
        SmoothAdv(recorder(), 0.3).loss(images, labels + 9, generator())
    with pytest.raises(InputError, match="scores of shape"):
        SmoothAdv(nn.Flatten(0), 0.3).loss(images, labels, generator())
