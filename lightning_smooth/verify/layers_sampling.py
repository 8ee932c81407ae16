"""Linear forms of bilinear sampling as layers: weights first, and then the pixels' sum.

Source: Mohapatra, Weng, Chen, Liu, Daniel, "Towards verifying robustness of neural networks against
a family of semantic perturbations", CVPR 2020, section 4; THEORY section 9. A pixel that looks at
(X, Y) is the sum over samples (j, i) of max(0, 1 - |X - j|) max(0, 1 - |Y - i|) times the sample.
Each layer is relaxed on its own, whatever the samples are:

- X and Y: their tangents at the box's centre, and what the second derivative may add, with what
  float32 may be wrong by (`interpolation.boxes`);
- a hat max(0, 1 - |z|) over an interval of z: on one side of 0 it is convex, so a chord is above it
  and 1 - |z| and 0 are below; around 0, 1 plus the chord's slope times z is above it, as it is at
  0 and at the ends, and the chord is below within [-1, 1], 0 anywhere;
- the product p q of two hats: (p - p')(q - q') >= 0 or <= 0 at the ends (McCormick).

The sum takes the lower lines for samples above 0 and the upper ones for others. Samples that are
no hat's are not looked at. Where a form is worse in the middle than the interval image, or points
pass many samples, it is the interval image's bound, which is flat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from lightning_smooth.interpolation.boxes import ROUNDING, Boxes, point_error, swept_boxes
from lightning_smooth.interpolation.intervals import interval_images
from lightning_smooth.transforms.base import Transform
from lightning_smooth.transforms.geometric import Rotation, Scaling, cos_sin
from lightning_smooth.transforms.sampling import centered
from lightning_smooth.verify.linear_forms import Forms, Line
from lightning_smooth.verify.linear_paths import sampling_error, speeds
from lightning_smooth.verify.regions import Bounds

_MOST: Final = 8
"""Samples along an axis that a point may pass between; beyond, forms are flat."""
_OWN: Final = 2.0**-40


@dataclass(frozen=True)
class _Track:
    """Where points are along one axis: within `wrong` of a line, and within `range`.

    Attributes:
        start: (B, H, W) in the box's centre.
        slope: (B, P, H, W).
        wrong: least and greatest distance from the line.
        range: least and greatest place.
    """

    start: Tensor
    slope: Tensor
    wrong: Bounds
    range: Bounds


@dataclass(frozen=True)
class _Weight:
    """A weight between two lines, each its slope (B, P, H, W) and middle, and within a range."""

    low: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    range: Bounds


def sampled(transform: Transform, image: Tensor, low: Tensor, high: Tensor) -> Forms:
    """Forms of `Rotation`, `Scaling` and `Translation`, over boxes (B, P)."""
    height, width = image.shape[1:]
    boxes = swept_boxes(transform, low, high, height=height, width=width)
    columns, rows = _tracks(transform, boxes, low, high)
    within = Bounds(*interval_images(image, image, boxes))
    slack = sampling_error(image)
    zero = torch.zeros_like(within.lower)
    sides = [(torch.zeros(*low.shape, *image.shape, dtype=low.dtype), zero) for _ in range(2)]
    first_x, first_y = columns.range.lower.floor(), rows.range.lower.floor()
    many_x, many_y = columns.range.upper.ceil() - first_x, rows.range.upper.ceil() - first_y
    most_x, most_y = (min(int(m.max()), _MOST) + 1 for m in (many_x, many_y))
    down = [_hat(rows, first_y + i) for i in range(most_y)]
    for j in range(most_x):
        across = _hat(columns, first_x + j)
        for i, other in enumerate(down):
            lower, upper = _product(across, other)
            sample = _samples(image, first_x + j, first_y + i)
            above = sample >= 0
            for k, (one, two) in enumerate(((lower, upper), (upper, lower))):
                slope = torch.where(above[:, None], one[0][:, :, None], two[0][:, :, None])
                middle = torch.where(above, one[1][:, None], two[1][:, None])
                sides[k] = (
                    sides[k][0] + sample[:, None] * slope,
                    sides[k][1] + sample * middle,
                )
    many = ((many_x > _MOST) | (many_y > _MOST))[:, None]
    lines = []
    for (slope, middle), bound, sign in zip(sides, within, (-1.0, 1.0), strict=True):
        moved = middle + sign * slack
        flat = many | (sign * moved >= sign * bound)
        lines.append(Line(torch.where(flat[:, None], 0.0, slope), torch.where(flat, bound, moved)))
    return Forms(lines[0], lines[1], within)


def _samples(image: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """(B, C, H, W): samples at whole places (B, H, W), 0 outside."""
    height, width = image.shape[1:]
    framed = functional.pad(image, (1, 1, 1, 1)).flatten(1)
    place = (row.clamp(-1, height) + 1) * (width + 2) + column.clamp(-1, width) + 1
    taken = framed.index_select(1, place.long().flatten())
    return taken.view(len(image), *place.shape).transpose(0, 1)


def _tracks(transform: Transform, boxes: Boxes, low: Tensor, high: Tensor) -> tuple[_Track, _Track]:
    height, width = boxes.shape[1:]
    center, half = ((high + s * low) / 2 for s in (1, -1))
    x, y = centered(width, low).expand(boxes.shape), centered(height, low)[:, None]
    y = y.expand(boxes.shape)
    at = _points(transform, center, x, y)
    ranges = (Bounds(boxes.x_low, boxes.x_high), Bounds(boxes.y_low, boxes.y_high))
    middles = ((width - 1) / 2, (height - 1) / 2)
    moved = point_error(transform, low, high, height=height, width=width)[:, None, None]
    rounded = ROUNDING * torch.maximum(low.abs(), high.abs())
    found = []
    for axis, (start, slope) in enumerate(at):
        least, most = (bound - middles[axis] for bound in ranges[axis])
        if isinstance(transform, Rotation):
            degree = math.pi / 180
            bend = Bounds(-most * degree**2, -least * degree**2)
        elif isinstance(transform, Scaling):
            ends = [2 * (x, y)[axis] / end[..., None] ** 3 for end in (low, high)]
            bend = Bounds(torch.minimum(*ends), torch.maximum(*ends))
        else:
            bend = Bounds(torch.zeros_like(least), torch.zeros_like(least))
        if isinstance(transform, (Rotation, Scaling)):
            speed = speeds(transform, boxes, low[:, 0], high[:, 0])[axis].size[:, 0]
            wrong = moved + speed * rounded[:, :1, None]
        else:
            wrong = moved + rounded[:, axis, None, None]
        wrong = wrong * (1 + 2.0**-20)
        square = half[:, :1, None] ** 2 / 2 * (1 + _OWN)
        found.append(
            _Track(
                start + middles[axis],
                slope,
                Bounds(
                    bend.lower.clamp(max=0) * square - wrong,
                    bend.upper.clamp(min=0) * square + wrong,
                ),
                ranges[axis],
            )
        )
    return found[0], found[1]


def _points(
    transform: Transform, center: Tensor, x: Tensor, y: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Points (B, H, W) at centres (B, P), from the image's, and derivatives (B, P, H, W)."""
    first = center[:, 0, None, None]
    if isinstance(transform, Rotation):
        cos, sin = cos_sin(first)
        column, row, degree = cos * x - sin * y, sin * x + cos * y, math.pi / 180
        return (column, -degree * row[:, None]), (row, degree * column[:, None])
    if isinstance(transform, Scaling):
        return (x / first, -x[:, None] / first[:, None] ** 2), (
            y / first, -y[:, None] / first[:, None] ** 2,
        )  # fmt: skip
    one, none = torch.full_like(x, -1.0), torch.zeros_like(x)
    return (
        (x - first, torch.stack([one, none], dim=1)),
        (y - center[:, 1, None, None], torch.stack([none, one], dim=1)),
    )


