"""Uniform noise: its law, and l1 radii against a classifier whose radius is known."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from lightning_smooth.certify import UniformCertifier
from lightning_smooth.errors import InputError
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.uniform import uniform_radius
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing import BLOCK, NoiseKey
from lightning_smooth.smoothing.laws import UniformNoise
from lightning_smooth.smoothing.rng import standard_uniform

CPU = torch.device("cpu")
LAM = 0.5
KEY = NoiseKey(3, 5, "estimation")


class FirstPixel(nn.Module):
    """Class 1 where the first pixel is above 1/2: l1 radius and probability are known."""

    def forward(self, x):
        score = x[:, 0, 0, 0] - 0.5
        return torch.stack([-score, score], dim=1)


def image(distance):
    return torch.full((1, 4, 4), 0.5 + distance)


def plain(certificate):
    return dataclasses.replace(certificate, seconds=0.0)


def test_noise_is_uniform_and_independent():
    noise = torch.cat([UniformNoise(LAM).block(KEY, b, (1, 8, 8), CPU) for b in range(16)])
    assert kstest(noise.flatten().numpy(), "uniform", args=(-LAM, 2 * LAM)).pvalue > 1e-3
    assert -LAM <= float(noise.min()) < float(noise.max()) < LAM
    between = np.corrcoef(noise.flatten(1).numpy().T) - np.eye(64)
    assert abs(between).max() < 6 / np.sqrt(len(noise))


def test_a_block_is_a_function_of_its_key():
    shape = (3, 5, 4)
    whole = standard_uniform(KEY, 3, shape, CPU)
    first, second = KEY.words()
    generator = np.random.Generator(np.random.Philox(key=[first, second], counter=[0, 0, 3, 0]))
    expected = generator.random((BLOCK, 5, 4, 3), dtype=np.float32)
    assert np.array_equal(whole.permute(0, 2, 3, 1).numpy(), expected)
    part = standard_uniform(KEY, 3, shape, CPU, draws=17)
    assert torch.equal(part, whole[:17])
    assert part.stride() == whole.stride()
    assert not torch.equal(standard_uniform(KEY, 4, shape, CPU), whole)


def test_training_noise_is_uniform_too():
    noise = UniformNoise(LAM).like(torch.zeros(8, 3, 16, 16), torch.Generator())
    assert kstest(noise.flatten().numpy(), "uniform", args=(-LAM, 2 * LAM)).pvalue > 1e-3


def test_counts_are_those_of_a_plain_loop():
    c = UniformCertifier(LAM, n0=50, n=300, seed=3)(FirstPixel(), image(0.3), index=5, label=1)
    law = UniformNoise(LAM)
    noise = torch.cat([law.block(KEY, b, (1, 4, 4), CPU) for b in range(3)])[:300]
    hits = int((image(0.3) + noise)[:, 0, 0, 0].gt(0.5).sum())
    assert c.votes == {0: 300 - hits, 1: hits}
    assert c.p_lower == clopper_pearson_lower(hits, 300, 0.001)
    assert c.radius == uniform_radius(c.p_lower, LAM)
    assert (c.radius_unit, c.guarantee, c.correct) == ("l1", "certified", True)
    assert c.parameters["lam"] == LAM


@pytest.mark.parametrize("distance", [0.1, 0.25, 0.4])
def test_the_exact_radius_is_approached_and_not_exceeded(distance):
    # the probability is 1/2 + d/(2 lam), so the exact radius is d: a change of one pixel
    many = UniformCertifier(LAM, n=20_000)(FirstPixel(), image(distance), index=0)
    assert distance - 0.03 < many.radius <= distance
    radii = [
        UniformCertifier(LAM, n0=20, n=400, seed=s)(FirstPixel(), image(distance), index=s).radius
        for s in range(40)
    ]
    assert sum(radius > distance for radius in radii) <= 1  # alpha is .001 each


def test_an_attack_inside_the_radius_changes_nothing():
    certifier = UniformCertifier(LAM, n=5000)
    c = certifier(FirstPixel(), image(0.3), index=0)
    attacked = image(0.3)
    attacked[0, 0, 0] -= 0.999 * c.radius
    assert certifier(FirstPixel(), attacked, index=1).predicted in (c.predicted, -1)
    attacked[0, 0, 0] = 0.5 - 0.2
    assert certifier(FirstPixel(), attacked, index=1).predicted == 0


def test_all_hits_give_the_largest_radius():
    certifier = UniformCertifier(0.01, n=1000)
    c = certifier(FirstPixel(), image(0.3), index=0)
    assert c.radius == certifier.largest_radius == pytest.approx(0.01 * (2 * 0.993116 - 1))


@pytest.mark.parametrize("batch_size", [1, 50, 128, 1000])
def test_batches_and_neighbours_change_nothing(batch_size):
    images = [image(d) for d in np.linspace(-0.4, 0.4, 5)]
    alone = [UniformCertifier(LAM, n=400)(FirstPixel(), x, index=i) for i, x in enumerate(images)]
    together = UniformCertifier(LAM, n=400, batch_size=batch_size).certify_batch(
        FirstPixel(), images, indices=range(5)
    )
    found = sorted(together, key=lambda c: c.index)
    assert [plain(c) for c in found] == [plain(c) for c in alone]


def test_validation_draws_are_others():
    certifier = UniformCertifier(LAM, n=400)
    validation = certifier.for_validation(n0=100, n=400)
    assert type(validation) is UniformCertifier
    one, other = (c(FirstPixel(), image(0.2), index=0) for c in (certifier, validation))
    assert one.hits != other.hits


def test_records_read_back_as_they_were():
    c = UniformCertifier(LAM, n=200)(FirstPixel(), image(0.3), index=0)
    assert Certificate.from_json(c.to_json()) == c
    assert "measured" not in c.to_json()


@pytest.mark.parametrize("lam", [0.0, -1.0, float("nan"), float("inf")])
def test_lam_must_be_positive(lam):
    with pytest.raises(InputError, match="lam"):
        UniformCertifier(lam)
