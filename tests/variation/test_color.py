"""Brightness, contrast, saturation and hue."""

from lightning_smooth.transforms import Brightness, BrightnessContrast, Contrast, Hue, Saturation

from .laws import VariationLaws


class TestBrightness(VariationLaws):
    ranges = (("brightness", -0.4, 0.3),)
    straight = True

    def make(self):
        return Brightness()


class TestContrast(VariationLaws):
    ranges = (("contrast", -0.4, 0.7),)
    straight = True

    def make(self):
        return Contrast()


class TestBrightnessContrast(VariationLaws):
    ranges = (("contrast", -0.4, 0.7), ("brightness", -0.2, 0.3))
    cells = 3
    straight = True

    def make(self):
        return BrightnessContrast()


class TestSaturation(VariationLaws):
    ranges = (("saturation", -0.7, 0.7),)
    channels = 3
    straight = True

    def make(self):
        return Saturation()


class TestHue(VariationLaws):
    ranges = (("hue", -200.0, 100.0),)
    sharp = 0.9
    channels = 3

    def make(self):
        return Hue()
