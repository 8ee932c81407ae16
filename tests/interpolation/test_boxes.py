"""Boxes of source points: dense sampling, closed forms, and float32's own positions."""

import math

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.boxes import Boxes, cells, swept_boxes
from lightning_smooth.transforms import Rotation, Scaling, Shear, Translation, sampling

from .cases import TRANSFORMS, boxes_of, within


def points(name, theta, height, width):
    """Source columns and rows (..., H, W) of parameters (..., P), in float64."""
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    y = (torch.arange(height, dtype=torch.float64) - (height - 1) / 2)[:, None]
    first, last = theta[..., 0, None, None], theta[..., -1, None, None]
    if name == "rotation":
        radians = first * math.pi / 180
        x, y = radians.cos() * x - radians.sin() * y, radians.sin() * x + radians.cos() * y
    elif name == "scaling":
        x, y = (x / first).expand(*first.shape[:-2], height, width), y / first
    else:
        x, y = x - first, y - last
    shape = (*first.shape[:-2], height, width)
    return x.expand(shape) + (width - 1) / 2, y.expand(shape) + (height - 1) / 2


def inside(boxes, x, y):
    columns = (boxes.x_low <= x) & (x <= boxes.x_high)
    return bool((columns & (boxes.y_low <= y) & (y <= boxes.y_high)).all())


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("width", [0.0, 1e-3, 0.3, 5.0, 70.0, 200.0, 500.0])
@pytest.mark.parametrize("size", [(5, 8), (28, 28), (1, 3)])
def test_boxes_hold_all_points_and_no_more(name, width, size):
    generator = torch.Generator().manual_seed(1)
    low, high = boxes_of(name, width, 6, generator)
    boxes = swept_boxes(TRANSFORMS[name], low, high, height=size[0], width=size[1])
    parts = torch.linspace(0, 1, 501, dtype=torch.float64)[:, None, None]
    x, y = points(name, low * (1 - parts) + high * parts, *size)
    assert inside(boxes, x, y)
    # An extreme of a circle is at most a half step from an angle that was tried.
    missed = math.hypot(*size) / 2 * math.radians(width / 1000) ** 2 if name == "rotation" else 0.0
    tolerance = missed + 1e-6 * (100 + float(high.abs().max()))
    for bound, tried in (
        (boxes.x_low, x.amin(0)), (boxes.x_high, x.amax(0)),
        (boxes.y_low, y.amin(0)), (boxes.y_high, y.amax(0)),
    ):  # fmt: skip
        assert torch.allclose(bound, tried, rtol=0, atol=tolerance)


def test_arcs_contain_the_extremes_of_their_circle():
    # Pixel (row 0, column 2) of 3 x 3 is sqrt 2 from the centre, at -45 degrees (rows go down).
    low, high = torch.tensor([[0.0], [-100.0], [80.0]]), torch.tensor([[90.0], [0.0], [81.0]])
    boxes = swept_boxes(Rotation(), low, high, height=3, width=3)
    ends = torch.stack([boxes.x_low, boxes.x_high, boxes.y_low, boxes.y_high])[:, :, 0, 2] - 1
    far = math.sqrt(2)

    def at(degrees):
        return far * math.cos(math.radians(degrees)), far * math.sin(math.radians(degrees))

    expected = [
        [1, far, -1, 1],  # from -45 to 45: past 0
        [at(-145)[0], 1, -far, at(-145)[1]],  # from -145 to -45: past -90
        [at(36)[0], at(35)[0], at(35)[1], at(36)[1]],
    ]
    assert ends.T.tolist() == [pytest.approx(row, abs=1e-5) for row in expected]


@pytest.mark.parametrize("low", [-720.0, 0.0, 13.0])
def test_a_whole_turn_sweeps_the_circle(low):
    low = torch.tensor([[low]])
    boxes = swept_boxes(Rotation(), low, low + 360, height=4, width=6)
    x, y = torch.arange(6) - 2.5, torch.arange(4)[:, None] - 1.5
    radius = (x * x + y * y).double().sqrt()
    assert torch.allclose(boxes.x_low[0], 2.5 - radius, atol=1e-4)
    assert torch.allclose(boxes.y_high[0], 1.5 + radius, atol=1e-4)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("size", [(28, 28), (33, 100), (160, 224), (9, 8)])
def test_positions_of_float32_lie_within(name, size, monkeypatch):
    """What `grid_sample` makes of the grid that it gets, in float32."""
    grids = []
    monkeypatch.setattr(sampling, "_sample", lambda images, grid: grids.append(grid) or images)
    generator = torch.Generator().manual_seed(3)
    low, high = boxes_of(name, 0.01, 40, generator)
    if name == "scaling":
        low[:4], high[:4] = 0.01, 0.01001
    else:
        low[:20] += 90003.0 if name == "rotation" else 300.0
        high[:20] = low[:20] + 0.01
    boxes = swept_boxes(TRANSFORMS[name], low, high, height=size[0], width=size[1])
    for theta in within(low, high, 6, generator):
        TRANSFORMS[name](torch.zeros(40, 1, *size), theta)
        grid = grids.pop().view(40, *size, 2)
        powers = [1 << (n - 1).bit_length() for n in size]
        column, row = (((grid[..., k] + 1) * powers[1 - k] - 1) / 2 for k in (0, 1))
        assert column.dtype == torch.float32
        assert inside(boxes, column.double(), row.double())


def test_boxes_are_little_larger_than_a_point():
    boxes = swept_boxes(Rotation(), *2 * [torch.tensor([[30.0]])], height=28, width=28)
    assert float((boxes.x_high - boxes.x_low).max()) == pytest.approx(2 * 448 * 2**-24, rel=1e-6)
    part = boxes[:0]
    assert isinstance(part, Boxes)
    assert (len(part), part.shape) == (0, (0, 28, 28))


def test_cells_touched():
    low = torch.tensor([0.0, 0.0, 0.5, 0.5, -3.0, 3.5, -0.5, 9.0])
    high = torch.tensor([0.0, 1.0, 1.0, 2.5, 7.0, 3.5, 0.5, 9.0])
    low, high, first, count = cells(low, high, 4)
    assert low.tolist() == [0, 0, 0.5, 0.5, -1, 3.5, -0.5, 4]
    assert high.tolist() == [0, 1, 1, 2.5, 4, 3.5, 0.5, 4]
    assert first.tolist() == [0, 0, 0, 0, -1, 3, -1, 3]
    assert count.tolist() == [1, 1, 1, 3, 5, 1, 2, 1]


@pytest.mark.parametrize(
    ("transform", "low", "high", "words"),
    [
        (Shear(), [0.0], [0.1], "Shear"),
        (Rotation(), [1.0], [0.0], "upside down"),
        (Rotation(), [0.0], [2e6], "whole turns"),
        (Scaling(), [0.0], [1.0], "scale"),
        (Translation(), [0.0, 0.0], [1.0, math.nan], "dy"),
        (Rotation(), [0.0, 0.0], [1.0, 1.0], "angle"),
    ],
)
def test_what_cannot_be_enclosed_is_refused(transform, low, high, words):
    with pytest.raises(InputError, match=words):
        swept_boxes(transform, torch.tensor([low]), torch.tensor([high]), height=4, width=4)
