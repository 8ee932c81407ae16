"""Two transformations, one after the other."""

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import (
    Brightness,
    Commuting,
    Compose,
    Contrast,
    DefocusBlur,
    GaussianBlur,
    Hue,
    Occlusion,
    Pixelate,
    Rotation,
    RotationalBlur,
    SampledGaussianBlur,
    Saturation,
    Scaling,
    Translation,
)
from lightning_smooth.variation import has_bound, vary

from .laws import VariationLaws
from .pictures import pictures


class TwoLaws(VariationLaws):
    cells = 3
    sharp = 0.2
    shrinks = 0.6


class TestRotationThenScaling(TwoLaws):
    ranges = (("angle", -12.0, 20.0), ("scale", 0.8, 1.2))

    def make(self):
        return Compose([Rotation(), Scaling()])


class TestBrightnessThenRotation(TwoLaws):
    sharp = 0.65
    ranges = (("angle", -12.0, 20.0), ("brightness", -0.5, 0.6))

    def make(self):
        return Compose([Brightness(), Rotation()])


class TestBlurThenContrast(TwoLaws):
    ranges = (("variance", 0.0, 2.0), ("contrast", 0.0, 1.5))

    def make(self):
        return Commuting([GaussianBlur(), Contrast()])


class TestHueThenSaturation(TwoLaws):
    sharp = 0.7
    ranges = (("hue", -40.0, 80.0), ("saturation", -0.5, 0.5))
    channels = 3

    def make(self):
        return Compose([Hue(), Saturation()])


class TestTranslationThenSampledBlur(TwoLaws):
    ranges = (("dy", -1.5, 1.5), ("variance", 0.2, 1.0))

    def make(self):
        return Compose([Translation(), SampledGaussianBlur(5)])


class TestRotationThenDefocus(TwoLaws):
    sharp = 0.65
    ranges = (("angle", 3.0, 20.0), ("radius", 0.4, 1.4))

    def make(self):
        return Compose([Rotation(), Brightness(), DefocusBlur(2.0)])


class TestBlurThenRotationalBlur(TwoLaws):
    ranges = (("variance", 0.0, 1.0), ("angle", 0.0, 12.0))

    def make(self):
        return Compose([Compose([GaussianBlur()]), RotationalBlur(samples=3)])


class TestScalingThenPixelate(TwoLaws):
    sharp = 0.9
    ranges = (("scale", 0.8, 1.2), ("strength", 0.0, 0.5))
    finite = True

    def make(self):
        return Compose([Scaling(), Pixelate()])


def test_one_of_several_is_as_if_it_were_alone():
    image = pictures()["digit"]
    alone = vary(Scaling(), image, {"scale": (0.9, 1.2)})
    for chain in ([Rotation(), Scaling()], [Scaling(), GaussianBlur()]):
        cells = vary(Compose(chain), image, {"scale": (0.9, 1.2)})
        assert torch.equal(cells.low, alone.low)
        assert torch.equal(cells.stray, alone.stray)
        torch.testing.assert_close(cells.images, alone.images, atol=1e-12, rtol=0)


def test_hue_comes_first():
    image = pictures(3)["noise"]
    chain = Compose([Brightness(), Hue()])
    box = {"brightness": (0.0, 0.1), "hue": (0.0, 10.0)}
    with pytest.raises(InputError, match=r"affine.*Hue\(\) is not: apply it first"):
        vary(chain, image, box)
    assert len(vary(chain, image, {"hue": (0.0, 10.0)}).low) >= 16


def test_a_part_without_a_bound_may_stay_at_its_identity():
    chain = Compose([Occlusion(), Rotation()])
    image = pictures()["digit"]
    assert not has_bound(chain)
    assert len(vary(chain, image, {"angle": (0.0, 9.0)}).low)
    with pytest.raises(InputError, match=r"`side`.*Occlusion.*Brightness, BrightnessContrast"):
        vary(chain, image, {"side": (0.0, 5.0)})
