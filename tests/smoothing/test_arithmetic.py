"""Whatever torch was told to round products to, a certificate in float32 is of float32."""

from functools import reduce

import pytest
import torch

from lightning_smooth.arithmetic import _BACKENDS, full_float32
from lightning_smooth.callbacks.run_folder import environment

PLACES = [reduce(getattr, name.split("."), torch.backends) for name in _BACKENDS]


@pytest.fixture(autouse=True)
def put_back():
    before = [place.fp32_precision for place in PLACES]
    word = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(word)
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


def test_a_word_that_allowed_more_is_put_back():
    torch.set_float32_matmul_precision("medium")
    with full_float32():
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "medium"


def test_settings_are_put_back_after_an_error():
    before = [place.fp32_precision for place in PLACES]
    with pytest.raises(ZeroDivisionError), full_float32():
        raise ZeroDivisionError
    assert [place.fp32_precision for place in PLACES] == before


@pytest.mark.parametrize("setting", [True, False])
def test_the_older_settings_of_torch_say_the_same(setting):
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    try:
        cudnn.allow_tf32 = setting
        with full_float32(), cudnn.flags(enabled=False, allow_tf32=False):
            assert not cudnn.allow_tf32
            assert not torch.backends.cuda.matmul.allow_tf32
            assert torch.get_float32_matmul_precision() == "highest"
        assert cudnn.allow_tf32 == setting
    finally:
        cudnn.allow_tf32 = before


def test_settings_that_the_older_ones_cannot_tell_are_put_back_too():
    conv, cudnn = torch.backends.cudnn.conv, torch.backends.cudnn
    before = cudnn.allow_tf32
    try:
        cudnn.allow_tf32 = True
        conv.fp32_precision = "ieee"
        with full_float32():
            assert conv.fp32_precision == cudnn.rnn.fp32_precision == "ieee"
        assert (conv.fp32_precision, cudnn.rnn.fp32_precision) == ("ieee", "tf32")
    finally:
        cudnn.allow_tf32 = before


def test_a_run_says_what_products_were_allowed_even_where_torch_cannot():
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    with pytest.raises(RuntimeError):
        torch.get_float32_matmul_precision()
    told = environment()["float32_products"]
    assert told["cuda.matmul"] == "tf32"
    assert told["mkldnn.matmul"] == "bf16"
