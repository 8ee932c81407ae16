"""Vignette and pre-blur: which pixels, which weights, and that they do what they are for."""

import math
import pickle

import numpy as np
import pytest
import torch
from scipy import ndimage

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import PreBlur, Rotation, Vignette

STEPS = [
    Vignette(),
    Vignette("rectangle", margin=1),
    Vignette(margin=0.7),
    PreBlur(),
    PreBlur(3, s=1),
]


def kept_by_a_loop(shape, margin, height, width):
    kept = np.zeros((height, width), bool)
    for i in range(height):
        for j in range(width):
            x, y = abs(j - (width - 1) / 2), abs(i - (height - 1) / 2)
            if shape == "circle":
                kept[i, j] = math.hypot(x, y) <= min(height, width) / 2 - margin
            else:
                kept[i, j] = x <= width / 2 - margin and y <= height / 2 - margin
    return kept


@pytest.mark.parametrize("shape", ["circle", "rectangle"])
@pytest.mark.parametrize("margin", [0, 0.3, 1, 2, 3.5])
@pytest.mark.parametrize("size", [(9, 9), (10, 10), (9, 14), (28, 28)])
def test_the_vignette_keeps_what_a_loop_keeps(shape, margin, size):
    kept = kept_by_a_loop(shape, margin, *size)
    vignette = Vignette(shape, margin=margin)
    assert np.array_equal(vignette.mask(*size).numpy(), kept)
    images = torch.rand(2, 3, *size)
    assert torch.equal(vignette(images), images * torch.from_numpy(kept))


@pytest.mark.parametrize("shape", ["circle", "rectangle"])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 2), (4, 7), (5, 5)])
def test_it_refuses_images_of_which_it_would_keep_nothing_and_no_others(shape, size):
    for margin in (0, 0.25, 0.5, 1, 1.2, 1.5, 2, 2.4, 2.5, 3):
        vignette, kept = Vignette(shape, margin=margin), kept_by_a_loop(shape, margin, *size)
        if kept.any():
            assert np.array_equal(vignette.mask(*size).numpy(), kept)
        else:
            with pytest.raises(InputError, match="keeps a pixel"):
                vignette.mask(*size)


def test_margins_are_those_published():
    circle, rectangle = Vignette(), Vignette("rectangle")
    assert (circle.margin, rectangle.margin) == (2, 4)
    inside = rectangle.mask(28, 32)
    assert inside[4:-4, 4:-4].all()
    assert int(inside.sum()) == 20 * 24
    assert int(Vignette().mask(28, 28).sum()) == 448
    assert (
        Vignette("circle", margin=2).mask(5, 5).int().tolist()
        == [[0] * 5] * 2 + [[0, 0, 1, 0, 0]] + [[0] * 5] * 2
    )


def test_no_black_enters_the_circle_through_two_rotations_and_its_margin_is_needed():
    white = torch.ones(1, 1, 28, 28, dtype=torch.float64)
    angles = torch.linspace(0, 90, 91, dtype=torch.float64)[:, None]
    for _ in range(2):
        white = Rotation()(white, angles)
    least = {m: float(white[:, :, Vignette(margin=m).mask(28, 28)].min()) for m in (2, 1)}
    assert least[2] == pytest.approx(1, abs=1e-12)
    assert least[1] < 0.99


def test_the_kernel_is_a_gaussian_of_mass_one():
    delta = torch.zeros(1, 1, 9, 11, dtype=torch.float64)
    delta[..., 4, 5] = 1
    for s in (1.0, 2.0):
        out = PreBlur(5, s=s)(delta)[0, 0]
        offsets = np.arange(-2, 3)
        kernel = np.exp(-(offsets[:, None] ** 2 + offsets**2) / s)
        np.testing.assert_allclose(out[2:7, 3:8].numpy(), kernel / kernel.sum(), atol=1e-15)
        assert float(out.sum()) == pytest.approx(1, abs=1e-14)
        assert int((out > 0).sum()) == 25