def _hat(track: _Track, sample: Tensor) -> _Weight:
    """max(0, 1 - |z|) for z, the distance (B, H, W) of points from samples along an axis."""
    low, high = track.range.lower - sample, track.range.upper - sample
    ends = Bounds((1 - low.abs()).clamp(min=0), (1 - high.abs()).clamp(min=0))
    near = torch.where((low < 0) & (high > 0), 0.0, torch.minimum(low.abs(), high.abs()))
    most, least = (1 - near).clamp(min=0), torch.minimum(*ends)
    apart = torch.where(high > low, high - low, 1.0)
    chord = (ends.upper - ends.lower) / apart
    around = (low < 0) & (high > 0)
    concave = around & (low >= -1) & (high <= 1)
    side = torch.where(high <= 0, 1.0, -1.0)
    seen = ~around & (1 + side * (low + high) / 2 > 0)
    # Slopes in z, and values at z = 0.
    below = torch.where(concave, chord, torch.where(seen, side, 0.0))
    start = torch.where(concave, ends.lower - chord * low, torch.where(seen, 1.0, 0.0))
    above = torch.where(around, 1.0, ends.lower - chord * low)
    distance = track.start - sample
    lines = []
    for slope, value, sign in ((below, start, -1.0), (chord, above, 1.0)):
        wrong = torch.stack([slope * track.wrong.lower, slope * track.wrong.upper])
        added = wrong.amax(dim=0) if sign > 0 else wrong.amin(dim=0)
        middle = value + slope * distance
        size = value.abs() + (slope * distance).abs() + (slope * low).abs()
        lines.append((slope[:, None] * track.slope, middle + added + sign * _OWN * size))
    return _Weight(lines[0], lines[1], Bounds(least, most))


def _product(one: _Weight, two: _Weight) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Lines below and above the product of two weights."""
    (p, q), sides = (one.range, two.range), []
    for sign, choices in (
        (1.0, ((p.lower, q.lower), (p.upper, q.upper))),
        (-1.0, ((p.lower, q.upper), (p.upper, q.lower))),
    ):
        first, second = (one.low, two.low) if sign > 0 else (one.up, two.up)
        # A weight is at least 0, and at most the product of the greatest ones.
        middle = torch.zeros_like(p.lower) if sign > 0 else p.upper * q.upper
        slope = torch.zeros_like(first[0])
        for at_p, at_q in choices:
            found = at_q * first[1] + at_p * second[1] - at_p * at_q
            better = sign * found > sign * middle
            steep = at_q[:, None] * first[0] + at_p[:, None] * second[0]
            slope = torch.where(better[:, None], steep, slope)
            middle = torch.where(better, found, middle)
        sides.append((slope, middle - sign * _OWN))
    return sides[0], sides[1]
