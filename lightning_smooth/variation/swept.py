"""Where pixels look while a parameter moves; how much a bilinear sampling can enlarge an image."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.curvature import Swept
from lightning_smooth.transforms.sampling import centered

_ROUNDING = 16 * 2.0**-24
"""Relative, and of a position for each pixel of the image's size: more than float32 is wrong by.

Points farther out than the image are wrong by more, but nothing is seen there.
"""


def swept_by_scaling(
    least: Tensor, greatest: Tensor, speed: Tensor, far: Tensor, height: int, width: int
) -> Swept:
    """Where pixels look while positions are p t, with t between two values and p the pixel's own.

    Args:
        least: (B,) float64, of t.
        greatest: (B,) float64.
        speed: (B,) float64, bound of |dt| by the parameter.
        far: (B,) float64, bound of |d^2 t| by the parameter.
        height: of the image, in pixels.
        width: likewise.

    Returns:
        Float32, rounded outward.

    Raises:
        InputError: the interval is so wide that a point may move by a pixel or more.
    """
    middle, half = _column((least + greatest) / 2), _column((greatest - least) / 2)
    px, py = centered(width, middle), centered(height, middle)[:, None]
    wrong, up = _ROUNDING * (height + width), 1 + _ROUNDING
    across, along = px.abs(), py.abs()
    speed, far = _column(speed) * up, _column(far) * up
    return _checked(
        (middle * px, middle * py),
        (across * half * up + wrong, along * half * up + wrong),
        (across * speed, along * speed),
        (across * far, along * far),
    )


def swept_by_shear(low: Tensor, high: Tensor, height: int, width: int) -> Swept:
    """Where pixels look while a shear is between (B,) float64 and (B,), pixels a row.

    Returns:
        Float32, rounded outward.

    Raises:
        InputError: the interval is so wide that a point may move by a pixel or more.
    """
    middle, half = _column((low + high) / 2), _column((high - low) / 2)
    px, py = centered(width, middle), centered(height, middle)[:, None]
    wrong, up = _ROUNDING * (height + width), 1 + _ROUNDING
    along, nothing = py.abs() * up, torch.zeros_like(half)
    return _checked(
        (px - middle * py, py + nothing),
        (along * half + wrong, nothing + wrong),
        (along, nothing),
        (nothing, nothing),
    )


def faster(swept: Swept, factor: float) -> Swept:
    """The same points, while a parameter moves of which `swept`'s own is a multiple.

    Args:
        swept: of a parameter t.
        factor: t by the parameter wanted.
    """
    speed, far = abs(factor), factor * factor
    return replace(
        swept,
        speed_x=swept.speed_x * speed, speed_y=swept.speed_y * speed,
        far_x=swept.far_x * far, far_y=swept.far_y * far,
    )  # fmt: skip


def sampling_norm(swept: Swept) -> Tensor:
    """Bound the operator norm of bilinear sampling, 0 outside, at points that are swept.

    Schur's test: a pixel's weights sum to at most 1, and a sample's to at most the sum, over
    pixels, of the greatest weight that a point of each box gives it.

    Returns:
        (B,) float64.
    """
    count, height, width = swept.x.shape
    (columns, wx), (rows, wy) = (
        _weights(swept.x, swept.half_x, width),
        _weights(swept.y, swept.half_y, height),
    )
    sums = torch.zeros(count, height * width)
    for row, beside in zip(rows, wy, strict=True):
        for column, weight in zip(columns, wx, strict=True):
            place = (row * width + column).flatten(1)
            sums.scatter_add_(1, place, (weight * beside).flatten(1))
    # The sum of n floats is wrong by n 2^-24 of it at most, and n is at most all pixels.
    return (sums.amax(dim=1).double() * (1 + 2.0**-23 * height * width) + 2.0**-18).sqrt()


def _weights(at: Tensor, half: Tensor, size: int) -> tuple[list[Tensor], list[Tensor]]:
    """Four samples along an axis that points may give weight to, and bounds of the weights."""
    place = at + (size - 1) / 2
    base = place.floor()
    samples = [base + offset for offset in (-1, 0, 1, 2)]
    weights = [
        (1 - ((place - sample).abs() - half).clamp_min(0)).clamp_min(0)
        * ((sample >= 0) & (sample < size))
        for sample in samples
    ]
    return [sample.clamp(0, size - 1).long() for sample in samples], weights


def _column(values: Tensor) -> Tensor:
    return values.float()[:, None, None]


def _checked(
    position: tuple[Tensor, Tensor],
    half: tuple[Tensor, Tensor],
    speed: tuple[Tensor, Tensor],
    far: tuple[Tensor, Tensor],
) -> Swept:
    """A swept, of columns and rows each, of which no point turns round, if none moves too far."""
    shape = (position[0] + position[1]).shape
    x, y, half_x, half_y, speed_x, speed_y, far_x, far_y = (
        part.expand(shape) for part in (*position, *half, *speed, *far)
    )
    if len(x) and float(torch.maximum(half_x, half_y).max()) >= 0.5:
        raise InputError("Expected intervals in which no pixel moves by more than one: split them.")
    never = torch.zeros(shape, dtype=torch.bool)
    return Swept(x, y, half_x, half_y, speed_x, speed_y, far_x, far_y, never, never)
