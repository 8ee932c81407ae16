"""Noise drawn exactly: its law, failures, and what is certified at images of 8 bits."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, norm
from torch import nn

from lightning_smooth.certify import ExactGaussianCertifier, GaussianCertifier
from lightning_smooth.certify.exact import check_grid
from lightning_smooth.errors import InputError
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.rounded import RoundedGaussian, rounded_gaussian
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing import NoiseKey
from lightning_smooth.smoothing.laws import RoundedGaussianNoise
from lightning_smooth.smoothing.rng import random_words

CPU = torch.device("cpu")
SIGMA = 0.5
SHAPE = (1, 4, 4)
KEY = NoiseKey(3, 5, "estimation")


class Halfspace(nn.Module):
    """Class 1 where the mean of 16 pixels is above 1/2: radius 4 |mean - 1/2|, known exactly."""

    def forward(self, x):
        score = x.mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([-score, score], dim=1)


def image(steps):
    return torch.full(SHAPE, steps / 255)


def steps_of(noise):
    return (noise * 255).round()


def test_steps_have_their_exact_probabilities():
    law = RoundedGaussianNoise(0.02)
    noise = torch.cat([law.block(KEY, b, (1, 16, 16), CPU) for b in range(16)])
    steps = steps_of(noise).flatten().numpy()
    width = 14
    inner = np.arange(-width, width + 1)
    exact = np.diff(norm.cdf(np.arange(-width - 0.5, width + 1) / (255 * 0.02)))
    seen = np.array([*(np.sum(steps == i) for i in inner), np.sum(abs(steps) > width)])
    assert chisquare(seen, len(steps) * np.array([*exact, 1 - exact.sum()])).pvalue > 1e-3


def test_pixels_and_draws_are_independent():
    law = RoundedGaussianNoise(SIGMA)
    noise = torch.cat([law.block(KEY, b, SHAPE, CPU) for b in range(32)]).flatten(1).numpy()
    between = np.corrcoef(noise.T) - np.eye(16)
    assert abs(between).max() < 5 / math.sqrt(len(noise))
    assert abs(np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]) < 5 / 256
    assert noise.std() == pytest.approx(SIGMA, rel=0.01)


def test_a_block_is_a_function_of_its_key():
    law = RoundedGaussianNoise(SIGMA)
    whole = law.block(KEY, 2, (3, 5, 4), CPU)
    assert torch.equal(law.block(KEY, 2, (3, 5, 4), CPU, draws=9), whole[:9])
    assert not torch.equal(law.block(KEY, 3, (3, 5, 4), CPU), whole)
    words = random_words(KEY, 2, (3, 5, 4)) >> np.uint64(4)
    table = rounded_gaussian(SIGMA)
    places = np.searchsorted(table.thresholds, words, side="right") - table.largest
    assert np.array_equal(steps_of(whole).permute(0, 2, 3, 1).numpy(), places)


def test_noisy_copies_are_the_rounded_and_clipped_real_ones():
    law = RoundedGaussianNoise(SIGMA)
    noise = torch.tensor([-5.0, -2.5, -1 / 255, 0.0, 1 / 255, 2.5, 5.0]).reshape(-1, 1, 1, 1)
    copies = law.perturb(torch.full((1, 1, 1), 100 / 255), noise).flatten()
    wanted = [-3.0, -538 / 255, 99 / 255, 100 / 255, 101 / 255]
    wanted += [738 / 255, 4.0]
    assert copies.tolist() == [float(np.float32(value)) for value in wanted]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_level_comes_out_as_its_nearest_float(dtype):
    law = RoundedGaussianNoise(1.0)
    levels = torch.arange(256, dtype=dtype).reshape(1, 16, 16) / 255
    noise = torch.arange(-1785, 1786, dtype=torch.float32).div(255).reshape(-1, 1, 1, 1)
    copies = law.perturb(levels, noise.expand(-1, 1, 16, 16))
    whole = torch.arange(256, dtype=torch.float64) + torch.arange(-1785, 1786)[:, None]
    exact = (whole.clamp(-6 * 255, 7 * 255) / 255).float()
    assert torch.equal(copies.flatten(1), exact)


class Leaky(RoundedGaussianNoise):
    """A law whose upper half of integers fails: a draw of 16 pixels is whole with 2^-16."""

    def __init__(self, sigma, keep):
        super().__init__(sigma)
        self.keep = keep

    def block(self, key, block, shape, device, *, draws=128):
        noise = super().block(key, block, shape, device, draws=draws).clone()
        failing = torch.rand(noise.shape, generator=torch.Generator().manual_seed(block))
        return noise.masked_fill(failing > self.keep, torch.nan)


def test_an_integer_that_was_left_over_fails_its_draw(monkeypatch):
    table = rounded_gaussian(SIGMA)
    fewer = RoundedGaussian(SIGMA, table.largest, table.counts // np.uint64(2))
    monkeypatch.setattr("lightning_smooth.smoothing.laws.rounded_gaussian", lambda sigma: fewer)
    law = RoundedGaussianNoise(SIGMA)
    noise = law.block(KEY, 0, (1, 1, 1), CPU)
    upper = random_words(KEY, 0, (1, 1, 1)).ravel() >= 2**63
    assert law.lost(noise).tolist() == noise.isnan().flatten().tolist()
    assert np.array_equal(law.lost(noise).numpy(), upper)
    assert law.perturb(image(10)[:, :1, :1], noise).isfinite().all()


@pytest.mark.parametrize("batch_size", [1, 50, 128, 1000])
def test_lost_draws_count_in_n_and_have_no_vote(batch_size):
    # a model that takes whatever it is given for class 1: no score shows that a pixel failed
    certifier = ExactGaussianCertifier(SIGMA, n0=10, n=1000, batch_size=batch_size)
    certifier.law = Leaky(SIGMA, keep=0.98)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    nn.init.zeros_(model[1].weight)
    model[1].bias.data = torch.tensor([0.0, 1.0])
    c = certifier(model, image(200), index=0)
    blocks = [certifier.law.block(KEY, b, SHAPE, CPU) for b in range(8)]
    whole = ~torch.cat(blocks)[:1000].isnan().flatten(1).any(1)
    assert 600 < int(whole.sum()) < 850
    assert (c.n, c.hits, c.votes) == (1000, int(whole.sum()), {1: int(whole.sum())})
    assert c.p_lower == clopper_pearson_lower(c.hits, 1000, 0.001)
    # PREDICT counts them for the other side
    prediction = certifier.predict(model, image(200), index=0)
    assert prediction.predicted == 1
    assert (
        prediction.p_value
        > GaussianCertifier(SIGMA, n=1000).predict(model, image(200), index=0).p_value
    )
    certifier.law = Leaky(SIGMA, keep=0.95)
    assert certifier.predict(model, image(200), index=0).abstained


def test_counts_are_those_of_a_plain_loop():
    certifier = ExactGaussianCertifier(SIGMA, n=500, seed=3)
    c = certifier(Halfspace(), image(150), index=5)
    law = RoundedGaussianNoise(SIGMA)
    blocks = [law.block(KEY, b, SHAPE, CPU) for b in range(4)]
    whole = (150 + steps_of(torch.cat(blocks)[:500])).clamp(-3 * 255, 4 * 255).double()
    hits = int((whole.mean(dim=(1, 2, 3)) / 255 > 0.5).sum())
    assert c.hits == hits
    assert c.p_lower == clopper_pearson_lower(hits, 500, 0.001)
    assert c.parameters["generator"] == "numpy-philox"
    assert (c.parameters["grid"], c.parameters["clip"]) == (255, [-3, 4])


@pytest.mark.parametrize("batch_size", [1, 50, 128, 300])
def test_batches_and_neighbours_change_nothing(batch_size):
    def plain(c):
        return dataclasses.replace(c, seconds=0.0)

    alone = ExactGaussianCertifier(SIGMA, n=400)
    images = [image(steps) for steps in (130, 150, 180, 255, 0)]
    expected = [plain(alone(Halfspace(), x, index=i)) for i, x in enumerate(images)]
    together = ExactGaussianCertifier(SIGMA, n=400, batch_size=batch_size).certify_batch(
        Halfspace(), images, indices=range(5)
    )
    assert sorted((plain(c) for c in together), key=lambda c: c.index) == expected


@pytest.mark.parametrize("steps", [140, 160, 200])
def test_a_linear_model_is_certified_as_by_real_noise(steps):
    # Rounding moves the mean of 16 pixels by 1/255/sqrt(12)/4 of noise: nothing against 0.5/4.
    exact = ExactGaussianCertifier(SIGMA, n=20_000)(Halfspace(), image(steps), index=0)
    plain = GaussianCertifier(SIGMA, n=20_000)(Halfspace(), image(steps), index=0)
    p = norm.cdf(4 * (steps / 255 - 0.5) / SIGMA)
    spread = 5 * math.sqrt(p * (1 - p) / 20_000) + 1e-4
    assert abs(exact.hits / exact.n - p) < spread
    assert abs(plain.hits / plain.n - p) < spread
    assert exact.radius <= 4 * (steps / 255 - 0.5)
    assert exact.guarantee == "certified"


def test_no_float_of_the_image_beside_the_grid_is_a_way_out():
    # Voracek and Hein's attack: a classifier that knows x + e from any other sum by its last bits.
    class Spy(nn.Module):
        def forward(self, x):
            on_grid = (x * 255 - (x * 255).round()).abs().amax(dim=(1, 2, 3)) < 1e-3
            return torch.stack([on_grid.float(), 0.5 + torch.zeros(len(x))], dim=1)

    c = ExactGaussianCertifier(SIGMA, n=1000)(Spy(), image(99), index=0)
    assert c.hits == 1000  # at every x' alike: the classifier that is smoothed rounds first


def test_images_of_other_floats_are_refused():
    certifier = ExactGaussianCertifier(SIGMA, n=10)
    for call in (certifier, certifier.predict):
        with pytest.raises(InputError, match=r"image \* 255"):
            call(Halfspace(), image(99.01), index=0)
    for dtype in (torch.float32, torch.float64):
        levels = torch.arange(256, dtype=dtype).reshape(1, 16, 16)
        assert check_grid(levels / 255).dtype == dtype
        assert check_grid(levels * torch.tensor(1 / 255, dtype=dtype)) is not None


def test_validation_draws_are_others():
    certifier = ExactGaussianCertifier(SIGMA, n=400)
    validation = certifier.for_validation(n0=50, n=400)
    assert type(validation) is ExactGaussianCertifier
    one, other = (c(Halfspace(), image(140), index=0) for c in (certifier, validation))
    assert one.hits != other.hits


def test_records_read_back_as_they_were():
    c = ExactGaussianCertifier(SIGMA, n=200)(Halfspace(), image(200), index=0, label=1)
    assert Certificate.from_json(c.to_json()) == c
    assert ExactGaussianCertifier(SIGMA).describe()["method"] == "gaussian exact"


def test_training_noise_lies_on_the_grid():
    noise = RoundedGaussianNoise(0.25).like(torch.zeros(4, 3, 16, 16), torch.Generator())
    assert torch.allclose(noise * 255, steps_of(noise), atol=1e-3)
    assert float(noise.std()) == pytest.approx(0.25, rel=0.05)
