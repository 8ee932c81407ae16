"""Corruptions by weather: snow, frost, fog (Hendrycks and Dietterich 2019).

Each takes images float32 (B, H, W, C) in [0, 1], the images' draws and its parameters, and returns
float32 (B, H, W, C), not yet clipped. Parameters by severity: `corruption_kinds`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_smooth.data.corruption_blurs import blur_along, centre_zoom
from lightning_smooth.data.corruption_draws import Bytes, Draws, Floats, to_bytes, to_floats
from lightning_smooth.data.sources import open_rgb
from lightning_smooth.errors import InputError

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_FIFTH = 5
_SUFFIXES = {".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class Photographs:
    """Photographs of frost, at a fifth of their size.

    Attributes:
        images: uint8 (H, W, 3) each.
        digest: sha256 over them.
    """

    images: tuple[Bytes, ...]
    digest: str


def find_photographs(folder: str | Path | None) -> Photographs | None:
    """Read photographs of frost.

    A fifth of the size is every fifth pixel, from the third one on: what bilinear interpolation at
    pixel centres gives.

    Args:
        folder: holds PNG or JPEG files; None for those of the package `imagecorruptions`.

    Returns:
        The photographs in the order of their names; None where no folder is given and that package
        is not installed.

    Raises:
        InputError: the folder given holds no such file.
        DataError: a file is not an image.
    """
    if folder is None:
        found = find_spec("imagecorruptions")
        if found is None or found.origin is None:
            return None
        place = Path(found.origin).parent / "frost"
    else:
        place = Path(folder).expanduser()
    files = sorted(path for path in place.glob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        if folder is None:
            return None
        raise InputError(
            f"Expected `frost` to be a folder with PNG or JPEG photographs of frost, but {place} "
            f"holds none: give another folder, or none to leave frost out."
        )
    middle = _FIFTH // 2
    images = [np.asarray(open_rgb(file))[middle::_FIFTH, middle::_FIFTH].copy() for file in files]
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image.shape}".encode() + image.tobytes())
    return Photographs(tuple(images), digest.hexdigest())


def snow(
    images: Floats,
    draws: Draws,
    mean: float,
    std: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    mix: float,
) -> Floats:
    """Add flakes, and their half turn, to a whitened image.

    Flakes are N(mean, std^2) enlarged by `zoom`, 0 below the threshold, blurred along -135 to -45
    degrees (`blur_along`). The image is mix x + (1 - mix) max(x, 1.5 grey + .5).
    """
    noise = draws.each(lambda g: g.standard_normal((*images.shape[1:3], 1), dtype=np.float32))
    angles = draws.each(lambda g: g.uniform(-135, -45))
    layer = centre_zoom(np.float32(mean) + np.float32(std) * noise, zoom)
    layer = to_floats(to_bytes(np.where(layer < threshold, np.float32(0), layer)))
    layer = to_floats(to_bytes(blur_along(layer, angles, radius, sigma)))
    white = np.maximum(images, grey(images) * np.float32(1.5) + np.float32(0.5))
    mixed = np.float32(mix) * images + np.float32(1 - mix) * white
    snowy: Floats = mixed + layer + layer[:, ::-1, ::-1]
    return snowy


def grey(images: Floats) -> Floats:
    """Luma (B, H, W, 1); grey images as they are."""
    if images.shape[-1] == 1:
        return images
    luma: Floats = (images * _GREY).sum(axis=-1, keepdims=True)
    return luma


def frost(
    images: Floats, draws: Draws, weight: float, share: float, *, photographs: Photographs
) -> Floats:
    """Weighted sum with a random cut of a random photograph.

    Raises:
        InputError: a photograph is smaller than the images, at a fifth of its size.
    """
    height, width, channels = images.shape[1:]
    for photograph in photographs.images:
        if photograph.shape[0] < height or photograph.shape[1] < width:
            raise InputError(
                f"Expected photographs of frost of at least {_FIFTH * height} x {_FIFTH * width} "
                f"pixels, but got about {_FIFTH * photograph.shape[0]} x "
                f"{_FIFTH * photograph.shape[1]}: give larger ones."
            )

    def cut(generator: np.random.Generator) -> Bytes:
        photograph = photographs.images[generator.integers(len(photographs.images))]
        top = generator.integers(photograph.shape[0] - height + 1)
        left = generator.integers(photograph.shape[1] - width + 1)
        return photograph[top : top + height, left : left + width]

    cuts = to_floats(draws.each(cut))
    if channels == 1:
        cuts = grey(cuts)
    return np.float32(weight) * images + np.float32(share) * cuts


def fog(images: Floats, draws: Draws, strength: float, decay: float) -> Floats:
    """Add strength times a cloud in [0, 1], rescaled so that the brightest value stays in range."""
    height, width = images.shape[1:3]
    side = 1 << (max(height, width) - 1).bit_length()
    uniform = draws.each(lambda g: g.uniform(-1, 1, (side, side)))
    cloud = plasma(uniform, decay)[:, :height, :width, None].astype(np.float32)
    most = images.max(axis=(1, 2, 3), keepdims=True)
    rescale = most / (most + np.float32(strength))
    foggy: Floats = (images + np.float32(strength) * cloud) * rescale
    return foggy


def plasma(uniform: NDArray[np.float64], decay: float) -> NDArray[np.float64]:
    """Diamond-square clouds on a torus, each scaled to [0, 1].

    Each halving of the grid adds noise whose amplitude is 1/decay^2 of the one before (the
    benchmark scales both the noise and its range by `decay`).

    Args:
        uniform: (B, N, N) in [-1, 1], N a power of two: the noise that each point gets.
        decay: above 1 for smooth clouds.

    Returns:
        (B, N, N).
    """
    cloud = np.zeros_like(uniform)
    step, amplitude = cloud.shape[1], 1.0
    while step >= 2:
        half = step // 2
        corners = cloud[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=1)
        centres = (pairs + np.roll(pairs, -1, axis=2)) / 4
        centres += amplitude * uniform[:, half::step, half::step]
        cloud[:, half::step, half::step] = centres
        for axis, place in (
            (1, (slice(None), slice(None, None, step), slice(half, None, step))),
            (2, (slice(None), slice(half, None, step), slice(None, None, step))),
        ):
            near = centres + np.roll(centres, 1, axis=axis)
            near = near + corners + np.roll(corners, -1, axis=3 - axis)
            cloud[place] = near / 4 + amplitude * uniform[place]
        step, amplitude = half, amplitude / decay**2
    cloud -= cloud.min(axis=(1, 2), keepdims=True)
    highest = cloud.max(axis=(1, 2), keepdims=True)
    scaled: NDArray[np.float64] = cloud / np.where(highest > 0, highest, 1)
    return scaled
