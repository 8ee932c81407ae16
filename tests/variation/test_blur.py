"""Gaussian blur, sampled Gaussian blur and defocus."""

from lightning_smooth.transforms import DefocusBlur, GaussianBlur, SampledGaussianBlur

from .laws import VariationLaws


class TestGaussianBlur(VariationLaws):
    ranges = (("variance", 0.0, 4.0),)

    def make(self):
        return GaussianBlur()


class TestCyclicGaussianBlur(VariationLaws):
    ranges = (("variance", 0.5, 2.0),)

    def make(self):
        return GaussianBlur(ends="cyclic")


class TestSampledGaussianBlur(VariationLaws):
    ranges = (("variance", 0.0, 4.0),)

    def make(self):
        return SampledGaussianBlur(size=9)


class TestDefocusBlur(VariationLaws):
    ranges = (("radius", 0.0, 4.2),)
    straight = True

    def make(self):
        return DefocusBlur()
