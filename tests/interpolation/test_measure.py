"""E of several images, and which draws are not proven to stay below it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.error import RotationError
from lightning_smooth.interpolation.measure import bounds_of, choose_size, exceeding
from lightning_smooth.interpolation.sizes import AngleSizes
from lightning_smooth.transforms import Preprocessing, Rotation, Translation
from tests.interpolation.pictures import pictures

ANGLES = torch.tensor([-40.0, -3.0, 0.5, 14.0, 61.0], dtype=torch.float64)


def test_e_of_several_images_is_that_of_the_worst() -> None:
    images = [pictures(12)[name] for name in ("smooth", "pixel", "board")]
    engines = [RotationError(x, -8.0, 8.0, Preprocessing(margin=1.0)) for x in images]
    both = choose_size([(engine, ANGLES, 1.0) for engine in engines], 1.5)
    assert isinstance(both, AngleSizes)
    for engine in engines:
        seen, errors = engine.samples(ANGLES)
        assert bool((errors * 1.5 <= both.at(seen) * (1 + 1e-12)).all())
        assert exceeding(engine, ANGLES, both) == 0
    alone = choose_size([(engines[0], ANGLES, 1.0)], 1.5)
    assert isinstance(alone, AngleSizes)
    assert alone.largest < both.largest
    assert exceeding(engines[2], ANGLES, alone) == len(ANGLES)
    twice = choose_size([(engines[0], ANGLES, 0.5)], 1.5)
    assert isinstance(twice, AngleSizes)
    assert torch.equal(twice.values, 2 * alone.values)


def test_draws_that_are_not_below_are_those_that_attain_more() -> None:
    engine = bounds_of(pictures(12)["smooth"], Rotation(), 8.0, None, "exact")
    found = engine.bounds(ANGLES, tolerance=0.01)
    for size in (0.5 * float(found.lower.min()), float(found.lower.median()) * 1.03, 9.0):
        above, below = int((found.lower > size).sum()), int((found.upper > size).sum())
        assert above <= exceeding(engine, ANGLES, size) <= below


def test_translations_have_one_e() -> None:
    shifts = torch.tensor([[0.3, -1.2], [2.5, 0.0]], dtype=torch.float64)
    image = pictures(12)["smooth"]
    engine = bounds_of(image, Translation(), 1.0, Preprocessing("rectangle", margin=2.0), "exact")
    size = choose_size([(engine, shifts[:1], 1.0), (engine, shifts[1:], 1.0)], 1.0)
    assert size == float(engine.sampled(shifts).max())
    assert exceeding(engine, shifts, size * 1.001) == 0
    assert exceeding(engine, shifts, size * 0.999) >= 1
    with pytest.raises(InputError, match="angle"):
        exceeding(engine, shifts, AngleSizes(torch.ones(360)))


def test_what_is_not_a_number_is_not_below() -> None:
    class Damaged:
        def bounds(self, noise: Tensor, *, target: float) -> object:
            del target
            return type("Bounds", (), {"upper": torch.full((len(noise),), torch.nan)})

    assert exceeding(Damaged(), ANGLES, 1.0) == len(ANGLES)  # type: ignore[arg-type]
