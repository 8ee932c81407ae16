"""DeepG's forms: dense sampling, closed forms, hulls by brute force, and how tight they are."""

import itertools
import math

import pytest
import torch
from torchvision.datasets import MNIST

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.boxes import swept_boxes
from lightning_smooth.interpolation.intervals import interval_images
from lightning_smooth.transforms import Rotation, Scaling, Shear, Translation
from lightning_smooth.verify.linear import LinearEnclosure
from lightning_smooth.verify.linear_paths import gradients
from lightning_smooth.verify.linear_slopes import plane_below, slope_below
from tests.interpolation.cases import TRANSFORMS, boxes_of
from tests.verify.enclosed import check_enclosed, check_scores, evaluated, gap, hard_images
from tests.verify.networks import network

DOUBLE = {"dtype": torch.float64}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def columns(*values):
    return torch.tensor(values, **DOUBLE).reshape(len(values), -1)


def smooth_image(size=28):
    """A sum of waves, several pixels long."""
    x = torch.arange(size, **DOUBLE)
    return (0.5 + 0.25 * (x / 4).sin() + 0.25 * (x[:, None] / 5 + x / 9).cos())[None]


def interval_gap(transform, image, low, high):
    boxes = swept_boxes(transform, low, high, height=image.shape[1], width=image.shape[2])
    least, greatest = interval_images(image, image, boxes)
    return (greatest - least).flatten(1).mean(dim=1)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("width", [0.0, 1e-6, 0.1, 2.0, 30.0])
@pytest.mark.parametrize("size", [(8, 8), (5, 9)])
def test_no_image_leaves_its_forms(name, width, size):
    low, high = boxes_of(name, width, 5, seeded(3))
    for parts, image in itertools.product((1, 5), hard_images(*size).values()):
        check_enclosed(LinearEnclosure(TRANSFORMS[name], parts=parts), image - 0.1, low, high)


@pytest.mark.parametrize("width", [0.0, 1e-6, 1.0, 45.0, 400.0])
def test_quarter_turns_and_angles_far_away(width):
    low = columns(-90.0, 0.0, 90.0, 180.0, 360.0, 7650.0, -99990.0) - width / 3
    for image in hard_images().values():
        check_enclosed(LinearEnclosure(Rotation()), image, low, low + width)


def test_shifts_along_one_axis_past_the_border_and_of_many_pixels():
    low = torch.tensor([[-1.0, 0.5], [0.0, 0.0], [-9.5, 2.0], [7.3, -3.0], [-1e5, 1.0]], **DOUBLE)
    away = torch.tensor([[2.0, 0.0], [0.0, 1.5], [4.5, 6.0], [0.0, 0.0], [2e5, 0.0]], **DOUBLE)
    for size in ((8, 8), (5, 9)):
        for image in hard_images(*size).values():
            check_enclosed(LinearEnclosure(Translation()), image, low, low + away)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_scans_of_digits_stay_within_narrow_forms(name, real_mnist):
    image = MNIST(str(real_mnist), train=False).data[4][None].double() / 255
    width = 0.2 if name == "translation" else 1.0
    low, high = boxes_of(name, width, 3, seeded())
    forms = check_enclosed(LinearEnclosure(TRANSFORMS[name]), image, low, high, count=15)
    assert float((gap(forms) / interval_gap(TRANSFORMS[name], image, low, high)).max()) < 0.25


def test_forms_of_smooth_images_are_narrow():
    """Measured: .004, .007 and .007 of the interval image's width; the bounds leave some room."""
    image = smooth_image()
    for transform, width, most in (
        (Rotation(), 1.0, 0.01), (Scaling(), 0.01, 0.02), (Translation(), 0.2, 0.02),
    ):  # fmt: skip
        low = transform.identity()[None] + columns(0.02, 0.05, 0.17)
        forms = LinearEnclosure(transform).regions(image, low, low + width)
        assert float((gap(forms) / interval_gap(transform, image, low, low + width)).max()) < most
        assert forms.within is not None
        widths = (forms.within[1] - forms.within[0]).flatten(1).mean(dim=1)
        assert bool((widths <= 1.001 * interval_gap(transform, image, low, low + width)).all())


