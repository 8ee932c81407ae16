"""Rotation, scaling, shear and translation: laws, conventions, and a plain loop beside them."""

import math

import numpy as np
import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import Rotation, Scaling, Shear, Translation

from .laws import TransformLaws

# Nothing of it is symmetric: every turn, flip or wrong sign shows.
PICTURE = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]).div(10)[None, None]


class TestRotation(TransformLaws):
    def make(self):
        return Rotation()


class TestScaling(TransformLaws):
    def make(self):
        return Scaling()


class TestShear(TransformLaws):
    def make(self):
        return Shear()


class TestTranslation(TransformLaws):
    def make(self):
        return Translation()


def shown(transform, **theta):
    return (10 * transform(PICTURE, transform.theta(**theta)))[0, 0].round(decimals=4).tolist()


def test_rotation_is_counter_clockwise():
    assert shown(Rotation(), angle=90.0) == [[3, 6, 9], [2, 5, 8], [1, 4, 7]]


@pytest.mark.parametrize("turns", range(-5, 6))
@pytest.mark.parametrize("size", [1, 4, 5, 28, 100])
def test_quarter_turns_are_exact(turns, size):
    images = torch.rand(2, 3, size, size)
    out = Rotation()(images, torch.tensor([[90.0 * turns]]))
    assert torch.equal(out, torch.rot90(images, turns, (2, 3)))


def test_half_turns_of_images_that_are_not_square_are_exact():
    images = torch.rand(2, 3, 5, 8)
    assert torch.equal(Rotation()(images, torch.tensor([[180.0]])), images.flip(2, 3))


def test_scaling_above_one_enlarges():
    # The pixels at distance 1 show what is at 1/2: halfway to the centre, both ways at a corner.
    assert shown(Scaling(), scale=2.0) == [[3, 3.5, 4], [4.5, 5, 5.5], [6, 6.5, 7]]


def test_scaling_below_one_shows_black_around():
    assert shown(Scaling(), scale=0.5) == [[0, 0, 0], [0, 5, 0], [0, 0, 0]]


def test_shear_moves_the_lower_rows_to_the_right():
    assert shown(Shear(), shear=1.0) == [[2, 3, 0], [4, 5, 6], [0, 7, 8]]
    assert shown(Shear(), shear=-0.5) == [[0.5, 1.5, 2.5], [4, 5, 6], [7.5, 8.5, 4.5]]


def test_translation_goes_right_and_down():
    assert shown(Translation(), dx=1.0) == [[0, 1, 2], [0, 4, 5], [0, 7, 8]]
    assert shown(Translation(), dy=1.0) == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    moved = shown(Translation(), dx=-0.25, dy=-1.0)
    assert moved == [[4.25, 5.25, 4.5], [7.25, 8.25, 6.75], [0, 0, 0]]


@pytest.mark.parametrize("size", [(5, 7), (28, 28), (33, 100)])
def test_whole_translations_move_samples_exactly(size):
    images = torch.rand(1, 2, *size)
    padded = torch.nn.functional.pad(images, (9, 9, 9, 9))
    shifts = [(dx, dy) for dx in (-9, -3, 0, 1, 4, 9) for dy in (-8, -1, 0, 2, 9)]
    out = Translation()(images, torch.tensor(shifts, dtype=torch.float64))
    for shifted, (dx, dy) in zip(out, shifts, strict=True):
        expected = padded[0, :, 9 - dy : 9 - dy + size[0], 9 - dx : 9 - dx + size[1]]
        assert torch.equal(shifted, expected)


def test_translations_out_of_sight_are_black():
    far = torch.tensor([[1e3, 0.0], [0.0, -1e9], [1e30, 1e30], [7.0, 0.0]])
    assert not Translation()(torch.rand(1, 1, 5, 7), far).any()


def plain(image, inverse):
    """Bilinear in a loop: the pixel at (x, y) about the centre shows the image at inverse(x, y)."""
    height, width = image.shape

    def at(row, column):
        inside = 0 <= row < height and 0 <= column < width
        return image[row, column] if inside else 0.0

    out = np.empty_like(image)
    for i in range(height):
        for j in range(width):
            x, y = inverse(j - (width - 1) / 2, i - (height - 1) / 2)
            column, row = x + (width - 1) / 2, y + (height - 1) / 2
            left, top = math.floor(column), math.floor(row)
            u, v = column - left, row - top
            upper = (1 - u) * at(top, left) + u * at(top, left + 1)
            lower = (1 - u) * at(top + 1, left) + u * at(top + 1, left + 1)
            out[i, j] = (1 - v) * upper + v * lower
    return out


def turned(angle):
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return lambda x, y: (c * x - s * y, s * x + c * y)


CASES = [
    *((Rotation(), (a,), turned(a)) for a in (-720.5, -44.0, 12.3, 135.0, 200.0)),
    *((Scaling(), (s,), lambda x, y, s=s: (x / s, y / s)) for s in (0.3, 0.77, 1.5, 11.0)),
    *((Shear(), (k,), lambda x, y, k=k: (x - k * y, y)) for k in (-1.7, -0.3, 0.4, 2.0)),
    *(
        (Translation(), (a, b), lambda x, y, a=a, b=b: (x - a, y - b))
        for a, b in [(0.3, 0.0), (-1.7, 2.2), (6.9, -4.4), (0.0, 7.5)]
    ),
]


@pytest.mark.parametrize(("transform", "theta", "inverse"), CASES)
@pytest.mark.parametrize("size", [(5, 7), (8, 8), (6, 3)])
def test_it_is_what_a_plain_loop_gives(transform, theta, inverse, size):
    image = np.random.default_rng(0).random(size)
    out = transform(torch.from_numpy(image)[None, None], torch.tensor([theta], dtype=torch.float64))
    np.testing.assert_allclose(out[0, 0].numpy(), plain(image, inverse), atol=1e-12)


def test_singular_scales_are_refused():
    images = torch.rand(1, 1, 5, 7)
    for scale in (0.0, -1.0, 1e-50):
        with pytest.raises(InputError, match=r"`scale` of Scaling to be at least 0\.001"):
            Scaling()(images, torch.tensor([[scale]], dtype=torch.float64))
