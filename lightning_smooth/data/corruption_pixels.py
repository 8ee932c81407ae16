"""Corruptions of pixels on their own: noise, colours, compression (Hendrycks and Dietterich 2019).

Each takes images float32 (B, H, W, C) in [0, 1], the images' draws and its parameters, and returns
float32 (B, H, W, C), not yet clipped. Parameters by severity: `corruption_kinds`.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from lightning_smooth.data.corruption_draws import Bytes, Draws, Floats, to_bytes, to_floats


def gaussian_noise(images: Floats, draws: Draws, std: float) -> Floats:
    """Add N(0, std^2) to each value."""
    return images + np.float32(std) * _normal(images, draws)


def shot_noise(images: Floats, draws: Draws, photons: float) -> Floats:
    """Count photons: Poisson(photons x) / photons."""
    counts = [
        generator.poisson(image * np.float64(photons))
        for generator, image in zip(draws.generators(), images, strict=True)
    ]
    return (np.stack(counts) / photons).astype(np.float32)


def impulse_noise(images: Floats, draws: Draws, share: float) -> Floats:
    """Set that share of the values, each channel on its own, to 0 or 1 with equal odds."""
    uniform = draws.each(lambda g: g.random(images.shape[1:], dtype=np.float32))
    peppered = np.where(uniform < share / 2, np.float32(0), images)
    return np.where(uniform >= 1 - share / 2, np.float32(1), peppered)


def speckle_noise(images: Floats, draws: Draws, std: float) -> Floats:
    """Add x N(0, std^2) to each value x."""
    return images + images * np.float32(std) * _normal(images, draws)


def brightness(images: Floats, draws: Draws, shift: float) -> Floats:
    """Add to the value of HSV, which is the largest channel; hue and saturation stay.

    All of RGB is proportional to the value at fixed hue and saturation, so the pixel is scaled.
    """
    value = images.max(axis=-1, keepdims=True)
    raised = np.minimum(value + np.float32(shift), 1)
    scaled = images * (raised / np.where(value > 0, value, 1))
    lighter: Floats = np.where(value > 0, scaled, raised)
    return lighter


def contrast(images: Floats, draws: Draws, factor: float) -> Floats:
    """Scale the distance to the mean of each image's channel."""
    # Sums of whole levels are exact, in whatever order they are taken.
    levels = np.rint(images * np.float32(255)).mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    means = (levels / 255).astype(np.float32)
    scaled: Floats = (images - means) * np.float32(factor) + means
    return scaled


def saturate(images: Floats, draws: Draws, gain: float, shift: float) -> Floats:
    """Make the saturation of HSV gain S + shift, clipped; hue and value stay.

    A channel's distance to the value is proportional to S at fixed hue. Grey has the hue 0, red,
    as in colorsys: a shift tints it.
    """
    value = images.max(axis=-1, keepdims=True)
    span = value - images.min(axis=-1, keepdims=True)
    before = span / np.where(value > 0, value, 1)
    after = np.clip(before * np.float32(gain) + np.float32(shift), 0, 1)
    stretched = value - (value - images) * (after / np.where(span > 0, before, 1))
    tint = np.array([0, 1, 1], dtype=np.float32)
    coloured: Floats = np.where(span > 0, stretched, value * (1 - after * tint))
    return coloured


def pixelate(images: Floats, draws: Draws, share: float) -> Floats:
    """Reduce to int(share side) pixels a side and enlarge again, both with Pillow's box filter."""
    height, width = images.shape[1:3]
    small = (max(1, int(width * share)), max(1, int(height * share)))

    def reduced(image: Bytes) -> Bytes:
        tiny = _picture(image).resize(small, Image.Resampling.BOX)
        return np.asarray(tiny.resize((width, height), Image.Resampling.BOX)).reshape(image.shape)

    return to_floats(np.stack([reduced(image) for image in to_bytes(images)]))


def jpeg_compression(images: Floats, draws: Draws, quality: int) -> Floats:
    """Write and read with Pillow's JPEG codec."""

    def compressed(image: Bytes) -> Bytes:
        with io.BytesIO() as buffer:
            _picture(image).save(buffer, "JPEG", quality=quality)
            return np.asarray(Image.open(buffer)).reshape(image.shape)

    return to_floats(np.stack([compressed(image) for image in to_bytes(images)]))


def _normal(images: Floats, draws: Draws) -> Floats:
    return draws.each(lambda g: g.standard_normal(images.shape[1:], dtype=np.float32))


def _picture(image: Bytes) -> Image.Image:
    return Image.fromarray(image if image.shape[-1] == 3 else image[..., 0])
