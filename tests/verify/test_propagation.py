"""Interval bounds: by hand, under sampling and search from inside, and in floating point."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from lightning_smooth.errors import InputError
from lightning_smooth.smoothing.folding import folded
from lightning_smooth.verify import bounded, interval_bounds, margins
from lightning_smooth.verify.rounding import gamma, own, plain_sums
from tests.verify.networks import SHAPES, images, network

DOUBLE = {"dtype": torch.float64}


def linear(weight, bias=None):
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    layer.weight.data = torch.tensor(weight)
    if bias is not None:
        layer.bias.data = torch.tensor(bias)
    return layer


def square(*values):
    return torch.tensor(values, **DOUBLE).reshape(1, 1, 1, -1)


def searched(model, lower, upper, rows, steps=15):
    """Largest sums of scores (B,) that signed gradients find from inside of boxes."""
    point = (lower + upper) / 2
    best = torch.full((len(lower),), -math.inf, dtype=lower.dtype)
    for step in range(steps):
        point = point.detach().requires_grad_()
        found = (model(point) * rows).sum(dim=1)
        best = torch.maximum(best, found.detach().double())
        (slope,) = torch.autograd.grad(found.sum(), point)
        size = (upper - lower) * (1.0 if step < 5 else 0.25)
        point = torch.minimum(torch.maximum(point + size * slope.sign(), lower), upper)
    return best


def test_two_layers_by_hand():
    model = nn.Sequential(
        nn.Flatten(),
        linear([[1.0, 1.0], [1.0, -2.0]], [0.5, 0.0]),
        nn.ReLU(),
        linear([[1.0, 1.0], [1.0, -1.0]]),
    )
    lower, upper = square(0.0, -1.0), square(1.0, 1.0)
    # x + y + .5 in [-.5, 2.5], x - 2 y in [-2, 3]; then [0, 2.5] and [0, 3]
    found = interval_bounds(model, lower, upper)
    assert found.lower[0].tolist() == pytest.approx([0.0, -3.0], abs=1e-5)
    assert found.upper[0].tolist() == pytest.approx([5.5, 2.5], abs=1e-5)
    assert bool((found.lower[0] <= torch.tensor([0.0, -3.0])).all())
    # their difference is twice the second value: in [0, 6], and not in [-2.5, 8.5]
    rows = torch.tensor([[1.0, -1.0]])
    found = interval_bounds(model, lower, upper, rows)
    assert found.lower.flatten().tolist() == pytest.approx([0.0], abs=1e-5)
    assert found.upper.flatten().tolist() == pytest.approx([6.0], abs=1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_bounds_hold_inside_of_boxes(name):
    model, center = network(name), images(name)
    away = torch.tensor([0.003, 0.05])[:, None, None, None]
    steps = bounded(model, SHAPES[name])
    boxes = [interval_bounds(steps, (center - away).to(d), (center + away).to(d))
             for d in (torch.float32, torch.float64)]  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    lower, upper = center - away, center + away
    with torch.no_grad():
        for _ in range(60):
            part = torch.rand(center.shape, generator=generator)
            point = torch.minimum(torch.maximum(lower + 2 * away * part.round(), lower), upper)
            scores = model(point).double()
            for found in boxes:
                assert bool((found.lower <= scores).all())
                assert bool((scores <= found.upper).all())
    classes = steps.classes
    for k in range(min(classes, 3)):
        rows = torch.eye(classes)[k].expand(2, -1)
        assert bool((searched(model, lower, upper, rows) <= boxes[1].upper[:, k]).all())
        assert bool((searched(model, lower, upper, -rows) <= -boxes[1].lower[:, k]).all())
    # float32 costs little, and both tell the boxes apart
    width = [(found.upper - found.lower).mean(dim=1) for found in boxes]
    assert bool((width[0] >= width[1]).all())
    assert bool((width[0] <= 1.2 * width[1]).all())


@pytest.mark.parametrize("name", SHAPES)
def test_a_box_of_one_image_is_as_wide_as_rounding(name):
    model, center = network(name), images(name).double()
    found = interval_bounds(model, center, center)
    with torch.no_grad():
        exact = network(name).double()(center)
        scores = model(center.float())
    for value in (exact, scores.double()):
        assert bool((found.lower <= value).all())
        assert bool((value <= found.upper).all())
    # 1e-7, made 1e5 to 1e6 times as wide by intervals through random weights
    most = 6.0 if name == "standardized" else 0.15
    assert 0 < float((found.upper - found.lower).detach().max()) < most


def test_a_folded_network_keeps_within():
    model, center = network("resnet"), images("resnet")
    fast = folded(model, center)
    found = interval_bounds(model, center.double(), center.double())
    with torch.no_grad():
        scores = fast(center).double()
    assert not torch.equal(scores, model(center).double())
    assert bool(((found.lower <= scores) & (scores <= found.upper)).all())


def cancelling():
    """Weights (2000,) and an image whose products nearly cancel, and 20 orders' sums of them."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2000, generator=generator)
    weight[1000:] = -weight[:1000] * (1 + 1e-6)
    image = torch.rand(2000, generator=generator)
    image[1000:] = image[:1000]
    orders = [torch.randperm(2000, generator=generator) for _ in range(20)]
    products = (weight * image).numpy()  # torch accumulates running sums in float64
    return weight, image, [float(np.cumsum(products[o], dtype=np.float32)[-1]) for o in orders]


