"""What a distribution's E and rho rest on, as a file: whole, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import beta

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.population import PopulationError
from lightning_smooth.interpolation.roughness import LEAST, roughness
from lightning_smooth.interpolation.sizes import AngleSizes


def angles() -> AngleSizes:
    generator = torch.Generator().manual_seed(0)
    return AngleSizes(torch.rand(360, generator=generator, dtype=torch.float64) / 3)


def population(**changed: Any) -> PopulationError:
    settings: dict[str, Any] = {
        "size": angles(), "rho": 0.02, "level": 0.05, "alpha": 0.01, "attempt": 1,
        "draws": (20, 400), "chosen": (7, 3), "earlier": (), "verified": tuple(range(100, 140)),
        "failures": (0,) * 30 + (3,) * 8 + (4, 400), "margin": 1.1, "transform": "Rotation()",
        "scale": 30.0, "largest": 30.0, "preprocessing": None, "stored": "float32",
        "shape": (1, 28, 28), "data": "mnist", "seed": 0,
    }  # fmt: skip
    return PopulationError(**{**settings, **changed})


def test_q_follows_from_the_images_that_pass() -> None:
    found = population()
    assert found.passes == 38  # 3 failures of 400 show .02 at level .05, 4 do not
    lower = beta.ppf(0.005, 38, 3)  # half of alpha is for a first attempt
    assert found.q == pytest.approx((lower - 0.05) / 0.95, abs=1e-9)
    second = population(attempt=2, earlier=(50,))
    assert second.q == pytest.approx((beta.ppf(0.0025, 38, 3) - 0.05) / 0.95, abs=1e-9)
    assert population(failures=(400,) * 40).q == 0
    assert found.summary()["failures"] == {"0": 30, "3": 8, "4": 1, "400": 1}


@pytest.mark.parametrize("size", [angles(), 0.1 + 0.2])
def test_a_file_keeps_every_bit(size: float | AngleSizes, tmp_path: Path) -> None:
    found = population(size=size)
    found.save(tmp_path / "error.json")
    again = PopulationError.load(tmp_path / "error.json")
    assert again.sizes == found.sizes
    if isinstance(size, AngleSizes):
        assert isinstance(again.size, AngleSizes)
        assert torch.equal(again.size.values, size.values)
    assert again.digest == found.digest
    assert again.digest != population(size=size, seed=1).digest
    assert (again.q, again.failures, again.draws) == (found.q, found.failures, found.draws)
    with pytest.raises(InputError, match="already"):
        found.save(tmp_path / "error.json")


def test_a_relative_size_is_said_and_kept(tmp_path: Path) -> None:
    same, relative = population(), population(relative=True)
    assert "relative" not in same.summary()
    assert relative.summary()["relative"] is True
    assert same.digest != relative.digest
    relative.save(tmp_path / "error.json")
    assert PopulationError.load(tmp_path / "error.json").relative
    same.save(tmp_path / "same.json")
    assert "relative" not in (tmp_path / "same.json").read_text()
    path = tmp_path / "same.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "relative": True}))
    with pytest.raises(InputError, match=r"digest"):
        PopulationError.load(path)


def test_an_image_s_e_grows_with_its_roughness() -> None:
    image = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))
    for scale in (1.0, 0.25):
        found = population(relative=True, size=0.1).size_of(scale * image, None)
        assert found == pytest.approx(0.1 * scale * roughness(image))
    assert population(size=0.1).size_of(image, None) == 0.1
    assert population(relative=True, size=0.1).size_of(0 * image, None) == 0.1 * LEAST


@pytest.mark.parametrize(
    "change",
    [
        {"relative": True},
        {"q": 0.99},
        {"passes": 40},
        {"rho": 0.001},
        {"level": 0.5},
        {"alpha": 0.9},
        {"size": 0.1},
        {"size": [0.1, 0.2]},
        {"size": [float(k) for k in range(360)]},
        {"failures": [0] * 40},
        {"failures": [0] * 39},
        {"verified": [100, *range(100, 139)]},
        {"verified": [3, *range(100, 139)]},
        {"draws": [20, 4000]},
        {"scale": 15.0},
        {"stored": "uint8"},
        {"stored": "png"},
        {"attempt": 2},
        {"attempt": 0},
        {"shape": [28, 28, 1]},
        {"digest": "0" * 16},
        {"version": 2},
        {"format": "something else"},
        {"more": 1},
        {"failures": None},
    ],
    ids=str,
)
def test_a_file_that_was_changed_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "error.json"
    population().save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=r"error\.json"):
        PopulationError.load(path)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    for content in ("", "[]", "{}", "{"):
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(InputError, match="measure_error"):
            PopulationError.load(tmp_path / "other.json")
    with pytest.raises(InputError, match="measure_error"):
        PopulationError.load(tmp_path / "missing.json")


@pytest.mark.parametrize(
    "change",
    [
        {"verified": (), "failures": ()},
        {"chosen": ()},
        {"chosen": (101,)},
        {"earlier": (101,), "attempt": 2},
        {"earlier": (50,)},
        {"failures": (0,) * 39 + (401,)},
        {"failures": (0,) * 39 + (-1,)},
        {"failures": (0,) * 39 + (0.5,)},
        {"rho": 1.0},
        {"size": float("nan")},
        {"size": -0.1},
        {"largest": 0.0},
    ],
    ids=str,
)
def test_what_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        population(**change)