@pytest.mark.parametrize("size", [(5, 7), (28, 28), (5, 5)])
@pytest.mark.parametrize(("kernel", "s"), [(5, 2.0), (3, 1.0), (1, 0.5)])
def test_the_blur_is_what_scipy_gives(size, kernel, s):
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    offsets = np.arange(kernel) - kernel // 2
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / s)
    expected = ndimage.correlate(
        images.numpy(), (weights / weights.sum())[None, None], mode="constant"
    )
    np.testing.assert_allclose(PreBlur(kernel, s=s)(images).numpy(), expected, atol=1e-14)


def test_the_blur_reduces_the_error_of_two_rotations():
    generator = torch.Generator().manual_seed(0)
    image = (torch.rand(1, 1, 28, 28, generator=generator) > 0.5).double()
    turn, seen = Rotation(), Vignette()

    def error(first, second, last):
        twice = turn(turn(image, turn.theta([[second]])), turn.theta([[first]]))
        return float(last(seen(twice - turn(image, turn.theta([[first + second]])))).norm())

    for first, second in [(20.0, 13.0), (-41.0, 7.0), (5.0, 30.0)]:
        assert error(first, second, PreBlur()) < 0.4 * error(first, second, torch.nn.Identity())


@pytest.mark.parametrize("step", STEPS, ids=repr)
class TestBoth:
    def test_it_is_linear_and_not_negative(self, step):
        a, b = torch.rand(2, 4, 3, 9, 8, dtype=torch.float64)
        torch.testing.assert_close(step(2 * a - 3 * b), 2 * step(a) - 3 * step(b))
        low, high = step(a * b), step(a)
        assert (low <= high).all()
        assert high.min() >= 0
        assert high.max() <= 1

    def test_images_do_not_mix(self, step):
        images = torch.rand(4, 3, 9, 8, dtype=torch.float64)
        singles = torch.cat([step(image[None]) for image in images])
        torch.testing.assert_close(step(images), singles, atol=1e-15, rtol=0)
        channels = torch.cat([step(images[:, [c]]) for c in range(3)], dim=1)
        torch.testing.assert_close(step(images), channels, atol=1e-15, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_dtype_is_kept(self, step, dtype):
        images = torch.rand(2, 1, 9, 9).to(dtype)
        out = step(images)
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), step(images.double()), atol=1e-2, rtol=0)

    def test_gradients_are_derivatives(self, step):
        images = torch.rand(1, 1, 9, 8, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(step, (images,))

    def test_it_learns_nothing_stores_nothing_and_can_be_pickled(self, step):
        images = torch.rand(2, 1, 9, 9)
        assert step.state_dict() == {}
        assert not list(step.parameters())
        again = pickle.loads(pickle.dumps(step))
        assert torch.equal(again(images), step(images))
        assert repr(again) == repr(step)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(InputError, match=r"margin=2\) keeps a pixel, but got 3 x 9: reduce"):
        Vignette()(torch.rand(1, 1, 3, 9))
    with pytest.raises(InputError, match="reduce the margin"):
        Vignette("rectangle")(torch.rand(1, 1, 8, 40))
    with pytest.raises(InputError, match="kernel, 5 x 5, but got 4 x 9: choose a smaller"):
        PreBlur()(torch.rand(1, 1, 4, 9))


def test_settings_are_checked():
    with pytest.raises(InputError, match="circle or rectangle, but got 'square'"):
        Vignette("square")
    for margin in (-1, math.nan, math.inf):
        with pytest.raises(InputError, match="`margin`"):
            Vignette(margin=margin)
    with pytest.raises(InputError, match="`size` to be odd, but got 4"):
        PreBlur(4)
    with pytest.raises(InputError, match="`size` to be an integer of at least 1"):
        PreBlur(0)
    with pytest.raises(InputError, match="`s` to be a finite number above 0"):
        PreBlur(s=0.0)