def test_sums_in_any_order_keep_within():
    """Terms that cancel: the exact sum, and float32's in many orders, which all differ."""
    weight, image, sums = cancelling()
    model = nn.Sequential(nn.Flatten(), linear([weight.tolist()]))
    box = image.double().reshape(1, 1, 1, -1)
    pairs = zip(weight.tolist(), image.tolist(), strict=True)
    exact = float(sum(Fraction(w) * Fraction(x) for w, x in pairs))
    size = float((weight.abs() * image).double().sum())
    assert max(abs(total - exact) for total in sums) > 2.0**-30 * size
    for dtype in (torch.float64, torch.float32):
        found = interval_bounds(model, box.to(dtype), box.to(dtype))
        low, high = float(found.lower.detach()), float(found.upper.detach())
        assert all(low <= total <= high for total in (exact, *sums))
        assert high - low <= 2.1 * (gamma(2002) + own(dtype, 2026)) * size


def test_a_network_in_float64_is_bounded_as_well():
    model, center = network("small").double(), images("small").double()
    found = interval_bounds(model, center - 0.01, center + 0.01)
    scores = model(center)
    assert bool(((found.lower < scores) & (scores < found.upper)).all())


@pytest.mark.parametrize("name", ["lenet", "resnet", "standardized", "plain"])
def test_a_batch_is_its_boxes_one_by_one(name):
    model, center = network(name), images(name, 3).double()
    rows = margins(torch.tensor([0, 2, 1]), bounded(model, SHAPES[name]).classes)
    whole = interval_bounds(model, center - 0.02, center + 0.01, rows)
    for i, one in enumerate(center[:, None]):
        alone = interval_bounds(model, one - 0.02, one + 0.01, rows[i : i + 1])
        torch.testing.assert_close(whole.lower[i : i + 1], alone.lower, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(whole.upper[i : i + 1], alone.upper, rtol=1e-9, atol=1e-9)


def test_margins_with_the_last_layer_are_never_looser():
    model, center = network("small"), images("small", 4).double()
    rows = margins(torch.tensor([0, 1, 8, 9]), 10)
    found = interval_bounds(model, center - 0.02, center + 0.02, rows)
    scores = interval_bounds(model, center - 0.02, center + 0.02)
    apart = (rows.clamp(min=0).double() @ scores.lower[..., None]
             + rows.clamp(max=0).double() @ scores.upper[..., None])[..., 0]  # fmt: skip
    assert bool((found.lower >= apart - 1e-4).all())
    assert float((found.lower - apart).mean()) > 0.01
    by_rows = margins(torch.tensor([2]), 3)
    assert by_rows.tolist() == [[[-1.0, 0.0, 1.0], [0.0, -1.0, 1.0]]]


def test_bounds_are_differentiable_in_images_and_weights():
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    model.append(nn.Linear(2, 3))
    model = model.double()
    steps, names = bounded(model, (1, 3, 3)), [n for n, _ in model.named_parameters()]
    rows = margins(torch.tensor([1, 0]), 3).double()
    center = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(0), **DOUBLE)

    def lower(center, *weights):
        return torch.func.functional_call(
            Bounding(model, steps, rows), {f"model.{n}": w for n, w in zip(names, weights,
                                                                          strict=True)}, (center,)
        )  # fmt: skip

    inputs = [center.requires_grad_(), *(p.detach().clone().requires_grad_()
                                         for p in model.parameters())]  # fmt: skip
    assert torch.autograd.gradcheck(lower, inputs, eps=1e-6, atol=1e-4)


class Bounding(nn.Module):
    def __init__(self, model, steps, rows):
        super().__init__()
        self.model, self.steps, self.rows = model, steps, rows

    def forward(self, center):
        return interval_bounds(self.steps, center - 0.1, center + 0.1, self.rows).lower


def test_weights_are_read_when_bounds_are_computed():
    model = nn.Sequential(nn.Flatten(), linear([[1.0, 0.0]]))
    steps, box = bounded(model, (1, 1, 2)), square(0.25, 0.5)
    assert float(interval_bounds(steps, box, box).upper) == pytest.approx(0.25)
    model[1].weight.data.mul_(2)
    assert float(interval_bounds(steps, box, box).upper) == pytest.approx(0.5)


def test_errors_say_what_to_do():
    model = nn.Sequential(nn.Flatten(), linear([[1e17, 0.0]]), linear([[1e17], [0.0]]))
    low, high = square(0.0, 0.0), square(1.0, 1.0)
    with pytest.raises(InputError, match="too large for this network"):
        interval_bounds(model, low, high)
    with pytest.raises(InputError, match="above its upper one"):
        interval_bounds(model, high, low)
    with pytest.raises(InputError, match="float32 or float64"):
        interval_bounds(model, low.half(), high.half())
    with pytest.raises(InputError, match="one shape"):
        interval_bounds(model, low[0], high[0])
    with pytest.raises(InputError, match="taken apart"):
        interval_bounds(bounded(model, (1, 1, 2)), low.reshape(1, 1, 2, 1), low.reshape(1, 1, 2, 1))
    with pytest.raises(InputError, match="`specification` of shape"):
        interval_bounds(model, low, low, torch.ones(1, 3))
    with pytest.raises(InputError, match="labels"):
        margins(torch.tensor([3]), 3)
    with pytest.raises(InputError, match="at most 131072 terms"):
        gamma(1 << 18)


def test_settings_of_arithmetic_are_put_back():
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    try:
        for setting in (True, False):
            cudnn.allow_tf32 = setting
            with plain_sums():
                assert not cudnn.allow_tf32
            assert cudnn.allow_tf32 == setting
    finally:
        cudnn.allow_tf32 = before
