"""SmoothMix: its search on a network whose gradient is known, and the loss against a plain one."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

from lightning_smooth.modules import SmoothMix


def linear(classes=4, scale=1.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, classes))
    with torch.no_grad():
        model[1].weight.mul_(scale)
    return model


def batch(size=6):
    generator = torch.Generator().manual_seed(3)
    images = 0.4 + 0.2 * torch.rand(size, 1, 4, 4, generator=generator)
    return images, torch.arange(size) % 2


def searched(model, images, labels, **settings):
    module = SmoothMix(model, 0.3, copies=3, **settings)
    noise = module.noise(images, torch.Generator().manual_seed(1))
    return module.search(images, labels, noise)


def away(model, labels):
    """The direction in which a linear classifier of two classes leaves each label."""
    way = (model[1].weight[1] - model[1].weight[0]).detach()
    signs = 1.0 - 2.0 * labels.float()
    return (signs[:, None] * way / way.norm()).view(-1, 1, 4, 4)


def test_the_search_follows_the_gradient_of_a_linear_classifier():
    model, (images, labels) = linear(2), batch()
    first, found = searched(model, images, labels, steps=4, step_size=0.1)
    assert torch.equal(first, images)
    torch.testing.assert_close(found, images + 0.4 * away(model, labels), atol=1e-5, rtol=0)


def test_the_search_stays_in_the_range_of_pixels():
    model, (images, labels) = linear(2), batch()
    _, found = searched(model, images, labels, steps=300, step_size=1.0)
    way = away(model, labels)
    assert torch.equal(found, (way > 0).float())


def test_the_search_is_held_within_max_norm():
    model, (images, labels) = linear(2), batch()
    _, found = searched(model, images, labels, steps=9, step_size=0.1, max_norm=0.25)
    torch.testing.assert_close(found, images + 0.25 * away(model, labels), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("warmup_epochs", "length"), [(1, 0.1), (4, 0.025)])
def test_the_one_step_adversary_takes_the_image_s_place(warmup_epochs, length):
    model, (images, labels) = linear(2), batch()
    first, found = searched(
        model, images, labels, steps=3, step_size=0.1, mix_step=1, warmup_epochs=warmup_epochs
    )
    torch.testing.assert_close(first, images + length * away(model, labels), atol=1e-5, rtol=0)
    torch.testing.assert_close(found, images + 0.3 * away(model, labels), atol=1e-5, rtol=0)


def test_the_search_lowers_the_smoothed_score():
    model, (images, labels) = linear(scale=20.0), batch()
    module = SmoothMix(model, 0.3, copies=3, steps=5, step_size=0.2)
    noise = module.noise(images, torch.Generator().manual_seed(1))
    _, found = module.search(images, labels, noise)

    def scores(at):
        with torch.no_grad():
            return module.copied(at, noise).softmax(2).mean(0)[torch.arange(6), labels]

    assert (scores(found) < 0.8 * scores(images)).all()


def test_an_image_s_search_does_not_depend_on_its_batch():
    model, (images, labels) = linear(scale=20.0), batch()
    module = SmoothMix(model, 0.3, copies=3, steps=5)
    noise = module.noise(images, torch.Generator().manual_seed(1))
    _, together = module.search(images, labels, noise)
    _, alone = module.search(images[2:3], labels[2:3], noise[:, 2:3])
    torch.testing.assert_close(together[2:3], alone, atol=1e-4, rtol=0)


def test_a_model_without_a_gradient_stays_where_it_is():
    images, labels = batch()
    _, found = searched(linear(scale=0.0), images, labels, steps=3)
    assert torch.equal(found, images)


def test_the_search_leaves_modes_statistics_and_gradients_alone():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 4))
    model[1].eval()
    images, labels = batch()
    searched(model, images, labels, steps=2)
    assert [module.training for module in model] == [True, False, True, True]
    assert float(model[0].running_mean) == 0
    assert all(p.grad is None for p in model.parameters())
    assert all(p.requires_grad for p in model.parameters())


def plain(module, images, labels, seed, epoch_share):
    """The loss, an image at a time; the search is the module's own."""
    generator = torch.Generator().manual_seed(seed)
    noise = module.noise(images, generator)
    part = (torch.rand(len(images), generator=generator) / 2).numpy()
    first, found = module.search(images, labels, noise)
    total, right = [], 0

    def softmaxes(image, i):
        with torch.no_grad():
            return [special.softmax(module.model((image + e[i])[None]).numpy()[0]) for e in noise]

    for i, label in enumerate(labels):
        p = softmaxes(first[i], i)
        mean = np.mean(p, axis=0)
        loss = np.mean([-math.log(q[label]) for q in p])
        if mean.argmax() == label:
            right += 1
            target = (1 - part[i]) * mean + part[i] / len(mean)
            mixed = softmaxes((1 - part[i]) * first[i] + part[i] * found[i], i)
            mix = np.mean([stats.entropy(target, q) for q in mixed])
            loss += module.mixing * epoch_share * mix
        total.append(loss)
    return np.mean(total), right


@pytest.mark.parametrize("mix_step", [0, 1])
def test_the_loss_is_the_paper_s(mix_step):
    images, labels = batch(40)
    model = linear(scale=5.0)
    module = SmoothMix(
        model, 0.3, copies=3, mixing=5.0, steps=4, mix_step=mix_step, warmup_epochs=4
    )
    loss, _ = module.loss(images, labels, torch.Generator().manual_seed(7))
    expected, right = plain(module, images, labels, 7, 1 / 4)
    assert 0 < right < 40, "both kinds of images are among them"
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_images_that_are_wrong_are_not_mixed():
    images, labels = batch()
    model = linear()
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([0.0, 0.0, 50.0, 0.0]))

    def loss(mixing):
        module = SmoothMix(model, 0.3, mixing=mixing)
        return float(module.loss(images, labels, torch.Generator().manual_seed(0))[0].detach())

    assert loss(100.0) == loss(0.0)


def test_the_gradient_goes_through_the_target():
    """In float64 by finite differences, the search and the correct images held fixed."""
    model, (images, labels) = linear(scale=3.0).double(), batch(12)
    images = images.double()
    module = SmoothMix(model, 0.3, copies=2, mixing=5.0, steps=1, warmup_epochs=1)
    loss, _ = module.loss(images, labels, torch.Generator().manual_seed(5))
    loss.backward()
    slope = float(model[1].weight.grad[0, 3])

    generator = torch.Generator().manual_seed(5)
    noise = module.noise(images, generator)
    part = (torch.rand(12, generator=generator) / 2).double()
    _, found = module.search(images, labels, noise)
    mixed = torch.lerp(images, found, part.view(-1, 1, 1, 1))

    @torch.no_grad()
    def value():
        p, q = (torch.stack([model(at + e) for e in noise]).softmax(2) for at in (images, mixed))
        mean = p.mean(0)
        target = (1 - part[:, None]) * mean + part[:, None] / 4
        right = (mean.argmax(1) == labels).double()
        mix = (right * (target * (target.log() - q.log())).sum(2)).mean()
        return float(-p[:, torch.arange(12), labels].log().mean() + 5 * mix)

    assert float(loss.detach()) == pytest.approx(value(), rel=1e-5)
    weight = model[1].weight.data
    weight[0, 3] += 1e-5
    above = value()
    weight[0, 3] -= 2e-5
    assert slope == pytest.approx((above - value()) / 2e-5, rel=1e-3)
