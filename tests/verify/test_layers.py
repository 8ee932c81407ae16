"""Transformations as layers: closed forms, dense sampling, and looser than DeepG where told."""

import math

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import (
    Brightness,
    BrightnessContrast,
    Contrast,
    GaussianBlur,
    Hue,
    Rotation,
    Saturation,
    Scaling,
    Translation,
)
from lightning_smooth.verify.layers import LayerEnclosure
from lightning_smooth.verify.linear import LinearEnclosure
from tests.interpolation.cases import TRANSFORMS, boxes_of
from tests.verify.enclosed import check_enclosed, check_scores, evaluated, gap, hard_images, thetas
from tests.verify.networks import network

DOUBLE = {"dtype": torch.float64}
GAINS = {"brightness": Brightness(), "contrast": Contrast(), "both": BrightnessContrast()}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def columns(*values):
    return torch.tensor(values, **DOUBLE).reshape(len(values), -1)


def colors():
    """Name -> image (3, H, W): random, primaries and mixtures of them, greys, and nearly grey."""
    drawn = torch.rand(3, 5, 6, generator=seeded(), **DOUBLE)
    axis = torch.tensor([0.0, 0.5, 1.0], **DOUBLE)
    primaries = torch.cartesian_prod(axis, axis, axis).T.reshape(3, 3, 9).contiguous()
    grey = torch.rand(1, 4, 4, generator=seeded(1), **DOUBLE).expand(3, -1, -1)
    nearly = grey + 1e-8 * torch.rand(3, 4, 4, generator=seeded(2), **DOUBLE)
    return {"random": drawn, "primaries": primaries, "grey": grey.clone(), "nearly": nearly}


def boxes_within(transform, width, count=5):
    """Boxes of `width` times the usual range of each parameter."""
    usual = torch.tensor([p.usual for p in transform.parameters], **DOUBLE)
    low = usual[:, 0] + torch.rand(count, len(usual), generator=seeded(4), **DOUBLE) * (
        usual[:, 1] - usual[:, 0]
    )
    return low, low + width * (usual[:, 1] - usual[:, 0])


@pytest.mark.parametrize("name", GAINS)
@pytest.mark.parametrize("width", [0.0, 1e-7, 0.1, 1.0, 5.0])
def test_no_image_leaves_the_forms_of_gains(name, width):
    low, high = boxes_within(GAINS[name], width)
    for image in hard_images().values():
        check_enclosed(LayerEnclosure(GAINS[name]), image, low, high)
        check_enclosed(LayerEnclosure(GAINS[name]), image - 0.5, low, high)


@pytest.mark.parametrize("transform", [Hue(), Saturation()], ids=["hue", "saturation"])
@pytest.mark.parametrize("width", [0.0, 1e-7, 0.05, 0.4, 1.9, 2.1, 7.0])
def test_no_image_leaves_the_forms_of_colors(transform, width):
    low, high = boxes_within(transform, width)
    for image in colors().values():
        check_enclosed(LayerEnclosure(transform), image, low, high)
        check_enclosed(LayerEnclosure(transform), image - 0.5, low, high)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("width", [0.0, 1e-6, 0.1, 2.0, 30.0])
@pytest.mark.parametrize("size", [(8, 8), (5, 9)])
def test_no_image_leaves_the_forms_of_sampling(name, width, size):
    low, high = boxes_of(name, width, 4, seeded(3))
    for image in hard_images(*size).values():
        check_enclosed(LayerEnclosure(TRANSFORMS[name]), image - 0.1, low, high)


@pytest.mark.parametrize("width", [0.0, 1e-6, 1.0, 45.0])
def test_quarter_turns_and_angles_far_away(width):
    low = columns(-90.0, 0.0, 90.0, 180.0, 7650.0, -99990.0) - width / 3
    for image in hard_images().values():
        check_enclosed(LayerEnclosure(Rotation()), image, low, low + width)


def test_brightness_is_exact():
    """Measured: 1.7e-6, the rounding of float32 from both sides; forms have the slope 1."""
    image, low = hard_images()["noise"], columns(-0.4, 0.0, 0.3)
    forms = LayerEnclosure(Brightness()).regions(image, low, low + 0.1)
    assert bool((forms.low_a == 1).all() & (forms.up_a == 1).all())
    assert 0 < float(gap(forms).max()) < 4e-6
    for theta in thetas(low, low + 0.1):
        for value in evaluated(forms, theta):
            wanted = image + theta[:, :, None, None]
            torch.testing.assert_close(value, wanted, rtol=0, atol=4e-6)


def test_contrast_lies_between_a_tangent_and_a_secant():
    """In the middle of k in [-h, h] a pixel x is between x and x cosh h."""
    image, half = torch.rand(1, 4, 4, generator=seeded(), **DOUBLE), 0.2
    forms = LayerEnclosure(Contrast()).regions(image, columns(-half), columns(half))
    low, high = evaluated(forms, columns(0.0))
    torch.testing.assert_close(low[0], image, rtol=0, atol=5e-6)
    torch.testing.assert_close(high[0], image * math.cosh(half), rtol=0, atol=5e-6)
    # Below 0 the two change places; a secant is exact at its ends.
    forms = LayerEnclosure(Contrast()).regions(-image, columns(-half), columns(half))
    for end in (-half, half):
        low, _ = evaluated(forms, columns(end))
        torch.testing.assert_close(low[0], -image * math.exp(end), rtol=0, atol=5e-6)


