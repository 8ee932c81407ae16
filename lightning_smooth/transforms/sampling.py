"""Bilinear sampling at affine positions, by one pinned rule.

Convention: pixel (row i, column j) is a sample at x = j - (W - 1)/2, y = i - (H - 1)/2: the origin
is the image's centre, x grows to the right and y down, a pixel is one unit. A value between
samples is bilinear in the four around it; samples outside the image are 0. Positions that are
samples give exactly their values.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lightning_smooth.errors import InputError


def centered(size: int, like: Tensor) -> Tensor:
    """Coordinates (size,) of samples about their centre.

    >>> centered(4, torch.zeros(()))
    tensor([-1.5000, -0.5000,  0.5000,  1.5000])
    """
    return torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2


def affine_sample(
    images: Tensor,
    matrix: Tensor,
    shift: Tensor | None = None,
    *,
    kept: tuple[slice, slice] = (slice(None), slice(None)),
) -> Tensor:
    """Sample images at affine functions of the pixels' coordinates.

    Args:
        images: (B, C, H, W), or one image (1, C, H, W) for all matrices.
        matrix: (B, 2, 2); the pixel at (x, y) of the result shows the image at
            matrix @ (x, y) + shift.
        shift: (B, 2) in pixels; None for 0.
        kept: rows and columns of the result that are wanted.

    Returns:
        (B, C, H, W), or what is kept of it.

    Raises:
        InputError: the images are neither float32 nor float64: half precision cannot tell
            positions a hundredth of a pixel apart.
    """
    if images.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"Expected images of float32 or float64, but got {images.dtype}: convert them first."
        )
    height, width = images.shape[-2:]
    # The position of a power of two's worth of pixels is exact in grid_sample's own units: the
    # image's samples stay what they are. Padding is what lies outside anyway.
    sizes = torch.tensor([_power(width), _power(height)]).to(images)
    offset = torch.tensor([width / _power(width) - 1, height / _power(height) - 1]).to(images)
    scaled = matrix * (2 / sizes)[:, None]
    columns = scaled[:, None, :, 0] * centered(width, images)[kept[1], None]
    rows = scaled[:, None, :, 1] * centered(height, images)[kept[0], None] + offset
    if shift is not None:
        rows = rows + (shift * (2 / sizes))[:, None]
    # Complex numbers for pairs: the sum's inner loop is then a row of pixels, not a pair.
    row, column = torch.view_as_complex(rows), torch.view_as_complex(columns)
    grid = torch.view_as_real(row[:, :, None] + column[:, None])
    right, below = _power(width) - width, _power(height) - height
    if right or below:
        images = functional.pad(images, (0, right, 0, below))
    if len(images) == 1 and len(grid) > 1:
        sampled = _sample(images, grid.reshape(1, -1, grid.shape[2], 2))
        return sampled.reshape(-1, *grid.shape[:3]).transpose(0, 1)
    return _sample(images, grid.expand(len(images), -1, -1, -1))


def sample_weights(
    matrix: Tensor, height: int, width: int, rows: slice, columns: slice
) -> tuple[Tensor, Tensor]:
    """What `affine_sample` does, as a table: for many images of each matrix faster than it.

    Args:
        matrix: (B, 2, 2), float64.
        height: of the images.
        width: likewise.
        rows: of the result that are wanted.
        columns: likewise.

    Returns:
        Places (B, P, 4) int32 among the image's pixels and weights (B, P, 4), of each pixel that is
        wanted, row by row; the weight of what lies outside the image is 0.
    """
    px, py = centered(width, matrix)[columns], centered(height, matrix)[rows, None]
    turn = matrix[:, :, :, None, None]
    x = (turn[:, 0, 0] * px + (turn[:, 0, 1] * py + (width - 1) / 2)).flatten(1)
    y = (turn[:, 1, 0] * px + (turn[:, 1, 1] * py + (height - 1) / 2)).flatten(1)
    across, sides = _neighbours(x, width)
    down, ends = _neighbours(y, height)
    places = (down * width)[..., :, None] + across[..., None, :]
    weights = ends[..., :, None] * sides[..., None, :]
    return places.flatten(2), weights.flatten(2)


def _neighbours(at: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The samples before and after positions (B, P), and their weights, 0 outside: (B, P, 2)."""
    before = at.floor()
    part = at - before
    samples = torch.stack([before, before + 1], dim=-1)
    weights = torch.stack([1 - part, part], dim=-1)
    inside = samples.clamp(0, size - 1)
    weights *= inside == samples
    return inside.int(), weights


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )


def _power(size: int) -> int:
    """The least power of two that is at least `size`."""
    return 1 << (size - 1).bit_length()
