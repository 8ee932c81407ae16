"""Interval images over boxes of parameters: nothing leaves them, and they are not too large."""

import math

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import (
    Brightness,
    BrightnessContrast,
    Contrast,
    Hue,
    Rotation,
    Scaling,
    Translation,
)
from lightning_smooth.verify import IntervalEnclosure, ParameterForms, PixelBox, interval
from lightning_smooth.verify.interval import as_stored

BOXES = {
    Rotation: [(-5, 5), (0, 1), (89, 91), (90, 90), (90, 90 + 1e-6), (-180, -180), (12.3, 12.3),
                 (12.3, 12.3 + 1e-6), (270, 271), (-30, -29.7), (0.1, 0.2)],
    Scaling: [(0.7, 1.3), (1, 1), (1, 1 + 1e-6), (1e-3, 2e-3), (0.5, 0.51), (2, 2.1)],
    Translation: [((-1, 0), (1, 0)), ((0, 0), (0, 0)), ((1, -2), (1, -2)), ((0.3, 0.1), (0.4, 2)),
                    ((-9, -9), (-8.9, -8.9)), ((1, 1), (1 + 1e-6, 1 + 1e-6))],
    Brightness: [(-0.4, 0.4), (0, 0), (0.1, 0.1), (-3, -2.5)],
    Contrast: [(-0.4, 0.4), (0, 0), (0.1, 0.1), (5, 5.1), (-60, -59)],
    BrightnessContrast: [((-0.4, -0.4), (0.4, 0.4)), ((0.1, 0.2), (0.1, 0.2)),
                           ((-2, 1), (-0.3, 1.5)), ((-0.5, -2), (0.5, 2))],
}  # fmt: skip


def ends(boxes):
    low, high = (torch.tensor([b[k] for b in boxes], dtype=torch.float64) for k in (0, 1))
    return (low[:, None], high[:, None]) if low.ndim == 1 else (low, high)


def pictures(height=7, width=7):
    generator = torch.Generator().manual_seed(3)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    spot = torch.zeros(1, height, width, dtype=torch.float64)
    spot[0, 1, 2] = 1
    return {
        "random": torch.rand(2, height, width, generator=generator, dtype=torch.float64),
        "board": ((rows + columns) % 2).double()[None],
        "spot": spot,
        "white": torch.ones(1, height, width, dtype=torch.float64),
        "third": torch.full((1, height, width), 1 / 3, dtype=torch.float64),
    }


def samples(low, high, count=200):
    """(count, P) parameters of a box: its ends and corners, and others."""
    generator = torch.Generator().manual_seed(1)
    share = torch.rand(count, len(low), generator=generator, dtype=torch.float64)
    share[:2], share[2, ::2], share[2, 1::2] = torch.tensor([[0.0], [1.0]]), 0, 1
    return torch.lerp(low, high, share).clamp(low, high)


@pytest.mark.parametrize("kind", BOXES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(7, 7), (6, 9)])
def test_no_image_of_a_box_leaves_it(kind, dtype, size):
    transform, (low, high) = kind(), ends(BOXES[kind])
    for image in pictures(*size).values():
        found = IntervalEnclosure(transform).regions(image, low, high)
        assert found.low.dtype == torch.float64
        for place, box in enumerate(zip(low, high, strict=True)):
            made = transform(image[None].to(dtype), samples(*box)).double()
            assert bool((made >= found.low[place]).all())
            assert bool((made <= found.high[place]).all())


@pytest.mark.parametrize("kind", [Brightness, Contrast, BrightnessContrast])
def test_brightness_and_contrast_are_exact(kind):
    transform, image = kind(), pictures()["random"]
    low, high = ends(BOXES[kind])
    found = IntervalEnclosure(transform).regions(image, low, high)
    for place, (least, most) in enumerate(zip(low, high, strict=True)):
        # monotone: the corners have the extremes
        corners = torch.cartesian_prod(*torch.stack([least, most], dim=1)).reshape(-1, len(least))
        made = transform(image[None], corners)
        size = float(made.abs().amax())
        assert torch.allclose(found.low[place], made.amin(dim=0), rtol=0, atol=1e-4 * size)
        assert torch.allclose(found.high[place], made.amax(dim=0), rtol=0, atol=1e-4 * size)


def test_a_shift_along_an_axis_is_exact():
    image, (low, high) = pictures()["random"], ends([((-0.3, 0), (1.6, 0))])
    found = IntervalEnclosure(Translation()).regions(image, low, high)
    steps = torch.linspace(-0.3, 1.6, 1901, dtype=torch.float64)
    made = Translation()(image[None], torch.stack([steps, torch.zeros_like(steps)], dim=1))
    assert torch.allclose(found.low[0], made.amin(dim=0), rtol=0, atol=1e-4)
    assert torch.allclose(found.high[0], made.amax(dim=0), rtol=0, atol=1e-4)


