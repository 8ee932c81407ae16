"""Corruptions that move pixels: blurs and the elastic transformation (Hendrycks and Dietterich).

Each takes images float32 (B, H, W, C) in [0, 1], the images' draws and its parameters, and returns
float32 (B, H, W, C), not yet clipped. Parameters by severity: `corruption_kinds`. These are the
benchmark's kernels, sampled on whole pixels; those of `lightning_smooth.transforms` are continuous
in their parameters and differ.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lightning_smooth.data.corruption_draws import (
    Draws,
    Floats,
    bilinear,
    folded,
    gathered,
    to_bytes,
    to_floats,
)

_LITTLE = 1e-6  # weights below this cannot be seen in 8 bits
_DISK_EDGE = 8


def gaussian_blur(images: Floats, draws: Draws, sigma: float) -> Floats:
    """Blur with a Gaussian sampled up to 4 sigma; the edge pixel goes on outside."""
    blurred: Floats = ndimage.gaussian_filter(
        images, (0, sigma, sigma, 0), truncate=4, mode="nearest"
    )
    return blurred


def defocus_blur(images: Floats, draws: Draws, radius: float, alias: float) -> Floats:
    """Blur with a disk; the image goes on mirrored, its edge pixel not repeated."""
    kernel = disk_kernel(radius, alias).astype(np.float32)
    reach = len(kernel) // 2
    height, width = images.shape[1:3]
    rows = folded(np.arange(-reach, height + reach), height, "mirror")
    columns = folded(np.arange(-reach, width + reach), width, "mirror")
    padded = images[:, rows][:, :, columns]
    blurred = np.zeros_like(images)
    for (down, right), weight in np.ndenumerate(kernel):
        if weight > _LITTLE:
            blurred += weight * padded[:, down : down + height, right : right + width]
    return blurred


def disk_kernel(radius: float, alias: float) -> NDArray[np.float64]:
    """Pixels whose centres lie in a disk, equally weighted, then softened by a small Gaussian.

    Args:
        radius: of the disk, in pixels.
        alias: standard deviation of the Gaussian, which has 3 x 3 pixels, 5 x 5 if radius > 8.

    Returns:
        (K, K) with K odd, of sum 1.

    >>> disk_kernel(0.3, 0.4)[1].round(4)
    array([0.0371, 0.845 , 0.0371])
    """
    soft = 1 if radius <= _DISK_EDGE else 2
    reach = math.floor(radius) + soft
    line = np.arange(-reach, reach + 1)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float64)
    weights = np.exp(-0.5 * (np.arange(-soft, soft + 1) / alias) ** 2)
    for axis in (0, 1):
        disk = ndimage.correlate1d(disk, weights / weights.sum(), axis=axis, mode="constant")
    kernel: NDArray[np.float64] = disk / disk.sum()
    return kernel


def glass_blur(images: Floats, draws: Draws, sigma: float, delta: int, times: int) -> Floats:
    """Blur, swap each pixel with one near it, blur again.

    Pixels are visited from the last row and column to the first ones, without a border of delta;
    each is swapped with the pixel at an offset in -delta..delta-1, drawn for rows and columns.
    """
    images = to_floats(to_bytes(gaussian_blur(images, draws, sigma)))
    count, height, width, _ = images.shape
    rows, columns = range(height - delta, delta, -1), range(width - delta, delta, -1)
    shape = (times, len(rows), len(columns), 2)
    offsets = draws.each(lambda g: g.integers(-delta, delta, shape, dtype=np.int8))
    moves = np.moveaxis(offsets[..., 0] * np.int64(width) + offsets[..., 1], 0, -1)
    # Where each pixel comes from: (pixel, image), so that a visit touches contiguous memory.
    origin = np.repeat(np.arange(height * width)[:, None], count, axis=1)
    image = np.arange(count)
    for time in range(times):
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                here = row * width + column
                there = here + moves[time, i, j]
                moved = origin[here].copy()
                origin[here] = origin[there, image]
                origin[there, image] = moved
    places = origin.T.reshape(count, height, width)
    return gaussian_blur(gathered(images, places // width, places % width), draws, sigma)


def motion_blur(images: Floats, draws: Draws, radius: int, sigma: float) -> Floats:
    """Blur along a line on one side of each pixel, at -45 to 45 degrees."""
    return blur_along(images, draws.each(lambda g: g.uniform(-45, 45)), radius, sigma)


def blur_along(images: Floats, angles: NDArray[np.float64], radius: int, sigma: float) -> Floats:
    """Weigh pixels on a line by one half of a Gaussian.

    Convention: pixel k = 0..2 radius lies k steps from the pixel, at `angle` degrees from the row
    to the right, clockwise on the screen, rounded to whole pixels; its weight is
    exp(-k^2 / (2 sigma^2)), normalised. The edge pixel goes on outside.

    Args:
        images: (B, H, W, C).
        angles: (B,), degrees.
        radius: pixels.
        sigma: pixels.
    """
    height, width = images.shape[1:3]
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights = np.where(weights < _LITTLE * weights.sum(), 0, weights)
    weights /= weights.sum()
    # Not numpy's functions, whose last bit may depend on the place in the batch.
    turns = [math.radians(angle) for angle in angles]
    sines, cosines = (np.array([part(t) for t in turns]) for part in (math.sin, math.cos))
    rows, columns = np.arange(height)[:, None], np.arange(width)
    blurred = np.zeros_like(images)
    for step in steps[weights > 0]:
        down, right = (
            np.ceil(step * part - 0.5).astype(np.int64)[:, None, None] for part in (sines, cosines)
        )
        near = gathered(
            images, folded(rows + down, height, "edge"), folded(columns + right, width, "edge")
        )
        blurred += np.float32(weights[step]) * near
    return blurred


def zoom_blur(images: Floats, draws: Draws, most: float) -> Floats:
    """Mean of the image and of its enlargements by 1, 1.01, ..., most."""
    factors = [1 + k / 100 for k in range(round(100 * (most - 1)) + 1)]
    # Many factors cut out and enlarge the same pixels: each such window is sampled once.
    sizes = images.shape[1:3]
    windows = Counter(tuple(zoom_window(size, factor) for size in sizes) for factor in factors)
    total = images.copy()
    for (rows, columns), times in windows.items():
        total += np.float32(times) * _enlarged(_enlarged(images, 1, rows), 2, columns)
    return total / np.float32(len(factors) + 1)


def centre_zoom(images: Floats, factor: float) -> Floats:
    """Enlarge the centre by a factor of at least 1, bilinear, and cut to the old size."""
    for axis in (1, 2):
        images = _enlarged(images, axis, zoom_window(images.shape[axis], factor))
    return images


def zoom_window(size: int, factor: float) -> tuple[int, int, int, int]:
    """What an enlarged axis of `size` pixels shows.

    Returns:
        (first pixel cut out, how many are, how many they are enlarged to, how many of these are cut
        off before the first one that is kept).

    >>> zoom_window(32, 1.25)
    (3, 26, 32, 0)
    """
    inner = math.ceil(size / factor)
    outer = round(inner * factor)
    return (size - inner) // 2, inner, outer, (outer - size) // 2


def _enlarged(images: Floats, axis: int, window: tuple[int, int, int, int]) -> Floats:
    first, inner, outer, trim = window
    size = images.shape[axis]
    if (first, inner, outer) == (0, size, size):
        return images
    # The first and the last pixel of the window stay the first and the last one.
    place = (trim + np.arange(size)) * ((inner - 1) / max(1, outer - 1))
    low = np.minimum(np.floor(place).astype(np.int64), inner - 1)
    high = np.minimum(low + 1, inner - 1)
    shape = [1, 1, 1, 1]
    shape[axis] = size
    weight = (place - low).astype(np.float32).reshape(shape)
    before, after = (images.take(first + part, axis=axis) for part in (low, high))
    enlarged: Floats = before + (after - before) * weight
    return enlarged


def elastic_transform(
    images: Floats, draws: Draws, amplitude: float, smoothness: float, corners: float
) -> Floats:
    """Move three corners at random, then every pixel by a smooth random displacement.

    The corners, a third of the shorter side from the centre, move by up to `corners` sides along
    each axis; the affine map that takes them there is sampled bilinearly, mirrored outside. The
    displacement is uniform noise in [-1, 1], smoothed by `smoothness` sides (up to 3 of these),
    times `amplitude` sides.
    """
    count, height, width, _ = images.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    side = height
    third = min(height, width) // 3
    signs = np.array([[1, 1], [1, -1], [-1, -1]])
    before = np.array([width // 2, height // 2]) + third * signs  # (x, y) of each corner
    shift = draws.each(lambda g: g.uniform(-1, 1, (3, 2))) * (corners * side)
    noise = draws.each(lambda g: g.uniform(-1, 1, (2, height, width)))
    after = np.concatenate([before + shift, np.ones((count, 3, 1))], axis=2)
    back = np.linalg.solve(after, np.broadcast_to(before, (count, 3, 2)).astype(np.float64))
    places = back[:, 0, :, None, None] * columns + back[:, 1, :, None, None] * rows
    places += back[:, 2, :, None, None]
    images = bilinear(images, places[:, 1], places[:, 0], border="mirror")
    if amplitude == 0:
        return images
    spread = smoothness * side
    smooth = ndimage.gaussian_filter(noise, (0, 0, spread, spread), truncate=3, mode="reflect")
    moves = smooth * (amplitude * side)
    return bilinear(images, rows + moves[:, 0], columns + moves[:, 1], border="reflect")
