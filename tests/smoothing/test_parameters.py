"""Noise on parameters: keyed as noise on pixels is, of the laws' distributions, in range."""

import hashlib
import math

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_smooth.errors import InputError
from lightning_smooth.maths.laws import (
    ExponentialLaw,
    FoldedGaussianLaw,
    GaussianLaw,
    LaplaceLaw,
    OneSidedUniformLaw,
    UniformLaw,
)
from lightning_smooth.smoothing import BLOCK, NoiseKey
from lightning_smooth.smoothing import parameters as module
from lightning_smooth.smoothing.parameters import ParameterNoise
from lightning_smooth.transforms import (
    BrightnessContrast,
    Commuting,
    GaussianBlur,
    IntegerTranslation,
    Rotation,
    Scaling,
    Translation,
)

CPU = torch.device("cpu")
SHAPE = (1, 6, 6)
KEY = NoiseKey(0, 7, "estimation")
CHAIN = Commuting([GaussianBlur(ends="cyclic"), IntegerTranslation(), BrightnessContrast()])
LAWS = {
    "variance": ExponentialLaw(0.5),
    "dy": LaplaceLaw(0.7),
    "brightness": GaussianLaw(0.3),
    "contrast": UniformLaw(0.2),
}
NOISE = ParameterNoise(CHAIN, LAWS)


def draw(noise, blocks=1, key=KEY):
    return torch.cat([noise.block(key, b, SHAPE, CPU) for b in range(blocks)])


def test_the_same_key_gives_the_same_parameters_whatever_came_between():
    first = NOISE.block(KEY, 3, SHAPE, CPU)
    NOISE.block(KEY, 0, SHAPE, CPU)
    torch.manual_seed(9)
    assert torch.equal(NOISE.block(KEY, 3, (3, 32, 32), CPU), first)
    assert first.shape == (BLOCK, 5)
    assert first.dtype == torch.float64


@pytest.mark.parametrize(
    ("other", "block"),
    [
        (NoiseKey(1, 7, "estimation"), 3),
        (NoiseKey(0, 8, "estimation"), 3),
        (NoiseKey(0, 7, "selection"), 3),
        (NoiseKey(0, 7, "validation estimation"), 3),
        (KEY, 4),
    ],
)
def test_any_other_key_gives_others(other, block):
    drawn = [0, 2, 3, 4]  # the columns: dx is not drawn
    one, two = NOISE.block(KEY, 3, SHAPE, CPU), NOISE.block(other, block, SHAPE, CPU)
    assert not torch.isclose(one, two)[:, drawn].any()


@pytest.mark.parametrize("draws", [1, 2, 63, 127, 128])
def test_the_first_draws_of_a_block_are_its_first(draws):
    whole = NOISE.block(KEY, 5, SHAPE, CPU)
    assert torch.equal(NOISE.block(KEY, 5, SHAPE, CPU, draws=draws), whole[:draws])


def test_the_parameters_of_today_are_those_of_tomorrow():
    # A record's counts can be drawn again only while this holds: change it with the format.
    noise = ParameterNoise(CHAIN, {"contrast": UniformLaw(1.0), "dx": UniformLaw(8.0)})
    drawn = noise.block(NoiseKey(0, 0, "estimation"), 0, SHAPE, CPU)
    digest = hashlib.sha256(np.ascontiguousarray(drawn.numpy()).tobytes()).hexdigest()
    assert digest[:16] == "285e94eade5bcfc6"


@pytest.mark.parametrize(
    ("transform", "name", "law", "truth"),
    [
        (GaussianBlur(), "variance", ExponentialLaw(2.0), stats.expon(scale=2.0)),
        (GaussianBlur(), "variance", OneSidedUniformLaw(3.0), stats.uniform(0, 3)),
        (GaussianBlur(), "variance", FoldedGaussianLaw(1.5), stats.halfnorm(scale=1.5)),
        (Rotation(), "angle", GaussianLaw(30.0), stats.norm(scale=30)),
        (Rotation(), "angle", LaplaceLaw(5.0), stats.laplace(scale=5)),
        (Rotation(), "angle", UniformLaw(40.0), stats.uniform(-40, 80)),
        (Scaling(), "scale", GaussianLaw(0.1), stats.norm(loc=1, scale=0.1)),
        (Scaling(), "scale", UniformLaw(0.3), stats.uniform(0.7, 0.6)),
        (Scaling(), "scale", ExponentialLaw(0.3), stats.expon(loc=1, scale=0.3)),
    ],
)
def test_draws_have_the_law_s_distribution_about_the_identity(transform, name, law, truth):
    noise = ParameterNoise(transform, {name: law})
    keyed = draw(noise, 40)[:, 0].numpy()
    trained = noise.theta(5000, torch.Generator().manual_seed(0))[:, 0].numpy()
    for values in (keyed, trained):
        assert stats.kstest(values, truth.cdf).pvalue > 1e-3
        # The tails as well, which the test above hardly sees.
        for tail in (1e-2, 1 - 1e-2):
            beyond = (values < truth.ppf(tail)).sum()
            assert stats.binomtest(int(beyond), len(values), tail).pvalue > 1e-4


