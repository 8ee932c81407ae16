"""Errors of translations that add up to s: never below the truth, and the truth itself inside."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.pairs import PairError
from lightning_smooth.transforms import Preprocessing, Translation
from tests.interpolation.pictures import pictures

BOX = {"dx": (-1.7, 2.2), "dy": (-0.6, 1.0)}
TOTAL = torch.tensor(
    [[0.4, -1.3], [0.0, 0.0], [3.0, -2.0], [0.5, 0.5], [1e-9, -1e-9], [-40.5, 1.5]],
    dtype=torch.float64,
)
MOVE = Translation()


def attacks(total: Tensor, box: dict[str, tuple[float, float]]) -> Tensor:
    """Dense attacks, and those in the middle between values where one of both is whole."""
    axes = []
    for (low, high), s in zip(box.values(), total.tolist(), strict=True):
        whole = torch.arange(-9, 10, dtype=torch.float64)
        corners = torch.cat([whole, s - whole, torch.tensor([low, high], dtype=torch.float64)])
        corners = corners[(corners >= low) & (corners <= high)].sort().values
        middle = (corners[1:] + corners[:-1]) / 2
        axes.append(torch.cat([torch.linspace(low, high, 23, dtype=torch.float64), middle]))
    return torch.cartesian_prod(*axes)


def errors(image: Tensor, total: Tensor, g: Tensor, seen: nn.Module | None) -> Tensor:
    apart = MOVE(MOVE(image.double()[None], g), total - g) - MOVE(image.double()[None], total[None])
    return (apart if seen is None else seen(apart)).flatten(1).norm(dim=1)


@pytest.mark.parametrize("seen", [None, Preprocessing("rectangle", margin=2.0, blur=3)])
@pytest.mark.parametrize("name", list(pictures()))
def test_no_pair_has_a_larger_error(name: str, seen: Preprocessing | None) -> None:
    image = pictures()[name]
    found = PairError(image, BOX, seen).bounds(TOTAL)
    for total, bound in zip(TOTAL, found, strict=True):
        assert float(errors(image, total, attacks(total, BOX), seen).max()) <= float(bound)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("seen", [None, Preprocessing(vignette=None, blur=5)])
def test_where_nothing_leaves_the_frame_it_is_attained(
    seed: int, seen: Preprocessing | None
) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(2, 18, 16)
    image[:, 6:12, 5:11] = torch.rand(2, 6, 6, generator=generator)
    total = 4 * torch.rand(6, 2, generator=generator, dtype=torch.float64) - 2
    found = PairError(image, BOX, seen).bounds(total)
    for s, bound in zip(total, found, strict=True):
        largest = float(errors(image, s, attacks(s, BOX), seen).max())
        assert largest <= float(bound) <= largest + 1e-5


def test_whole_pixels_are_the_worst_place_to_be_seen_at() -> None:
    image = torch.zeros(1, 11, 11)
    image[0, 5, 5] = 1
    engine = PairError(image, {"dx": (-1.0, 1.0)})
    whole, half = engine.bounds(torch.tensor([[0.0, 0.0], [0.5, 0.0]], dtype=torch.float64))
    # 1/2 and -1/2 give (1/4, 1/2, 1/4) in place of (0, 1, 0)
    assert float(whole) == pytest.approx((1 / 16 + 1 / 4 + 1 / 16) ** 0.5, abs=1e-5)
    # 1/4 twice gives (9, 6, 1)/16 in place of (8, 8, 0)/16
    assert float(half) == pytest.approx((1 + 4 + 1) ** 0.5 / 16, abs=1e-5)


def test_a_rounded_attack_is_within_the_bound() -> None:
    image, seen = pictures()["smooth"], Preprocessing("rectangle", margin=2.0)
    total = TOTAL[:4]
    found = PairError(image, BOX, seen, rounding=0.5 / 255).bounds(total)
    plain = PairError(image, BOX, seen).bounds(total)
    for s, bound in zip(total, found, strict=True):
        g = attacks(s, BOX)
        attacked = (MOVE(image.double()[None], g) * 255).round() / 255
        apart = seen(MOVE(attacked, s - g) - MOVE(image.double()[None], s[None]))
        assert float(apart.flatten(1).norm(dim=1).max()) <= float(bound)
    assert bool((found > plain).all())
    assert float((found - plain).max()) < 0.5 / 255 * image.numel() ** 0.5 * 1.01


def test_the_same_bounds_in_small_parts() -> None:
    image = pictures()["smooth"]
    whole, parts = (PairError(image, BOX, chunk=chunk).bounds(TOTAL) for chunk in (1 << 20, 1))
    assert torch.equal(whole, parts)


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match=r"`image` \(C, H, W\)"):
        PairError(torch.zeros(4, 4), BOX)
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        PairError(torch.full((1, 4, 4), torch.nan), BOX)
    with pytest.raises(InputError):
        PairError(torch.zeros(1, 4, 4), {"dx": (1.0, -1.0)})
    with pytest.raises(InputError):
        PairError(torch.zeros(1, 4, 4), {"angle": (-1.0, 1.0)})
    assert PairError(torch.zeros(1, 4, 4), BOX).bounds(torch.zeros(0, 2)).shape == (0,)
