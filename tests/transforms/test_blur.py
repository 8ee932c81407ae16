"""Gaussian blur: the laws, matrix exponentials, and what the sampled kernel does not keep."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.stats import skellam
from torchvision.transforms.v2 import functional as vision

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import GaussianBlur, SampledGaussianBlur
from lightning_smooth.transforms.blur import heat_matrix, sampled_gaussian
from tests.transforms.laws import TransformLaws


class TestReflectingBlur(TransformLaws):
    sizes = ((5, 7), (8, 8), (1, 3), (2, 1))

    def make(self):
        return GaussianBlur()


class TestCyclicBlur(TransformLaws):
    sizes = ((5, 7), (8, 8), (1, 3), (2, 1))

    def make(self):
        return GaussianBlur(ends="cyclic")


class TestWideBlur(TransformLaws):
    """Of images wide enough for products in blocks."""

    channels = 2
    sizes = ((130, 4), (5, 150))

    def make(self):
        return GaussianBlur()


class TestSampledBlur(TransformLaws):
    sizes = ((5, 7), (8, 8))

    def make(self):
        return SampledGaussianBlur(7)


class TestWideSampledBlur(TransformLaws):
    sizes = ((5, 100),)

    def make(self):
        return SampledGaussianBlur(5)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def second_difference(n, ends):
    matrix = np.zeros((n, n))
    for i in range(n):
        for neighbour in (i - 1, i + 1):
            kept = neighbour % n if ends == "cyclic" else min(max(neighbour, 0), n - 1)
            matrix[i, kept] += 1
            matrix[i, i] -= 1
    return matrix


def random_images(*shape, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("ends", ["reflecting", "cyclic"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 28])
@pytest.mark.parametrize("variance", [0.0, 1e-9, 0.3, 4.0, 200.0])
def test_each_axis_is_the_matrix_exponential(n, ends, variance):
    matrix = heat_matrix(double(variance), n, ends=ends)[0].numpy()
    expected = expm(variance / 2 * second_difference(n, ends))
    np.testing.assert_allclose(matrix, expected, atol=1e-13, rtol=0)


@pytest.mark.parametrize("ends", ["reflecting", "cyclic"])
@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (150, 20), (7, 140)])
def test_images_are_blurred_along_both_axes(shape, ends):
    images, theta = random_images(3, 2, *shape), double(0.2, 3.0, 1.0)[:, None]
    for few in (slice(None), slice(1)):
        out = GaussianBlur(ends=ends)(images[few], theta).numpy()
        for i, variance in enumerate(theta[:, 0].tolist()):
            rows, columns = (expm(variance / 2 * second_difference(n, ends)) for n in shape)
            expected = rows @ images[i if len(images[few]) > 1 else 0].numpy() @ columns.T
            np.testing.assert_allclose(out[i], expected, atol=1e-13, rtol=0)


@pytest.mark.parametrize("variance", [0.01, 0.5, 4.0, 30.0])
def test_a_point_spreads_by_the_variance_and_keeps_its_mass(variance):
    point = torch.zeros(1, 1, 121, 131, dtype=torch.float64)
    point[0, 0, 60, 65] = 1
    out = GaussianBlur()(point, double(variance)[:, None])[0, 0].numpy()
    assert out.sum() == pytest.approx(1, abs=1e-12)
    for axis, middle in ((0, 60), (1, 65)):
        along = out.sum(axis=1 - axis)
        offset = np.arange(len(along)) - middle
        assert along @ offset == pytest.approx(0, abs=1e-10)
        assert along @ offset**2 == pytest.approx(variance, rel=1e-9)
        # Steps to either side come as independent Poisson counts of half the variance each.
        pmf = skellam.pmf(offset, variance / 2, variance / 2)
        np.testing.assert_allclose(along, pmf, atol=1e-12)


@pytest.mark.parametrize("ends", ["reflecting", "cyclic"])
def test_rows_have_mass_one_and_nothing_negative(ends):
    variance = double(0.0, 1e-3, 0.5, 4.0, 1e3, 1e6)
    for n in (1, 2, 5, 28):
        matrix = heat_matrix(variance, n, ends=ends)
        torch.testing.assert_close(matrix.sum(2), torch.ones(6, n).double(), atol=1e-13, rtol=0)
        assert float(matrix.min()) >= -1e-16
        torch.testing.assert_close(matrix, matrix.mT, atol=1e-15, rtol=0)
        # In the end everything is everywhere.
        assert float((matrix[-1] - 1 / n).abs().max()) <= 1e-13


@pytest.mark.parametrize("size", [28, 100])
def test_float32_keeps_the_range_up_to_rounding(size):
    images = random_images(6, 1, size, size, dtype=torch.float32).round()
    out = GaussianBlur()(images, torch.tensor([0.0, 0.1, 0.5, 1.0, 4.0, 50.0])[:, None])
    assert -1e-7 <= float(out.min()) <= float(out.max()) <= 1 + 1e-6


def test_cyclic_blur_commutes_with_cyclic_shifts_and_reflecting_blur_does_not():
    images, theta = random_images(1, 1, 9, 10), double(1.5)[:, None]
    for ends, apart in (("cyclic", False), ("reflecting", True)):
        blur = GaussianBlur(ends=ends)
        one, other = (blur(x, theta) for x in (images, images.roll((2, 3), (2, 3))))
        assert (float((one.roll((2, 3), (2, 3)) - other).abs().max()) > 1e-3) == apart


def test_float32_composes_to_its_rounding_on_wide_images():
    images, blur = random_images(2, 3, 224, 224, dtype=torch.float32), GaussianBlur()
    first, second = torch.tensor([[0.3], [4.0]]), torch.tensor([[2.5], [1.0]])
    twice, once = blur(blur(images, first), second), blur(images, first + second)
    torch.testing.assert_close(twice, once, atol=1e-6, rtol=0)


def test_a_first_use_without_gradients_does_not_spoil_later_ones():
    with torch.inference_mode():
        GaussianBlur()(random_images(1, 1, 19, 23), double(1.0)[:, None])
        SampledGaussianBlur(3)(random_images(1, 1, 19, 23), double(1.0)[:, None])
    for blur in (GaussianBlur(), SampledGaussianBlur(3)):
        theta = double(1.0)[:, None].requires_grad_()
        blur(random_images(1, 1, 19, 23), theta).square().sum().backward()
        assert float(theta.grad) < 0


def test_the_gradient_at_no_blur_is_half_the_second_difference():
    images, theta = random_images(1, 1, 5, 6), torch.zeros(1, 1, dtype=torch.float64)
    weights = random_images(5, 6)
    theta.requires_grad_()
    (GaussianBlur()(images, theta)[0, 0] * weights).sum().backward()
    rows, columns = (torch.from_numpy(second_difference(n, "reflecting")) for n in (5, 6))
    heat = (rows @ images[0, 0] + images[0, 0] @ columns) / 2
    assert float(theta.grad) == pytest.approx(float((heat * weights).sum()))


@pytest.mark.parametrize(
    ("size", "shape"), [(1, (4, 4)), (3, (2, 9)), (5, (3, 3)), (9, (28, 31)), (9, (5, 224))]
)
def test_the_sampled_kernel_is_that_of_torchvision(size, shape):
    images, variance = random_images(3, 2, *shape), [0.2, 1.7, 6.0]
    out = SampledGaussianBlur(size)(images, double(*variance)[:, None])
    for image, blurred, a in zip(images, out, variance, strict=True):
        expected = vision.gaussian_blur(image, [size, size], [a**0.5] * 2)
        torch.testing.assert_close(blurred, expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("first", "second", "residual"), [(0.1, 0.2, 0.25), (0.3, 0.3, 0.10), (1.3, 0.9, 4e-5)]
)
def test_sampled_kernels_do_not_add(first, second, residual):
    def kernel(variance, size):
        return sampled_gaussian(double(variance), size)[0].numpy()

    twice = np.convolve(kernel(first, 61), kernel(second, 61))
    apart = np.abs(twice - kernel(first + second, 121)).sum()
    assert apart == pytest.approx(residual, rel=0.03 if residual > 0.01 else 0.2)
    heat = heat_matrix(double(first, second, first + second), 61, ends="reflecting")
    assert float((heat[0] @ heat[1] - heat[2]).abs().sum(1).max()) <= 1e-12


def test_a_kernel_larger_than_the_image_is_refused():
    for shape in ((4, 9), (9, 4)):
        with pytest.raises(InputError, match=r"more than 4 rows.*SampledGaussianBlur\(size=9\)"):
            SampledGaussianBlur(9)(torch.rand(1, 1, *shape), torch.ones(1, 1))
    SampledGaussianBlur(9)(torch.rand(1, 1, 5, 5), torch.ones(1, 1))


def test_settings_are_checked():
    with pytest.raises(InputError, match=r"`ends`.*'mirror'"):
        GaussianBlur(ends="mirror")
    for size in (0, 4, 2.5):
        with pytest.raises(InputError, match="`size`"):
            SampledGaussianBlur(size)


def test_autocast_does_not_reach_what_has_to_compose():
    image = torch.rand(1, 1, 28, 28)
    with torch.autocast("cpu", torch.bfloat16):
        twice = GaussianBlur()(GaussianBlur()(image, torch.tensor([[1.0]])), torch.tensor([[2.0]]))
        once = GaussianBlur()(image, torch.tensor([[3.0]]))
    assert once.dtype == torch.float32
    assert torch.allclose(once, twice, atol=1e-6)