def test_parameters_are_independent_of_each_other_and_from_draw_to_draw():
    theta = draw(NOISE, 60)[:, [0, 2, 3, 4]].numpy()
    ranks = stats.rankdata(theta, axis=0)
    correlation = np.corrcoef(ranks.T) - np.eye(4)
    assert abs(correlation).max() < 5 / math.sqrt(len(theta))
    for lag in (1, BLOCK):
        pairs = [
            np.corrcoef(ranks[:-lag, i], ranks[lag:, j])[0, 1] for i in range(4) for j in range(4)
        ]
        assert np.abs(pairs).max() < 5 / math.sqrt(len(theta))


def test_what_is_not_drawn_stays_at_its_identity():
    assert (draw(NOISE)[:, 1] == 0).all()
    assert NOISE.theta(9, torch.Generator())[:, 1].abs().max() == 0


def test_the_order_of_laws_does_not_matter():
    backwards = ParameterNoise(CHAIN, dict(reversed(LAWS.items())))
    assert list(backwards.laws) == list(NOISE.laws) == list(LAWS)
    assert torch.equal(draw(backwards), draw(NOISE))


def test_the_ends_of_the_generator_s_range_are_finite(monkeypatch):
    # A word of all ones would round up to probability 1, and be infinite.
    for word in (0, 2**64 - 1):
        monkeypatch.setattr(
            module,
            "random_words",
            lambda key, block, shape, draws, word=word: np.full((draws, 1, 1, 4), word, np.uint64),
        )
        theta = NOISE.block(KEY, 0, SHAPE, CPU, draws=3)
        assert theta.isfinite().all()
        assert (theta[:, 0] >= 0).all()
        CHAIN.check(theta)


def test_draws_on_a_grid_of_probabilities_are_quantiles(monkeypatch):
    words = np.array([2**62, 2**63, 3 * 2**62], np.uint64)
    monkeypatch.setattr(
        module, "random_words", lambda *_, draws: np.broadcast_to(words[:, None], (3, 1))
    )
    noise = ParameterNoise(Rotation(), {"angle": GaussianLaw(2.0)})
    theta = noise.block(KEY, 0, SHAPE, CPU, draws=3)[:, 0]
    expected = torch.from_numpy(stats.norm(scale=2).ppf([0.25, 0.5, 0.75]))
    torch.testing.assert_close(theta, expected, atol=1e-14, rtol=0)


def test_a_noisy_copy_is_the_transformed_image():
    image = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    theta = draw(NOISE)
    expected = torch.cat([CHAIN(image[None], row[None]) for row in theta])
    torch.testing.assert_close(NOISE.perturb(image, theta), expected, atol=1e-6, rtol=0)
    assert NOISE.lost(theta) is None
    assert NOISE.generator(torch.device("cuda")) == NOISE.generator(CPU) == "numpy-philox"


def test_training_gives_each_image_its_own_draw_from_the_generator():
    images = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    noisy = NOISE.perturbed(images, torch.Generator().manual_seed(5))
    theta = NOISE.theta(4, torch.Generator().manual_seed(5))
    torch.testing.assert_close(noisy, CHAIN(images, theta))
    assert len(theta[:, 0].unique()) == 4
    assert not torch.equal(theta, NOISE.theta(4, torch.Generator().manual_seed(6)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autocast_is_for_the_model_and_not_for_the_transformation(dtype):
    image = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)).to(dtype)
    theta, generator = draw(NOISE), torch.Generator()
    calls = [
        lambda: NOISE.perturb(image, theta),
        lambda: NOISE.perturbed(image[None], generator.manual_seed(0)),
    ]
    for call in calls:
        with torch.autocast("cpu", torch.bfloat16):
            inside = call()
        assert inside.dtype == dtype
        assert torch.equal(inside, call())


@pytest.mark.parametrize(
    ("transform", "laws", "words"),
    [
        (GaussianBlur(), {"variance": GaussianLaw(1.0)}, "never below 0: ExponentialLaw"),
        (GaussianBlur(), {"variance": LaplaceLaw(1e-6)}, "`variance` whose draws are at least 0"),
        (GaussianBlur(), {"variance": UniformLaw(1.0)}, "draws -1 to 1"),
        (Scaling(), {"scale": GaussianLaw(0.3)}, "`scale` whose draws are at least 0.001"),
        (Scaling(), {"scale": UniformLaw(1.0)}, "`scale`"),
        (Translation(), {"dx": GaussianLaw(1.0), "dz": GaussianLaw(1.0)}, r"dx, dy.*\['dx', 'dz'"),
        (Translation(), {}, "one or more of dx, dy.*but got none"),
    ],
)
def test_laws_that_do_not_fit_are_refused(transform, laws, words):
    with pytest.raises(InputError, match=words):
        ParameterNoise(transform, laws)
