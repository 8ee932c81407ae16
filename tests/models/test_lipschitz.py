"""Bounds of convolutions against dense matrices, and the networks that are scaled by them."""

import copy
import pickle

import pytest
import torch
from torch.nn import functional

from lightning_smooth.errors import InputError
from lightning_smooth.models.lipschitz import (
    LipschitzConv2d,
    LipschitzFeatures,
    MaxMin,
    convolution_bound,
)


def dense(weight, size):
    """The matrix of a convolution with zero padding, from basis vectors, float64."""
    inputs = weight.shape[1]
    basis = torch.eye(inputs * size[0] * size[1], dtype=torch.float64).view(-1, inputs, *size)
    padding = tuple(k // 2 for k in weight.shape[2:])
    return functional.conv2d(basis, weight.double(), padding=padding).flatten(1).T


def norm(matrix):
    return float(torch.linalg.matrix_norm(matrix, ord=2))


def kernel(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((3, 2, 3, 3), (12, 12)), ((1, 4, 5, 5), (10, 8)), ((4, 1, 3, 1), (5, 9)),
        ((2, 2, 5, 5), (3, 3)), ((2, 3, 1, 1), (4, 4)), ((1, 1, 3, 3), (1, 2)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_bound_is_above_the_dense_norm(shape, size, seed):
    weight = kernel(*shape, seed=seed)
    assert convolution_bound(weight, size) >= norm(dense(weight, size))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_bound_is_close_for_a_random_kernel(seed):
    weight = kernel(4, 4, 3, 3, seed=seed)
    true = norm(dense(weight, (16, 16)))
    assert true <= convolution_bound(weight, (16, 16)) <= 1.05 * true


def test_known_norms():
    assert convolution_bound(torch.full((1, 1, 3, 3), 1 / 9), (28, 28)) == pytest.approx(1, 1e-8)
    one = torch.zeros(1, 1, 3, 3)
    one[0, 0, 0, 2] = -2.0  # a shift, times -2
    assert 2 < convolution_bound(one, (7, 5)) < 2 * (1 + 1e-8)
    weight = kernel(3, 5, 1, 1)
    assert convolution_bound(weight, (6, 6)) == pytest.approx(norm(weight[:, :, 0, 0].double()))
    assert convolution_bound(3 * weight, (6, 6)) == pytest.approx(
        3 * convolution_bound(weight, (6, 6))
    )


def test_max_min_moves_nothing_apart():
    a, b = kernel(50, 6, 3, 3, seed=1), kernel(50, 6, 3, 3, seed=2)
    mapped = (MaxMin()(a) - MaxMin()(b)).flatten(1).norm(dim=1)
    assert (mapped <= (a - b).flatten(1).norm(dim=1) * (1 + 1e-6)).all()
    assert torch.allclose(MaxMin()(a).sum(dim=1), a.sum(dim=1), atol=1e-5)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_layer_has_norm_one_whatever_its_weights(scale):
    layer = LipschitzConv2d(2, 4, 3, (9, 7))
    with torch.no_grad():
        layer.weight.mul_(scale)
    true = norm(dense(layer.eval().kernel(), (9, 7)))
    assert true <= layer.lipschitz() <= 1
    assert true > 0.8
    trained = layer.train().kernel()
    assert trained.requires_grad
    assert torch.equal(trained, layer.eval().kernel())


def test_what_is_kept_follows_the_weights():
    layer = LipschitzConv2d(1, 2, 3, (8, 8)).eval()
    image = kernel(1, 1, 8, 8)
    before = layer(image)
    assert layer.kernel() is layer.kernel()
    other = copy.deepcopy(layer)
    with torch.no_grad():
        layer.weight[0].mul_(5)
    fresh = LipschitzConv2d(1, 2, 3, (8, 8))
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(layer(image), fresh(image))
    assert not torch.equal(layer(image), before)
    assert torch.equal(other(image), before)
    layer.load_state_dict(other.state_dict())
    assert torch.equal(layer(image), before)
    with torch.inference_mode():
        fresh.eval()(image)
    fresh(image.requires_grad_()).sum().backward()  # kept in inference mode, used with gradients
    assert image.grad.any()
    again = pickle.loads(pickle.dumps(fresh))
    assert torch.equal(again(image), fresh(image))


def test_the_gradient_knows_of_the_scaling():
    layer = LipschitzConv2d(1, 2, 3, (6, 6)).double()
    image = kernel(1, 1, 6, 6).double()

    def loss(weight):
        layer.weight.data.copy_(weight)
        layer.zero_grad()
        value = layer.train()(image).pow(3).sum()
        value.backward()
        return float(value.detach())

    start = layer.weight.detach().clone()
    loss(start)
    gradient, way = layer.weight.grad.clone(), kernel(2, 1, 3, 3, seed=4).double()
    step = 1e-5
    slope = (loss(start + step * way) - loss(start - step * way)) / (2 * step)
    assert float((gradient * way).sum()) == pytest.approx(slope, rel=1e-5)
    assert float((gradient * start).sum()) == pytest.approx(0, abs=1e-9)  # scale does not count


def test_features_are_one_lipschitz():
    torch.manual_seed(0)
    net = LipschitzFeatures(2, 3, (8, 8), widths=(4, 6), kernel=3).eval().double()
    bound = net.lipschitz()
    assert bound <= 1
    a = torch.rand(200, 2, 8, 8).double()
    b = a + 0.1 * torch.randn_like(a)
    assert (
        (net(a) - net(b)).flatten(1).norm(dim=1) <= bound * (a - b).flatten(1).norm(dim=1)
    ).all()
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x).flatten(), a[:1])
    assert 0.05 < norm(jacobian.flatten(1)) <= bound


def test_what_is_refused():
    with pytest.raises(InputError, match="odd k, but got"):
        convolution_bound(torch.zeros(1, 1, 2, 3), (4, 4))
    with pytest.raises(InputError, match="`kernel` to be odd, but got 4"):
        LipschitzConv2d(1, 1, 4, (8, 8))
    with pytest.raises(InputError, match="`widths` to be even, for MaxMin, but got 3"):
        LipschitzFeatures(1, 1, (8, 8), widths=(3,))
    with pytest.raises(InputError, match=r"at most 4 x 6 pixels, .* but got 4 x 7"):
        LipschitzFeatures(1, 1, (4, 6))(torch.zeros(2, 1, 4, 7))
