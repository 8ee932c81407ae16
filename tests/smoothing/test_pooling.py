"""Max-pooling as pairs of maxima: the same bits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_smooth.models import LeNet, SmallConvNet, Vignetted
from lightning_smooth.smoothing.execution import Speed, laid_out, prepare
from lightning_smooth.smoothing.pooling import PairedMaximum, pooled


def poolings(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, PairedMaximum | nn.MaxPool2d)]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("model", [LeNet(), SmallConvNet(), Vignetted(LeNet())], ids=repr)
def test_networks_answer_the_same_bits(
    model: nn.Module, channels_last: bool, precision: torch.dtype
) -> None:
    images = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    fast = pooled(model.eval(), images)
    batch = laid_out(images, channels_last=channels_last)
    with torch.inference_mode(), torch.autocast("cpu", precision, enabled=precision.itemsize == 2):
        assert torch.equal(fast(batch), model(batch))
    assert all(isinstance(m, PairedMaximum) and m.relu for m in poolings(fast))
    assert not any(isinstance(m, PairedMaximum) for m in poolings(model))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 8, 8), (2, 3, 7, 9), (1, 1, 2, 2)])
def test_it_is_max_pooling(size: tuple[int, ...], relu: bool) -> None:
    x = torch.randn(size, generator=torch.Generator().manual_seed(1))
    x.view(-1)[:3] = torch.tensor([float("nan"), -0.0, float("inf")])
    told = nn.MaxPool2d(2)(x.relu() if relu else x)
    assert torch.equal(PairedMaximum(relu=relu)(x).nan_to_num(7.0), told.nan_to_num(7.0))


def test_layers_before_it_are_no_relu() -> None:
    x = torch.randn(2, 4, 6, 6)
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1), nn.MaxPool2d((2, 2), (2, 2))).eval()
    fast = pooled(model, x)
    assert [m.relu for m in fast.modules() if isinstance(m, PairedMaximum)] == [False]
    assert isinstance(fast[0], nn.ReLU)
    assert torch.equal(fast(x), model(x))


@pytest.mark.parametrize(
    "pooling",
    [
        nn.MaxPool2d(3),
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
    ],
    ids=repr,
)
def test_other_poolings_stay(pooling: nn.Module) -> None:
    model = nn.Sequential(nn.ReLU(), pooling)
    assert pooled(model, torch.randn(2, 1, 7, 7)) is model


def test_hooks_are_served_by_the_model_itself() -> None:
    model = LeNet().eval()
    model.features[1].register_forward_hook(lambda *_: None)
    assert pooled(model, torch.rand(2, 1, 28, 28)) is model


class Peeking(nn.Module):
    """Reads what comes between the steps of a Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        between: Tensor = self.steps[0](x)
        return torch.cat([between.flatten(1), self.steps[1](between).flatten(1)], dim=1)


def test_a_model_that_reads_between_the_steps_stays() -> None:
    model = Peeking().eval()
    assert pooled(model, torch.randn(2, 1, 4, 4)) is model


def test_certification_runs_it() -> None:
    model, image = LeNet().eval(), torch.rand(1, 28, 28)
    with torch.inference_mode():
        ready = prepare(model, image, batch_size=8, speed=Speed(), long=False)
    assert isinstance(ready.model, nn.Module)
    assert all(isinstance(m, PairedMaximum) for m in poolings(ready.model))
