"""Errors against an unknown original: never less than that of the true one."""

from __future__ import annotations

import pytest
import torch

from lightning_smooth.interpolation.original import OriginalError
from lightning_smooth.transforms import Preprocessing, Rotation, Translation
from tests.interpolation.pictures import pictures


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("name", ["noise", "pixel", "smooth"])
def test_the_true_original_is_within_the_bound(name: str, quantised: bool) -> None:
    image, seen, rotate = pictures()[name], Preprocessing(margin=1.0), Rotation()
    noise = torch.tensor([[-40.0], [-3.3], [0.0], [18.0]], dtype=torch.float64)
    for angle in (-4.9, 0.7):
        g = torch.tensor([[angle]], dtype=torch.float64)
        attacked = rotate(image[None], g)[0]
        if quantised:
            attacked = (attacked * 255).round() / 255
        engine = OriginalError(attacked, rotate, 5.0, seen, quantised=quantised, pieces=16)
        assert engine.pieces >= 1
        apart = seen(rotate(attacked[None], noise) - rotate(image[None], noise + g))
        assert bool((apart.flatten(1).norm(dim=1) <= engine.bounds(noise)).all())


def test_finer_pieces_bound_better() -> None:
    rotate, seen = Rotation(), Preprocessing(margin=1.0)
    image = torch.zeros(1, 12, 12, dtype=torch.float64)
    image[:, 4:8, 3:9] = 0.8
    attacked = rotate(image[None], torch.tensor([[2.0]], dtype=torch.float64))[0]
    noise = torch.tensor([[10.0]], dtype=torch.float64)
    bounds = [
        float(OriginalError(attacked, rotate, 5.0, seen, pieces=pieces).bounds(noise))
        for pieces in (4, 64)
    ]
    assert bounds[1] < 0.5 * bounds[0]


def test_translations_have_originals_too() -> None:
    image, move, seen = pictures()["smooth"], Translation(), Preprocessing("rectangle", margin=2.0)
    g = torch.tensor([[0.3, -0.4]], dtype=torch.float64)
    attacked = move(image[None], g)[0]
    noise = torch.tensor([[1.2, 0.5], [0.0, 0.0]], dtype=torch.float64)
    bounds = OriginalError(attacked, move, 0.5, seen, pieces=8).bounds(noise)
    apart = seen(move(attacked[None], noise) - move(image[None], noise + g))
    assert bool((apart.flatten(1).norm(dim=1) <= bounds).all())


def test_an_image_beyond_white_has_no_original() -> None:
    engine = OriginalError(torch.full((1, 12, 12), 1.5), Rotation(), 5.0, pieces=8)
    assert engine.pieces == 0
    assert float(engine.bounds(torch.zeros(2, 1)).max()) < 1e-4
