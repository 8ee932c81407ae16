"""What the corruptions share: an image's own random numbers, sampling by gathering, whole bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Border = Literal["edge", "mirror", "reflect"]

_SLACK = 1e-3  # of a level: what float32 loses must not turn 255 into 254


class Draws:
    """One generator for each image of a batch, keyed by all that may tell two results apart.

    The numbers of an image are a function of (seed, index, corruption, severity) alone: never of
    its batch, its place in it, the process, or of what was drawn before.

    Args:
        seed: the user's seed.
        indices: the images' places in their data set.
        corruption: its name.
        severity: 1..5.
    """

    def __init__(self, seed: int, indices: Sequence[int], corruption: str, severity: int) -> None:
        self._keys = [(seed, int(index), corruption, severity) for index in indices]
        self._generators: list[np.random.Generator] = []

    def each(self, draw: Callable[[np.random.Generator], NDArray[Any] | float]) -> NDArray[Any]:
        """Stack what `draw` makes of each image's generator: (B, ...)."""
        return np.stack([draw(generator) for generator in self.generators()])

    def generators(self) -> list[np.random.Generator]:
        """The generators, in the order of the images; each call goes on where the last stopped."""
        if not self._generators:
            self._generators = [generator(*key) for key in self._keys]
        return self._generators


def generator(seed: int, index: int, corruption: str, severity: int) -> np.random.Generator:
    """Return a Philox generator whose 128-bit key is a hash of the arguments.

    >>> a, b = generator(0, 7, "fog", 1), generator(0, 7, "fog", 2)
    >>> bool(a.random() == b.random())
    False
    """
    text = f"lightning_smooth/corruption/{seed}/{index}/{corruption}/{severity}".encode()
    key = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


def to_floats(images: Bytes) -> Floats:
    """Bytes as float32 in [0, 1]."""
    return images.astype(np.float32) / np.float32(255)


def to_bytes(images: NDArray[np.floating]) -> Bytes:
    """Clip to [0, 1] and cut off to whole 255ths, as the published sets were stored.

    What lies within 1/1000 below a level counts as that level: `to_bytes(to_floats(x))` is x.
    """
    levels = np.clip(images, 0, 1) * np.float32(255) + np.float32(_SLACK)
    whole: Bytes = levels.astype(np.uint8)
    return whole


def folded(places: NDArray[np.int64], size: int, border: Border) -> NDArray[np.int64]:
    """Bring places outside 0..size-1 back into it.

    Convention: `edge` repeats the last pixel; `reflect` mirrors with the last pixel repeated
    (dcba|abcd|dcba); `mirror` mirrors about it (dcb|abcd|cba).

    >>> [folded(np.arange(-2, 6), 4, border).tolist() for border in ("reflect", "mirror")]
    [[1, 0, 0, 1, 2, 3, 3, 2], [2, 1, 0, 1, 2, 3, 2, 1]]
    """
    if border == "edge" or size == 1:
        return np.clip(places, 0, size - 1)
    period, last = (2 * size, 2 * size - 1) if border == "reflect" else (2 * size - 2,) * 2
    places = places % period
    return np.minimum(places, last - places)


def gathered(images: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    """Read each image at its own places.

    Args:
        images: (B, H, W, C).
        rows: 0..H-1, broadcast to (B, H, W).
        columns: 0..W-1, likewise.

    Returns:
        (B, H, W, C).
    """
    count, height, width, channels = images.shape
    first = np.arange(count)[:, None, None] * (height * width)
    pixels = images.reshape(-1, channels)
    found: Floats = pixels.take((first + rows * width + columns).ravel(), axis=0)
    return found.reshape(images.shape)


def bilinear(
    images: Floats, rows: NDArray[np.float64], columns: NDArray[np.float64], *, border: Border
) -> Floats:
    """Sample each image at places between pixels.

    Args:
        images: (B, H, W, C).
        rows: (B, H, W), in pixels; whole numbers are pixel centres.
        columns: (B, H, W).
        border: what lies beyond the image.

    Returns:
        (B, H, W, C).
    """
    _, height, width, _ = images.shape
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    down = (rows - top).astype(np.float32)[..., None]
    right = (columns - left).astype(np.float32)[..., None]
    row = [folded(top + step, height, border) for step in (0, 1)]
    column = [folded(left + step, width, border) for step in (0, 1)]
    above, below = (
        gathered(images, line, column[0]) * (1 - right) + gathered(images, line, column[1]) * right
        for line in row
    )
    sampled: Floats = (above * (1 - down) + below * down).astype(np.float32, copy=False)
    return sampled
