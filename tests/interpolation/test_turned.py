"""Norms of an image rotated twice: those of two rotations one after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_smooth.interpolation.seen import Seen, length
from lightning_smooth.interpolation.turned import Turned
from lightning_smooth.transforms import Preprocessing, Rotation
from tests.interpolation.pictures import pictures

B = torch.tensor([0.0, 3.7, -41.0, 90.0, 200.3], dtype=torch.float64)
G = torch.tensor([-9.0, -0.2, 0.0, 4.4, 4.4, 8.0, 45.0], dtype=torch.float64)
STEPS = {"both": Preprocessing(margin=1.0), "none": None}


def error(image: Tensor, step: Preprocessing | None, b: Tensor, g: Tensor) -> Tensor:
    rotate = Rotation()
    twice = rotate(rotate(image[None], g.view(1, 1)), b.view(1, 1))
    apart = twice - rotate(image[None], (b + g).view(1, 1))
    return length(apart if step is None else step(apart))[0]


@pytest.mark.parametrize("chunk", [100, 1 << 20])
@pytest.mark.parametrize("step", list(STEPS))
@pytest.mark.parametrize("name", ["smooth", "pixel", "board"])
def test_norms_are_those_of_two_rotations(name: str, step: str, chunk: int) -> None:
    image, k = pictures(12)[name], STEPS[step]
    turned = Turned(image, Seen(k, *image.shape[1:]), chunk)
    exact = torch.stack([torch.stack([error(image, k, b, g) for g in G]) for b in B])
    pairs = torch.cartesian_prod(B, G)
    found = turned.norms(pairs[:, 0], pairs[:, 1], torch.float64).view_as(exact)
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-12)
    for less in (turned.norms(pairs[:, 0], pairs[:, 1]).view_as(exact), turned.at_all(B, G)):
        assert float((less - exact).abs().max()) <= turned.single


@pytest.mark.parametrize("step", list(STEPS))
def test_remainders_are_turned_with_nothing_lost(step: str) -> None:
    image, k = pictures(12)["board"], STEPS[step]
    seen, width = Seen(k, *image.shape[1:]), 0.5
    turned = Turned(image, seen, 1 << 20)
    ends = torch.arange(-3, 4, dtype=torch.float64) * width
    middle = ends[:-1] + width / 2
    bent = turned.remainders.pieces(middle, width).double()
    exact = torch.stack([seen.norm(Rotation()(bent, b.view(1, 1))) for b in B])
    everywhere = turned.everywhere(B, ends, width)[1].view_as(exact)
    pairs = torch.cartesian_prod(B, middle)
    each = turned.bends(pairs[:, 0], pairs[:, 1], width).view_as(exact)
    for bound in (everywhere, each):
        assert bool((bound >= exact * (1 - 1e-12)).all())
        assert float((bound / exact).max()) < 1.02
