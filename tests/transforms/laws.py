"""Laws of every transformation: subclass `TransformLaws`, write `make`, and inherit them."""

import math
import pickle

import pytest
import torch
from torch.autograd import gradcheck

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import Transform

BATCH = 4


class TransformLaws:
    """What a test class inherits; `make` is required, the rest fits what is special about it.

    Attributes:
        channels: of the images.
        sizes: (height, width) of the images.
        exact: whether the identity changes no bit; else it may change 1e-6 of float32.
        flat: names of parameters in which it is piecewise constant, beside the whole ones.
        tolerance: of the composition law, in float64.
    """

    channels = 3
    sizes = ((5, 7), (8, 8))
    exact = True
    flat: tuple[str, ...] = ()
    tolerance = 1e-10

    def make(self) -> Transform:
        raise NotImplementedError

    def images(self, size=(5, 7), *, dtype=torch.float64, batch=BATCH, seed=0):
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, self.channels, *size)
        return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)

    def draw(self, transform, *, rows=BATCH, seed=1, dtype=torch.float64):
        """Parameters from their usual ranges, none of them special."""
        generator = torch.Generator().manual_seed(seed)
        low, high = torch.tensor([p.usual for p in transform.parameters], dtype=torch.float64).T
        share = torch.rand(rows, len(low), generator=generator, dtype=torch.float64)
        return (low + (high - low) * share).to(dtype)

    def test_parameters_say_what_they_are(self):
        transform = self.make()
        names = transform.names
        assert len(set(names)) == len(names) == len(transform.parameters) > 0
        assert all(p.name.isidentifier() and p.unit for p in transform.parameters)
        transform.check(transform.identity()[None])
        transform.check(torch.tensor([p.usual for p in transform.parameters]).T)
        assert all(p.usual[0] < p.usual[1] for p in transform.parameters)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_identity_changes_nothing(self, dtype):
        transform = self.make()
        for size in self.sizes:
            images = self.images(size, dtype=dtype)
            out = transform(images, transform.identity()[None])
            if self.exact:
                assert torch.equal(out, images)
            tolerance = 1e-6 if dtype == torch.float32 else 1e-12
            torch.testing.assert_close(out, images, atol=tolerance, rtol=0)

    def test_usual_parameters_change_something(self):
        transform = self.make()
        for size in self.sizes:
            images = self.images(size)
            assert not torch.allclose(transform(images, self.draw(transform)), images, atol=1e-3)

    def test_two_of_them_are_one_where_it_says_so(self):
        transform = self.make()
        first, second = self.draw(transform), self.draw(transform, seed=2)
        if transform.composition == "none":
            with pytest.raises(InputError, match="does not compose"):
                transform.compose(second, first)
            return
        # Of whole parameters, one of the two has to be whole already.
        whole = torch.tensor([p.whole for p in transform.parameters])
        second = torch.where(whole, second.round(), second)
        for a, b in [(first, second), (second, first)]:
            for size in self.sizes:
                images = self.images(size)
                twice = transform(transform(images, a), b)
                once = transform(images, transform.compose(b, a))
                torch.testing.assert_close(twice, once, atol=self.tolerance, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_a_batch_is_its_images_one_by_one(self, dtype):
        transform = self.make()
        theta = self.draw(transform)
        tolerance = 1e-6 if dtype == torch.float32 else 1e-12
        for size in self.sizes:
            images = self.images(size, dtype=dtype)
            singles = [transform(images[[i]], theta[[i]]) for i in range(BATCH)]
            batch = transform(images, theta)
            torch.testing.assert_close(batch, torch.cat(singles), atol=tolerance, rtol=0)

    def test_one_image_serves_many_parameters_and_one_parameter_many_images(self):
        transform = self.make()
        theta = self.draw(transform)
        for size in self.sizes:
            images = self.images(size)
            many = transform(images[:1].expand(BATCH, -1, -1, -1), theta)
            torch.testing.assert_close(transform(images[:1], theta), many, atol=1e-12, rtol=0)
            same = transform(images, theta[:1].expand(BATCH, -1))
            torch.testing.assert_close(transform(images, theta[:1]), same, atol=1e-12, rtol=0)

    def test_memory_format_does_not_matter(self):
        transform = self.make()
        theta = self.draw(transform)
        images = self.images()
        strided = images.contiguous(memory_format=torch.channels_last)
        for few in (slice(None), slice(1)):
            expected = transform(images[few], theta)
            out = transform(strided[few], theta)
            torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_dtype_and_shape_are_the_images_and_they_are_left_as_they_were(self, dtype):
        transform = self.make()
        for size in self.sizes:
            images = self.images(size, dtype=dtype)
            before = images.clone()
            for theta_dtype in (torch.float32, torch.float64):
                out = transform(images, self.draw(transform, dtype=theta_dtype))
                assert out.dtype == dtype
                assert out.shape == images.shape
            assert torch.equal(images, before)

    def test_gradients_are_derivatives(self):
        transform = self.make()
        images = self.images(batch=2).requires_grad_()
        theta = self.draw(transform, rows=2)
        smooth = torch.tensor([not (p.whole or p.name in self.flat) for p in transform.parameters])
        moving = theta[:, smooth].clone().requires_grad_()

        def function(images, moving):
            full = theta.clone()
            full[:, smooth] = moving
            return transform(images, full)

        assert gradcheck(function, (images, moving), fast_mode=True)
        one = images[:1].detach().requires_grad_()
        assert gradcheck(function, (one, moving), fast_mode=True)

    def test_no_gradient_goes_to_parameters_in_which_it_is_piecewise_constant(self):
        transform = self.make()
        flat = [p.whole or p.name in self.flat for p in transform.parameters]
        images = self.images().requires_grad_()
        theta = self.draw(transform).requires_grad_()
        out = transform(images, theta).square().sum()
        (gradient,) = torch.autograd.grad(out, [theta], allow_unused=True)
        gradient = torch.zeros_like(theta) if gradient is None else gradient
        assert [not bool(column.any()) for column in gradient.T] == flat

    def test_images_in_range_stay_there_or_it_says_so(self):
        transform = self.make()
        worst = 0.0
        for seed in range(20):
            images = self.images(batch=8, seed=seed)
            images = images.round() if seed % 2 else images
            out = transform(images, self.draw(transform, rows=8, seed=seed))
            worst = max(worst, -float(out.min()), float(out.max()) - 1)
        assert transform.keeps_range == (worst <= 1e-12)

    def test_it_can_be_pickled(self):
        transform = self.make()
        again = pickle.loads(pickle.dumps(transform))
        images, theta = self.images(), self.draw(transform)
        assert torch.equal(again(images, theta), transform(images, theta))
        assert repr(again) == repr(transform)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_parameters_are_finite(self, value):
        transform = self.make()
        for column, name in enumerate(transform.names):
            theta = self.draw(transform)
            theta[1, column] = value
            with pytest.raises(InputError, match=name):
                transform(self.images(), theta)

    def test_parameters_are_in_range(self):
        transform = self.make()
        for column, p in enumerate(transform.parameters):
            step = 1e-3 * (p.usual[1] - p.usual[0])
            outside = [p.low - step, p.high + step, *([p.low] if p.positive else [])]
            for value in filter(math.isfinite, outside):
                theta = self.draw(transform)
                theta[2, column] = value
                with pytest.raises(InputError, match=f"`{p.name}`.*{p.range}"):
                    transform(self.images(), theta)

    def test_parameters_that_the_images_dtype_cannot_hold_are_refused(self):
        transform = self.make()
        for column, p in enumerate(transform.parameters):
            if math.isinf(p.high):
                theta = self.draw(transform)
                theta[0, column] = 1e300
                with pytest.raises(InputError, match=p.name):
                    transform(self.images(dtype=torch.float32), theta)

    def test_shapes_and_types_are_checked(self):
        transform = self.make()
        images, theta = self.images(), self.draw(transform)
        with pytest.raises(InputError, match="floating point"):
            transform((images * 255).to(torch.uint8), theta)
        with pytest.raises(InputError, match="B, C, H, W"):
            transform(images[0], theta)
        with pytest.raises(InputError, match=r"4 rows of `theta`|rows and 3 images"):
            transform(images[:3], theta)
        for wrong in (theta[0], theta[:, :-1], torch.cat([theta, theta], 1)):
            with pytest.raises(InputError, match="Expected `theta`"):
                transform(images, wrong)

    def test_parameters_are_built_by_name(self):
        transform = self.make()
        for column, p in enumerate(transform.parameters):
            middle = sum(p.usual) / 2
            theta = transform.theta(**{p.name: [middle, middle]})
            expected = transform.identity().repeat(2, 1)
            expected[:, column] = middle
            assert torch.equal(theta, expected)
        with pytest.raises(InputError, match="no parameter 'nonsense'"):
            transform.theta(nonsense=1.0)
