"""What floating point may add to the values of a network, and to bounds of them.

Source: Higham, "Accuracy and Stability of Numerical Algorithms", 2002, sections 3.1 and 4.2;
THEORY section 12. With u the unit roundoff, a product of n factors (1 + d), |d| <= u, is within
gamma_n = n u / (1 - n u) of 1, and gamma_m + gamma_n + gamma_m gamma_n <= gamma_(m + n). A sum of n
products, in whatever order and with or without fused multiplication, is therefore wrong by at most
gamma_n times the sum of the products' absolute values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from lightning_smooth.arithmetic import full_float32
from lightning_smooth.errors import InputError

NETWORK: Final = 2.0**-24
"""Unit roundoff of the network that is bounded: float32, or anything finer."""

UNDERFLOW: Final = 2.0**-148
"""What gradual underflow may add to one product or sum of float32, twice over."""

LARGEST: Final = 2.0**100
"""Bounds above this are refused: a sum of float32 might overflow on its way."""

SMALLEST: Final = 2.0**-126
"""Factors below this, but for 0, are refused: in float32 they are no normal numbers."""

_UNITS: Final = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}
_MOST: Final = 1 << 17
_WIDE: Final = 2.0**-32


def gamma(count: int, unit: float = NETWORK) -> float:
    """Relative error of `count` roundings one after the other.

    Raises:
        InputError: there are more than 2^17 of them, so that bounds of their products would fail.

    >>> f"{gamma(100):.6g}"
    '5.9605e-06'
    """
    if count > _MOST:
        raise InputError(
            f"Expected sums of at most {_MOST} terms in a network, but got one of {count}: their "
            "rounding in float32 is not bounded."
        )
    return count * unit / (1 - count * unit)


def own(dtype: torch.dtype, count: int) -> float:
    """Share of the absolute values that bounds computed in `dtype` move outward by.

    It covers four steps, one after the other, of up to `count` roundings each. In float64 it is
    2^-32 at once, room for 2^19 roundings, which is nothing beside the network's own.
    """
    return _WIDE if dtype == torch.float64 else 4 * gamma(count, _UNITS[dtype])


def check_dtype(dtype: torch.dtype) -> None:
    """Check that bounds can be computed in a dtype.

    Raises:
        InputError: it is neither float32 nor float64.
    """
    if dtype not in _UNITS:
        raise InputError(f"Expected bounds in float32 or float64, but got {dtype}.")


@contextmanager
def plain_sums() -> Iterator[None]:
    """Keep to sums of float32's products: no TF32 or bf16, no transforms of Winograd or Fourier."""
    with full_float32(), torch.backends.nnpack.flags(enabled=False):
        yield
