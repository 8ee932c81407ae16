"""DistSPT^D: with one E for all images, what it certifies is so where that E holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import torch
from scipy.stats import norm

from lightning_smooth.certify import (
    Certifier,
    DistSPTDCertifier,
    DistSPTxCertifier,
    PopulationStudy,
)
from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.population import PopulationError
from lightning_smooth.interpolation.roughness import roughness
from lightning_smooth.interpolation.sizes import AngleSizes
from lightning_smooth.transforms import Preprocessing, Rotation, Translation
from tests.certify.test_spt import Linear, blob

SEEN = Preprocessing(margin=1.0)


@pytest.fixture(scope="module")
def error() -> PopulationError:
    study = PopulationStudy(
        range(20), Rotation(), 15.0, 15.0, SEEN, images=(2, 14), draws=(25, 40), margin=1.2,
        rho=0.1, alpha=0.05,
    )  # fmt: skip
    return study.measure(lambda index: blob() * (1 - 0.01 * index))


def certifier(error: PopulationError | str, **changed: Any) -> DistSPTDCertifier:
    settings: dict[str, Any] = {
        "scale": 15.0, "sigma": 0.25, "radii": [0.0, 5.0, 10.0], "preprocessing": SEEN,
        "n": 200, "inner": 500,
    }  # fmt: skip
    return DistSPTDCertifier(**{"transform": Rotation(), "error": error, **settings, **changed})


@pytest.mark.parametrize("threshold", [0.4, 1.2])
def test_radii_that_are_held_are_true(error: PopulationError, threshold: float) -> None:
    image, weight = blob() * 0.95, SEEN(blob()[None])[0]
    model = Linear(weight, threshold * float((weight * weight).sum()) / 1.7)
    certificate = certifier(error)(model, image, index=3, label=1)
    assert certificate.guarantee == "certified"
    if threshold < 1:
        assert certificate.radius == 10.0
    rotate = Rotation()
    b = torch.linspace(-60, 60, 401, dtype=torch.float64)
    density = torch.from_numpy(norm.pdf(b.numpy(), scale=15.0))
    for attack in torch.linspace(-1, 1, 5, dtype=torch.float64) * (certificate.radius or 0.0):
        attacked = rotate(image.double()[None], attack.view(1, 1))
        votes = model.answers(SEEN(rotate(attacked, b[:, None]))).double()
        share = float((votes * density).sum() / density.sum())
        assert certificate.abstained or (share > 0.5) == (certificate.predicted == 1)


def test_the_record_says_what_it_is_about(error: PopulationError) -> None:
    certificate = certifier(error)(Linear(blob(), 0.3), blob(), index=0)
    assert certificate.parameters["holds_for"] == "images of a fraction q of the distribution"
    found = certificate.parameters["population"]
    assert (found["q"], found["rho"], found["digest"]) == (error.q, 0.1, error.digest)
    assert sum(found["failures"].values()) == 14
    assert certificate.measured["q"] == error.q
    assert certificate.ledger.keys() == {"looks", "last look"}  # no alpha is spent on E here
    assert 0.6 < error.q < 1


def test_images_take_the_e_of_the_distribution(error: PopulationError) -> None:
    noise = torch.tensor([[0.3], [-20.0], [5.0]], dtype=torch.float64)
    assert isinstance(error.size, AngleSizes)
    at = error.size.at(noise[:, 0])
    same = certifier(dataclasses.replace(error, relative=False))
    for image in (blob(), blob() * 0.1):
        assert same.distances(image, 0).of(noise) == at.tolist()
        found = certifier(error).distances(image, 0)
        assert torch.tensor(found.of(noise)).double().allclose(at * roughness(image, SEEN))
        assert found.rho == error.rho
        assert found.measured["size"] == pytest.approx(error.sizes[1] * roughness(image, SEEN))


def test_it_asks_for_no_less_than_the_image_itself_needs(error: PopulationError) -> None:
    alone = DistSPTxCertifier(
        Rotation(), 15.0, 0.25, [0.0, 10.0], 15.0, SEEN, error_draws=(60, 100)
    ).error(blob(), 0)  # fmt: skip
    assert isinstance(alone.size, AngleSizes)
    assert 0.8 < error.sizes[1] * roughness(blob(), SEEN) / alone.size.largest < 1.25


def test_a_file_will_do(error: PopulationError, tmp_path: Path) -> None:
    error.save(tmp_path / "error.json")
    model = Linear(blob(), 0.6)
    one, other = (
        dataclasses.replace(certifier(e)(model, blob(), index=4), seconds=0.0)
        for e in (error, str(tmp_path / "error.json"))
    )
    assert one == other
    assert certifier(error).describe() == certifier(str(tmp_path / "error.json")).describe()
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--it", type=Certifier)
    parsed = parser.parse_object({
        "it": {
            "class_path": "lightning_smooth.certify.DistSPTDCertifier",
            "init_args": {
                "transform": {"class_path": "lightning_smooth.transforms.Rotation"},
                "scale": 15.0,
                "sigma": 0.25,
                "radii": [0.0, 5.0, 10.0],
                "error": str(tmp_path / "error.json"),
                "preprocessing": {
                    "class_path": "lightning_smooth.transforms.Preprocessing",
                    "init_args": {"margin": 1.0},
                },
                "n": 200,
                "inner": 500,
            },
        }
    })  # fmt: skip
    assert parser.instantiate(parsed).it.describe() == certifier(error).describe()


def test_validation_has_draws_of_its_own(error: PopulationError) -> None:
    other = certifier(error).for_validation(n0=32, n=64)
    assert (other.n, other.n0, other.error) == (64, 2, error)
    drawn = [method._drawn(method._key(0, "outer"), 0, 5) for method in (certifier(error), other)]
    assert not torch.equal(*drawn)


@pytest.mark.parametrize(
    "change",
    [
        {"transform": Translation()},
        {"scale": 16.0},
        {"preprocessing": None},
        {"preprocessing": Preprocessing()},
        {"stored": "uint8"},
        {"radii": [0.0, 20.0]},
        {"error": "nowhere.json"},
    ],
    ids=str,
)
def test_an_error_of_something_else_is_refused(
    error: PopulationError, change: dict[str, Any]
) -> None:
    with pytest.raises(InputError):
        certifier(**{"error": error, **change})


def test_an_error_that_shows_nothing_is_refused(error: PopulationError) -> None:
    nothing = dataclasses.replace(error, failures=(40,) * 14)
    with pytest.raises(InputError, match="q = 0"):
        certifier(nothing)


def test_an_image_of_another_shape_is_refused(error: PopulationError) -> None:
    with pytest.raises(InputError, match="shape"):
        certifier(error)(Linear(torch.ones(1, 20, 20), 0.0), torch.ones(1, 20, 20), index=0)
