"""Whatever torch was told to round products to, a certificate in float32 is of float32."""

from functools import reduce

import pytest
import torch

from lightning_smooth.arithmetic import _BACKENDS, full_float32

PLACES = [reduce(getattr, name.split("."), torch.backends) for name in _BACKENDS]


@pytest.fixture(autouse=True)
def put_back():
    before = [place.fp32_precision for place in PLACES]
    yield
    for place, setting in zip(PLACES, before, strict=True):
        place.fp32_precision = setting


def by_word():
    torch.set_float32_matmul_precision("medium")


def by_backend():
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    torch.backends.mkldnn.conv.fp32_precision = "bf16"


def error():
    """Of a product of float32 matrices, which is .2 or so in bf16."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    return float(((a @ b).double() - a.double() @ b.double()).abs().max())


@pytest.mark.parametrize("allow", [by_word, by_backend])
def test_products_are_those_of_float32_and_settings_are_put_back(allow):
    allow()
    before = [place.fp32_precision for place in PLACES]
    assert "bf16" in before
    with full_float32():
        assert [place.fp32_precision for place in PLACES] == ["ieee"] * len(PLACES)
        assert error() < 1e-3
    assert [place.fp32_precision for place in PLACES] == before


def test_settings_are_put_back_after_an_error():
    before = [place.fp32_precision for place in PLACES]
    with pytest.raises(ZeroDivisionError), full_float32():
        raise ZeroDivisionError
    assert [place.fp32_precision for place in PLACES] == before