def test_boxes_of_points_are_found_once_for_all_images(monkeypatch):
    asked = []

    def counted(transform, low, high, **size):
        asked.append(len(low))
        return interval_boxes(transform, low, high, **size)

    interval_boxes = interval.swept_boxes
    monkeypatch.setattr(interval, "swept_boxes", counted)
    enclosure, images = IntervalEnclosure(Rotation()), [*pictures().values()]
    low, high = ends([(0, 1), (1, 2), (2, 3)])
    first = enclosure.regions(images[0], low, high)
    enclosure.regions(images[1], low[1:], high[1:])
    again = enclosure.regions(images[0], low.flip(0), high.flip(0))
    assert asked == [3]
    assert torch.equal(again.low.flip(0), first.low)
    enclosure.regions(images[2], *ends([(2, 3), (3, 4)]))
    assert asked == [3, 1]
    wide = torch.rand(1, 7, 8, dtype=torch.float64)
    assert enclosure.regions(wide, low, high).low.shape == (3, 1, 7, 8)  # another size is others


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(interval, "_KEPT", 4 * 49 * 3)
    enclosure, image = IntervalEnclosure(Rotation()), pictures()["random"]
    low = torch.arange(10, dtype=torch.float64)[:, None]
    fresh = IntervalEnclosure(Rotation())
    for rows in (slice(0, 10), slice(5, 10), slice(0, 2)):
        found = enclosure.regions(image, low[rows], low[rows] + 1)
        assert len(enclosure._swept) == 3
        expected = fresh.regions(image, low[rows], low[rows] + 1)
        assert torch.equal(found.low, expected.low)
        assert torch.equal(found.high, expected.high)


@pytest.mark.parametrize("kind", [Rotation, Scaling, Translation])
def test_images_that_are_stored_stay_within(kind):
    transform, (low, high) = kind(), ends(BOXES[kind])
    for name, image in pictures().items():
        found = IntervalEnclosure(transform).regions(image, low, high)
        byte, single = as_stored(found, "uint8"), as_stored(found, "float32")
        assert as_stored(found, "exact") is found
        for place, box in enumerate(zip(low, high, strict=True)):
            made = transform(image[None], samples(*box))
            for dtype in (torch.float32, torch.float64):
                steps = (made.to(dtype) * 255).round().clamp(0, 255).to(torch.uint8)
                for shown in (steps.to(dtype) / 255, steps.to(dtype).mul(1 / 255)):
                    assert bool((shown.double() >= byte.low[place]).all()), name
                    assert bool((shown.double() <= byte.high[place]).all()), name
            assert bool((made.float().double() >= single.low[place]).all())
            assert bool((made.float().double() <= single.high[place]).all())
        steps = 255 * byte.low + 0.01  # bounds are whole steps: black stays black
        assert float((steps - steps.round()).abs().max()) < 0.02


def test_stored_forms_hold_half_a_step_more():
    slopes, zero = torch.ones(1, 1, 1, 2, 2).double(), torch.zeros(1, 1, 2, 2).double()
    box = torch.tensor([[[0.0, 1.0]]], dtype=torch.float64)
    forms = ParameterForms(slopes, zero, slopes, zero, box, within=(zero, zero + 1))
    found = as_stored(forms, "uint8")
    for p in torch.linspace(0, 1, 997, dtype=torch.float64):
        shown = float((255 * p).round() / 255)
        assert float((p + found.low_b).max()) <= shown <= float((p + found.up_b).min())
    assert float(found.up_b.max()) == pytest.approx(0.5 / 255, rel=1e-3)
    assert float(found.pixels.upper.max()) == pytest.approx(1, abs=1e-6)
    single = as_stored(forms, "float32")
    assert 0 < float(single.up_b.max()) < 1e-7
    assert isinstance(as_stored(PixelBox(zero, zero), "uint8"), PixelBox)


def test_mistakes_are_named():
    with pytest.raises(InputError, match="Rotation, Scaling, Translation, Brightness, Contrast"):
        IntervalEnclosure(Hue())
    image = pictures()["random"]
    with pytest.raises(InputError, match="upside down"):
        IntervalEnclosure(Rotation()).regions(image, *ends([(1, 0)]))
    with pytest.raises(InputError, match="within 64"):
        IntervalEnclosure(Contrast()).regions(image, *ends([(0, 65)]))
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        IntervalEnclosure(Rotation()).regions(2 * image, *ends([(0, 1)]))
    assert math.isfinite(IntervalEnclosure(Contrast()).regions(image, *ends([(0, 64)])).high.max())


@pytest.mark.parametrize("kind", [Rotation, Scaling, Translation])
@pytest.mark.parametrize("scale", [1e-46, 1e-44, 1e-41])
def test_no_image_of_tiny_numbers_leaves_its_box(kind, scale):
    transform, (low, high) = kind(), ends(BOXES[kind])
    identity = transform.identity()[None]
    for image in pictures().values():
        image = scale * image
        found = IntervalEnclosure(transform).regions(
            image, torch.cat([low, identity]), torch.cat([high, identity])
        )
        for place, box in enumerate([*zip(low, high, strict=True), (identity[0], identity[0])]):
            made = transform(image[None].float(), samples(*box)).double()
            assert bool((made >= found.low[place]).all())
            assert bool((made <= found.high[place]).all())


def test_a_transformation_derived_from_a_known_one_is_refused():
    class Turned(Rotation):
        """A subclass may do anything."""

    with pytest.raises(InputError, match="Rotation, Scaling, Translation"):
        IntervalEnclosure(Turned())
