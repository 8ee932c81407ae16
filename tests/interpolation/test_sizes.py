"""E as a function of the angle: bins, and what the engine proves of it."""

from __future__ import annotations

import pytest
import torch

from lightning_smooth.interpolation.error import RotationError
from lightning_smooth.interpolation.sizes import BIN, AngleSizes
from lightning_smooth.transforms import Preprocessing
from tests.interpolation.pictures import pictures

NOISE = torch.tensor([-71.3, -4.2, 0.31, 12.9, 45.0], dtype=torch.float64)


def some() -> AngleSizes:
    generator = torch.Generator().manual_seed(0)
    return AngleSizes(torch.rand(round(360 / BIN), generator=generator, dtype=torch.float64))


def test_angles_count_modulo_a_turn() -> None:
    sizes = some()
    angles = torch.tensor([0.0, 0.999, 1.0, -0.001, 359.0, 360.5, -719.5], dtype=torch.float64)
    places = [0, 0, 1, 359, 359, 0, 0]
    assert sizes.at(angles).tolist() == sizes.values[places].tolist()
    assert sizes.largest == float(sizes.values.max())


@pytest.mark.parametrize("width", [0.0, 0.3, 2.0, 5.1])
def test_the_least_of_a_range_is_that_of_its_angles(width: float) -> None:
    sizes = some()
    low = torch.linspace(-400, 400, 333, dtype=torch.float64)
    least = sizes.least(low, low + width)
    for part in torch.linspace(0, 1, 60, dtype=torch.float64):
        assert bool((least <= sizes.at(low + part * width)).all())
    inside = torch.stack([sizes.at(low + width * k / 200) for k in range(201)]).amin(dim=0)
    assert float((least == inside).double().mean()) > 0.97


def test_it_is_chosen_from_the_bin_and_its_neighbours() -> None:
    seen = torch.arange(0, 20, 0.25, dtype=torch.float64)
    errors = torch.where((seen >= 10) & (seen < 11), 0.9, 0.3).double()
    sizes = AngleSizes.chosen(seen, errors, 1.2)
    at = sizes.at(torch.tensor([1.0, 8.9, 9.1, 10.5, 11.9, 12.1, 18.0, 200.0]).double())
    assert at.tolist() == pytest.approx([0.36, 0.36, 1.08, 1.08, 1.08, 0.36, 0.36, 1.08])


def test_the_engine_proves_no_more_than_dense_angles_show() -> None:
    image, seen = pictures(16)["noise"], Preprocessing()
    engine = RotationError(image, -10.0, 10.0, seen)
    chosen = AngleSizes.chosen(*engine.samples(NOISE), 1.0)
    verdicts = []
    for factor in (0.2, 0.8, 1.02, 1.5):
        sizes = AngleSizes(chosen.values * factor)
        found = engine.bounds(NOISE, target=sizes)
        angles = torch.linspace(-10, 10, 801, dtype=torch.float64)
        for place, b in enumerate(NOISE):
            norms = engine.at(b.expand(len(angles)), angles)
            excess = float((norms - sizes.at(b + angles)).max())
            assert excess <= float(found.upper[place])
            assert float(found.lower[place]) <= float(found.upper[place])
        verdicts.append(int((found.upper <= 0).sum()))
    assert verdicts == sorted(verdicts)
    assert verdicts[0] < verdicts[-1]
    assert verdicts[-1] == len(NOISE)


def test_a_constant_is_the_same_question_as_a_number() -> None:
    image = pictures(16)["smooth"]
    engine = RotationError(image, -10.0, 10.0, Preprocessing())
    size = float(engine.bounds(NOISE).upper.median())
    constant = AngleSizes(torch.full((360,), size, dtype=torch.float64))
    by_bins = engine.bounds(NOISE, target=constant).upper <= 0
    by_number = engine.bounds(NOISE, target=size).upper <= size
    assert by_bins.tolist() == by_number.tolist()
