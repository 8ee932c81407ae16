"""Compositions: laws, the order, names, and what is derived from the parts."""

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import (
    Compose,
    IntegerTranslation,
    Parameter,
    Pixelate,
    Rotation,
    RotationalBlur,
    Scaling,
    Shear,
    Transform,
    Translation,
)

from .laws import TransformLaws


class Add(Transform):
    """Leaves the range of images."""

    parameters = (Parameter(name="add", unit="values"),)
    keeps_range = False

    def _apply(self, images, theta):
        return images + theta[:, :, None, None]


class TestGeometric(TransformLaws):
    def make(self):
        return Compose([Rotation(), Scaling(), Translation()])


class TestWithWholeShifts(TransformLaws):
    def make(self):
        return Compose([IntegerTranslation("reflected"), Shear()])


class TestWithPixelate(TransformLaws):
    flat = ("strength",)

    def make(self):
        return Compose([Rotation(), Pixelate(), Rotation()])


class TestOutOfRange(TransformLaws):
    def make(self):
        return Compose([Add(), Rotation()])


class TestNested(TransformLaws):
    def make(self):
        return Compose([Compose([Rotation(), Shear()]), Compose([Rotation()])])


def test_the_first_comes_first():
    picture = torch.arange(1.0, 10).view(1, 1, 3, 3)
    turn_then_move = Compose([Rotation(), Translation()])
    move_then_turn = Compose([Translation(), Rotation()])
    out = turn_then_move(picture, torch.tensor([[90.0, 1.0, 0.0]]))
    assert out[0, 0].tolist() == [[0, 3, 6], [0, 2, 5], [0, 1, 4]]
    out = move_then_turn(picture, torch.tensor([[1.0, 0.0, 90.0]]))
    assert out[0, 0].tolist() == [[2, 5, 8], [1, 4, 7], [0, 0, 0]]


def test_it_is_its_parts_in_turn():
    parts = [Rotation(), Scaling(), IntegerTranslation(), Pixelate()]
    theta = torch.tensor([[10.0, 1.2, 1.0, -2.0, 0.3], [-33.0, 0.8, 0.0, 3.0, 0.1]])
    images = expected = torch.rand(2, 3, 8, 9)
    for part, columns in zip(parts, theta.split([1, 1, 2, 1], dim=1), strict=True):
        expected = part(expected, columns)
    assert torch.equal(Compose(parts)(images, theta), expected)


def test_names_stay_where_they_differ_and_say_whose_they_are_where_not():
    assert Compose([Rotation(), Translation()]).names == ("angle", "dx", "dy")
    both = Compose([Rotation(), RotationalBlur(), Scaling()])
    assert both.names == ("rotation_angle", "rotationalblur_angle", "scale")
    twice = Compose([Rotation(), Shear(), Rotation()])
    assert twice.names == ("rotation1_angle", "shear", "rotation3_angle")
    theta = twice.theta(rotation3_angle=4.0)
    assert theta.tolist() == [[0.0, 0.0, 4.0]]


def test_parameters_are_else_those_of_the_parts():
    both = Compose([Scaling(), IntegerTranslation(), Scaling()])
    assert [p.whole for p in both.parameters] == [False, True, True, False]
    assert both.identity().tolist() == [1, 0, 0, 1]
    with pytest.raises(InputError, match="`scaling3_scale` of Compose"):
        both(torch.rand(1, 1, 4, 4), torch.tensor([[1.0, 0.0, 0.0, -1.0]]))


def test_it_keeps_the_range_if_all_parts_do():
    assert Compose([Rotation(), Shear()]).keeps_range
    assert not Compose([Rotation(), Add()]).keeps_range


def test_it_splits_parameters():
    parts = Compose([Translation(), Shear()]).split(torch.tensor([[1.0, 2.0, 3.0]]))
    assert [part.tolist() for part in parts] == [[[1.0, 2.0]], [[3.0]]]


def test_repr_has_the_parts():
    both = Compose([Rotation(), IntegerTranslation("zero")])
    assert repr(both) == "Compose([Rotation(), IntegerTranslation(padding='zero')])"


@pytest.mark.parametrize(
    ("parts", "got"), [([], "none"), ([Rotation(), 3], "3"), ([Shear], "class")]
)
def test_only_transformations_and_at_least_one(parts, got):
    with pytest.raises(InputError, match=f"one or more Transform, but got .*{got}"):
        Compose(parts)
