"""Pixelate: laws, its pixels, its finitely many results, and PIL beside it."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from lightning_smooth.transforms import Pixelate

from .laws import TransformLaws


class TestPixelate(TransformLaws):
    flat = ("strength",)

    def make(self):
        return Pixelate()


def pixelate(image, strength):
    """One image (H, W) of float64."""
    return Pixelate()(image[None, None], torch.tensor([[strength]], dtype=torch.float64))[0, 0]


def test_large_pixels_are_means_and_cover_what_they_are_centred_on():
    picture = torch.arange(1.0, 10, dtype=torch.float64).view(3, 3)
    # 3 pixels to 2: each is a whole pixel and half of the middle one, (2 a + b) / 3; the middle
    # pixel's centre is on the border of the two, and belongs to the second.
    rows = (2 * picture[[0, 2]] + picture[1]) / 3
    both = (2 * rows[:, [0, 2]] + rows[:, [1]]) / 3
    torch.testing.assert_close(pixelate(picture, 0.3), both[[0, 1, 1]][:, [0, 1, 1]])
    torch.testing.assert_close(pixelate(picture, 0.9), torch.full_like(picture, 5.0))


@pytest.mark.parametrize("strength", [0.0, 0.05, 0.2, 0.36, 0.5, 0.75, 0.9, 1.0])
@pytest.mark.parametrize("size", [(5, 7), (8, 8), (28, 30)])
def test_it_is_the_mean_over_finer_pixels(strength, size):
    image = torch.rand(size, dtype=torch.float64)
    small = image.numpy()
    for axis, n in enumerate(size):
        m = max(1, math.floor(n * (1 - Fraction(str(strength)))))
        fine = np.repeat(small, m, axis)  # n m pixels, n for each large one
        parts = np.split(fine, m, axis)
        small = np.stack([part.mean(axis) for part in parts], axis)
    shown = functional.interpolate(torch.from_numpy(small)[None, None], size, mode="nearest-exact")
    torch.testing.assert_close(pixelate(image, strength), shown[0, 0], atol=1e-12, rtol=0)


@pytest.mark.parametrize(("strength", "kept"), [(0.5, 16), (0.75, 8), (0.95, 1)])
def test_sizes_that_divide_agree_with_the_corruption_of_cifar10_c(strength, kept):
    image = torch.rand(32, 32)
    picture = Image.fromarray(image.numpy())
    small = picture.resize((kept, kept), Image.Resampling.BOX)
    expected = np.array(small.resize((32, 32), Image.Resampling.BOX))
    out = pixelate(image, strength).numpy()
    np.testing.assert_allclose(out, expected, atol=1e-6)


def large_pixels(picture):
    """(rows, columns) of large pixels in (H, W): neighbours of one differ by rounding alone."""
    rows, columns = (picture.diff(dim=axis).abs().amax(1 - axis) > 1e-6 for axis in (0, 1))
    return int(rows.sum()) + 1, int(columns.sum()) + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [3, 7, 10, 28, 32, 49])
def test_a_share_that_is_a_whole_number_of_pixels_keeps_that_many(n, dtype):
    image = torch.rand(1, 1, 2, n, dtype=dtype)
    for lost in range(n):
        out = Pixelate()(image, torch.tensor([[lost / n]], dtype=torch.float64))
        assert large_pixels(out[0, 0])[1] == n - lost


@pytest.mark.parametrize("size", [(28, 28), (5, 7), (4, 6), (1, 3), (49, 49)])
def test_levels_are_all_there_is(size):
    image = torch.rand(1, 1, *size, dtype=torch.float64)
    levels = Pixelate().levels(size)
    assert levels[0] == (0.0, 0.0, *size)
    assert levels[-1][1:] == (1.0, 1, 1)
    assert all(a.high == b.low for a, b in pairwise(levels))
    middles = torch.tensor([[(v.low + v.high) / 2] for v in levels], dtype=torch.float64)
    shown = Pixelate()(image, middles)
    for level, picture in zip(levels, shown, strict=True):
        assert large_pixels(picture[0]) == (level.height, level.width)
    assert len({(v.height, v.width) for v in levels}) == len(levels)
    ends = torch.tensor([v.high for v in levels], dtype=torch.float64)
    strengths = torch.cat([torch.linspace(0, 1, 400, dtype=torch.float64), ends])
    which = torch.bucketize(strengths, ends)
    out = Pixelate()(image, strengths[:, None])
    torch.testing.assert_close(out, shown[which], atol=1e-12, rtol=0)


def test_one_pixel_has_one_level():
    assert Pixelate().levels((1, 1)) == [(0.0, 1.0, 1, 1)]
