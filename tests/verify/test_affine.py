"""Linear steps: what they compute, their transposes, and their weights' absolute values."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from lightning_smooth.models import Normalize
from lightning_smooth.transforms import Vignette
from lightning_smooth.verify.affine import Convolution, Dense
from lightning_smooth.verify.moving import Concatenation, Moving, Sum
from lightning_smooth.verify.scaling import Centering, constant, masked, norm_scaling, normalized

DOUBLE = {"dtype": torch.float64}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


def normed(norm):
    norm = norm.double().eval()
    norm.running_mean.copy_(draw(norm.num_features, seed=5))
    norm.running_var.copy_(draw(norm.num_features, seed=6).square() + 0.5)
    norm.weight.data.copy_(draw(norm.num_features, seed=7))
    norm.bias.data.copy_(draw(norm.num_features, seed=8))
    return norm


def conv(*args, **kwargs):
    module = nn.Conv2d(*args, **kwargs).double()
    module.weight.data.copy_(draw(*module.weight.shape, seed=3))
    return module


CONVOLUTIONS = [
    conv(2, 3, 3),
    conv(2, 4, 3, stride=2, padding=1, bias=False),
    conv(4, 6, 3, padding=2, dilation=2, groups=2),
    conv(2, 3, (2, 3), stride=(3, 2), padding=(1, 0)),
    conv(2, 3, 4, padding="same"),
    conv(2, 3, 3, stride=3),
]


@pytest.mark.parametrize("norm", [False, True], ids=["alone", "folded"])
@pytest.mark.parametrize("module", CONVOLUTIONS, ids=str)
def test_a_convolution_is_the_module_s_and_its_transpose_the_adjoint(module, norm):
    after = normed(nn.BatchNorm2d(module.out_channels)) if norm else nn.Identity()
    shape = (module.in_channels, 8, 7)
    step = Convolution(module, after if norm else None, shape, module.padding)
    images = draw(2, *shape)
    with torch.no_grad():
        expected = after(module(images))
        made, offset = step.linear([images]), step.offset(images)
        if offset is not None:
            made = made + offset[0]
        torch.testing.assert_close(made, expected)
        rows = draw(2, *expected.shape[1:], seed=2)
        (back,) = step.transposed(rows)
        assert back.shape == images.shape
        assert float((back * images).sum()) == pytest.approx(
            float((rows * step.linear([images])).sum()), rel=1e-9
        )
        size = expected[0].numel()
        places = torch.tensor([0, size // 3, size // 2, size - 1])
        unit = torch.eye(size, **DOUBLE)[places].reshape(-1, *expected.shape[1:])
        (chosen,) = step.chosen(places, tuple(expected.shape[1:]), images)
        torch.testing.assert_close(chosen, step.transposed(unit)[0])
        largest = step.linear([torch.ones_like(images)], absolute=True)
        signs = torch.cat([step.chosen(torch.arange(size), tuple(expected.shape[1:]), images)[0]])
        torch.testing.assert_close(largest[0].flatten(), signs.abs().flatten(1).sum(dim=1))


def test_an_affine_step_s_offset_bounds_what_it_is_summed_from():
    module, norm = conv(2, 3, 3), normed(nn.BatchNorm2d(3))
    shift, size = Convolution(module, norm, (2, 8, 7), (0, 0)).offset(draw(1))
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    expected = scale.abs() * (module.bias.abs() + norm.running_mean.abs()) + norm.bias.abs()
    torch.testing.assert_close(size.flatten(), expected)
    assert bool((size >= shift.abs()).all())


STEPS = {
    "dense": (lambda: Dense(nn.Linear(6, 4).double(), normed(nn.BatchNorm1d(4))), [(6,)]),
    "rows": (lambda: Dense(nn.Linear(6, 4, bias=False).double(), None), [(3, 6)]),
    "normalized": (lambda: normalized(Normalize([0.4, 0.6], [0.2, 0.3])), [(2, 3, 3)]),
    "masked": (lambda: masked(Vignette("circle", margin=0), (2, 4, 4)), [(2, 4, 4)]),
    "norm": (lambda: norm_scaling(normed(nn.BatchNorm2d(3)), 4), [(3, 2, 2)]),
    "divided": (lambda: constant(draw(3, 1, 1), 0.5, divides=True), [(3, 2, 2)]),
    "centred": (lambda: Centering(8), [(2, 2, 2)]),
    "pooled": (lambda: Moving(nn.AvgPool2d(3, 2, 1), (2, 5, 5), 11), [(2, 5, 5)]),
    "adaptive": (lambda: Moving(nn.AdaptiveAvgPool2d((2, 3)), (2, 5, 5), 27), [(2, 5, 5)]),
    "padded": (lambda: Moving(lambda x: functional.pad(x, (1, 2)), (2, 3, 3)), [(2, 3, 3)]),
    "sum": (Sum, [(3, 2), (3, 2)]),
    "concatenated": (lambda: Concatenation(1, [2, 1]), [(2, 3), (1, 3)]),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_s_transpose_is_the_adjoint(name):
    make, shapes = STEPS[name]
    step, inputs = make(), [draw(5, *shape, seed=i) for i, shape in enumerate(shapes)]
    with torch.no_grad():
        made = step.linear(inputs)
        rows = draw(*made.shape, seed=9)
        back = step.transposed(rows)
        assert [b.shape for b in back] == [i.shape for i in inputs]
        through = sum(float((b * i).sum()) for b, i in zip(back, inputs, strict=True))
        assert through == pytest.approx(float((rows * made).sum()), rel=1e-9)
        # absolute weights: what signs could at most make of it
        bound = step.linear([i.abs() for i in inputs], absolute=True)
        assert bool((bound >= made.abs() - 1e-12).all())
        if step.monotone:
            assert all(bool((b >= 0).all()) for b in step.transposed(rows.abs()))


def test_values_of_the_steps():
    image = torch.tensor([[[[1.0, 3.0]]]], **DOUBLE)
    assert Centering(2).linear([image]).flatten().tolist() == [-1.0, 1.0]
    step = normalized(Normalize([0.5], [0.25]))
    assert (step.linear([image]) + step.offset(image)[0]).flatten().tolist() == [2.0, 10.0]
    norm = norm_scaling(normed(nn.BatchNorm2d(3)), 4)
    features, module = draw(2, 3, 2, 2), normed(nn.BatchNorm2d(3))
    with torch.no_grad():
        made = norm.linear([features]) + norm.offset(features)[0]
        torch.testing.assert_close(made, module(features))
