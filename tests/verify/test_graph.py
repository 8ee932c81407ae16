"""Networks taken apart: nothing is lost, and what has no bounds is named."""

import pytest
import torch
from torch import nn

from lightning_smooth.errors import InputError
from lightning_smooth.models import TorchvisionModel
from lightning_smooth.verify import bounded
from lightning_smooth.verify.affine import Convolution
from tests.verify.networks import SHAPES, network


@pytest.mark.parametrize("name", SHAPES)
def test_every_network_of_ours_is_taken_apart(name):
    model = network(name)
    model.train()
    before = [module.training for module in model.modules()]
    found = bounded(model, SHAPES[name])
    assert [module.training for module in model.modules()] == before
    assert found.image_shape == SHAPES[name]
    assert found.classes == model.eval()(torch.zeros(2, *SHAPES[name])).shape[1]
    assert found.steps[0].operation is None
    assert all(read < i for i, step in enumerate(found.steps) for read in step.inputs)


def test_batchnorm_is_folded_into_what_it_alone_reads():
    steps = bounded(network("resnet"), SHAPES["resnet"]).steps
    convolutions = [s.operation for s in steps if isinstance(s.operation, Convolution)]
    assert len(convolutions) == 7 + 2
    assert all(one.norm is not None for one in convolutions)


def test_a_torchvision_network_is_taken_apart():
    found = bounded(TorchvisionModel("resnet18", num_classes=3), (3, 32, 32))
    assert found.classes == 3


class Of(nn.Module):
    """A step inside of a module."""

    def __init__(self, function):
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
        self.step = Step(function)

    def forward(self, x):
        return self.step(self.inner(x))


class Step(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (torch.sigmoid, "`sigmoid` in module `step`"),
        (lambda x: x * x, "`mul` in module `step` is none: both sides depend on the images"),
        (lambda x: x @ x.T, "in module `step`"),
        (lambda x: x - x.mean(dim=0, keepdim=True), "mixes the images"),
        (lambda x: x.flip(0), "`flip` in module `step`"),
        (lambda x: 1 / x, "divides by features"),
        (lambda x: nn.functional.dropout(x, 0.5), "it is on in eval mode"),
        (lambda x: x if x.sum() > 0 else -x, "cannot be traced"),
        (lambda x: torch.zeros(2, 3), "do not"),
        (lambda x: (x, x), "container"),
        (lambda x: x[:, :, None], "flatten them"),
    ],
)
def test_what_has_no_bounds_is_named(function, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        bounded(Of(function), (1, 2, 2))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sigmoid(), "`Sigmoid` in module `2` is none"),
        (nn.BatchNorm1d(4, track_running_stats=False), "no running statistics"),
        (nn.Sequential(nn.ReLU(), nn.Tanh()), "`Tanh` in module `2.1`"),
    ],
)
def test_a_module_without_bounds_is_named(module, message):
    with pytest.raises(InputError, match=message):
        bounded(nn.Sequential(nn.Flatten(), nn.Linear(4, 4), module), (1, 2, 2))


def test_windows_and_padding_that_have_no_bounds_are_refused():
    for module in (nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(2, dilation=2)):
        with pytest.raises(InputError, match="only windows"):
            bounded(nn.Sequential(module, nn.Flatten()), (1, 5, 5))
    with pytest.raises(InputError, match="pads by 'reflect'"):
        bounded(
            nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), nn.Flatten()),
            (1, 5, 5),
        )


def test_what_reads_a_step_without_bounds_decides():
    """A branch that nothing needs is no matter."""

    class Unused(nn.Module):
        def forward(self, x):
            x.exp()
            return x.flatten(1)

    assert bounded(Unused(), (1, 2, 2)).classes == 4


def test_other_arithmetic_and_hooks_are_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(InputError, match="bfloat16"):
        bounded(model.bfloat16(), (1, 2, 2))
    model = model.float()
    model[1].register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="`1` has some"):
        bounded(model, (1, 2, 2))
