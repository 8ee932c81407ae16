"""Noise in latents: its law, and that draws are a function of their key."""

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.models.surrogate import SurrogateNetwork
from lightning_smooth.smoothing import NoiseKey
from lightning_smooth.smoothing.latent import LatentNoise
from lightning_smooth.transforms import Scaling

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = SurrogateNetwork(Scaling(), {"scale": (0.7, 1.3)}, (1, 4, 4), directions=2)
    return made.eval().requires_grad_(False)


def drawn(law, key, count, shape=(1, 5, 4)):
    return torch.cat([law.block(key, block, shape, CPU) for block in range(count)])


def test_it_is_the_move_of_a_normal_parameter_plus_normal_noise(network):
    law = LatentNoise(network, {"scale": 0.2}, 0.3)
    noise = drawn(law, NoiseKey(0, 1, "estimation"), 80).flatten(1).double()
    generator = torch.Generator().manual_seed(3)
    theta = 1 + 0.2 * torch.randn(200_000, 1, generator=generator)
    moves = network.move(theta).flatten(1).double()
    torch.testing.assert_close(noise.mean(dim=0), moves.mean(dim=0), atol=0.02, rtol=0)
    wanted = moves.T.cov() + 0.09 * torch.eye(20, dtype=torch.float64)
    torch.testing.assert_close(noise.T.cov(), wanted, atol=0.02, rtol=0)


def test_parameters_and_latents_have_draws_of_their_own(network):
    still = LatentNoise(network, {}, 0.3)
    law = LatentNoise(network, {"scale": 0.2}, 0.3)
    key = NoiseKey(0, 1, "estimation")
    moved = drawn(law, key, 4) - drawn(still, key, 4)
    shown = moved.flatten(1) @ network.motion.vectors.flatten(1).T
    noise = drawn(still, key, 4).flatten(1)
    correlation = torch.corrcoef(torch.cat([shown, noise], dim=1).T)[:2, 2:]
    assert float(correlation.abs().max()) < 5 / 512**0.5


def test_draws_are_a_function_of_their_key_alone(network):
    law = LatentNoise(network, {"scale": 0.2}, 0.3)
    key = NoiseKey(0, 1, "estimation", 2)
    whole = law.block(key, 3, (1, 5, 4), CPU)
    assert torch.equal(law.block(key, 3, (1, 5, 4), CPU, draws=7)[:7], whole[:7])
    for other in (NoiseKey(0, 1, "estimation", 3), NoiseKey(0, 2, "estimation", 2)):
        assert not torch.equal(law.block(other, 3, (1, 5, 4), CPU), whole)


def test_training_draws_have_the_shape_of_latents(network):
    law = LatentNoise(network, {"scale": 0.2}, 0.3)
    latents = torch.zeros(3, 5, 1, 5, 4)
    assert law.like(latents, torch.Generator().manual_seed(0)).shape == latents.shape
    few = law.perturbed(latents[0], torch.Generator().manual_seed(0))
    assert not torch.equal(few[0], few[1])


@pytest.mark.parametrize(
    ("scales", "sigma", "message"),
    [({"angle": 1.0}, 0.3, "scales"), ({"scale": 0.0}, 0.3, "scales"), ({}, 0.0, "sigma")],
)
def test_what_is_refused(network, scales, sigma, message):
    with pytest.raises(InputError, match=message):
        LatentNoise(network, scales, sigma)