def test_both_are_mccormicks_and_each_alone_where_the_other_is_fixed():
    """Where b is in [-r, r] and g in [1/m, m], the product costs at most r (m - 1/m)."""
    image = torch.rand(1, 4, 4, generator=seeded(), **DOUBLE)
    enclosure = LayerEnclosure(BrightnessContrast())
    low, high = columns(0.0, 0.0).T, columns(0.1, 0.0).T
    assert float(gap(enclosure.regions(image, low, high)).max()) < 6e-6
    low, high = torch.tensor([[0.05, -0.2]], **DOUBLE), torch.tensor([[0.05, 0.2]], **DOUBLE)
    alone = LayerEnclosure(Contrast()).regions(image + 0.05, low[:, 1:], high[:, 1:])
    torch.testing.assert_close(
        gap(enclosure.regions(image, low, high)), gap(alone), rtol=0, atol=5e-6
    )
    low, high = torch.tensor([[-0.1, -0.2]], **DOUBLE), torch.tensor([[0.1, 0.2]], **DOUBLE)
    forms = enclosure.regions(image, low, high)
    least, greatest = evaluated(forms, torch.zeros(1, 2, **DOUBLE))
    curved = (image + 0.1) * (math.cosh(0.2) - 1)
    away = 0.1 * (math.exp(0.2) - math.exp(-0.2))
    assert bool((greatest - least <= curved + away + 1e-5).all())


def test_saturation_of_grey_is_nothing_and_hue_is_linear_within_a_sector():
    grey = colors()["grey"]
    forms = LayerEnclosure(Saturation()).regions(grey, columns(-0.7), columns(0.7))
    assert float(gap(forms).max()) < 1e-5
    forms = LayerEnclosure(Hue()).regions(grey, columns(-90.0), columns(90.0))
    assert float(gap(forms).max()) < 2e-5
    red = torch.tensor([1.0, 0.0, 0.0], **DOUBLE).reshape(3, 1, 1)
    forms = LayerEnclosure(Hue()).regions(red, columns(0.0), columns(60.0))
    # Green grows to 1 as red turns to yellow.
    assert float(gap(forms).max()) < 2e-5
    torch.testing.assert_close(
        forms.low_a[0, 0, :, 0, 0], torch.tensor([0.0, 1 / 60, 0.0], **DOUBLE), atol=1e-6, rtol=0
    )


def test_hue_over_a_corner_is_a_hull():
    """Green of red over [0, 120]: t / 60, then 1; the hull's gap in the middle is 1/2."""
    red = torch.tensor([1.0, 0.0, 0.0], **DOUBLE).reshape(3, 1, 1)
    forms = LayerEnclosure(Hue()).regions(red, columns(0.0), columns(120.0))
    low, high = evaluated(forms, columns(60.0))
    assert float(high[0, 1]) == pytest.approx(1.0, abs=2e-5)
    assert float(low[0, 1]) == pytest.approx(0.5, abs=2e-5)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_layers_are_looser_than_values_but_tell_small_boxes(name):
    image = hard_images()["noise"]
    width = {"rotation": 1.0, "scaling": 0.1, "translation": 0.1}[name]
    low, high = boxes_of(name, width, 8, seeded(6))
    layers = LayerEnclosure(TRANSFORMS[name]).regions(image, low, high)
    values = LinearEnclosure(TRANSFORMS[name]).regions(image, low, high)
    assert layers.within is not None
    interval = (layers.within[1] - layers.within[0]).flatten(1).mean(dim=1)
    assert float(gap(values).mean()) < 0.7 * float(gap(layers).mean())
    assert float(gap(layers).mean()) < 0.9 * float(interval.mean())


@pytest.mark.parametrize("transform", [BrightnessContrast(), Rotation(), Scaling(), Translation()])
def test_networks_stay_within_the_bounds_of_forms(transform):
    low, high = boxes_within(transform, 0.01, 3)
    check_scores(network("small"), LayerEnclosure(transform), hard_images()["digit"], low, high)


@pytest.mark.parametrize("transform", [Hue(), Saturation()])
def test_networks_of_colors_stay_within_the_bounds_of_forms(transform):
    image = torch.rand(3, 8, 8, generator=seeded(3), **DOUBLE)
    low, high = boxes_within(transform, 0.02, 3)
    check_scores(network("resnet"), LayerEnclosure(transform), image, low, high)


def test_mistakes_are_told():
    with pytest.raises(InputError, match=r"one of Brightness, .*Hue, Rotation.*GaussianBlur"):
        LayerEnclosure(GaussianBlur())
    grey, low = torch.rand(1, 4, 4, **DOUBLE), columns(0.0)
    with pytest.raises(InputError, match="3 channels"):
        LayerEnclosure(Hue()).regions(grey, low, low)
    with pytest.raises(InputError, match="3 channels"):
        LayerEnclosure(Saturation()).regions(grey, low, low)
    with pytest.raises(InputError, match=r"`image` of shape"):
        LayerEnclosure(Brightness()).regions(grey[0], low, low)
    with pytest.raises(InputError, match="upside down"):
        LayerEnclosure(Brightness()).regions(grey, low + 1, low)
    with pytest.raises(InputError, match="finite"):
        LayerEnclosure(Contrast()).regions(grey, low, low + 1e4)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("scale", [1e-46, 1e-44, 1e-41])
def test_no_image_of_tiny_numbers_leaves_the_forms_of_sampling(name, scale):
    low, high = boxes_of(name, 0.1, 4, seeded(2))
    for image in hard_images().values():
        check_enclosed(LayerEnclosure(TRANSFORMS[name]), scale * image, low, high)


def test_a_transformation_derived_from_a_known_one_is_refused():
    class Clipped(Brightness):
        def _apply(self, images, theta):
            return super()._apply(images, theta).clamp(0, 1)

    with pytest.raises(InputError, match="one of Brightness"):
        LayerEnclosure(Clipped())
