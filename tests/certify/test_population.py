"""A study of a distribution's errors: who chooses, who verifies, and what it then says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_smooth.certify import PopulationStudy
from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.roughness import roughness
from lightning_smooth.interpolation.sizes import AngleSizes
from lightning_smooth.transforms import PreBlur, Preprocessing, Rotation, Translation


def bar() -> Tensor:
    image = torch.zeros(1, 12, 12)
    image[:, 5:7, 3:9] = 1.0
    return PreBlur(5)(image[None])[0]


def lit(bright: int = 6) -> Callable[[int], Tensor]:
    """Images of one bar: from index `bright` on, every other one is twice as bright."""
    return lambda index: bar() * (1.0 if index >= bright and index % 2 else 0.5)


def study(**changed: Any) -> PopulationStudy:
    settings: dict[str, Any] = {
        "order": range(60), "transform": Rotation(), "scale": 15.0, "largest": 5.0,
        "preprocessing": Preprocessing(margin=1.0), "images": (6, 12), "draws": (25, 40),
        "margin": 1.4, "rho": 0.1, "alpha": 0.02, "data": "bars",
    }  # fmt: skip
    return PopulationStudy(**{**settings, **changed})


def test_images_with_larger_errors_than_those_that_chose_do_not_pass() -> None:
    found = study(relative=False).measure(lit())
    assert isinstance(found.size, AngleSizes)
    passing = [i for i, count in zip(found.verified, found.failures, strict=True) if count <= 1]
    assert passing == [i for i in found.verified if i % 2 == 0]  # errors are linear in light
    assert found.passes == 6
    assert 0 < found.q < 0.5  # the truth is one half
    assert (found.transform, found.shape, found.attempt) == ("Rotation()", (1, 12, 12), 1)
    everyone = study(relative=False, margin=2.8).measure(lit())
    assert everyone.passes == 12
    assert 0.6 < everyone.q < 1


def test_in_units_of_roughness_light_makes_no_difference() -> None:
    same, relative = (study(relative=r).measure(lit()) for r in (False, True))
    assert relative.passes == 12 > same.passes
    assert relative.q > same.q
    assert isinstance(relative.size, AngleSizes)
    assert isinstance(same.size, AngleSizes)
    unit = roughness(0.5 * bar(), Preprocessing(margin=1.0))
    assert torch.allclose(relative.size.values * unit, same.size.values)  # half-lit ones chose


def test_no_image_chooses_and_verifies() -> None:
    first = study(order=torch.randperm(60, generator=torch.Generator().manual_seed(0)).tolist())
    assert len({*first.chosen, *first.verified}) == 18
    with pytest.raises(InputError, match="not one that verifies"):
        first.failures(0.1, bar(), first.chosen[0])


def test_another_attempt_takes_other_images_other_draws_and_half_of_alpha() -> None:
    first = study(images=(2, 5))
    found = first.measure(lit())
    second = study(images=(2, 5), after=found, margin=1.3)
    again = second.measure(lit())
    assert not {*second.verified} & {*first.verified, *first.chosen}
    assert (again.attempt, again.earlier) == (2, (*first.chosen, *first.verified))
    third = study(images=(3, 5), after=again)
    assert not {*third.verified} & {*first.verified, *second.verified, *third.chosen}
    assert third.attempt == 3
    other = torch.randperm(60, generator=torch.Generator().manual_seed(5)).tolist()
    fourth = study(order=other, images=(5, 20), after=again)
    looked_at = {*first.chosen, *first.verified, *second.chosen, *second.verified, *fourth.chosen}
    assert not {*fourth.verified} & looked_at
    one, two = (s._noise("error", 11, 40) for s in (first, second))
    assert not bool((one[:, None] == two).any())
    with pytest.raises(InputError, match="alpha"):
        study(after=found, alpha=0.2)
    with pytest.raises(InputError, match="bars"):
        study(after=found, data="cars")


def test_it_is_the_same_study_every_time() -> None:
    one, two, other = (study(images=(2, 3), seed=seed).measure(lit()) for seed in (0, 0, 1))
    assert one.digest == two.digest != other.digest


def test_translations_have_a_study_too() -> None:
    found = study(
        transform=Translation(), scale=1.0, largest=0.5, images=(2, 4), draws=(4, 40),
        preprocessing=Preprocessing("rectangle", margin=2.0),
    ).measure(lambda _: bar())  # fmt: skip
    assert isinstance(found.size, float)
    assert found.passes == 4


@pytest.mark.parametrize(
    "change",
    [
        {"images": (8, 60)},
        {"images": (0, 5)},
        {"images": (5, 0)},
        {"images": (70, 5)},
        {"order": [1, 2, 3] * 20},
        {"draws": (10, 20)},
        {"draws": (0, 60)},
        {"rho": 0.0},
        {"level": 1.0},
        {"alpha": 0.0},
        {"margin": 0.0},
        {"seed": -1},
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        study(**change)
