"""Interval images: the least and the greatest value of each pixel of a transformed image.

Source: Fischer, Baader, Vechev, NeurIPS 2020, section 5; THEORY section 6.

Between four neighbouring samples the image is bilinear, so over a box within one such cell its
extremes are at the box's corners. Over a larger box they are among the corners of its parts in the
cells it touches, which are at all pairs of a column, of (x_low, the whole numbers in between,
x_high), and a row, likewise. `interval_images` evaluates exactly these points, however many: what
it returns is the exact range, not a bound of it. Of an interval image, the weights are at least 0,
so that the least value comes from its lower bounds alone and the greatest from its upper ones.

**Rounding.** With u = 2^-24, and V the largest absolute value of the image: `grid_sample`'s weights
have relative error 3u, and a pixel of it is wrong by at most 7uV; the two interpolations here are
wrong by at most 14uV in float32. Bounds are moved outward by 32uV, which is 1.9e-6 V, and so hold
for real arithmetic, float32 and float64. Where V is not far above the least normal number, each
rounding may cost 2^-149 besides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.interpolation.boxes import ROUNDING, Boxes, cells

_SAMPLED: Final = 32
_APPLIED: Final = 64
"""Roundings that bounds are moved outward by."""

_UNDERFLOW: Final = 2.0**-149
"""What one rounding may cost more where numbers are below the normal ones of float32."""

_Knots: TypeAlias = tuple[list[Tensor | int], list[Tensor]]


def interval_images(
    low: Tensor, high: Tensor, boxes: Boxes, *, chunk: int = 1 << 17
) -> tuple[Tensor, Tensor]:
    """Range of each pixel's value, over its box of source points and over all images in between.

    Guarantee: for every image x with low <= x <= high, 0 outside, and every point of a box, the
    bilinear value lies within; nothing smaller does, but for 32uV of rounding on each side.

    Args:
        low: (C, H, W) least pixels for all boxes, or (B, C, H, W), float32 or float64.
        high: greatest pixels, likewise; equal to `low` for a known image, which takes half the
            time.
        boxes: B boxes for each pixel of a result of H x W, from `swept_boxes`.
        chunk: points that are evaluated at once, which bounds memory besides the results. A box
            within one cell has 4, one that touches k x k cells (k + 1)^2.

    Returns:
        Least and greatest values, (B, C, H, W), in the dtype of `low`.

    Raises:
        InputError: shapes do not fit, or a lower bound is above the upper one.
    """
    check_bounds(low, high)
    if low.shape[-2:] != boxes.shape[1:] or (low.ndim == 4 and len(low) != len(boxes)):
        raise InputError(
            f"Expected images (C, H, W) or (B, C, H, W) for boxes {tuple(boxes.shape)}, but got "
            f"shape {tuple(low.shape)}."
        )
    check_count("chunk", chunk)
    tables = [_table(low)] if low is high or torch.equal(low, high) else [_table(low), _table(high)]
    ends = [e.reshape(-1) for e in (boxes.x_low, boxes.x_high, boxes.y_low, boxes.y_high)]
    results = low.new_empty(2, len(tables[0]), len(ends[0]))
    per_image = boxes.shape[1:].numel() if low.ndim == 4 else 0
    size = max(1, check_count("chunk", chunk) // 4)
    for start in range(0, len(ends[0]), size):
        part = slice(start, start + size)
        image = None
        if per_image:
            image = torch.arange(start, start + len(ends[0][part]), device=low.device) // per_image
        _fill(results[:, :, part], tables, [e[part] for e in ends], image, low.shape[-2:], size)
    slack = _slack(low, high, _SAMPLED).expand(len(boxes), 1, 1, 1)
    results = results.view(2, len(tables[0]), *boxes.shape).transpose(1, 2)
    return results[0] - slack, results[1] + slack


def apply_exact(
    operator: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, *, roundings: int = _APPLIED
) -> tuple[Tensor, Tensor]:
    """Bounds of what a linear map with weights of at least 0 makes of an interval image.

    A transformation at fixed parameters, a vignette and a blur are such maps, and so is one after
    the other. They are monotone, so that the bounds' images are the exact bounds.

    Guarantee: for every low <= x <= high, operator(x) lies within, whether it is computed in
    float32, in float64 or exactly. A transformation's points are part of the map: they are those
    that `operator` computes in the dtype of `low`.

    Args:
        operator: takes and gives images (B, C, H, W). The weights of a pixel sum to at most 1.
        low: (B, C, H, W) or (C, H, W), float32 or float64.
        high: likewise.
        roundings: how many roundings of float32, in all, an image's pixel may go through in two
            evaluations of `operator`, each relative to the image's largest value. Sampling has 7,
            a blur of k x k pixels 2k + 2: the default is enough for both, up to k = 11.

    Returns:
        Least and greatest values.

    Raises:
        InputError: shapes do not fit, or a lower bound is above the upper one.
    """
    check_bounds(low, high)
    slack = _slack(low, high, check_count("roundings", roundings))
    if low.ndim == 3:
        return operator(low[None])[0] - slack[0], operator(high[None])[0] + slack[0]
    return operator(low) - slack, operator(high) + slack


def check_bounds(low: Tensor, high: Tensor) -> None:
    """Check an interval image.

    Raises:
        InputError: it is none.
    """
    single = (torch.float32, torch.float64)
    if low.shape != high.shape or low.dtype != high.dtype or low.dtype not in single:
        raise InputError(
            "Expected bounds of one shape and dtype, float32 or float64, but got "
            f"{tuple(low.shape)} of {low.dtype} and {tuple(high.shape)} of {high.dtype}."
        )
    if low.ndim not in (3, 4) or not bool((low <= high).all()):
        raise InputError(
            "Expected bounds (C, H, W) or (B, C, H, W), no lower one above the upper one, and no "
            f"NaN, but got shape {tuple(low.shape)}."
        )


def _slack(low: Tensor, high: Tensor, roundings: int) -> Tensor:
    """(B or 1, 1, 1, 1): that many roundings of the largest value of each image."""
    largest = torch.maximum(low.abs(), high.abs()).flatten(-3).amax(dim=-1)
    return (roundings * (ROUNDING * largest + _UNDERFLOW)).reshape(-1, 1, 1, 1)


def _table(images: Tensor) -> Tensor:
    """(C, N): the samples of images with a frame of zeros, one image after the other."""
    padded = functional.pad(images, (1, 1, 1, 1))
    return (padded if padded.ndim == 3 else padded.transpose(0, 1)).flatten(1)


def _fill(
    results: Tensor,
    tables: list[Tensor],
    ends: list[Tensor],
    image: Tensor | None,
    size: torch.Size,
    chunk: int,
) -> None:
    """Write ranges (2, C, n) over n boxes, whose x_low, x_high, y_low, y_high are `ends`."""
    height, width = size
    left, right, column, across = cells(ends[0], ends[1], width)
    top, bottom, row, down = cells(ends[2], ends[3], height)
    line = width + 2
    place = (row + 1) * line + (column + 1)
    if image is not None:
        place = place + image * (line * (height + 2))
    place = place.long()
    x, y = (left - column, right - column, across), (top - row, bottom - row, down)
    for channel in range(results.shape[1]):  # as if no box touched a second cell
        planes = [table[channel] for table in tables]
        bounds = _extremes(planes, place, _knots(*x, 1), _knots(*y, 1), line)
        results[0, channel], results[1, channel] = bounds
    largest = torch.maximum(across, down)
    least, most = 2, 2
    while least <= int(largest.max()):
        chosen = ((largest >= least) & (largest <= most)).nonzero()[:, 0]
        for part in torch.split(chosen, max(1, 4 * chunk // (most + 1) ** 2)):
            x_part, y_part = (
                _knots(low[part], high[part], count[part], most) for low, high, count in (x, y)
            )
            for channel in range(results.shape[1]):
                planes = [table[channel] for table in tables]
                bounds = _extremes(planes, place[part], x_part, y_part, line)
                results[0, channel].index_copy_(0, part, bounds[0])
                results[1, channel].index_copy_(0, part, bounds[1])
        least, most = most + 1, most + 1 if most < 3 else most + most // 2


def _knots(low: Tensor, high: Tensor, count: Tensor, most: int) -> _Knots:
    """For n intervals along one axis, which samples they need, and where they are between them.

    Args:
        low: (n,) ends of the intervals, from the first sample.
        high: likewise.
        count: cells that they touch.
        most: cells to return points for; above 1, at least `count`.

    Returns:
        Offsets of the `most` + 1 samples from the first, of which those past the last cell are
        repeated; and `most` + 1 weights: point 0 lies between samples 0 and 1, point k between
        k - 1 and k. A weight of -1: there is no such point.
    """
    offsets: list[Tensor | int] = [0, 1]
    weights = [low, high.clamp(max=1)]
    for k in range(2, most + 1):
        offsets.append(count.clamp(max=k).long())
        weights.append(torch.where(count >= k, (high - (k - 1)).clamp(max=1), -1.0))
    return offsets, weights


def _extremes(
    tables: list[Tensor], place: Tensor, x: _Knots, y: _Knots, line: int
) -> tuple[Tensor, Tensor]:
    """Least values (n,) of the first table and greatest of the last, over all points."""
    points = zip(*(_points(table, place, x, y, line) for table in tables), strict=True)
    first = next(points)
    least, greatest = first[0], first[-1]
    for values in points:
        least = torch.minimum(least, values[0])
        greatest = torch.maximum(greatest, values[-1])
    return least, greatest


def _points(table: Tensor, place: Tensor, x: _Knots, y: _Knots, line: int) -> Iterator[Tensor]:
    """Values (n,) at one point after the other; a point that is not there repeats another."""
    across, down = ([weight.to(table.dtype) for weight in axis[1]] for axis in (x, y))
    first: Tensor | None = None
    above: list[Tensor] = []
    for k, step in enumerate(y[0]):
        start = place + step * line
        samples = [table.index_select(0, start + offset) for offset in x[0]]
        values = [torch.lerp(samples[0], samples[1], across[0])]
        for j, weight in enumerate(across[1:], start=1):
            value = torch.lerp(samples[j - 1], samples[j], weight)
            values.append(value if j == 1 else torch.where(weight < 0, values[0], value))
        for one, two in zip(above, values, strict=False):
            if k == 1:
                value = torch.lerp(one, two, down[0])
                first = value if first is None else first
                yield value
            value = torch.lerp(one, two, down[k])
            yield value if first is None or k == 1 else torch.where(down[k] < 0, first, value)
        above = values
