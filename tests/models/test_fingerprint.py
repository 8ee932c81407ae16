"""A fingerprint changes with the function a model computes, and with nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lightning_smooth.models import CifarResNet, SmallConvNet, fingerprint


def test_one_weight_more_or_less():
    model = CifarResNet(8)
    before = fingerprint(model)
    other = copy.deepcopy(model)
    assert fingerprint(other) == before
    other.fc.bias.data[3] = torch.nextafter(other.fc.bias.data[3], torch.tensor(9.0))
    after = fingerprint(other)
    assert after["architecture"] == before["architecture"]
    assert after["weights"] != before["weights"]
    assert len(before["weights"]) == 64


def test_running_statistics_and_normalisation_count():
    model = CifarResNet(8)
    prints = [fingerprint(model)]
    model.bn1.running_mean[0] += 1
    prints.append(fingerprint(model))
    prints.append(fingerprint(CifarResNet(8, mean=[0.5] * 3)))
    assert len({p["weights"] for p in prints}) == 3
    assert prints[2]["architecture"] != prints[0]["architecture"]


def test_mode_memory_format_and_compilation_do_not_count():
    model = SmallConvNet()
    before = fingerprint(model)
    assert fingerprint(model.eval()) == before
    assert fingerprint(copy.deepcopy(model).to(memory_format=torch.channels_last)) == before
    assert fingerprint(torch.compile(model)) == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype_counts(dtype: torch.dtype):
    model = nn.Linear(3, 2)
    cast = copy.deepcopy(model).to(dtype)
    assert fingerprint(cast)["weights"] != fingerprint(model)["weights"]
    assert fingerprint(cast) == fingerprint(copy.deepcopy(cast))


def test_shape_and_name_count():
    class Named(nn.Module):
        def __init__(self, name: str, shape: tuple[int, ...]) -> None:
            super().__init__()
            self.register_buffer(name, torch.zeros(shape))

    prints = [Named("a", (2, 3)), Named("a", (3, 2)), Named("b", (2, 3)), Named("a", ())]
    assert len({fingerprint(model)["weights"] for model in prints}) == 4
    assert fingerprint(nn.Sequential(nn.Flatten()))["architecture"].startswith("Sequential-")


class Foreign(nn.Module):
    """Keeps what it computes with where neither repr nor state dict show it."""

    def __init__(self, mean, factor=1.0):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.mean = torch.tensor([mean])
        self.factor = factor
        self._calls = 0

    def forward(self, x):
        self._calls += 1
        return self.layer(x - self.mean) * self.factor


def test_plain_attributes_of_foreign_modules_count():
    torch.manual_seed(0)
    models = [Foreign(0.0), Foreign(0.5), Foreign(0.0, factor=2.0), Foreign(0.0)]
    for model in models:
        model.load_state_dict(models[0].state_dict())
    models[3](torch.zeros(1, 2))
    found = [fingerprint(model) for model in models]
    assert found[0] == found[3]
    assert len({told["attributes"] for told in found}) == 3
    assert "attributes" not in fingerprint(SmallConvNet())