def test_more_parts_are_tighter():
    image, low = smooth_image(16), columns(-10.0, 3.0)
    gaps = [
        gap(LinearEnclosure(Rotation(), parts).regions(image, low, low + 4)).mean()
        for parts in (1, 2, 4, 16)
    ]
    assert all(one > two for one, two in itertools.pairwise(gaps))


def test_a_ramp_that_slides_is_known_exactly():
    """x - dx times .1 along a row, where both samples are in the image: a form without a gap."""
    ramp = (0.1 * torch.arange(8, **DOUBLE)).expand(1, 8, 8).contiguous()
    low, high = torch.tensor([[0.2, 0.0]], **DOUBLE), torch.tensor([[0.9, 0.0]], **DOUBLE)
    forms = LinearEnclosure(Translation()).regions(ramp, low, high)
    inner = slice(1, 7)
    for slope in (forms.low_a, forms.up_a):
        torch.testing.assert_close(
            slope[0, 0, 0, :, inner], torch.full((8, 6), -0.1, **DOUBLE), atol=1e-9, rtol=0
        )
    for theta in (low, high):
        for value in evaluated(forms, theta):
            wanted = ramp - 0.1 * theta[0, 0]
            torch.testing.assert_close(value[0, ..., inner], wanted[..., inner], atol=1e-5, rtol=0)


def test_a_point_is_an_image():
    image = hard_images()["noise"]
    for transform in (Rotation(), Translation()):
        at = 7.25 + transform.identity()[None]
        forms = LinearEnclosure(transform).regions(image, at, at)
        made = transform(image[None], at)
        assert float((forms.pixels.upper - forms.pixels.lower).max()) < 1e-4
        torch.testing.assert_close(forms.pixels.lower, made, atol=1e-4, rtol=0)


def test_a_batch_of_boxes_is_its_boxes_one_by_one():
    image = hard_images()["noise"]
    for name, transform in TRANSFORMS.items():
        low, high = boxes_of(name, 1.5, 40, seeded(5))
        whole = LinearEnclosure(transform).regions(image, low, high)
        for k in (0, 17, 39):
            one = LinearEnclosure(transform).regions(image, low[[k]], high[[k]])
            # Of a translation, boxes with more whole shifts change others' slopes, not extremes.
            torch.testing.assert_close(whole.pixels.lower[[k]], one.pixels.lower)
            rough = 0.1 if name == "translation" else 1e-9
            torch.testing.assert_close(gap(whole)[[k]], gap(one), rtol=rough, atol=1e-12)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_networks_stay_within_the_bounds_of_forms(name):
    model, image = network("small"), hard_images()["digit"]
    width = {"rotation": 1.0, "scaling": 0.2, "translation": 0.05}[name]
    low, high = boxes_of(name, width, 3, seeded(2))
    found = check_scores(model, LinearEnclosure(TRANSFORMS[name]), image, low, high)
    assert bool((found.upper > found.lower).all())


def test_slopes_below_are_edges_of_the_hull():
    generator = seeded(1)
    places = torch.linspace(-1, 1, 7, **DOUBLE)[:, None]
    values = torch.rand(7, 200, generator=generator, **DOUBLE)
    slope = slope_below(places, values)
    height = (values - slope * places).amin(dim=0)
    tried = torch.linspace(-20, 20, 4001, **DOUBLE)[:, None, None]
    best = (values - tried * places).amin(dim=1).amax(dim=0)
    assert bool((height >= best - 1e-12).all())
    assert slope_below(places[:1], values[:1]).tolist() == [0.0] * 200


