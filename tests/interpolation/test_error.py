"""Errors of two rotations: bounds from both sides, against dense angles."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.error import RotationError
from lightning_smooth.transforms import Preprocessing, Rotation
from tests.interpolation.pictures import pictures

NOISE = torch.tensor([-71.3, -30.0, -4.2, 0.0, 0.31, 12.9, 45.0, 90.0, 155.5], dtype=torch.float64)
SEEN = {
    "whole": None,
    "vignette": Preprocessing(blur=None),
    "blur": Preprocessing(vignette=None),
    "both": Preprocessing(),
}


def by_hand(image: Tensor, b: float, angles: Tensor, seen: Preprocessing | None) -> Tensor:
    """(A,): norms of the error, by the transformation alone."""
    rotate = Rotation()
    twice = rotate(rotate(image[None], angles[:, None]), torch.tensor([[b]], dtype=torch.float64))
    apart = twice - rotate(image[None], (b + angles)[:, None])
    return (apart if seen is None else seen(apart)).flatten(1).norm(dim=1)


@pytest.mark.parametrize("seen", list(SEEN))
@pytest.mark.parametrize("name", list(pictures()))
def test_no_angle_has_a_larger_error(name: str, seen: str) -> None:
    image, preprocessing = pictures(16)[name], SEEN[seen]
    engine = RotationError(image, -20.0, 13.0, preprocessing)
    found = engine.bounds(NOISE)
    angles = torch.linspace(-20, 13, 1501, dtype=torch.float64)
    for place, b in enumerate(NOISE.tolist()):
        largest = float(by_hand(image, b, angles, preprocessing).max())
        assert largest <= float(found.upper[place])
        assert float(found.lower[place]) <= float(found.upper[place])
        assert float(found.upper[place]) <= max(0.01, 1.1 * largest) + 1e-3
    at_worst = engine.at(NOISE, found.worst)
    torch.testing.assert_close(at_worst, found.lower)
    one = by_hand(image, NOISE[0].item(), found.worst[:1], preprocessing)
    torch.testing.assert_close(found.lower[:1], one)


def test_a_rotation_by_nothing_or_by_a_quarter_makes_no_error() -> None:
    found = RotationError(pictures()["noise"][:, :, :9], -5.0, 5.0).bounds(
        torch.tensor([0.0, 90.0, 180.0, -90.0], dtype=torch.float64)
    )
    assert float(found.lower.max()) < 1e-12
    assert float(found.upper.max()) < 0.011


@pytest.mark.parametrize("tolerance", [0.5, 0.1, 0.02])
def test_it_stops_within_the_tolerance(tolerance: float) -> None:
    image = pictures(16)["noise"]
    found = RotationError(image, -10.0, 10.0, Preprocessing()).bounds(
        NOISE[:3], tolerance=tolerance
    )
    assert bool((found.upper <= (1 + tolerance) * found.lower + 0.01).all())


def test_a_target_is_decided_by_fewer_pieces_and_soundly() -> None:
    image = pictures(16)["noise"]
    engine = RotationError(image, -10.0, 10.0, Preprocessing())
    exact = engine.bounds(NOISE, tolerance=0.02)
    target = float(exact.upper.median()) * 1.05
    told = engine.bounds(NOISE, target=target)
    assert bool(((told.upper <= target) <= (exact.lower <= target)).all())
    assert bool(((told.lower > target) <= (exact.upper > target)).all())
    assert bool(((told.upper <= target) | (told.lower > target)).all())
    assert 0 < int((told.upper <= target).sum()) < len(NOISE)
    assert told.pieces < engine.bounds(NOISE).pieces


def test_it_is_sound_when_it_stops_early() -> None:
    image = pictures(16)["board"]
    engine = RotationError(image, -10.0, 10.0)
    exact = engine.bounds(NOISE, tolerance=0.02)
    for halvings in range(3):
        early = engine.bounds(NOISE, tolerance=0.02, halvings=halvings)
        assert bool((early.upper >= exact.lower).all())


@pytest.mark.parametrize("name", ["board", "pixel"])
def test_few_draws_have_bounds_too(name: str) -> None:
    image, seen = pictures(16)[name], Preprocessing(margin=0.0)
    engine = RotationError(image, -20.0, 20.0, seen)
    angles = torch.linspace(-20, 20, 2001, dtype=torch.float64)
    for b in NOISE:
        found = engine.bounds(b[None])
        largest = float(by_hand(image, b.item(), angles, seen).max())
        assert float(found.lower) <= largest * 1.01 + 1e-12
        assert largest <= float(found.upper) <= max(0.01, 1.1 * largest) + 1e-3


def test_a_step_that_is_not_known_is_called_as_it_is() -> None:
    class Doubtful(Preprocessing):
        """The same, of another class."""

    image = pictures(16)["noise"]
    usual = RotationError(image, -10.0, 10.0, Preprocessing()).bounds(NOISE)
    other = RotationError(image, -10.0, 10.0, Doubtful()).bounds(NOISE)
    torch.testing.assert_close(usual.lower, other.lower, rtol=0.02, atol=1e-9)
    assert bool((other.upper >= usual.lower).all() and (usual.upper >= other.lower).all())


def test_no_draws_and_no_numbers_give_no_bounds() -> None:
    image = pictures(16)["noise"]
    assert len(RotationError(image, -5.0, 5.0).bounds(NOISE[:0]).upper) == 0
    assert bool(RotationError(image * math.nan, -5.0, 5.0).bounds(NOISE).upper.isnan().all())


def test_what_is_computed_in_float32_is_as_near_as_is_said() -> None:
    image = pictures(16)["board"]
    engine = RotationError(image, -9.0, 9.0, Preprocessing(margin=1.0))
    seen, found = engine.samples(NOISE)
    angles = torch.linspace(-9, 9, engine._count + 1, dtype=torch.float64).repeat(len(NOISE))
    exact = engine.at(NOISE.repeat_interleave(engine._count + 1), angles)
    torch.testing.assert_close(seen - angles, NOISE.repeat_interleave(engine._count + 1))
    assert float((found - exact).abs().max()) <= engine._turned.single + 1e-9


@pytest.mark.parametrize("chunk", [5_000, 1 << 24])
def test_memory_does_not_change_the_bounds(chunk: int) -> None:
    image = pictures()["noise"]
    usual = RotationError(image, -4.0, 4.0, Preprocessing(margin=1.0)).bounds(NOISE)
    other = RotationError(image, -4.0, 4.0, Preprocessing(margin=1.0), chunk=chunk).bounds(NOISE)
    torch.testing.assert_close(usual.upper, other.upper, rtol=1e-5, atol=1e-9)


def test_a_rounded_attack_is_within_the_bound() -> None:
    image, seen = pictures(16)["smooth"], Preprocessing()
    plain = RotationError(image, -10.0, 10.0, seen).bounds(NOISE)
    stored = RotationError(image, -10.0, 10.0, seen, rounding=0.5 / 255).bounds(NOISE)
    assert bool((stored.upper > plain.upper).all())
    rotate = Rotation()
    angles = torch.linspace(-10, 10, 101, dtype=torch.float64)
    attacked = (rotate(image[None], angles[:, None]) * 255).round() / 255
    for place, b in enumerate(NOISE.tolist()):
        twice = rotate(attacked, torch.tensor([[b]], dtype=torch.float64))
        once = rotate(image[None], (b + angles)[:, None])
        assert float(seen(twice - once).flatten(1).norm(dim=1).max()) <= float(stored.upper[place])


def test_what_the_float32_transformation_does_is_within_the_bound_of_its_rounding() -> None:
    image, seen = pictures(16)["noise"], Preprocessing()
    rounding = 64 * 2.0**-24 * max(image.shape)
    found = RotationError(image, -10.0, 10.0, seen, rounding=rounding).bounds(NOISE, tolerance=0.02)
    rotate, angles = Rotation(), torch.linspace(-10, 10, 401, dtype=torch.float64)
    attacked = rotate(image.float()[None], angles[:, None])
    exact = rotate(image[None], angles[:, None])
    assert 0 < float((attacked.double() - exact).abs().max()) <= rounding
    for place, b in enumerate(NOISE.tolist()):
        twice = rotate(attacked.double(), torch.tensor([[b]], dtype=torch.float64))
        once = rotate(image[None], (b + angles)[:, None])
        assert float(seen(twice - once).flatten(1).norm(dim=1).max()) <= float(found.upper[place])


def test_a_black_image_has_no_error() -> None:
    found = RotationError(torch.zeros(1, 9, 9), -30.0, 30.0).bounds(NOISE)
    assert float(found.upper.max()) < 1e-5
    assert found.pieces <= 60 * len(NOISE)


@pytest.mark.parametrize("ends", [(5.0, 5.0), (3.0, -3.0), (-91.0, 90.0), (float("nan"), 1.0)])
def test_ranges_that_are_none_are_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="range of angles"):
        RotationError(torch.zeros(1, 8, 8), *ends)


def test_an_image_without_channels_is_refused() -> None:
    with pytest.raises(InputError, match=r"\(C, H, W\)"):
        RotationError(torch.zeros(8, 8), -1.0, 1.0)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_draw_that_is_no_angle_is_refused(wrong: float) -> None:
    engine = RotationError(pictures()["smooth"], -5.0, 5.0)
    with pytest.raises(InputError, match="finite"):
        engine.bounds(torch.tensor([1.0, wrong]))
