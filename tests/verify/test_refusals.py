"""What a trace could hide: it is bounded as it is, or refused by name."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lightning_smooth.errors import InputError
from lightning_smooth.models import Standardized, TorchvisionModel
from lightning_smooth.verify import bounded, crown_bounds, interval_bounds
from lightning_smooth.verify.activation import MaxPool

SHAPE = (1, 2, 2)


class Net(nn.Module):
    """A linear layer, a parameter and a buffer, and a forward pass that a test writes."""

    def __init__(self, function):
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.t = nn.Parameter(torch.tensor([0.5, 1.0, 2.0]))
        self.register_buffer("k", torch.tensor([2, 0, 1]))
        self.register_buffer("b", torch.tensor([0.25, 0.5, 1.0]))
        self.function = function

    def forward(self, x):
        return self.function(self, self.fc(x.flatten(1)))


def holds(model, found, x):
    with torch.no_grad():
        scores = model(x).double()
    for bounds in (
        interval_bounds(found, x, x),
        interval_bounds(found, x.double(), x.double()),
        crown_bounds(found, x, x, intermediate="crown"),
    ):
        if not bool(((bounds.lower <= scores) & (scores <= bounds.upper)).all()):
            return False
    return True


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x + m.t,
        lambda m, x: m.t - x,
        lambda m, x: x - m.b,
        lambda m, x: x * m.t,
        lambda m, x: x / m.b,
        lambda m, x: x[:, m.k],
    ],
)
def test_constants_are_read_when_bounds_are_computed(function):
    model = Net(function).eval()
    found = bounded(model, SHAPE)
    with torch.no_grad():
        model.t.fill_(10.0)
    model.b.fill_(5.0)
    model.k.copy_(torch.tensor([1, 1, 0]))
    assert holds(model, found, torch.rand(3, *SHAPE))
    model._apply(lambda t: t.clone())  # buffers are others now
    model.b.fill_(7.0)
    assert holds(model, found, torch.rand(3, *SHAPE))
    assert not [name for name in vars(model) if name.startswith("_tensor_constant")]


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x * m.t.exp(),
        lambda m, x: x + 2 * m.b,
        lambda m, x: x * m.t.sum().item(),
        lambda m, x: x[:, m.b.argsort()],
        lambda m, x: x[:, (x.mean() < 0.05).long().view(1) + torch.arange(2)],
        lambda m, x: x[:, : x.flatten().argmax()],
        lambda m, x: x + torch.ones(3).mul(2),
    ],
)
def test_constants_that_are_computed_and_indices_of_images_are_refused(function):
    with pytest.raises(InputError, match=r"can be bounded, but `(add|mul|getitem)`"):
        bounded(Net(function), SHAPE)


@pytest.mark.parametrize("size", [1.0, 1e-5, 1e-9])
def test_random_constants_are_refused(size):
    with pytest.raises(InputError, match="random"):
        bounded(Net(lambda m, x: x + torch.randn(3) * size), SHAPE)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        lambda h: h + functional.relu_(h),
        lambda h: (functional.relu_(h[:, :2]), h)[1],
        lambda h: (functional.relu(h.view(-1, 3), inplace=True), h)[1],
        lambda h: (h.detach().zero_(), h)[1],
        lambda h: _later(h),
    ],
)
def test_steps_in_place_whose_input_is_read_again_are_refused(function, zero):
    model = Net(lambda m, x: m.last(function(x)))
    model.last = nn.Linear(3, 3)
    if zero:  # scores that show nothing
        nn.init.zeros_(model.last.weight)
        nn.init.zeros_(model.last.bias)
    with pytest.raises(InputError, match="changes in place"):
        bounded(model, SHAPE)


def _later(h):
    other = h
    h += 1
    return h + other


def test_a_weight_changed_in_place_is_refused():
    with pytest.raises(InputError, match="changes a constant"):
        bounded(Net(lambda m, x: (m.b.add_(1), x + m.b)[1]), SHAPE)


def test_harmless_steps_in_place_are_bounded():
    def block(m, x):
        out = m.relu(x)
        identity = out
        out = m.last(out)
        out += identity
        return functional.relu_(out)

    model = Net(block)
    model.relu, model.last = nn.ReLU(inplace=True), nn.Linear(3, 3)
    assert holds(model.eval(), bounded(model, SHAPE), torch.rand(3, *SHAPE))
    bounded(TorchvisionModel("resnet18", num_classes=3), (3, 32, 32))


@pytest.mark.parametrize("zero", [False, True])
def test_a_step_that_gives_other_values_is_refused_however_small_scores_are(zero):
    class ReLU(nn.ReLU):
        def forward(self, x):
            return x * 1.001

    ReLU.__module__ = "torch.nn.mine"  # so that it is taken as one step
    last = nn.Linear(4, 2)
    nn.init.constant_(last.weight, 0.0 if zero else 1e-12)
    nn.init.zeros_(last.bias)
    with pytest.raises(InputError, match="not traced"):
        bounded(nn.Sequential(nn.Flatten(), ReLU(), last), SHAPE)


def test_what_is_not_divided_is_not_standardized():
    class Times(nn.Module):
        def forward(self, x):
            c = x - x.mean(dim=(1, 2, 3), keepdim=True)
            return (c * (c.square().mean(dim=(1, 2, 3), keepdim=True) + 0.01).sqrt()).flatten(1)

    with pytest.raises(InputError, match="both sides depend"):
        bounded(Times(), SHAPE)


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2, divisor_override=-4),
        Net(lambda m, x: functional.avg_pool2d(x[:, None, None], 1, 1, 0, False, True, -2)),
    ],
)
def test_averages_of_divisors_below_0_are_refused(pool):
    with pytest.raises(InputError, match="divisor_override"):
        bounded(nn.Sequential(pool, nn.Flatten()), SHAPE)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * np.float64(0.1),
        lambda x: x / np.float64(0.3),
        lambda x: x / 255,
        lambda x: x * (1 / torch.tensor(255.0).item()),
        lambda x: x + 0.1,
        lambda x: x * torch.tensor(0.1, dtype=torch.float64),
    ],
)
def test_constants_of_more_digits_cost_more_roundings(function):
    class Flat(nn.Module):
        def forward(self, x):
            return function(x.flatten(1))

    x = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    found = bounded(Flat(), x.shape[1:])
    assert holds(Flat(), found, x)


@pytest.mark.parametrize("factor", [3.0, 7.0, 255.0])
def test_a_quotient_may_be_a_product_with_a_rounded_inverse(factor):
    class Quotient(nn.Module):
        def forward(self, x):
            return x.flatten(1) / factor

    x = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    bounds = interval_bounds(Quotient(), x.double(), x.double())
    scores = (x.flatten(1) * torch.tensor(1 / factor)).double()
    assert bool(((bounds.lower <= scores) & (scores <= bounds.upper)).all())


def test_overflow_before_batchnorm_and_tiny_factors_are_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.BatchNorm1d(2)).eval()
    found, x = bounded(model, SHAPE), torch.ones(1, *SHAPE)
    assert holds(model, found, x)
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([1e-39, 0.0]))
    with pytest.raises(InputError, match="within `1`"):
        interval_bounds(found, x, x)
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([1e-37, 0.0]))
    assert holds(model, found, x)
    with torch.no_grad():
        model[1].weight.fill_(1.5e38)
    with pytest.raises(InputError, match="overflow"):
        crown_bounds(found, x, x)
    alone = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4)).eval()
    nn.init.constant_(alone[1].weight, 1e-39)
    with pytest.raises(InputError, match="within `1`"):
        interval_bounds(alone, x, x)


def test_squares_that_overflow_are_refused():
    x = torch.full((1, *SHAPE), 1e20, dtype=torch.float64)
    with pytest.raises(InputError, match="overflow"):
        interval_bounds(Standardized(nn.Flatten()), -x, x)


def test_the_padding_of_a_maximum_is_below_large_values():
    values = torch.full((1, 1, 2, 2), -1e17, dtype=torch.float64)
    lines = MaxPool((2, 2), (2, 2), (1, 1)).relax(values, values)
    rows = torch.ones(1, 1, 1, 2, 2, dtype=torch.float64)
    back = (lines.back(rows) * values[:, None]).sum() + lines.positive.sum()
    assert -4.0001e17 < float(back) <= -4e17
    assert holds(
        nn.Sequential(nn.MaxPool2d(2, padding=1), nn.Flatten()),
        bounded(nn.Sequential(nn.MaxPool2d(2, padding=1), nn.Flatten()), SHAPE),
        values.float(),
    )


def test_len_other_shapes_and_images_without_a_batch_are_refused():
    class Len(nn.Module):
        def forward(self, x):
            return x.reshape(len(x), -1)

    class Unbatched(nn.Module):
        def __init__(self):
            super().__init__()
            self.c = nn.Conv2d(2, 2, 1)

        def forward(self, x):
            return self.c(x[:, 0]).flatten(1)

    with pytest.raises(InputError, match="len"):
        bounded(Len(), SHAPE)
    with pytest.raises(InputError, match="image_shape"):
        bounded(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 3, 3))
    with pytest.raises(InputError, match="mixes the images"):
        bounded(Unbatched(), SHAPE)
