"""E and rho of one image: how large interpolation's error is, and how often it is larger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.error import RotationError
from lightning_smooth.interpolation.pairs import PairError
from lightning_smooth.interpolation.sizes import AngleSizes
from lightning_smooth.interpolation.translation import TranslationError
from lightning_smooth.maths.confidence import clopper_pearson_upper
from lightning_smooth.transforms.geometric import Rotation, Translation

Stored = Literal["exact", "float32", "uint8"]
"""How an attack may store the image that it transformed.

`exact`: as real arithmetic gives it; `float32`: as `transforms` compute it in float32; `uint8`:
that, rounded to whole 255ths.
"""

Engine: TypeAlias = RotationError | TranslationError
"""What bounds the errors of one image."""

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
) -> Engine:
    """The engine that bounds errors of an image under attacks up to `largest` on each parameter."""
    off = rounding(stored, max(image.shape[1:]))
    if isinstance(transform, Rotation):
        return RotationError(image, -largest, largest, preprocessing, rounding=off)
    box = dict.fromkeys(transform.names, (-largest, largest))
    return TranslationError(image, box, preprocessing, rounding=off)


def pairs_of(
    image: Tensor,
    transform: Translation,
    largest: float,
    preprocessing: nn.Module | None,
    stored: Stored,
) -> PairError:
    """What bounds errors by where an image is seen, under attacks up to `largest` each way."""
    off = rounding(stored, max(image.shape[1:]))
    box = dict.fromkeys(transform.names, (-largest, largest))
    return PairError(image, box, preprocessing, rounding=off)


def choose_size(
    samples: Iterable[tuple[Engine, Tensor, float]], margin: float
) -> float | AngleSizes:
    """E by some draws of b: so many times the largest error that they show, of any image.

    Args:
        samples: engines of images, all of one transformation, each with draws of b and with the
            unit that its errors are counted in; one at least.
        margin: factor above 0.

    Returns:
        E, in that unit; for rotations a function of the angle.
    """
    seen, errors, largest = [], [], []
    for engine, noise, unit in samples:
        if isinstance(engine, RotationError):
            angles, found = engine.samples(noise)
            seen.append(angles)
            errors.append(found / unit)
        else:
            largest.append(float(engine.sampled(noise).max()) / unit)
    if seen:
        return AngleSizes.chosen(torch.cat(seen), torch.cat(errors), margin)
    return margin * max(largest)


def exceeding(engine: Engine, fresh: Tensor, size: float | AngleSizes) -> int:
    """How many draws of b are not proven to have an error of at most E, whatever the attack."""
    if isinstance(engine, RotationError):
        upper = engine.bounds(fresh, target=size).upper
        allowed = 0.0 if isinstance(size, AngleSizes) else size
    elif isinstance(size, AngleSizes):
        raise InputError("Expected one E for translations, but got a function of an angle.")
    else:
        upper, allowed = engine.bounds(fresh, target=size).upper, size
    return len(fresh) - int((upper <= allowed).sum())


def measure_error(
    engine: Engine,
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
    size = choose_size([(engine, chosen, 1.0)], margin)
    failures = exceeding(engine, fresh, size)
    rho = clopper_pearson_upper(failures, len(fresh), alpha)
    return MeasuredError(size, failures, len(fresh), rho)
