"""E and rho of one image: how large interpolation's error is, and how often it is larger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from lightning_smooth.interpolation.error import RotationError
from lightning_smooth.interpolation.sizes import AngleSizes
from lightning_smooth.interpolation.translation import TranslationError
from lightning_smooth.maths.confidence import clopper_pearson_upper
from lightning_smooth.transforms.geometric import Rotation, Translation

Stored = Literal["exact", "float32", "uint8"]
"""How an attack may store the image that it transformed.

`exact`: as real arithmetic gives it; `float32`: as `transforms` compute it in float32; `uint8`:
that, rounded to whole 255ths.
"""

_FLOAT32 = 64 * 2.0**-24
"""How far a pixel is off that float32 computed, for each pixel of the image's size.

Where a pixel looks is wrong by at most 32 * 2^-24 of the size along each axis.
"""


def rounding(stored: Stored, size: int) -> float:
    """How far a pixel of an attacked image may be off, in an image of so many pixels a side.

    >>> rounding("exact", 28), 0.00196 < rounding("uint8", 28) < 0.0021
    (0.0, True)
    """
    if stored == "exact":
        return 0.0
    return size * _FLOAT32 + (0.5 / 255 if stored == "uint8" else 0.0)


@dataclass(frozen=True)
class MeasuredError:
    """What is known of interpolation's error on an image.

    Attributes:
        size: E, in l2; for rotations a function of the angle at which the image is seen.
        failures: outer draws, of `draws`, whose error is not known to be at most E.
        draws: fresh outer draws.
        rho: upper bound of the probability of such a draw.
    """

    size: float | AngleSizes
    failures: int
    draws: int
    rho: float


def bounds_of(
    image: Tensor,
    transform: Rotation | Translation,
    largest: float,
    preprocessing: nn.Module | None,
    stored: Stored,
) -> RotationError | TranslationError:
    """The engine that bounds errors of an image under attacks up to `largest` on each parameter."""
    off = rounding(stored, max(image.shape[1:]))
    if isinstance(transform, Rotation):
        return RotationError(image, -largest, largest, preprocessing, rounding=off)
    box = dict.fromkeys(transform.names, (-largest, largest))
    return TranslationError(image, box, preprocessing, rounding=off)


def measure_error(
    engine: RotationError | TranslationError,
    chosen: Tensor,
    fresh: Tensor,
    *,
    margin: float,
    alpha: float,
) -> MeasuredError:
    """Choose E by some draws of b, and bound by others how often the error exceeds it.

    Args:
        engine: bounds the errors of the image.
        chosen: draws of b that choose E.
        fresh: other draws of b.
        margin: E is so many times the largest error found under `chosen`.
        alpha: probability with which `rho` may be too small.
    """
    size: float | AngleSizes
    if isinstance(engine, RotationError):
        size = AngleSizes.chosen(*engine.samples(chosen), margin)
        upper, allowed = engine.bounds(fresh, target=size).upper, 0.0
    else:
        size = allowed = margin * float(engine.sampled(chosen).max())
        upper = engine.bounds(fresh, target=size).upper
    failures = int((upper > allowed).sum())
    rho = clopper_pearson_upper(failures, len(fresh), alpha)
    return MeasuredError(size, failures, len(fresh), rho)
