"""Cut a range of parameters into cells, small enough that images move almost straight in each."""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor

from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.interpolation.measure import Stored, rounding
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box
from lightning_smooth.variation.cells import Cells
from lightning_smooth.variation.grid import Grid
from lightning_smooth.variation.table import way_of

_ROUNDING = 1e-9
"""Of a bound, relative, and of the largest value: many times what float64 is wrong by."""


@torch.no_grad()
def vary(
    transform: Transform,
    image: Tensor,
    box: Box,
    *,
    stray: float = 0.02,
    cells: int = 16,
    most: int = 2048,
    stored: Stored = "float32",
) -> Cells:
    """Cover a box of one or two parameters by cells, and bound how far images stray from hulls.

    The guarantee is that of `Cells`, with all that `stored` allows. It holds whenever refinement
    stops: with fewer cells than it takes, bounds are larger than asked for.

    Args:
        transform: what has a bound (`has_bound`), in the parameters of the box at least; of several
            transformations in `Compose`, those that the box does not name stay at their identity.
        image: (C, H, W), floating point in [0, 1].
        box: (least, greatest) of one or two parameters, in any order; both may be the same.
        stray: what bounds are to be at most, in l2, before what `stored` adds.
        cells: intervals of each parameter to start with, at least; more where images move fast. A
            parameter with finitely many images has one for each of them.
        most: cells at most.
        stored: how an attack may store its image: `rounding` times the root of the number of values
            is added to every bound.

    Returns:
        Cells, the identity among their corners if the box holds it. Two parameters have a grid of
        them, those of the second one varying fastest.

    Raises:
        InputError: the box has no parameter, more than two, or ranges that are not allowed; the
            transformation has no bound, or applies one second that is not affine in the image; the
            image is not one; or `most` cells are fewer than a bound takes.
    """
    image = _image(image)
    ranges = transform.check_box(box)
    if len(ranges) > 2:
        raise InputError(
            f"Expected `box` to have one or two parameters, but got {', '.join(ranges)}: leave "
            "others at their identity."
        )
    check_positive("stray", stray)
    check_count("cells", cells)
    check_count("most", most)
    if stored not in get_args(Stored):
        raise InputError(f"Expected `stored` to be exact, float32 or uint8, but got {stored!r}.")
    way = way_of(transform, tuple(ranges))
    size = image.shape[1], image.shape[2]
    axes = way.axes(list(ranges.values()), size, cells)
    if math.prod(map(len, axes)) > most:
        raise InputError(
            f"Expected `most` to be at least {math.prod(map(len, axes))}, the cells to start with "
            f"for {transform!r} and this box, but got {most}: raise it, or reduce `cells` or `box`."
        )
    grid = Grid.of(image, way, axes)
    while (divided := grid.divided(way, stray, most)) is not None:
        grid = Grid.of(image, way, divided)
    return _cells(transform, image, tuple(ranges), grid, stored)


def _cells(
    transform: Transform, image: Tensor, names: tuple[str, ...], grid: Grid, stored: Stored
) -> Cells:
    axes = grid.axes
    theta = transform.identity().repeat(math.prod(len(axis.values) for axis in axes), 1)
    places = [transform.names.index(name) for name in names]
    theta[:, places] = _pairs([axis.values for axis in axes])
    corners = axes[0].ends
    if len(axes) == 2:
        first, second = corners[:, None, :, None], axes[1].ends[None, :, None, :]
        corners = (first * len(axes[1].values) + second).flatten(0, 1).flatten(1)
    images = transform(image[None], theta)
    largest = max(1.0, float(images.abs().max()))
    # Values above 1 are stored less finely as floats; 8 bits hold none.
    off = rounding(stored, max(image.shape[1:]))
    if stored != "exact":
        off += (largest - 1) * rounding("float32", max(image.shape[1:]))
    bound = (grid.first + grid.second).flatten()
    return Cells(
        names=names,
        low=_pairs([axis.low for axis in axes]),
        high=_pairs([axis.high for axis in axes]),
        theta=theta,
        images=images,
        corners=corners,
        stray=bound * (1 + _ROUNDING) + _ROUNDING * largest + off * math.sqrt(image.numel()),
    )


def _pairs(values: list[Tensor]) -> Tensor:
    """(product of lengths, P): every combination, the last varying fastest."""
    return torch.cartesian_prod(*values).reshape(-1, len(values))


def _image(image: Tensor) -> Tensor:
    if image.ndim != 3 or not image.is_floating_point() or not image.numel():
        raise InputError(
            "Expected `image` (C, H, W) in floating point, but got shape "
            f"{tuple(image.shape)} of {image.dtype}."
        )
    low, high = (float(end) for end in image.detach().aminmax())
    if not (low >= 0 and high <= 1):
        raise InputError(
            f"Expected `image` in [0, 1], but got values from {low:g} to {high:g}: give it as it "
            "is before any normalisation."
        )
    return image.detach().double().cpu()
