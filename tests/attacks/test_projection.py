"""Gradients through a projection's latents: against its plain form, and what they break."""

import pytest
import torch

from lightning_smooth.attacks import BPDA, PGD, ModelJudge, ProjectionGradient
from lightning_smooth.attacks.gradients import differentiating
from lightning_smooth.attacks.losses import margin
from lightning_smooth.attacks.strategies import At
from lightning_smooth.defenses import Defended, DefenseGAN
from lightning_smooth.errors import InputError
from lightning_smooth.models import Generator
from lightning_smooth.smoothing.rng import NoiseKey
from tests.attacks.images import Linear, quantised

SHAPE = (1, 8, 8)


def defended(steps=40, restarts=2, latent=3):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        generator = Generator(latent, 1, 8, width=4).double()
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter.mul_(2)
    model = Defended(DefenseGAN(generator, steps, restarts), Linear(seed=3, shape=SHAPE)).eval()
    with torch.no_grad():
        drawn = torch.Generator().manual_seed(2)
        images = generator(torch.randn(6, latent, generator=drawn, dtype=torch.float64))
        # Scores of about 1, with the boundary among the images.
        model.model.weight.mul_(0.2)
        model.model.bias.copy_(-(model.model.weight @ images.flatten(1).mean(dim=0)))
        labels = model.model(images).argmax(dim=1)
    return model, images, labels


def slope(gradient, model, images, labels, number, indices=None):
    keys = [NoiseKey(0, index, "attack", 1) for index in indices or range(len(images))]
    torch.manual_seed(number)
    return gradient.slope(model, images, At(labels, margin, keys, number), lambda x: x)


def mixture(model, latents, points, draws, temperature, unrolled):
    """Scores of the definition, from latents (N draws, latent) that descent has found."""
    defence = model.defense
    targets = points.repeat_interleave(draws, dim=0)
    moved = defence.unrolled(latents, targets, unrolled)
    made = defence.generator(moved)
    errors = (made - targets).flatten(1).square().sum(dim=1).view(-1, draws)
    likely = model.model(made).softmax(dim=1).view(len(points), draws, -1)
    weights = (-errors / temperature).softmax(dim=1)
    return (weights[:, :, None] * likely).sum(dim=1).log()


def test_loss_and_gradient_are_those_of_the_mixture():
    model, images, labels = defended()
    gradient = ProjectionGradient(draws=3, unrolled=2, temperature=0.5)
    with torch.random.fork_rng(), differentiating(model):
        torch.manual_seed(0)
        latents, _ = model.defense.restarted(images, 3)
        leaf = images.clone().requires_grad_()
        scores = mixture(model, latents.flatten(0, 1), leaf, 3, 0.5, 2)
        loss = margin(scores, labels)
        (expected,) = torch.autograd.grad(loss.sum(), leaf)
        with gradient.installed(model):
            found = slope(gradient, model, images, labels, 0)
    torch.testing.assert_close(found.scores, scores.detach())
    torch.testing.assert_close(found.loss, loss.detach())
    torch.testing.assert_close(found.gradient, expected)
    assert float(expected.abs().max()) > 1e-4


def test_most_latents_are_followed_and_some_found_anew():
    model, images, labels = defended()
    counted = []
    found = model.defense.restarted
    model.defense.restarted = lambda x, count: counted.append((len(x), count)) or found(x, count)
    gradient = ProjectionGradient(draws=4, fresh=1, unrolled=0)
    with torch.random.fork_rng(), differentiating(model), gradient.installed(model):
        slope(gradient, model, images[:4], labels[:4], 0)
        before = {key: own.clone() for key, own in gradient._kept.items()}
        slope(gradient, model, images, labels, 1)
        after = gradient._kept
    assert counted == [(4, 4), (2, 4), (4, 1)]
    assert len(before) == 4
    assert len(after) == 6
    for key, own in before.items():
        assert torch.equal(after[key][:3], own[1:])
        assert not torch.equal(after[key][3], own[0])
    assert not gradient._kept


def test_points_of_one_image_have_latents_of_their_own():
    model, images, labels = defended()
    gradient = ProjectionGradient(draws=2, fresh=1)
    with torch.random.fork_rng(), differentiating(model), gradient.installed(model):
        slope(gradient, model, images[:2], labels[:2], 0, indices=[7, 7])
        first, second = gradient._kept.values()
    assert not torch.equal(first, second)


def test_it_breaks_what_the_identity_does_not():
    model, images, labels = defended(steps=25)
    broken = {}
    for gradient in (ProjectionGradient(draws=4, fresh=2), BPDA({"defense": "identity"})):
        attack = PGD(
            0.6, "l2", steps=8, step=0.2, loss="margin", momentum=0.75,
            gradient=gradient, judge=ModelJudge(evaluations=3),
        )  # fmt: skip
        found = attack.attacked(model, images, labels, indices=range(6))
        assert float(found.norm.max()) <= 0.6
        assert "forward" not in model.defense.__dict__
        broken[type(gradient)] = int(found.success.sum())
    assert broken[ProjectionGradient] > broken[BPDA]


def test_inputs():
    for settings, name in (
        ({"draws": 0}, "draws"), ({"fresh": 0}, "fresh"), ({"fresh": 9}, "fresh"),
        ({"unrolled": -1}, "unrolled"), ({"temperature": 0.0}, "temperature"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"`{name}`"):
            ProjectionGradient(**settings)
    assert ProjectionGradient(draws=3, fresh=None).describe()["fresh"] == 3
    with (
        pytest.raises(InputError, match="'steps' to be a DefenseGAN, but it is a Steps"),
        ProjectionGradient("steps").installed(quantised()),
    ):
        pass
    model, images, labels = defended()
    with pytest.raises(InputError, match="within `installed`"):
        slope(ProjectionGradient(), model, images, labels, 0)
