"""Pixelate and whole translations: finitely many images."""

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import IntegerTranslation, Pixelate
from lightning_smooth.variation import vary

from .laws import VariationLaws


class TestPixelate(VariationLaws):
    ranges = (("strength", 0.0, 0.6),)
    straight = True
    finite = True

    def make(self):
        return Pixelate()


class TestPixelateFromTheMiddle(TestPixelate):
    ranges = (("strength", 0.25, 0.97),)


class TestIntegerTranslation(VariationLaws):
    ranges = (("dx", -3.0, 2.0),)
    straight = True
    finite = True

    def make(self):
        return IntegerTranslation("zero")


class TestIntegerTranslations(TestIntegerTranslation):
    ranges = (("dx", -3.0, 2.0), ("dy", -2.0, 1.0))

    def make(self):
        return IntegerTranslation("reflected")


def test_each_level_is_a_cell():
    cells = vary(Pixelate(), torch.rand(1, 4, 4), {"strength": (0.1, 0.75)}, stored="exact")
    assert cells.low[:, 0].tolist() == [0.1, 0.25, 0.5]
    assert cells.high[:, 0].tolist() == [0.25, 0.5, 0.75]
    assert cells.corners.tolist() == [[0, 0], [1, 1], [2, 2]]


def test_ranges_hold_all_that_is_rounded_into_them():
    image = torch.rand(1, 5, 5)
    cells = vary(IntegerTranslation(), image, {"dx": (-0.5, 1.6)}, stored="exact")
    assert cells.low[:, 0].tolist() == [-0.5, 0.5, 1.5]
    assert cells.high[:, 0].tolist() == [0.5, 1.5, 1.6]
    for shown, right in zip(cells.images, (0, 1, 2), strict=True):
        assert torch.equal(shown, image[0].double().roll(right, dims=1)[None])


def test_a_range_of_too_many_images_is_refused():
    with pytest.raises(InputError, match="a million"):
        vary(IntegerTranslation(), torch.rand(1, 5, 5), {"dx": (-1e7, 1e7)})
