"""Errors of two translations: the maximum itself, against dense and random shifts."""

from __future__ import annotations

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.translation import TranslationError
from lightning_smooth.transforms import Preprocessing, Translation
from tests.interpolation.pictures import pictures

NOISE = torch.tensor([[0.4, -1.3], [0.0, 0.0], [3.0, -2.0], [-40.5, 1.5]], dtype=torch.float64)
BOX = {"dx": (-1.7, 2.2), "dy": (-0.6, 1.0)}


@pytest.mark.parametrize("seen", [None, Preprocessing("rectangle", margin=2.0, blur=3)])
@pytest.mark.parametrize("name", list(pictures()))
def test_no_shift_has_a_larger_error(name: str, seen: Preprocessing | None) -> None:
    image = pictures()[name]
    found = TranslationError(image, BOX, seen).bounds(NOISE)
    dense = torch.cartesian_prod(
        torch.linspace(-1.7, 2.2, 40, dtype=torch.float64),
        torch.linspace(-0.6, 1.0, 17, dtype=torch.float64),
    )
    move = Translation()
    for place, b in enumerate(NOISE):
        apart = move(move(image[None], dense), b[None]) - move(image[None], dense + b)
        norms = (apart if seen is None else seen(apart)).flatten(1).norm(dim=1)
        assert float(norms.max()) <= float(found.upper[place])
        assert float(found.upper[place] - found.lower[place]) < 1e-5
        low, high = torch.tensor([-1.7, -0.6]), torch.tensor([2.2, 1.0])
        assert bool(((found.worst[place] >= low) & (found.worst[place] <= high)).all())
    torch.testing.assert_close(
        TranslationError(image, BOX, seen).at(NOISE, found.worst), found.lower
    )


def test_whole_noise_leaves_no_error_away_from_the_border() -> None:
    image = torch.zeros(1, 16, 16, dtype=torch.float64)
    image[:, 6:10, 6:10] = torch.rand(4, 4, dtype=torch.float64)
    found = TranslationError(image, BOX).bounds(NOISE[1:3])
    assert float(found.lower.max()) < 1e-12
    assert float(found.upper.max()) < 1e-5


def test_half_a_pixel_twice_is_the_known_error() -> None:
    image = torch.zeros(1, 9, 9, dtype=torch.float64)
    image[0, 4, 4] = 1
    half = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
    found = TranslationError(image, {"dx": (0.0, 0.5)}).bounds(half)
    # (1/4, 1/2, 1/4) in place of (0, 1, 0)
    assert float(found.lower) == pytest.approx((1 / 16 + 1 / 4 + 1 / 16) ** 0.5, abs=1e-12)
    assert found.worst.tolist() == [[0.5, 0.0]]


def test_a_rounded_attack_is_within_the_bound() -> None:
    image, seen = pictures()["smooth"], Preprocessing("rectangle", margin=2.0)
    found = TranslationError(image, BOX, seen, rounding=0.5 / 255).bounds(NOISE)
    move = Translation()
    shifts = torch.rand(300, 2, dtype=torch.float64) * torch.tensor([3.9, 1.6]) - torch.tensor(
        [1.7, 0.6]
    )
    attacked = (move(image[None], shifts) * 255).round() / 255
    for place, b in enumerate(NOISE):
        apart = seen(move(attacked, b[None]) - move(image[None], shifts + b))
        assert float(apart.flatten(1).norm(dim=1).max()) <= float(found.upper[place])


@pytest.mark.parametrize("box", [{}, {"angle": (0.0, 1.0)}, {"dx": (1.0, -1.0)}])
def test_boxes_that_are_none_are_refused(box: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(InputError, match="box"):
        TranslationError(torch.zeros(1, 8, 8), box)


def test_an_image_without_channels_is_refused() -> None:
    with pytest.raises(InputError, match=r"\(C, H, W\)"):
        TranslationError(torch.zeros(8, 8), BOX)
