"""Where pixels look: never outside what is said, and no faster."""

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms.sampling import centered
from lightning_smooth.variation.swept import faster, swept_by_scaling, swept_by_shear

HEIGHT, WIDTH = 9, 14
LIKE = torch.zeros((), dtype=torch.float64)
PX, PY = centered(WIDTH, LIKE), centered(HEIGHT, LIKE)[:, None]


def test_scaling():
    least, greatest = torch.tensor([[0.8, 1.1], [0.85, 1.13]], dtype=torch.float64)
    one = torch.ones_like(least)
    swept = swept_by_scaling(least, greatest, 2 * one, 3 * one, HEIGHT, WIDTH)
    assert swept.x.shape == swept.half_y.shape == swept.far_x.shape == (2, HEIGHT, WIDTH)
    for row in range(2):
        for t in torch.linspace(float(least[row]), float(greatest[row]), 9, dtype=torch.float64):
            assert bool(((PX * t - swept.x[row]).abs() <= swept.half_x[row]).all())
            assert bool(((PY * t - swept.y[row]).abs() <= swept.half_y[row]).all())
    assert bool((swept.speed_x >= 2 * PX.abs()).all() & (swept.far_y >= 3 * PY.abs()).all())
    assert float(swept.half_x.max()) < 1.01 * 6.5 * 0.025
    twice = faster(swept, -2.0)
    torch.testing.assert_close(twice.speed_y, 2 * swept.speed_y)
    torch.testing.assert_close(twice.far_x, 4 * swept.far_x)


def test_shear():
    low, high = torch.tensor([[-0.2], [-0.05]], dtype=torch.float64)
    swept = swept_by_shear(low, high, HEIGHT, WIDTH)
    for shear in torch.linspace(-0.2, -0.05, 9, dtype=torch.float64):
        assert bool(((PX - shear * PY - swept.x[0]).abs() <= swept.half_x[0]).all())
    assert bool(((PY - swept.y[0]).abs() <= swept.half_y[0]).all())
    assert bool((swept.speed_x >= PY.abs()).all())
    assert not bool(swept.speed_y.any() | swept.far_x.any() | swept.turns_x.any())


def test_points_that_move_too_far_are_refused():
    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(InputError, match="split them"):
        swept_by_scaling(one, 1.2 * one, one, one, HEIGHT, WIDTH)
    with pytest.raises(InputError, match="split them"):
        swept_by_shear(-0.2 * one, 0.2 * one, HEIGHT, WIDTH)
