"""SPT: what it certifies is so, by a classifier whose inner votes are known."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from scipy.stats import norm
from torch import Tensor, nn

from lightning_smooth.certify import DistSPTxCertifier, IndivSPTCertifier
from lightning_smooth.certify.spt import TOGETHER
from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.original import OriginalError
from lightning_smooth.interpolation.sizes import AngleSizes
from lightning_smooth.transforms import PreBlur, Preprocessing, Rotation, Shear, Translation

SIZE = 16


class Linear(nn.Module):
    """Class 1 where w . y is above a threshold: under noise, with a probability in closed form."""

    def __init__(self, weight: Tensor, threshold: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.float())
        self.threshold = threshold

    def forward(self, images: Tensor) -> Tensor:
        score = (images * self.weight).flatten(1).sum(dim=1) - self.threshold
        return torch.stack([-score, score], dim=1)

    def answers(self, images: Tensor) -> Tensor:
        """(B,) the class of the inner classifier, at any sigma."""
        return self(images.float()).argmax(dim=1)


def blob() -> Tensor:
    """A smooth bar in a dark image: a rotation by 30 degrees leaves half of it where it was."""
    image = torch.zeros(1, SIZE, SIZE)
    image[:, 7:9, 4:12] = 1.0
    return PreBlur(5, s=2.0)(image[None])[0]


def certifier(**changed: Any) -> DistSPTxCertifier:
    settings: dict[str, Any] = {
        "scale": 15.0,
        "sigma": 0.25,
        "radii": [0.0, 5.0, 10.0, 15.0],
        "preprocessing": Preprocessing(margin=1.0),
        "error_draws": (60, 100),
        "n": 200,
        "inner": 500,
    }
    return DistSPTxCertifier(**{"transform": Rotation(), **settings, **changed})


@pytest.mark.parametrize("threshold", [0.5, 1.2, 1.6])
def test_radii_that_are_held_are_true(threshold: float) -> None:
    image, seen = blob(), Preprocessing(margin=1.0)
    weight = seen(image[None])[0]
    model = Linear(weight, threshold * float((weight * weight).sum()) / 1.7)
    certificate = certifier()(model, image, index=3, label=1)
    assert certificate.guarantee == "certified"
    assert certificate.radius_unit == "degrees"
    if certificate.abstained:
        assert threshold > 1.5
        return
    rotate = Rotation()
    b = torch.linspace(-60, 60, 801, dtype=torch.float64)
    density = torch.from_numpy(norm.pdf(b.numpy(), scale=15.0))
    for attack in torch.linspace(-1, 1, 7, dtype=torch.float64) * certificate.radius:
        attacked = rotate(image.double()[None], attack.view(1, 1))
        votes = model.answers(seen(rotate(attacked, b[:, None]))).double()
        share = float((votes * density).sum() / density.sum())
        assert (share > 0.5) == (certificate.predicted == 1)
    if threshold < 1:
        assert certificate.radius == 15.0
    assert certificate.candidate == certificate.predicted


def test_the_error_holds_for_fresh_draws() -> None:
    method, image = certifier(error_draws=(60, 100)), blob()
    error = method.error(image, 0)
    assert isinstance(error.size, AngleSizes)
    assert error.draws == 100
    assert 0 < error.rho < 1
    rotate, seen = Rotation(), Preprocessing(margin=1.0)
    generator = torch.Generator().manual_seed(5)
    angles = torch.linspace(-15, 15, 31, dtype=torch.float64)
    above, worst = 0, 0.0
    for b in torch.randn(50, 1, generator=generator, dtype=torch.float64) * 15:
        twice = rotate(rotate(image.double()[None], angles[:, None]), b[None])
        apart = seen(twice - rotate(image.double()[None], (b + angles)[:, None]))
        norms = apart.flatten(1).norm(dim=1)
        above += bool((norms > error.size.at(b + angles)).any())
        worst = max(worst, float(norms.max()))
    assert above / 50 <= error.rho + 3 * math.sqrt(error.rho / 50)
    assert 0.8 * worst < error.size.largest < 2 * worst
    assert float(error.size.at(torch.tensor([20.0]))) < 0.9 * error.size.largest
    again, other = (method.error(image, index).size for index in (0, 1))
    assert isinstance(again, AngleSizes)
    assert isinstance(other, AngleSizes)
    assert torch.equal(error.size.values, again.values)
    assert not torch.equal(error.size.values, other.values)


@pytest.mark.parametrize("threshold", [0.4, 0.6])
def test_translations_are_certified_each_draw_at_its_own_error(threshold: float) -> None:
    image, move, seen = blob(), Translation(), Preprocessing("rectangle", margin=2.0, blur=7, s=8)
    weight = seen(image[None])[0]
    model = Linear(weight, threshold * float((weight * weight).sum()))
    method = certifier(
        transform=Translation(), scale=2.0, radii=[0.0, 0.5, 1.0], sigma=0.2, preprocessing=seen
    )
    certificate = method(model, image, index=0, label=1)
    assert certificate.radius_unit == "pixels"
    assert certificate.parameters["laws"].keys() == {"dx", "dy"}
    assert certificate.ledger.keys() == {"looks", "last look"}
    assert "rho" not in certificate.measured
    assert certificate.predicted == 1
    assert certificate.radius == 1.0 if threshold == 0.4 else certificate.radius > 0
    axis = torch.linspace(-6, 6, 61, dtype=torch.float64)
    b = torch.cartesian_prod(axis, axis)
    density = torch.from_numpy(norm.pdf(b.numpy(), scale=2.0).prod(axis=1))
    for g in ([0.0, 0.0], [certificate.radius, 0.0], [0.0, -0.5], [-0.35, 0.35]):
        attacked = move(image.double()[None], torch.tensor([g], dtype=torch.float64)).float()
        votes = model.answers(seen(move(attacked.double(), b))).double()
        assert float((votes * density).sum() / density.sum()) > 0.5
    with pytest.raises(InputError, match="a certifier of rotations"):
        method.error(image, 0)


def test_a_class_that_is_not_robust_enough_takes_few_draws() -> None:
    image = blob()
    model = Linear(torch.zeros(1, SIZE, SIZE), 0.0)  # a tie at every image
    certificate = certifier()(model, image + 0, index=0)
    assert certificate.abstained or certificate.hits == certificate.n
    coin = Linear(torch.ones(1, SIZE, SIZE), float(Preprocessing(margin=1.0)(image[None]).sum()))
    told = certifier()(coin, image, index=0)
    assert told.abstained
    assert told.radius == 0
    assert told.measured["passes"] < 64 * 500


def test_an_error_beyond_what_inner_draws_can_show_is_said_without_a_test() -> None:
    weight = blob()
    told = certifier(sigma=0.02, inner=64)(Linear(weight, 0.1), blob(), index=0)
    assert told.abstained
    assert told.measured["passes"] == 0
    assert told.hits == 0
    assert set(told.decisions.values()) == {"not held"}


def test_the_same_certificate_whatever_the_batch() -> None:
    model, image = Linear(blob(), 0.6), blob()
    one, other = (
        dataclasses.replace(certifier(batch_size=size)(model, image, index=4), seconds=0.0)
        for size in (7, 128)
    )
    assert one == other
    moved = certifier(seed=1)(model, image, index=4)
    assert moved.measured["size"] != one.measured["size"]


def individual(**changed: Any) -> IndivSPTCertifier:
    settings: dict[str, Any] = {
        "scale": 15.0, "sigma": 0.3, "radii": [0.0, 2.0, 5.0], "pieces": 64,
        "preprocessing": Preprocessing(margin=1.0), "n": 200, "inner": 500,
    }  # fmt: skip
    return IndivSPTCertifier(**{"transform": Rotation(), **settings, **changed})


@pytest.mark.parametrize("angle", [0.0, 3.7, -5.0])
def test_an_attacked_image_is_certified_with_its_original(angle: float) -> None:
    image, seen, rotate = blob(), Preprocessing(margin=1.0), Rotation()
    weight = seen(image[None])[0]
    model = Linear(weight, 0.4 * float((weight * weight).sum()))
    g = torch.tensor([[angle]], dtype=torch.float64)
    attacked = ((rotate(image.double()[None], g)[0] * 255).round() / 255).float()
    certificate = individual()(model, attacked, index=0, label=1)
    assert certificate.measured["pieces"] >= 1
    assert certificate.ledger.keys() == {"looks", "last look"}
    assert certificate.radius == 5.0
    b = torch.linspace(-60, 60, 401, dtype=torch.float64)[:, None]
    density = torch.from_numpy(norm.pdf(b[:, 0].numpy(), scale=15.0))
    for shown in (attacked, image):
        votes = model.answers(seen(rotate(shown.double()[None], b))).double()
        assert float((votes * density).sum() / density.sum()) > 0.5


def test_an_attack_on_a_close_call_is_not_certified() -> None:
    image = blob()
    coin = Linear(torch.ones(1, SIZE, SIZE), float(Preprocessing(margin=1.0)(image[None]).sum()))
    assert individual()(coin, image, index=0).radius == 0


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Outer draws of which a distance was asked."""
    asked: list[Tensor] = []
    bounds = OriginalError.bounds

    def counted(engine: OriginalError, noise: Tensor) -> Tensor:
        asked.append(noise)
        return bounds(engine, noise)

    monkeypatch.setattr(OriginalError, "bounds", counted)
    return asked


