"""Checks of what users hand in: images, labels, and what their model answers."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_smooth.errors import InputError


def check_image(image: Tensor) -> Tensor:
    """Return one image, if it is one.

    Args:
        image: (C, H, W), floating point, in [0, 1].

    Raises:
        InputError: it is not, and what to do about it.
    """
    if not isinstance(image, Tensor) or image.ndim != 3:
        got = f"shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"Expected `image` to be one image (C, H, W), but got {got}.")
    check_images(image.unsqueeze(0))
    return image


def check_images(images: Tensor) -> Tensor:
    """Return a batch of images, if it is one.

    Args:
        images: (B, C, H, W), floating point, in [0, 1].

    Raises:
        InputError: the dtype, a NaN, or a value outside [0, 1], and what to do about it.
    """
    if not images.is_floating_point():
        raise InputError(
            f"Expected `images` in floating point in [0, 1], but got {images.dtype}: "
            "divide 8-bit images by 255."
        )
    if not images.numel():
        raise InputError(f"Expected `images` with pixels, but got shape {tuple(images.shape)}.")
    low, high = (float(value) for value in torch.aminmax(images.detach()))
    if low != low or high != high:
        raise InputError("Expected `images` in [0, 1], but got NaN: look at the data.")
    if low < 0 or high > 1:
        raise InputError(
            f"Expected `images` in [0, 1], but got values from {low:g} to {high:g}. sigma and the "
            "radius are in units of [0, 1]: give raw images, and make the normalisation the first "
            "layer of the model (lightning_smooth.models.Normalize)."
        )
    return images


def check_labels(labels: Tensor, classes: int) -> Tensor:
    """Return the labels, if each is one of the model's classes.

    Args:
        labels: integers of any shape.
        classes: number of classes that the model knows.

    Raises:
        InputError: a label lies outside 0..classes-1.
    """
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise InputError(
            f"Expected labels in 0..{classes - 1}, the model's {classes} classes, but the data "
            f"has labels from {low} to {high}: give the model the data's number of classes."
        )
    return labels


def check_logits(logits: Tensor, batch: int) -> Tensor:
    """Return what the model answered, if it is a score for each class.

    Raises:
        InputError: it is not of shape (batch, classes) with at least two classes.
    """
    fits = isinstance(logits, Tensor) and logits.ndim == 2 and logits.shape[0] == batch
    if not fits or logits.shape[1] < 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"Expected the model to give scores of shape ({batch}, classes) with at least two "
            f"classes, but got {got}."
        )
    return logits
