"""Models whose answer to an image is not its own are refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_smooth.certify import GaussianCertifier
from lightning_smooth.errors import InputError
from lightning_smooth.models import LeNet


class Head(nn.Module):
    """Two scores of what a layer makes of an image."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        mean = self.layer(x).mean(dim=(1, 2, 3))
        return torch.stack([-mean, mean - 1.0], dim=1)


class Frozen(nn.BatchNorm2d):
    """Stays in train mode."""

    def train(self, mode: bool = True) -> Frozen:
        return super().train(True)


class Coin(nn.Module):
    """One draw for the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn(())


class Fresh(nn.Module):
    """A draw for each image."""

    stochastic = True

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn(len(x), 1, 1, 1)


class Ranked(nn.Module):
    """Each image less the mean of all."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=0)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm2d(1, track_running_stats=False), "does not depend on the rest of the batch"),
        (Ranked(), "does not depend on the rest of the batch"),
        (Coin(), "nor on chance"),
        (Frozen(1), "but layer stays in train mode"),
    ],
    ids=["statistics", "ranked", "coin", "frozen"],
)
@pytest.mark.parametrize("size", [8, 64])
def test_answers_that_depend_on_the_batch_are_refused(
    layer: nn.Module, message: str, size: int, precision: str
) -> None:
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    certifier = GaussianCertifier(0.25, n=64, precision=precision)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        certifier(Head(layer), torch.rand(1, size, size), index=0)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_a_model_that_says_that_it_draws_is_taken_at_its_word() -> None:
    certificate = GaussianCertifier(0.25, n=64)(Head(Fresh()), torch.rand(1, 8, 8), index=0)
    assert certificate.n == 64


def test_a_model_is_tried_once() -> None:
    model, calls = LeNet(), []
    model.register_forward_hook(lambda module, inputs, out: calls.append(len(out)))
    certifier = GaussianCertifier(0.25, n=64, n0=64, batch_size=64)
    certifier(model, torch.rand(1, 28, 28), index=0)
    first = len(calls)
    certifier(model, torch.rand(1, 28, 28), index=1)
    assert len(calls) - first < first


def test_a_model_is_checked_again_when_it_is_made_of_other_modules():
    model = Head(nn.BatchNorm2d(1))
    certifier = GaussianCertifier(0.5, n=100)
    image = torch.full((1, 4, 4), 0.6)
    certifier(model, image, index=0)
    layer = model.layer
    layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
    with pytest.raises(InputError, match="does not depend on the rest of the batch"):
        certifier(model, image, index=1)
