"""The corruptions of CIFAR-10-C with their published parameters (Hendrycks and Dietterich 2019).

15 of the benchmark, then 3 of the 4 extra ones (`spatter` is left out). They are the definitions of
THEORY section 11, not the programme that made the published files: random numbers, and libraries
for blurs and codecs, differ, so that made and published images are alike and never equal.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from lightning_smooth.data import corruption_blurs as blurs
from lightning_smooth.data import corruption_pixels as pixels
from lightning_smooth.data import corruption_weather as weather
from lightning_smooth.data.corruption_draws import Bytes, Draws, to_bytes, to_floats
from lightning_smooth.data.corruption_weather import Photographs
from lightning_smooth.errors import InputError, check_count

SEVERITIES: Final = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """One way to corrupt images.

    Attributes:
        function: from float32 images (B, H, W, C), their draws and parameters to such images.
        parameters: those of severity 1, 2, 3, 4, 5.
        colour: whether it needs three channels.
    """

    function: Callable[..., Any]
    parameters: tuple[tuple[float, ...], ...]
    colour: bool = False


def _single(*values: float) -> tuple[tuple[float, ...], ...]:
    return tuple((value,) for value in values)


CORRUPTIONS: Final[dict[str, Corruption]] = {
    "gaussian_noise": Corruption(pixels.gaussian_noise, _single(0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": Corruption(pixels.shot_noise, _single(500, 250, 100, 75, 50)),
    "impulse_noise": Corruption(pixels.impulse_noise, _single(0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus_blur": Corruption(
        blurs.defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))
    ),
    "glass_blur": Corruption(
        blurs.glass_blur, ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
    ),
    "motion_blur": Corruption(blurs.motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    "zoom_blur": Corruption(blurs.zoom_blur, _single(1.05, 1.10, 1.15, 1.20, 1.25)),
    "snow": Corruption(
        weather.snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    "frost": Corruption(weather.frost, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))),
    "fog": Corruption(weather.fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": Corruption(pixels.brightness, _single(0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": Corruption(pixels.contrast, _single(0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic_transform": Corruption(
        blurs.elastic_transform,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
    "pixelate": Corruption(pixels.pixelate, _single(0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg_compression": Corruption(pixels.jpeg_compression, _single(80, 65, 58, 50, 40)),
    "speckle_noise": Corruption(pixels.speckle_noise, _single(0.06, 0.1, 0.12, 0.16, 0.2)),
    "gaussian_blur": Corruption(blurs.gaussian_blur, _single(0.4, 0.6, 0.7, 0.8, 1)),
    "saturate": Corruption(
        pixels.saturate, ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)), colour=True
    ),
}
"""Every corruption that can be made, by its name in CIFAR-10-C."""


def corrupt(
    images: Bytes,
    corruption: str,
    severity: int,
    *,
    indices: Sequence[int],
    seed: int = 0,
    photographs: Photographs | None = None,
) -> Bytes:
    """Corrupt images as CIFAR-10-C was.

    An image's result is a function of its pixels, its index, the corruption, the severity and the
    seed: neither of the other images nor of their order.

    Args:
        images: uint8 (B, H, W, C), C = 1 or 3, at least 4 rows and columns.
        corruption: one of `CORRUPTIONS`.
        severity: 1..5.
        indices: the images' places in their data set, (B,), at least 0.
        seed: of all draws.
        photographs: of frost, for frost alone.

    Returns:
        uint8 (B, H, W, C).

    Raises:
        InputError: an argument is not of that kind, frost has no photographs, or saturation no
            colours.

    >>> grey = np.full((1, 4, 4, 3), 100, dtype=np.uint8)
    >>> corrupt(grey, "brightness", 5, indices=[0])[0, 0, 0]
    array([176, 176, 176], dtype=uint8)
    """
    kind = CORRUPTIONS[check_corruption(corruption, CORRUPTIONS)]
    check_severity(severity)
    check_count("seed", seed, least=0)
    _check_images(images, indices)
    if kind.colour and images.shape[-1] == 1:
        raise InputError(
            f"Expected `images` in colour for {corruption}, but got grey ones: leave it out."
        )
    function = kind.function
    if corruption == "frost":
        if photographs is None:
            raise InputError(
                "Expected `photographs` of frost, but got none: give a folder of them, install the "
                "package imagecorruptions, or leave frost out."
            )
        function = partial(function, photographs=photographs)
    if not len(images):
        return images.copy()
    draws = Draws(seed, indices, corruption, severity)
    return to_bytes(function(to_floats(images), draws, *kind.parameters[severity - 1]))


def check_corruption(name: str, names: Iterable[str]) -> str:
    """Return `name`.

    Raises:
        InputError: it is not one of `names`.
    """
    known = list(names)
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise InputError(
            f"Expected `corruption` to be one of {', '.join(known)}, but got {name!r}{hint}"
        )
    return name


def check_severity(severity: int) -> int:
    """Return `severity`.

    Raises:
        InputError: it is not 1, 2, 3, 4 or 5.
    """
    if isinstance(severity, bool) or severity not in SEVERITIES:
        raise InputError(
            f"Expected `severity` to be 1, 2, 3, 4 or 5, but got {severity!r}: 1 is the mildest; "
            f"images that are not corrupted are the clean data set's."
        )
    return int(severity)


def _check_images(images: Bytes, indices: Sequence[int]) -> None:
    shape = images.shape
    if (
        images.dtype != np.uint8
        or len(shape) != 4
        or shape[-1] not in (1, 3)
        or min(shape[1:3]) < 4
    ):
        raise InputError(
            f"Expected `images` to be uint8 (B, H, W, 1 or 3) of 4 x 4 pixels or more, but got "
            f"{images.dtype} {shape}: give bytes with the channels last."
        )
    if len(indices) != len(images) or any(index < 0 for index in indices):
        raise InputError(
            f"Expected `indices` to be {len(images)} whole numbers of at least 0, one for each "
            f"image, but got {len(indices)} of them, the least {min(indices, default=None)}."
        )
