"""Remainders of straight lines: never less than what dense sampling shows, and not much more."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.curvature import Curvature, swept_by_rotation
from lightning_smooth.transforms import Rotation
from tests.interpolation.pictures import pictures

SPECIAL = [0.0, 45.0, 90.0, -90.0, 180.0, 30.0]


def lefts(step: float) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.rand(60, generator=generator, dtype=torch.float64) * 360 - 180
    special = torch.tensor(SPECIAL, dtype=torch.float64)
    return torch.cat([drawn, special, special - step / 2, special - step])


def departures(image: Tensor, left: float, step: float) -> Tensor:
    """(C, H, W): how far pixels are from the line between their ends, of 81 angles between."""
    part = torch.linspace(0, 1, 81, dtype=torch.float64)
    shown = Rotation()(image[None], (left + step * part)[:, None])
    line = torch.lerp(shown[:1], shown[-1:], part[:, None, None, None])
    return (shown - line).abs().amax(dim=0)


@pytest.mark.parametrize("step", [2.5, 0.5, 0.02])
@pytest.mark.parametrize("name", list(pictures()))
def test_no_pixel_departs_by_more(name: str, step: float) -> None:
    image = pictures()[name]
    left = lefts(step)
    swept = swept_by_rotation(left + step / 2, step / 2, *image.shape[1:])
    bounds = Curvature(image).remainder(swept, step).double()
    parts = []
    for place, angle in enumerate(left.tolist()):
        seen = departures(image, angle, step)
        assert float((seen - bounds[place]).max()) <= 1e-12
        parts.append(float(seen.norm() / bounds[place].norm().clamp(min=1e-12)))
    assert sum(parts) / len(parts) > 0.3  # .6 to .7 for all but the smooth image


def test_a_wider_window_bounds_the_pieces_in_it() -> None:
    image, step = pictures()["noise"], 1.0
    left = lefts(step)
    swept = swept_by_rotation(left - 0.25 + 1.25 / 2, 1.25 / 2, *image.shape[1:])
    bounds = Curvature(image).remainder(swept, step).double()
    for place, angle in enumerate(left.tolist()):
        for offset in (-0.25, -0.1, 0.0):
            assert float((departures(image, angle + offset, step) - bounds[place]).max()) <= 1e-12


@pytest.mark.parametrize("step", [2.0, 0.3])
@pytest.mark.parametrize("name", list(pictures()))
def test_when_lines_are_crossed_makes_bounds_smaller_and_no_pixel_departs_by_more(
    name: str, step: float
) -> None:
    image, left = pictures()[name], lefts(step)
    curvature, size = Curvature(image), image.shape[1:]
    for wider in (0.0, step / 4):
        half = step / 2 + wider / 2
        swept = swept_by_rotation(left + step / 2, half, *size)
        usual = curvature.remainder(swept, step).double()
        late = curvature.departure(
            swept, math.radians(step), beyond=math.radians(wider / 2)
        ).double()
        assert bool((late <= usual).all())
        assert name == "ones" or float(late.norm()) < 0.95 * float(usual.norm())
        for place, angle in enumerate(left.tolist()):
            for offset in {-wider / 2, 0.0, wider / 2}:
                seen = departures(image, angle + offset, step)
                assert float((seen - late[place]).max()) <= 1e-12


def test_chosen_pixels_are_bounded_as_in_the_whole_image() -> None:
    image, pixels = pictures()["noise"], torch.tensor([0, 17, 18, 60, 100])
    middle, step = torch.tensor([3.0, 77.0], dtype=torch.float64), 0.8
    curvature = Curvature(image)
    whole = curvature.remainder(swept_by_rotation(middle, step / 2, *image.shape[1:]), step)
    some = swept_by_rotation(middle, step / 2, *image.shape[1:], pixels=pixels)
    assert torch.equal(curvature.remainder(some, step)[:, :, 0], whole.flatten(2)[:, :, pixels])


def test_where_points_are() -> None:
    middle, half = torch.tensor([10.0, 133.0], dtype=torch.float64), 1.5
    swept = swept_by_rotation(middle, half, 9, 14)
    for part in torch.linspace(-half, half, 31, dtype=torch.float64):
        angle = torch.deg2rad(middle + part)[:, None, None]
        px, py = torch.arange(14) - 6.5, (torch.arange(9) - 4.0)[:, None]
        x, y = angle.cos() * px - angle.sin() * py, angle.sin() * px + angle.cos() * py
        assert bool(((x - swept.x).abs() <= swept.half_x).all())
        assert bool(((y - swept.y).abs() <= swept.half_y).all())
        assert bool((y.abs() <= swept.speed_x).all() and (x.abs() <= swept.speed_y).all())
        assert bool((swept.turns_x | (torch.sign(y) == torch.sign(swept.y))).all())
        assert bool((swept.turns_y | (torch.sign(x) == torch.sign(swept.x))).all())
    reach = math.radians(half) * math.hypot(6.5, 4)
    assert float(swept.half_x.max()) < 1.1 * reach


def test_an_interval_that_is_too_wide_is_refused() -> None:
    with pytest.raises(InputError, match="split them"):
        swept_by_rotation(torch.zeros(1, dtype=torch.float64), 3.0, 28, 28)