def test_planes_below_are_nearly_the_highest():
    generator = seeded(1)
    x, y = torch.tensor([-1.0, 0.2, 1.0], **DOUBLE)[:, None], torch.tensor([-1.0, 1.0], **DOUBLE)
    values = torch.rand(3, 2, 100, generator=generator, **DOUBLE)
    first, second = plane_below(x, y[:, None], values)
    rest = values - first * x[:, None] - second * y[None, :, None]
    tried = torch.linspace(-1.5, 1.5, 61, **DOUBLE)
    a, b = (t.reshape(-1, 1, 1, 1) for t in torch.cartesian_prod(tried, tried).T)
    best = (values - a * x[:, None] - b * y[None, :, None]).amin(dim=(1, 2)).amax(dim=0)
    lost = best - rest.amin(dim=(0, 1))
    assert float(lost.mean()) < 0.02
    assert float(lost.max()) < 0.2


def test_gradients_are_those_of_all_cells_touched():
    generator = seeded(4)
    image = hard_images(5, 6)["noise"]
    boxes = swept_boxes(Rotation(), columns(3.0), columns(12.0), height=5, width=6)
    found = gradients(image, boxes)
    step = 1e-7
    padded = torch.nn.functional.pad(image, (3, 3, 3, 3))

    def at(x, y):
        left, top = math.floor(x), math.floor(y)
        fx, fy = x - left, y - top
        one, two = padded[:, top + 3, left + 3 : left + 5], padded[:, top + 4, left + 3 : left + 5]
        return ((1 - fy) * one + fy * two) @ torch.tensor([1 - fx, fx], **DOUBLE)

    for row, column in itertools.product(range(5), range(6)):
        ends = [
            float(e[0, row, column]) for e in (boxes.x_low, boxes.x_high, boxes.y_low, boxes.y_high)
        ]
        for share in torch.rand(20, 2, generator=generator, **DOUBLE).tolist():
            x = min(max(ends[0] + share[0] * (ends[1] - ends[0]), -1.9), 6.9)
            y = min(max(ends[2] + share[1] * (ends[3] - ends[2]), -1.9), 5.9)
            along_x, along_y = (
                (at(x + step, y) - at(x, y)) / step,
                (at(x, y + step) - at(x, y)) / step,
            )
            for value, bounds in ((along_x, found.x), (along_y, found.y)):
                assert bool((bounds.lower[0, :, row, column] <= value + 1e-5).all())
                assert bool((value - 1e-5 <= bounds.upper[0, :, row, column]).all())


def test_mistakes_are_told():
    image, low = torch.rand(1, 6, 6, **DOUBLE), columns(0.0)
    with pytest.raises(InputError, match=r"one of Rotation, Scaling, Translation"):
        LinearEnclosure(Shear())
    with pytest.raises(InputError, match="parts"):
        LinearEnclosure(Rotation(), parts=0)
    enclosure = LinearEnclosure(Rotation())
    assert enclosure.describe() == {"parts": enclosure.parts}
    with pytest.raises(InputError, match=r"`image` of shape \(C, H, W\)"):
        enclosure.regions(image[None], low, low)
    with pytest.raises(InputError, match="finite numbers"):
        enclosure.regions(image * math.nan, low, low)
    with pytest.raises(InputError, match="upside down"):
        enclosure.regions(image, low + 1, low)
    with pytest.raises(InputError, match="theta"):
        enclosure.regions(image, low.expand(-1, 2), low.expand(-1, 2))
    with pytest.raises(InputError, match="scale"):
        LinearEnclosure(Scaling()).regions(image, low, low + 1)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("scale", [1e-46, 1e-44, 1e-41])
def test_no_image_of_tiny_numbers_leaves_its_forms(name, scale):
    for width in (0.0, 0.1):
        low, high = boxes_of(name, width, 4, seeded(2))
        low = torch.cat([low, TRANSFORMS[name].identity()[None]])
        high = torch.cat([high, TRANSFORMS[name].identity()[None] + width])
        for image in hard_images().values():
            check_enclosed(LinearEnclosure(TRANSFORMS[name]), scale * image, low, high)


def test_a_transformation_derived_from_a_known_one_is_refused():
    class Turned(Rotation):
        """A subclass may do anything."""

    with pytest.raises(InputError, match="one of Rotation"):
        LinearEnclosure(Turned())
