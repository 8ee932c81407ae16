"""Hue and saturation: the laws, and the same colors as `colorsys` and torchvision."""

import colorsys

import pytest
import torch
from torchvision.transforms.v2 import functional as vision

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import Hue, Saturation
from tests.transforms.laws import TransformLaws


class TestHue(TransformLaws):
    exact = False

    def make(self):
        return Hue()


class TestSaturation(TransformLaws):
    def make(self):
        return Saturation()


def swatches(*colors):
    """(1, 3, 1, N) of N colors."""
    return torch.tensor(colors, dtype=torch.float64).T[None, :, None]


def random_images(batch=5, *, low=0.0, high=1.0):
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand((batch, 3, 6, 7), generator=generator, dtype=torch.float64)
    return low + (high - low) * unit


@pytest.mark.parametrize("angle", [-200.0, -60.0, 1e-3, 45.0, 120.0, 179.0, 300.0, 777.0])
def test_hue_is_that_of_colorsys(angle):
    images = random_images(2)
    images[0, 0, 0], images[0, :, 1], images[1, :, 2, :2] = 0.0, 0.5, 1.0  # ties and greys
    out = Hue()(images, torch.tensor([[angle]], dtype=torch.float64))
    pixels = (x.movedim(1, -1).reshape(-1, 3).tolist() for x in (images, out))
    for before, after in zip(*pixels, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        expected = colorsys.hsv_to_rgb((hue + angle / 360) % 1, saturation, value)
        assert after == pytest.approx(expected, abs=1e-12)


def test_hue_is_that_of_torchvision():
    images = random_images()
    theta = Hue().theta(hue=[-150.0, -72.0, 18.0, 90.0, 144.0])
    turns = (theta[:, 0] / 360).tolist()
    singles = [vision.adjust_hue(x, turn) for x, turn in zip(images, turns, strict=True)]
    torch.testing.assert_close(Hue()(images, theta), torch.stack(singles), atol=2e-6, rtol=0)


def test_a_third_of_a_turn_moves_the_channels_on():
    images = random_images(low=-1, high=2)
    for thirds in (1, 2, 3):
        out = Hue()(images, torch.tensor([[120.0 * thirds]], dtype=torch.float64))
        torch.testing.assert_close(out, images.roll(thirds, dims=1), atol=1e-12, rtol=0)


def test_half_a_turn_mirrors_between_the_extremes():
    images = random_images(low=-1, high=2)
    mirrored = images.amax(1, keepdim=True) + images.amin(1, keepdim=True) - images
    out = Hue()(images, torch.tensor([[-180.0]], dtype=torch.float64))
    torch.testing.assert_close(out, mirrored, atol=1e-12, rtol=0)


def test_named_colors_turn_into_each_other():
    red, yellow, green = (1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (0.0, 1.0, 0.0)
    cyan, blue, magenta = (0.0, 1.0, 1.0), (0.0, 0.0, 1.0), (1.0, 0.0, 1.0)
    circle = (red, yellow, green, cyan, blue, magenta)
    turned = swatches(*circle[1:], circle[0])
    out = Hue()(swatches(*circle), torch.tensor([[60.0]], dtype=torch.float64))
    torch.testing.assert_close(out, turned, atol=1e-12, rtol=0)


@pytest.mark.parametrize("low", [0.0, -3.0])
def test_hue_keeps_value_and_chroma_anywhere(low):
    images = random_images(low=low, high=2.0)
    out = Hue()(images, Hue().theta(hue=[-301.0, -33.0, 7.0, 101.0, 1000.0]))
    for extreme in (torch.amax, torch.amin):
        torch.testing.assert_close(extreme(out, 1), extreme(images, 1), atol=1e-12, rtol=0)


def test_hue_leaves_grey_as_it_is():
    grey = torch.linspace(-1, 2, 64).reshape(1, 1, 8, 8).expand(-1, 3, -1, -1)
    assert torch.equal(Hue()(grey, torch.tensor([[77.0]])), grey)


def test_hue_of_nearly_grey_pixels_is_stable_in_float32():
    near = 0.5 + 1e-6 * random_images(1)
    theta = Hue().theta(hue=100.0)
    out = Hue()(near.float(), theta)
    torch.testing.assert_close(out.double(), Hue()(near, theta), atol=2e-7, rtol=0)


@pytest.mark.parametrize("size", [(40, 41), (200, 200)])
def test_hue_does_not_depend_on_how_many_images_come_together(size):
    images = torch.rand((13, 3, *size), generator=torch.Generator().manual_seed(0))
    theta = Hue().theta(hue=torch.linspace(-170, 170, 13))
    singles = torch.cat([Hue()(x[None], row[None]) for x, row in zip(images, theta, strict=True)])
    assert torch.equal(Hue()(images, theta), singles)
    one = torch.cat([Hue()(images[:1], row[None]) for row in theta])
    assert torch.equal(Hue()(images[:1], theta), one)


@pytest.mark.parametrize("gain", [0.0, 0.3, 0.9, 1.0])
def test_saturation_is_that_of_torchvision(gain):
    images = random_images()
    log_gain = torch.tensor([[max(gain, 1e-300)]], dtype=torch.float64).log()
    # torchvision's weights have four digits: .2989 where ours have .299.
    out = Saturation()(images, log_gain)
    torch.testing.assert_close(out, vision.adjust_saturation(images, gain), atol=2e-4, rtol=0)


def test_saturation_moves_away_from_grey_and_keeps_it():
    images = random_images(1, low=-1, high=2)
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]
    grey = (weights * images).sum(1, keepdim=True)
    out = Saturation()(images, torch.tensor([[2.0]]).double().log())
    torch.testing.assert_close(out, 2 * images - grey, atol=1e-12, rtol=0)
    torch.testing.assert_close((weights * out).sum(1, keepdim=True), grey, atol=1e-12, rtol=0)


@pytest.mark.parametrize("transform", [Hue(), Saturation()])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_three_channels_are_required(transform, channels):
    with pytest.raises(InputError, match=rf"3 channels.*{transform!r}.*\(2, {channels}, 4, 4\)"):
        transform(torch.rand(2, channels, 4, 4), torch.zeros(2, 1))
