"""Chains that compose: the laws, every allowed pair commutes, and those refused do not."""

from itertools import permutations

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import (
    Brightness,
    BrightnessContrast,
    Commuting,
    Compose,
    Contrast,
    GaussianBlur,
    IntegerTranslation,
    Rotation,
    SampledGaussianBlur,
    Saturation,
)
from tests.transforms.laws import TransformLaws

CYCLIC, REFLECTING = GaussianBlur(ends="cyclic"), GaussianBlur()
SHIFT, AFFINE = IntegerTranslation(), BrightnessContrast()


class TestBlurAndShift(TransformLaws):
    def make(self):
        return Commuting([CYCLIC, SHIFT])


class TestBlurAndContrast(TransformLaws):
    def make(self):
        return Commuting([Contrast(), REFLECTING])


class TestShiftAndBrightness(TransformLaws):
    def make(self):
        return Commuting([SHIFT, Brightness()])


class TestAll(TransformLaws):
    def make(self):
        return Commuting([CYCLIC, SHIFT, AFFINE])


class TestAllInAnotherOrder(TransformLaws):
    def make(self):
        return Commuting([AFFINE, SHIFT, CYCLIC])


ALLOWED = [
    (one, pointwise)
    for one in (CYCLIC, REFLECTING, SHIFT)
    for pointwise in (Brightness(), Contrast(), AFFINE)
] + [(CYCLIC, SHIFT)]
WIDE = {
    "variance": (0.2, 3.0),
    "dx": (-5.0, 5.0),
    "dy": (-5.0, 5.0),
    "brightness": (-0.8, 0.8),
    "contrast": (-0.8, 0.8),
    "angle": (20.0, 60.0),
    "saturation": (0.1, 0.9),
}


def draw(transform, seed):
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor([WIDE[name] for name in transform.names], dtype=torch.float64).T
    return low + (high - low) * torch.rand(8, len(low), generator=generator, dtype=torch.float64)


def apart(one, other):
    """By how much the order of two transformations matters, at most."""
    images = torch.rand(8, 3, 6, 7, generator=torch.Generator().manual_seed(0)).double()
    a, b = draw(one, 1), draw(other, 2)
    return float((other(one(images, a), b) - one(other(images, b), a)).abs().max())


@pytest.mark.parametrize("pair", ALLOWED, ids=str)
def test_what_is_allowed_commutes(pair):
    for one, other in permutations(pair):
        assert apart(one, other) < 1e-13
        chain = Commuting([one, other])
        assert chain.names == one.names + other.names


@pytest.mark.parametrize(
    "pair",
    [
        (REFLECTING, SHIFT),
        (Brightness(), Contrast()),
        (Brightness(), AFFINE),
        (Contrast(), AFFINE),
        (IntegerTranslation("zero"), Brightness()),
        (IntegerTranslation("zero"), CYCLIC),
        (IntegerTranslation("reflected"), CYCLIC),
        (Rotation(), Brightness()),
        (Rotation(), SHIFT),
    ],
    ids=str,
)
def test_what_does_not_commute_is_refused(pair):
    assert apart(*pair) > 1e-3
    for order in permutations(pair):
        with pytest.raises(InputError, match="Expected transformations that commute"):
            Commuting(order)


@pytest.mark.parametrize(
    "transforms",
    [
        [SampledGaussianBlur(), Brightness()],  # commutes, and is no chain that composes
        [IntegerTranslation("reflected"), Contrast()],
        [Saturation(), CYCLIC],
        [CYCLIC, GaussianBlur(ends="cyclic")],
        [SHIFT, IntegerTranslation()],
        [REFLECTING, AFFINE, SHIFT],
        [CYCLIC, SHIFT, Brightness(), Contrast()],
        [Commuting([CYCLIC, SHIFT]), AFFINE],
        [Compose([CYCLIC, SHIFT]), AFFINE],
    ],
    ids=str,
)
def test_what_is_not_known_to_compose_is_refused(transforms):
    with pytest.raises(InputError, match="or are not known to"):
        Commuting(transforms)


@pytest.mark.parametrize("alone", [Rotation(), IntegerTranslation("zero"), CYCLIC])
def test_one_alone_is_no_chain(alone):
    # It would hide that the one does not compose.
    with pytest.raises(InputError, match="Expected two or more transformations"):
        Commuting([alone])


def test_a_variant_that_no_longer_composes_is_refused():
    class Clipped(Brightness):
        composition = "none"

        def _apply(self, images, theta):
            return super()._apply(images, theta).clamp(0, 1)

    with pytest.raises(InputError, match="Expected transformations that compose"):
        Commuting([CYCLIC, Clipped()])


def test_no_more_is_promised_than_each_of_them_holds():
    assert Commuting([CYCLIC, SHIFT]).composition == "additive"
    assert Commuting([CYCLIC, Brightness()]).composition == "additive"
    assert Commuting([CYCLIC, SHIFT, AFFINE]).composition == "resolvable"
    assert Commuting([CYCLIC, SHIFT]).coupled is None
    assert Commuting([AFFINE, SHIFT]).coupled == ("brightness", "contrast")
    assert Compose([CYCLIC, SHIFT]).composition == "none"


def test_brightness_after_a_gain_counts_for_less():
    chain = Commuting([CYCLIC, AFFINE])
    first = chain.theta(variance=0.5, brightness=0.1, contrast=0.7)
    second = chain.theta(variance=0.25, brightness=0.2, contrast=-0.3)
    shift = 0.1 + 0.2 * torch.exp(torch.tensor(-0.7)).double()
    expected = torch.tensor([[0.75, float(shift), 0.4]]).double()
    torch.testing.assert_close(chain.compose(second, first), expected, atol=1e-7, rtol=0)


def test_repr_says_what_is_in_it():
    assert repr(Commuting([CYCLIC, SHIFT])) == (
        "Commuting([GaussianBlur(ends='cyclic'), IntegerTranslation(padding='cyclic')])"
    )
