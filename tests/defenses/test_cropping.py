"""Crops beside interpolate's, and where they lie; axis weights."""

import pytest
import torch
from torch.nn import functional

from lightning_smooth.defenses import CropRescale
from lightning_smooth.defenses.interpolation import axis_weights, shown
from lightning_smooth.errors import InputError


@pytest.mark.parametrize(("size", "part"), [(5, (5, 5)), (0.5, (6, 4)), (0.01, (1, 1))])
def test_a_crop_is_one_of_those_that_interpolate_makes(size, part):
    torch.manual_seed(0)
    image = torch.rand(1, 2, 11, 8, dtype=torch.float64)
    rows, columns = 11 - part[0] + 1, 8 - part[1] + 1
    crops = torch.cat(
        [
            functional.interpolate(
                image[:, :, y : y + part[0], x : x + part[1]], (11, 8), mode="bilinear"
            )
            for y in range(rows)
            for x in range(columns)
        ]
    )
    out = CropRescale(size)(image.expand(60 * len(crops), -1, -1, -1))
    apart = torch.cdist(
        out.flatten(1), crops.flatten(1), compute_mode="donot_use_mm_for_euclid_dist"
    )
    assert apart.amin(dim=1).max() < 1e-12
    counts = apart.argmin(dim=1).bincount(minlength=len(crops))
    # uniform over all places: 60 of each, give or take 8
    assert counts.min() > 60 - 5 * 60**0.5
    assert counts.max() < 60 + 5 * 60**0.5


def test_all_of_an_image_is_the_image():
    images = torch.rand(3, 1, 9, 7)
    assert torch.equal(CropRescale(1.0)(images), images)


def test_one_pixel_fills_the_image():
    images = torch.rand(3, 1, 9, 7)
    out = CropRescale(1)(images)
    assert torch.equal(out, out[..., :1, :1].expand_as(out))


def test_too_large_a_part_is_refused():
    with pytest.raises(InputError, match="got 9 of 8 pixels"):
        CropRescale(9)(torch.rand(1, 1, 8, 8))


@pytest.mark.parametrize(("before", "after"), [(7, 12), (12, 7), (28, 28), (1, 5)])
def test_weights_of_a_whole_axis_are_interpolates(before, after):
    image = torch.rand(1, 1, before, 3, dtype=torch.float64)
    places = (torch.arange(after, dtype=torch.float64) + 0.5) * before / after
    rows = axis_weights(places[None], torch.tensor([0]), torch.tensor([before - 1]), before)
    assert torch.equal(rows.sum(dim=2), torch.ones(1, after, dtype=torch.float64))
    expected = functional.interpolate(image, (after, 3), mode="bilinear")
    torch.testing.assert_close(shown(image, rows, torch.eye(3)[None]), expected)
