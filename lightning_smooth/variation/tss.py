"""How far images are from the nearest of two anchors: the published bound, and ours beside it.

Both are of the largest l2 distance, over theta between two neighbouring anchors, between tau(theta,
x) and the nearer one of the anchors' images, and both look at the same slices of each gap.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.interpolation.curvature import Swept
from lightning_smooth.interpolation.error import length
from lightning_smooth.transforms.base import Transform
from lightning_smooth.transforms.geometric import Rotation, Scaling
from lightning_smooth.transforms.sampling import centered
from lightning_smooth.variation.affine import RotationPath, Sampled, ScalingPath
from lightning_smooth.variation.path import Size

_MARGIN: Final = 2
_ROUNDING: Final = 1e-9


def tss_bound(transform: Transform, image: Tensor, anchors: Tensor, cells: int) -> Tensor:
    """Bound distances from anchors as TSS does, by a Lipschitz constant of the squared distance.

    g(theta) = |tau(theta, x) - anchor|^2 is at most the mean of its values at a slice's ends and
    L/2 times its width. Over a gap |g'| <= L = sum over pixels and channels of

        2 sqrt(2) speed maxV maxD,

    maxV the largest value of the samples around cells that the pixel looks into within the gap (of
    values of at least 0, no difference is larger), maxD the largest difference of samples of one
    such cell, which bounds both slopes. The speed is pi/180 times the distance from the centre for
    a rotation, and the distance by the square of the least scale for a scaling.

    Args:
        transform: Rotation or Scaling.
        image: (C, H, W), at least 0.
        anchors: (A,) ascending parameters, two or more.
        cells: slices of each gap.

    Returns:
        (A - 1,) float64, for each gap.

    Raises:
        InputError: there is no such bound of the transformation, or no gap.

    Source: Li et al., "TSS", CCS 2021, section 5.2 and its appendix; THEORY section 8.
    """
    path, slices = _slices(transform, anchors, cells)
    image = image.double()
    size = image.shape[1], image.shape[2]
    widths = slices.diff(dim=1)
    squares = _distances(path, image, slices).square()  # (A - 1, 2, cells + 1)
    steep = torch.stack([
        _lipschitz(path, image, float(gap[0]), float(gap[-1]), size) for gap in slices
    ])  # fmt: skip
    means = (squares[..., 1:] + squares[..., :-1]) / 2
    bounds = means + (steep[:, None] * widths / 2)[:, None]
    return bounds.amin(dim=1).amax(dim=1).sqrt() * (1 + _ROUNDING) + _ROUNDING


def anchor_bound(transform: Transform, image: Tensor, anchors: Tensor, cells: int) -> Tensor:
    """Bound distances from anchors by chords: a norm is largest at an end, and images stray so far.

    Args:
        transform: Rotation or Scaling.
        image: (C, H, W).
        anchors: (A,) ascending parameters, two or more.
        cells: slices of each gap.

    Returns:
        (A - 1,) float64, for each gap.

    Raises:
        InputError: as for `tss_bound`; or slices are so wide that a pixel may move by more than
            one.
    """
    path, slices = _slices(transform, anchors, cells)
    image = image.double()
    norms = _distances(path, image, slices)
    stray = path.stray(image[None], slices[:, :-1].flatten(), slices[:, 1:].flatten())
    ends = torch.maximum(norms[..., 1:], norms[..., :-1]).amin(dim=1)
    bounds = ends + stray.view(len(slices), -1)
    return bounds.amax(dim=1) * (1 + _ROUNDING) + _ROUNDING


def _slices(transform: Transform, anchors: Tensor, cells: int) -> tuple[Sampled, Tensor]:
    """The path, and the ends of the slices of each gap, (A - 1, cells + 1)."""
    check_count("cells", cells)
    if anchors.ndim != 1 or len(anchors) < 2 or not bool((anchors.diff() > 0).all()):
        raise InputError(
            f"Expected `anchors` to be two or more ascending parameters, but got {anchors}."
        )
    path: Sampled
    if isinstance(transform, Rotation):
        path = RotationPath(transform, 0)
    elif isinstance(transform, Scaling):
        path = ScalingPath(transform, 0)
    else:
        raise InputError(f"Expected `transform` to be Rotation or Scaling, but got {transform!r}.")
    ends = anchors.double()
    share = torch.linspace(0, 1, cells + 1, dtype=torch.float64)
    return path, torch.lerp(ends[:-1, None], ends[1:, None], share)


def _distances(path: Sampled, image: Tensor, slices: Tensor) -> Tensor:
    """(A - 1, 2, cells + 1): of images at slices' ends from those at the ends of the gap."""
    found = []
    for gap in slices:
        images = path.images(image[None], gap)
        found.append(torch.stack([length(images - images[end]) for end in (0, -1)]))
    return torch.stack(found)


def _lipschitz(path: Sampled, image: Tensor, low: float, high: float, size: Size) -> Tensor:
    padded = functional.pad(image, (_MARGIN,) * 4)[None]
    largest = functional.max_pool2d(padded, 2, stride=1)[0]
    differ = largest + functional.max_pool2d(-padded, 2, stride=1)[0]
    ends = torch.tensor([low, high], dtype=torch.float64)
    edges = torch.cat([ends[:1], path.edges(low, high, size), ends[1:]])
    (swept,) = path.swept(edges[:-1], edges[1:], size)
    radius = torch.hypot(centered(size[0], image)[:, None], centered(size[1], image))
    speed = radius * (math.pi / 180 if isinstance(path, RotationPath) else 1 / (low * low))
    return 2 * math.sqrt(2) * (speed * _looked(largest, swept) * _looked(differ, swept)).sum()


def _looked(table: Tensor, swept: Swept) -> Tensor:
    """(C, H, W): the largest entry of cells (C, rows, columns) that pixels look into at all."""
    rows, columns = table.shape[1:]
    found = torch.zeros(len(table), *swept.x.shape[1:], dtype=table.dtype)
    x, y = swept.x + (columns - 2) / 2, swept.y + (rows - 2) / 2
    for row in (y - swept.half_y, y + swept.half_y):
        for column in (x - swept.half_x, x + swept.half_x):
            at_row, at_column = row.floor().clamp(0, rows - 1), column.floor().clamp(0, columns - 1)
            values = table[:, at_row.long(), at_column.long()]
            found = torch.maximum(found, values.amax(dim=1))
    return found
