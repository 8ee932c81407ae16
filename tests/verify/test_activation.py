"""Lines around activations: by hand, and over dense samples of the box."""

import pytest
import torch
from torch import nn

from lightning_smooth.verify.activation import MaxPool, ReLU, Standardization

DOUBLE = {"dtype": torch.float64}


def box(*shape, seed=0, wide=1.0):
    generator = torch.Generator().manual_seed(seed)
    center = torch.randn(*shape, generator=generator, **DOUBLE)
    away = wide * torch.rand(*shape, generator=generator, **DOUBLE)
    return center - away, center + away


def inside(lower, upper, count, seed=1):
    """Points of a box (1, *shape), its corners among them: (count, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    part = torch.rand(count, *lower.shape[1:], generator=generator, **DOUBLE)
    part[::2] = part[::2].round()
    return lower + (upper - lower) * part


def check_lines(step, lower, upper, function):
    """Every row of random signs is bounded from below, over the box."""
    relaxed, points = step.relax(lower, upper), inside(lower, upper, 4000)
    made = function(points)
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(1, 50, *made.shape[1:], generator=generator, **DOUBLE)
    back = relaxed.back(rows)[0]
    added = torch.where(rows > 0, relaxed.positive[:, None], relaxed.negative[:, None])
    constant = (rows * added)[0].flatten(1).sum(dim=1)
    bound = constant[:, None] + back.flatten(1) @ points.flatten(1).T
    values = rows[0].flatten(1) @ made.flatten(1).T
    assert bool((bound <= values).all())
    low, high = step.bounds(lower, upper)
    assert bool((low <= made + 1e-12).all())
    assert bool((made <= high + 1e-12).all())
    return float((values - bound).min())


def test_the_lines_of_a_relu():
    lower = torch.tensor([[-1.0, -3.0, -2.0, 1.0, 0.0]], **DOUBLE)
    upper = torch.tensor([[3.0, 1.0, -1.0, 2.0, 0.0]], **DOUBLE)
    lines = ReLU().relax(lower, upper)
    assert lines.low.tolist() == [[1.0, 0.0, 0.0, 1.0, 1.0]]
    assert lines.high.tolist() == [[0.75, 0.25, 0.0, 1.0, 1.0]]
    assert lines.negative[0].tolist() == pytest.approx([0.75, 0.75, 0, 0, 0], abs=1e-8)
    assert lines.positive[0].tolist() == pytest.approx([0] * 5, abs=1e-8)


@pytest.mark.parametrize("wide", [0.0, 1e-9, 0.3, 3.0])
def test_a_relu_is_between_its_lines(wide):
    lower, upper = box(1, 40, wide=wide)
    assert check_lines(ReLU(), lower, upper, torch.relu) < 1e-6 or wide > 0.1


def test_the_lines_of_a_maximum():
    pool = MaxPool((1, 2), (1, 2))
    # of no doubt; two rivals, chords; three equal ones of which the constant is the lower bound
    lower = torch.tensor([[[[2.0, 0.0, 0.0, -1.0]]]], **DOUBLE)
    upper = torch.tensor([[[[3.0, 1.0, 1.0, 0.5]]]], **DOUBLE)
    lines = pool.relax(lower, upper)
    assert lines.low[0, 0].T.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert lines.high[0, 0, :, 0].tolist() == [1.0, 0.0]
    # .5 / 1.5 (x + 1) above x_0: amid the box .5 + .25 is below 1
    assert lines.high[0, 0, :, 1].tolist() == pytest.approx([1.0, 1 / 3])
    assert lines.negative.flatten().tolist() == pytest.approx([0.0, 1 / 3], abs=1e-8)
    wide = MaxPool((1, 3), (1, 3)).relax(torch.zeros(1, 1, 1, 3, **DOUBLE), torch.ones(1, 1, 1, 3))
    assert wide.high.flatten().tolist() == [0.0, 0.0, 0.0]
    assert wide.negative.flatten().tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("wide", [1e-9, 0.3, 2.0])
@pytest.mark.parametrize(
    "sizes", [((2, 2), (2, 2), (0, 0)), ((3, 2), (2, 1), (1, 1)), ((2, 2), (3, 3), (0, 0))]
)
def test_a_maximum_is_between_its_lines(sizes, wide):
    lower, upper = box(1, 2, 6, 7, wide=wide)
    check_lines(MaxPool(*sizes), lower, upper, nn.MaxPool2d(*sizes))


@pytest.mark.parametrize("eps", [1e-6, 0.5])
@pytest.mark.parametrize("wide", [0.0, 0.01, 0.3, 3.0])
def test_a_quotient_by_the_deviation_is_between_its_lines(wide, eps):
    def standard(x):
        return x / (x.square().mean(dim=(1, 2, 3), keepdim=True) + eps**2).sqrt()

    lower, upper = box(1, 2, 4, 3, wide=wide)
    check_lines(Standardization(eps), lower, upper, standard)
    if wide == 0.01:
        low, high = Standardization(eps).bounds(lower, upper)
        assert float((high - low).max()) < 0.1
