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
