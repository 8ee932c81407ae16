"""The GAN's networks: shapes, range, and the gradient penalty against closed forms."""

import pytest
import torch
from torch import nn

from lightning_smooth.errors import InputError
from lightning_smooth.models import Critic, Generator, fingerprint
from lightning_smooth.models.wgan import gradient_penalty


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 8)])
def test_images_have_their_shape_and_range(channels, size):
    generator, critic = Generator(5, channels, size, width=4), Critic(channels, size, width=4)
    latents = 30 * torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    images = generator(latents)
    assert images.shape == (6, channels, size, size) == (6, *generator.image_shape)
    assert 0 <= float(images.min()) < float(images.max()) <= 1
    scores = critic(images)
    assert scores.shape == (6,)
    singles = [generator(one) for one in latents.split(1)]
    torch.testing.assert_close(torch.cat(singles), images)
    torch.testing.assert_close(torch.cat([critic(one) for one in singles]), scores)


def test_every_place_of_an_image_depends_on_the_latent():
    torch.manual_seed(0)  # of few channels, all of a place's ReLUs may be off
    generator = Generator(4, width=16).double()
    slope = torch.func.jacrev(generator)(rand(1, 4)).view(28 * 28, 4)
    assert (slope.abs().amax(dim=1) > 0).all()


class Linear(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images):
        return (images * self.weight).flatten(1).sum(dim=1)


class Bowl(Linear):
    """a / 2 norm(x)^2, whose gradient is a x."""

    def forward(self, images):
        return self.weight / 2 * images.square().flatten(1).sum(dim=1)


def test_the_penalty_of_a_linear_critic_is_its_slopes():
    weight = rand(1, 3, 3, seed=1)
    critic = Linear(weight)
    found = gradient_penalty(critic, rand(4, 1, 3, 3), rand(4, 1, 3, 3, seed=2), rand(4, seed=3))
    assert float(found.detach()) == pytest.approx(float((weight.norm() - 1) ** 2))
    (slope,) = torch.autograd.grad(found, critic.weight)
    torch.testing.assert_close(slope, 2 * (weight.norm() - 1) * weight / weight.norm())


def test_the_penalty_is_taken_between_the_two_of_each_pair():
    real, made, mix = rand(4, 1, 3, 3), rand(4, 1, 3, 3, seed=2), torch.tensor([0, 1, 0.5, 0.25])
    mix = mix.double()
    critic = Bowl(torch.tensor(0.8).double())
    between = torch.stack([m * x + (1 - m) * y for m, x, y in zip(mix, real, made, strict=True)])
    expected = (0.8 * between.flatten(1).norm(dim=1) - 1).square().mean()
    found = gradient_penalty(critic, real, made.requires_grad_(), mix)
    torch.testing.assert_close(found, expected.detach())
    assert torch.autograd.grad(found, made, allow_unused=True) == (None,)


def test_the_penaltys_gradient_is_that_of_finite_differences():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = Critic(1, 8, width=2).double()
    args = rand(3, 1, 8, 8), rand(3, 1, 8, 8, seed=2), rand(3, seed=3)
    weight = critic.layers[2].weight
    (slope,) = torch.autograd.grad(gradient_penalty(critic, *args), weight)
    direction = rand(*weight.shape, seed=4) - 0.5
    values = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            weight.add_(step * direction)
        values.append(gradient_penalty(critic, *args).item())
        with torch.no_grad():
            weight.sub_(step * direction)
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(
        float((slope * direction).sum()), rel=1e-5
    )


def test_weights_are_small_and_can_be_read(tmp_path):
    model = Generator()
    assert sum(p.numel() for p in model.parameters()) * 4 < 2_000_000
    torch.save(model.state_dict(), tmp_path / "w.pt")
    assert fingerprint(Generator(weights=str(tmp_path / "w.pt"))) == fingerprint(model)
    with pytest.raises(InputError, match="do not fit the model, a Generator"):
        Generator(32, weights=str(tmp_path / "w.pt"))


@pytest.mark.parametrize("kind", [Generator, Critic])
def test_what_is_refused(kind):
    with pytest.raises(InputError, match="`image_size` to be a multiple of 4, but got 30"):
        kind(image_size=30)
    for fault in ({"width": 0}, {"in_channels": 0}, {"image_size": 4}):
        with pytest.raises(InputError, match=f"`{next(iter(fault))}`"):
            kind(**fault)
    with pytest.raises(InputError, match="`latent`"):
        Generator(0)
