"""Defocus and motion blur: the laws, kernels by brute force, and plain correlation."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate, map_coordinates

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import DefocusBlur, MotionBlur
from lightning_smooth.transforms.kernels import SAMPLES, disk, filtered, segment
from tests.transforms.laws import TransformLaws


class TestDefocusBlur(TransformLaws):
    sizes = ((5, 7), (8, 8), (1, 2))

    def make(self):
        return DefocusBlur(3.0)


class TestMotionBlur(TransformLaws):
    sizes = ((5, 7), (8, 8), (1, 2))

    def make(self):
        return MotionBlur(5.0)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def random_images(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_images_are_correlated_with_their_own_kernels():
    images, kernels = random_images(4, 3, 9, 6), random_images(4, 5, 5)
    for x, k in ((images, kernels), (images[:1], kernels), (images, kernels[:1])):
        out = filtered(x, k).numpy()
        for i in range(4):
            image, kernel = x[min(i, len(x) - 1)].numpy(), k[min(i, len(k) - 1)].numpy()
            expected = [correlate(channel, kernel, mode="nearest") for channel in image]
            np.testing.assert_allclose(out[i], expected, atol=1e-13)


@pytest.mark.parametrize("transform", [DefocusBlur(), MotionBlur()])
def test_no_images_are_no_error(transform):
    none = transform(random_images(0, 3, 9, 6), torch.zeros(0, len(transform.parameters)))
    assert none.shape == (0, 3, 9, 6)


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.5, 1.0, 2.7, 5.0])
def test_a_disk_is_what_the_rule_says(radius):
    kernel = disk(double(radius), 5)[0].numpy()
    rule = np.zeros((11, 11))
    for i in range(11):
        for j in range(11):
            rule[i, j] = min(max(radius + 0.5 - math.hypot(i - 5, j - 5), 0), 1)
    np.testing.assert_allclose(kernel, rule / rule.sum(), atol=1e-15)


@pytest.mark.parametrize("largest", [0.4, 0.5, 0.6, 2.5, 2.51, 5.0])
def test_the_largest_disk_fits_its_kernel_and_the_rim_is_not_empty(largest):
    point = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    point[0, 0, 7, 7] = 1
    out = DefocusBlur(largest)(point, double(largest)[:, None])[0, 0]
    expected = disk(double(largest), 7)[0]
    torch.testing.assert_close(out, expected, atol=1e-15, rtol=0)


def test_a_disks_mean_square_distance_is_half_the_squared_radius():
    radius = double(3.0, 8.0, 20.0)
    along = torch.arange(-21, 22).double()
    square = along[:, None] ** 2 + along**2
    spread = (disk(radius, 21) * square).sum((1, 2))
    # Of a disk r^2 / 2; the rim, one pixel wide, adds a little: 5/24 and terms in 1 / r.
    np.testing.assert_allclose(spread, radius**2 / 2 + 5 / 24, rtol=0.02)


@pytest.mark.parametrize("length", [0.0, 0.7, 3.0, 9.0])
@pytest.mark.parametrize("angle", [0.0, 27.0, 90.0, 133.0, -45.0])
def test_motion_is_the_mean_of_bilinear_samples_along_the_segment(length, angle):
    image = random_images(1, 1, 8, 9)
    out = MotionBlur()(image, double(length, angle)[None])[0, 0].numpy()
    i, j = np.mgrid[:8, :9].astype(float)
    turn, total = math.radians(angle), 0.0
    for sample in range(SAMPLES):
        t = length * ((sample + 0.5) / SAMPLES - 0.5)
        at = [i - t * math.sin(turn), j + t * math.cos(turn)]
        total = total + map_coordinates(image[0, 0].numpy(), at, order=1, mode="nearest")
    np.testing.assert_allclose(out, total / SAMPLES, atol=1e-12)


def test_angles_are_counter_clockwise_as_the_image_is_looked_at():
    kernel = segment(double(4.0), double(45.0), 2)[0]
    right_of_centre, above = (0, 3), (1, 3)
    assert float(kernel[above]) > 0.1  # up and to the right
    assert float(kernel[3, 3]) == 0  # not down and to the right
    assert float(kernel[right_of_centre]) < float(kernel[above])


def test_motion_is_the_same_after_half_a_turn():
    length, angle = double(1.0, 4.2, 9.0), double(-80.0, 10.0, 33.0)
    same = segment(length, angle + 180, 5)
    torch.testing.assert_close(segment(length, angle, 5), same, atol=1e-15, rtol=0)


def test_motion_spreads_along_its_direction_by_a_twelfth_of_the_squared_length():
    length, half = 8.0, 5
    along = torch.arange(-half, half + 1).double()
    for angle in (0.0, 90.0):
        kernel = segment(double(length), double(angle), half)[0]
        mass = kernel.sum(0) if angle == 0 else kernel.sum(1)
        # The segment's own variance, and that of bilinear weights: the mean of f (1 - f) is 1/6.
        assert float(mass @ along**2) == pytest.approx(length**2 / 12 + 1 / 6, abs=2e-3)
        across = kernel.sum(1) if angle == 0 else kernel.sum(0)
        assert float(across @ along**2) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_have_mass_one_and_nothing_negative(dtype):
    share = torch.linspace(0, 1, 41, dtype=dtype)
    for kernels in (disk(5 * share, 5), segment(9 * share, 400 * share, 5)):
        assert float(kernels.min()) >= 0
        ones = torch.ones(41, dtype=dtype)
        tolerance = 4 * torch.finfo(dtype).eps
        torch.testing.assert_close(kernels.sum((1, 2)), ones, atol=tolerance, rtol=0)
        assert torch.equal(
            kernels[0], torch.eye(11, dtype=dtype)[5].outer(torch.eye(11)[5].to(dtype))
        )


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf])
def test_settings_are_checked(value):
    with pytest.raises(InputError, match="max_radius"):
        DefocusBlur(value)
    with pytest.raises(InputError, match="max_length"):
        MotionBlur(value)


def test_parameters_end_where_the_kernel_does():
    with pytest.raises(InputError, match=r"`radius` of DefocusBlur.*at most 2 .*got 2\.5"):
        DefocusBlur(2)(random_images(1, 1, 9, 9), double(2.5)[None])
    with pytest.raises(InputError, match=r"`length` of MotionBlur.*at most 4 .*got 5"):
        MotionBlur(4)(random_images(1, 1, 9, 9), double(5.0, 0.0)[None])
