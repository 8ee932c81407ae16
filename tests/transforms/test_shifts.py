"""Whole translations: laws, each padding's pixels, and numpy's padding beside them."""

import numpy as np
import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import IntegerTranslation, Translation

from .laws import TransformLaws

PICTURE = torch.arange(1.0, 10).view(1, 1, 3, 3)
SHIFTS = [(dx, dy) for dx in (-17, -6, -5, -1, 0, 2, 7, 30) for dy in (-12, -3, 0, 1, 5, 6, 23)]


class TestCyclic(TransformLaws):
    tolerance = 0.0

    def make(self):
        return IntegerTranslation()


class TestReflected(TransformLaws):
    def make(self):
        return IntegerTranslation("reflected")


class TestZero(TransformLaws):
    def make(self):
        return IntegerTranslation("zero")


@pytest.mark.parametrize(
    ("padding", "right", "down_left"),
    [
        ("cyclic", [[3, 1, 2], [6, 4, 5], [9, 7, 8]], [[8, 9, 7], [2, 3, 1], [5, 6, 4]]),
        ("reflected", [[1, 1, 2], [4, 4, 5], [7, 7, 8]], [[2, 3, 3], [2, 3, 3], [5, 6, 6]]),
        ("zero", [[0, 1, 2], [0, 4, 5], [0, 7, 8]], [[0, 0, 0], [2, 3, 0], [5, 6, 0]]),
    ],
)
def test_it_goes_right_and_down_and_pads(padding, right, down_left):
    shift = IntegerTranslation(padding)
    assert shift(PICTURE, shift.theta(dx=1.0))[0, 0].tolist() == right
    assert shift(PICTURE, shift.theta(dx=-1.0, dy=1.0))[0, 0].tolist() == down_left


@pytest.mark.parametrize(("padding", "mode"), [("reflected", "symmetric"), ("zero", "constant")])
@pytest.mark.parametrize("size", [(5, 7), (6, 3), (1, 4)])
def test_it_is_a_window_of_what_numpy_pads(padding, mode, size):
    image = torch.rand(1, 2, *size)
    padded = np.pad(image[0].numpy(), ((0, 0), (30, 30), (30, 30)), mode=mode)
    out = IntegerTranslation(padding)(image, torch.tensor(SHIFTS, dtype=torch.float64))
    for shifted, (dx, dy) in zip(out.numpy(), SHIFTS, strict=True):
        window = padded[:, 30 - dy : 30 - dy + size[0], 30 - dx : 30 - dx + size[1]]
        assert np.array_equal(shifted, window)


@pytest.mark.parametrize("size", [(5, 7), (6, 3), (1, 4)])
def test_cyclic_is_what_numpy_rolls(size):
    images = torch.rand(len(SHIFTS), 2, *size)
    out = IntegerTranslation("cyclic")(images, torch.tensor(SHIFTS, dtype=torch.float64))
    for shifted, image, (dx, dy) in zip(out.numpy(), images.numpy(), SHIFTS, strict=True):
        assert np.array_equal(shifted, np.roll(image, (dy, dx), axis=(1, 2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_padding_is_translation_by_whole_pixels(dtype):
    images = torch.rand(1, 2, 5, 7, dtype=dtype)
    theta = torch.tensor(SHIFTS, dtype=torch.float64)
    assert torch.equal(IntegerTranslation("zero")(images, theta), Translation()(images, theta))


def test_shifts_are_rounded_halves_to_even():
    shift = IntegerTranslation()
    images = torch.rand(1, 1, 5, 7)
    given = torch.tensor([[0.5, 1.5], [-0.5, 2.5], [0.49, -1.51], [-2.5, 0.51]])
    whole = torch.tensor([[0.0, 2.0], [0.0, 2.0], [0.0, -2.0], [-2.0, 1.0]])
    assert torch.equal(shift(images, given), shift(images, whole))


def test_two_shifts_that_are_not_whole_need_not_add():
    shift = IntegerTranslation()
    images = torch.rand(1, 1, 5, 7)
    part = shift.theta(dx=0.4)
    twice = shift(shift(images, part), part)
    assert torch.equal(twice, images)
    assert not torch.equal(twice, shift(images, shift.compose(part, part)))


def test_all_shifts_of_a_cycle_are_different_and_then_repeat():
    image = torch.rand(1, 1, 5, 7)
    shift = IntegerTranslation()
    steps = torch.cartesian_prod(torch.arange(14.0), torch.arange(10.0))
    assert len(torch.unique(shift(image, steps).flatten(1), dim=0)) == 35


@pytest.mark.parametrize("padding", ["cyclic", "reflected", "zero"])
@pytest.mark.parametrize("far", [1e6, -3e9, 1e22, -1e26, 1e30])
def test_no_shift_is_too_far(padding, far):
    image = torch.rand(1, 1, 5, 7)
    shift = IntegerTranslation(padding)
    out = shift(image, torch.tensor([[far, 0.0]]))
    period = 14 if padding == "reflected" else 7
    near = 7.0 if padding == "zero" else int(torch.tensor(far).item()) % period
    assert torch.equal(out, shift(image, torch.tensor([[float(near), 0.0]])))


def test_what_is_not_finite_outside_stays_outside():
    image = torch.full((1, 1, 3, 3), torch.inf)
    out = IntegerTranslation("zero")(image, torch.tensor([[3.0, 0.0], [2.0, 0.0]]))
    assert out[0].tolist() == [[[0.0] * 3] * 3]
    assert out[1, 0, 0].tolist() == [0.0, 0.0, torch.inf]


def test_other_paddings_are_refused():
    with pytest.raises(InputError, match="cyclic, reflected, zero, but got 'mirror'"):
        IntegerTranslation("mirror")
