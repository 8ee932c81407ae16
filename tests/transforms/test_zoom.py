"""Rotational blur and zoom blur: laws, conventions, and a plain loop beside them."""

import numpy as np
import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import Rotation, RotationalBlur, ZoomBlur

from .laws import TransformLaws
from .test_geometric import PICTURE, plain, turned


class TestRotationalBlur(TransformLaws):
    def make(self):
        return RotationalBlur()


class TestZoomBlur(TransformLaws):
    def make(self):
        return ZoomBlur()


class TestZoomBlurOfFewSamples(TransformLaws):
    def make(self):
        return ZoomBlur(samples=3)


def test_rotational_blur_turns_both_ways():
    blur = RotationalBlur(samples=3)
    out = 10 * blur(PICTURE, blur.theta(angle=90.0))[0, 0]
    # The mean of [3 6 9 / 2 5 8 / 1 4 7], the picture, and [7 4 1 / 8 5 2 / 9 6 3].
    thirds = [[11, 12, 13], [14, 15, 16], [17, 18, 19]]
    torch.testing.assert_close(out, torch.tensor(thirds) / 3)


def test_rotational_blur_keeps_the_picture_in_place():
    blur = RotationalBlur()
    image = torch.rand(1, 1, 9, 9, dtype=torch.float64)
    mirrored = blur(image.flip(3), blur.theta(angle=20.0))
    torch.testing.assert_close(mirrored, blur(image, blur.theta(angle=20.0)).flip(3))


def test_two_samples_of_a_rotational_blur_are_the_two_ends():
    blur, image = RotationalBlur(samples=2), torch.rand(1, 1, 5, 7, dtype=torch.float64)
    ends = Rotation()(image, Rotation().theta(angle=[-25.0, 25.0])).mean(0, keepdim=True)
    torch.testing.assert_close(blur(image, blur.theta(angle=25.0)), ends)


def test_zoom_blur_goes_from_the_picture_to_the_factor():
    blur = ZoomBlur(samples=2)
    out = 10 * blur(PICTURE, blur.theta(zoom=1.0))[0, 0]
    # The mean of the picture and [3 3.5 4 / 4.5 5 5.5 / 6 6.5 7].
    expected = [[2, 2.75, 3.5], [4.25, 5, 5.75], [6.5, 7.25, 8]]
    torch.testing.assert_close(out, torch.tensor(expected))


def test_zoom_blur_shows_nothing_from_outside():
    white = torch.ones(1, 1, 6, 9, dtype=torch.float64)
    for zoom in (0.1, 0.7, 20.0):
        torch.testing.assert_close(ZoomBlur()(white, torch.tensor([[zoom]])), white)


@pytest.mark.parametrize("size", [(5, 7), (8, 8)])
@pytest.mark.parametrize("samples", [2, 5, 16])
def test_they_are_what_plain_loops_give(size, samples):
    image = np.random.default_rng(1).random(size)
    tensor = torch.from_numpy(image)[None, None]
    turns = [plain(image, turned(a)) for a in np.linspace(-33.0, 33.0, samples)]
    theta = torch.tensor([[33.0]], dtype=torch.float64)
    out = RotationalBlur(samples=samples)(tensor, theta)
    np.testing.assert_allclose(out[0, 0].numpy(), np.mean(turns, axis=0), atol=1e-12)
    factors = np.linspace(1.0, 1.8, samples)
    zooms = [plain(image, lambda x, y, f=f: (x / f, y / f)) for f in factors]
    out = ZoomBlur(samples=samples)(tensor, torch.tensor([[0.8]], dtype=torch.float64))
    np.testing.assert_allclose(out[0, 0].numpy(), np.mean(zooms, axis=0), atol=1e-12)


def test_samples_are_part_of_what_it_is():
    image = torch.rand(1, 1, 28, 28)
    few, many = (RotationalBlur(samples=n)(image, torch.tensor([[10.0]])) for n in (4, 16))
    assert (few - many).abs().max() > 0.05
    assert repr(RotationalBlur(samples=4)) == "RotationalBlur(samples=4)"


@pytest.mark.parametrize("samples", [0, 1, 2.5])
@pytest.mark.parametrize("kind", [RotationalBlur, ZoomBlur])
def test_fewer_than_two_samples_are_refused(kind, samples):
    with pytest.raises(InputError, match="`samples` to be an integer of at least 2"):
        kind(samples=samples)
