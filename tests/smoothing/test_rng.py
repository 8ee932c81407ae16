"""Noise is a function of (seed, index, stream, block), and is standard normal."""

import hashlib

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from lightning_smooth.errors import InputError
from lightning_smooth.smoothing import BLOCK, GaussianNoise, NoiseKey
from lightning_smooth.smoothing.rng import backend, standard_normal, training_seed

CPU = torch.device("cpu")
SHAPE = (3, 5, 4)
KEY = NoiseKey(0, 7, "estimation")


def test_the_same_key_gives_the_same_numbers():
    assert torch.equal(standard_normal(KEY, 3, SHAPE, CPU), standard_normal(KEY, 3, SHAPE, CPU))


@pytest.mark.parametrize(
    ("other", "block"),
    [
        (NoiseKey(1, 7, "estimation"), 3),
        (NoiseKey(0, 8, "estimation"), 3),
        (NoiseKey(0, 7, "selection"), 3),
        (KEY, 4),
    ],
)
def test_any_other_key_gives_others(other, block):
    a, b = standard_normal(KEY, 3, SHAPE, CPU), standard_normal(other, block, SHAPE, CPU)
    assert not torch.isclose(a, b).any(dim=0).all()
    correlation = np.corrcoef(a.flatten(), b.flatten())[0, 1]
    assert abs(correlation) < 5 / np.sqrt(a.numel())


def test_blocks_continue_one_counter_without_overlap():
    # Block b starts at word 2 of Philox's counter: 2**128 numbers apart from block b + 1.
    first, second = KEY.words()
    generator = np.random.Generator(np.random.Philox(key=[first, second], counter=[0, 0, 5, 0]))
    expected = generator.standard_normal((BLOCK, 5, 4, 3), dtype=np.float32)
    drawn = standard_normal(KEY, 5, SHAPE, CPU).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(drawn, expected)


def test_the_numbers_of_today_are_those_of_tomorrow():
    # A record's counts can be drawn again only while this holds: change it with the format.
    noise = standard_normal(NoiseKey(0, 0, "estimation"), 0, (1, 8, 8), CPU)
    digest = hashlib.sha256(np.ascontiguousarray(noise.numpy()).tobytes()).hexdigest()
    assert digest[:16] == "2e9a8eddbbe95108"


def test_it_is_standard_normal():
    noise = torch.cat([standard_normal(KEY, b, (1, 16, 16), CPU) for b in range(8)]).numpy()
    assert kstest(noise.ravel(), "norm").pvalue > 1e-3
    pixels = noise.reshape(len(noise), -1)
    correlation = np.corrcoef(pixels.T) - np.eye(pixels.shape[1])
    assert abs(correlation).max() < 6 / np.sqrt(len(pixels))


def test_sigma_is_the_standard_deviation():
    noise = GaussianNoise(0.25).block(KEY, 0, (1, 64, 64), CPU)
    assert float(noise.std()) == pytest.approx(0.25, rel=0.01)


@pytest.mark.parametrize("draws", [1, 50, 127])
def test_the_first_draws_of_a_block_are_those_of_the_whole(draws):
    whole = standard_normal(KEY, 3, SHAPE, CPU)
    part = standard_normal(KEY, 3, SHAPE, CPU, draws=draws)
    assert torch.equal(part, whole[:draws])
    assert part.stride() == whole.stride()


def test_training_noise_differs_by_rank_and_step():
    seeds = {training_seed(0, rank, step) for rank in range(8) for step in range(1000)}
    assert len(seeds) == 8000
    assert len({seed & 0xFFFFFFFF for seed in seeds}) > 7990  # what torch's CPU generator keeps


def test_backends_are_named():
    assert backend(CPU) == "numpy-philox"
    assert backend(torch.device("cuda")) == "cuda-philox"


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(InputError, match="sigma"):
        GaussianNoise(sigma)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_cuda_blocks_are_keyed_too():
    device = torch.device("cuda")
    one = standard_normal(KEY, 3, SHAPE, device)
    assert torch.equal(one, standard_normal(KEY, 3, SHAPE, device))
    assert not torch.equal(one, standard_normal(KEY, 4, SHAPE, device))
    many = torch.cat([standard_normal(KEY, b, (1, 16, 16), device) for b in range(64)])
    assert kstest(many.cpu().numpy().ravel(), "norm").pvalue > 1e-3
