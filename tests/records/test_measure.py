"""What a radius measures, in words; radii of different measures are never put side by side."""

import pytest

from lightning_smooth.certify import BaseSPTCertifier, CoverCertifier, ResolvableCertifier
from lightning_smooth.maths.laws import ExponentialLaw, GaussianLaw
from lightning_smooth.records.measure import measure
from lightning_smooth.transforms import (
    BrightnessContrast,
    GaussianBlur,
    IntegerTranslation,
    Rotation,
)

SHIFTS = dict.fromkeys(("dx", "dy"), GaussianLaw(2.0))
PAIR = dict.fromkeys(("brightness", "contrast"), GaussianLaw(0.2))
ROTATION = BaseSPTCertifier(Rotation(), {"angle": GaussianLaw(30.0)})
BLUR = ResolvableCertifier(GaussianBlur(), {"variance": ExponentialLaw(2.0)})
SHIFT = ResolvableCertifier(IntegerTranslation(), SHIFTS)
BOX = ResolvableCertifier(
    BrightnessContrast(), PAIR, {"brightness": (-0.2, 0.2), "contrast": (-0.1, 0.25)}
)
COVER = CoverCertifier(Rotation(), {"angle": (-30.0, 20.0)}, 0.5)


def words(certifier):
    return measure(getattr(certifier, "radius_unit", "box"), certifier.describe())


@pytest.mark.parametrize(
    ("unit", "axis", "below"),
    [
        ("l2", "ℓ₂ radius, pixels in [0, 1]", "change of ℓ₂ norm below 0.5"),
        ("l1", "ℓ₁ radius, pixels in [0, 1]", "change of ℓ₁ norm below 0.5"),
        ("linf", "ℓ∞ radius, pixels in [0, 1]", "change of ℓ∞ norm below 0.5"),  # noqa: RUF001
    ],
)
def test_norms_of_pixels(unit, axis, below):
    found = measure(unit, {"method": "gaussian", "sigma": 0.5})
    assert (found.unit, found.axis, found.below("0.5")) == (unit, axis, below)


@pytest.mark.parametrize(
    ("certifier", "axis", "below"),
    [
        (ROTATION, "angle, degrees", "Rotation() of an angle below 7 degrees"),
        (
            BLUR,
            "variance, pixels²",
            "GaussianBlur(ends='reflecting') of a variance below 7 pixels²",
        ),
        (
            SHIFT,
            "ℓ₂ norm of (dx, dy), whole pixels",
            "IntegerTranslation(padding='cyclic') of (dx, dy) of ℓ₂ norm below 7 whole pixels",
        ),
        (
            BOX,
            "multiple of the box: brightness ±0.2, contrast -0.1 to 0.25",
            "BrightnessContrast() within 7 times the box (brightness ±0.2, contrast -0.1 to 0.25)",
        ),
        (
            COVER,
            "part of the range: angle -30 to 20",
            "Rotation() within 7 times the range (angle -30 to 20)",
        ),
    ],
)
def test_transformations(certifier, axis, below):
    found = words(certifier)
    assert (found.axis, found.below("7")) == (axis, below)


def test_different_sets_of_attacks_are_different_measures():
    axes = {words(certifier).axis for certifier in (ROTATION, BLUR, SHIFT, BOX)}
    wider = ResolvableCertifier(BrightnessContrast(), PAIR, {"brightness": (-0.2, 0.2)})
    one = ResolvableCertifier(IntegerTranslation(), {"dx": GaussianLaw(2.0)})
    axes |= {words(wider).axis, words(one).axis, measure("l2", {}).axis}
    assert len(axes) == 7


def test_one_axis_may_be_of_two_transformations():
    cyclic = ResolvableCertifier(GaussianBlur(ends="cyclic"), {"variance": ExponentialLaw(2.0)})
    assert words(cyclic).axis == words(BLUR).axis
    assert words(cyclic) != words(BLUR)


def test_all_of_a_range_is_no_multiple_of_it():
    assert words(COVER).below("1") == "Rotation() within the range (angle -30 to 20)"
    assert words(BOX).below("1").startswith("BrightnessContrast() within 1 times the box")
    assert (words(COVER).words, words(BOX).words) == ("times the range", "times the box")
    assert (words(COVER).of_range, words(BOX).of_range) == (True, False)


def test_the_noise_does_not_change_the_measure():
    wide = ResolvableCertifier(GaussianBlur(), {"variance": ExponentialLaw(9.0)})
    assert words(wide) == words(BLUR)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"laws": 3, "target": "box", "transform": None},
        {"target": {"box": 3}},
        {"target": {"box": {"dx": 5}}},
        {"target": {"box": {"dx": ["low", "high"]}}},
        {"target": {"box": {"dx": [None, 1]}}},
        {"target": {"box": {"dx": [0, 1, 2]}}},
    ],
)
@pytest.mark.parametrize("unit", ["box", "degrees"])
def test_settings_that_are_missing_or_wrong_still_give_words(unit, settings):
    found = measure(unit, settings)
    assert found.unit == unit
    assert "below 2" in found.below("2") or "within 2" in found.below("2")
