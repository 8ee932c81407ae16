"""What float32 may change in values that are multiplied by e^k, and where it holds none.

With u = 2^-24: x and b, stored as float32, and their sum are wrong by at most 2.1 u (|x| + |b|)
together; k, stored so, changes the gain by a factor within 1.1 |k| u of 1, the exponential function
by at most two units in the last place, 4u, and the product by u. That is below (2 |k| + 16) u of
e^k (|x| + |b|), and numbers below the normal ones lose more, once before the gain and once after
it. float64 errs far less.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.boxes import ROUNDING
from lightning_smooth.verify.regions import Bounds
from lightning_smooth.verify.rounding import LARGEST, UNDERFLOW

_LARGEST_GAIN: Final = 64.0
"""Absolute logs of gains beyond this are refused: float32 does not hold what they give."""


def gain_slack(size: Tensor, log_gain: Bounds, kept: float = 0.0) -> Tensor:
    """What computing e^k s in float32 may change, for k within bounds.

    Args:
        size: absolute values of what s is summed from, (C, H, W) or (B, C, H, W).
        log_gain: bounds (B, 1, 1, 1) of k.
        kept: how many times `size` is in the result without the gain: 1 of saturation, which
            adds e^k s to a grey.

    Returns:
        (B, C, H, W).

    Raises:
        InputError: the log of a gain is beyond 64, or values are so large that they may overflow.
    """
    most = float(log_gain.size.max()) if log_gain.size.numel() else 0.0
    if most > _LARGEST_GAIN:
        raise InputError(
            f"Expected gains that keep values finite, their logs within {_LARGEST_GAIN:g}, but got "
            f"{most:g}: the images would overflow."
        )
    gain = kept + log_gain.upper.exp()
    reach = (1 + gain) * size
    if reach.numel() and float(reach.max()) >= LARGEST:
        raise InputError(
            f"Expected shifts and gains that keep values below {LARGEST:.3g}, but got "
            f"{float(reach.max()):.3g}: float32 might overflow."
        )
    share = (2 * log_gain.size + 16) * ROUNDING
    return share * gain * size + 4 * UNDERFLOW * (1 + gain)
