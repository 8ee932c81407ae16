"""Rotation, scaling, shear, translation, and means of rotations and of scalings."""

from lightning_smooth.transforms import (
    Rotation,
    RotationalBlur,
    Scaling,
    Shear,
    Translation,
    ZoomBlur,
)

from .laws import VariationLaws


class TestRotation(VariationLaws):
    ranges = (("angle", -20.0, 47.0),)
    sharp = 0.7

    def make(self):
        return Rotation()


class TestScaling(VariationLaws):
    ranges = (("scale", 0.6, 1.4),)
    sharp = 0.95

    def make(self):
        return Scaling()


class TestShear(VariationLaws):
    ranges = (("shear", -0.31, 0.28),)
    sharp = 0.9
    shrinks = 0.55

    def make(self):
        return Shear()


class TestTranslationRight(VariationLaws):
    ranges = (("dx", -2.3, 3.0),)
    straight = True

    def make(self):
        return Translation()


class TestTranslationDown(TestTranslationRight):
    ranges = (("dy", -2.5, 1.0),)


class TestTranslation(TestTranslationRight):
    ranges = (("dy", -1.5, 1.0), ("dx", 0.2, 2.1))
    cells = 3


class TestRotationalBlur(VariationLaws):
    ranges = (("angle", 0.0, 25.0),)
    sharp = 0.7

    def make(self):
        return RotationalBlur(samples=6)


class TestZoomBlur(VariationLaws):
    ranges = (("zoom", 0.0, 2.0),)
    sharp = 0.7

    def make(self):
        return ZoomBlur(samples=5)