def test_each_draw_is_bounded_once(bounded: list[Tensor]) -> None:
    weight = Preprocessing(margin=1.0)(blob()[None])[0]
    model = Linear(weight, 0.2 * float((weight * weight).sum()))
    certificate = individual()(model, blob(), index=0)
    assert certificate.radius == 5.0
    assert len(torch.cat(bounded).unique()) == len(torch.cat(bounded)) == certificate.n


def test_draws_of_a_hopeless_image_are_not_bounded(bounded: list[Tensor]) -> None:
    certificate = individual(sigma=0.01)(Linear(blob(), 0.1), blob(), index=0)
    assert certificate.abstained
    assert len(torch.cat(bounded)) == TOGETHER < certificate.n


def test_individual_certificates_have_validation_too() -> None:
    other = individual().for_validation(n0=64, n=64)
    assert (other.n, other.n0, other.pieces) == (64, 4, 64)
    assert individual().describe()["method"] == "indiv spt"


@pytest.mark.parametrize(
    "argument",
    [
        {"transform": Shear()},
        {"radii": []},
        {"radii": [-1.0]},
        {"radii": [10.0], "largest": 5.0},
        {"radii": [100.0]},
        {"radii": [0.0]},
        {"scale": 0.0},
        {"sigma": -1.0},
        {"error_draws": (0, 10)},
        {"margin": 0.0},
        {"stored": "png"},
        {"level": 1.0},
        {"inner": 0},
        {"alpha": 0.0},
    ],
)
def test_arguments_that_make_no_sense_are_refused(argument: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        certifier(**argument)


def test_images_too_small_for_the_vignette_are_refused() -> None:
    model, image = Linear(torch.ones(1, 4, 4), 0), torch.zeros(1, 4, 4)
    with pytest.raises(InputError, match="margin"):
        certifier(preprocessing=Preprocessing())(model, image, index=0)


def test_validation_has_draws_of_its_own() -> None:
    other = certifier().for_validation(n0=32, n=64)
    assert (other.n, other.n0, other.error_draws) == (64, 2, (6, 10))
    same = certifier(n=64, n0=2, error_draws=(6, 10)).error(blob(), 0).size
    drawn = other.error(blob(), 0).size
    assert isinstance(same, AngleSizes)
    assert isinstance(drawn, AngleSizes)
    assert not torch.equal(same.values, drawn.values)


def test_settings_are_described() -> None:
    method = certifier()
    assert "DistSPTxCertifier(Rotation()" in repr(method)
    said = method.describe()
    assert said["method"] == "dist spt x"
    assert said["radii"] == [0.0, 5.0, 10.0, 15.0]
    assert method.draws == 16 * 8 + 200 * 500
