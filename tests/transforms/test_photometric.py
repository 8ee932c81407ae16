"""Brightness and contrast: the laws, closed forms, and the order of the two."""

import math

import pytest
import torch

from lightning_smooth.transforms import Brightness, BrightnessContrast, Contrast, LevelBrightness
from tests.transforms.laws import TransformLaws


class TestBrightness(TransformLaws):
    channels = 1

    def make(self):
        return Brightness()


class TestContrast(TransformLaws):
    def make(self):
        return Contrast()


class TestLevelBrightness(TransformLaws):
    def make(self):
        return LevelBrightness()


def test_levels_are_those_of_bytes():
    levels = torch.arange(256, dtype=torch.float64)
    images = (levels / 255).view(1, 1, 16, 16)
    for step in (-300, -1, 0, 7, 255):
        shown = LevelBrightness()(images, torch.tensor([[float(step)]]))
        assert torch.equal((shown * 255).round().flatten(), (levels + step).clamp(0, 255))


class TestBrightnessContrast(TransformLaws):
    def make(self):
        return BrightnessContrast()


def pixels(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1)


def test_brightness_adds_and_does_not_clip():
    out = Brightness()(pixels(0.0, 0.5, 1.0), torch.tensor([[0.25], [-0.75]]))
    assert out.flatten(1).tolist() == [[0.25, 0.75, 1.25], [-0.75, -0.25, 0.25]]


def test_contrast_is_a_gain_about_zero():
    out = Contrast()(pixels(-1.0, 0.0, 0.5), torch.tensor([[math.log(3)]], dtype=torch.float64))
    torch.testing.assert_close(out, pixels(-3.0, 0.0, 1.5))


def test_brightness_comes_before_contrast():
    theta = torch.tensor([[0.5, math.log(2)]], dtype=torch.float64)
    torch.testing.assert_close(BrightnessContrast()(pixels(0.0, 1.0), theta), pixels(1.0, 3.0))
    shifted = Brightness()(pixels(0.0, 1.0), theta[:, :1])
    torch.testing.assert_close(Contrast()(shifted, theta[:, 1:]), pixels(1.0, 3.0))


def test_composition_is_the_closed_form_and_not_a_sum():
    first, second = torch.tensor([[0.1, 0.7]]).double(), torch.tensor([[0.3, -0.2]]).double()
    both = BrightnessContrast().compose(second, first)
    assert both.tolist()[0] == pytest.approx([0.1 + 0.3 * math.exp(-0.7), 0.5])
    # e^k2 (e^k1 (x + b1) + b2) at x = 2
    at_two = math.exp(-0.2) * (math.exp(0.7) * 2.1 + 0.3)
    assert float(BrightnessContrast()(pixels(2.0), both)) == pytest.approx(at_two)


def test_gradients_are_the_closed_forms():
    images = pixels(0.2, 0.8).requires_grad_()
    theta = torch.tensor([[0.1, 0.3]], dtype=torch.float64, requires_grad=True)
    BrightnessContrast()(images, theta).sum().backward()
    gain = math.exp(0.3)
    assert images.grad.flatten().tolist() == pytest.approx([gain, gain])
    assert theta.grad[0].tolist() == pytest.approx([2 * gain, gain * 1.2])
