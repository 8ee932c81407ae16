"""Checks of what users hand in: images, labels, and what their model answers."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.models.stochastic import is_stochastic
from lightning_smooth.types import Precision

_ROUNDING: Final[dict[Precision, float]] = {"float32": 1e-3, "bf16": 5e-2}
"""What answers may differ by that kernels for other batch sizes give, relative to the largest."""

_COPIES: Final = 8
"""Copies of an image that a model which draws is asked for at once, and how often."""


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


def check_mode(model: nn.Module) -> None:
    """Check that every module of a model is in eval mode.

    Raises:
        InputError: one is not, as its own `train` or `eval` will have it.
    """
    training = [name or "the model" for name, module in model.named_modules() if module.training]
    if training:
        raise InputError(
            f"Expected a model that can be put into eval mode, but {training[0]} stays in train "
            "mode: what it answers may depend on the batch."
        )


def check_function(model: nn.Module, images: Tensor, *, precision: Precision) -> None:
    """Check that a model answers each image by itself, and always the same.

    Draws of a certificate have to be independent, and share their batches with those of other
    images. Models that say that they draw (`stochastic = True`) may answer otherwise each time,
    but not by the statistics of the batch, nor by one draw for all of it.

    Args:
        model: base classifier, in eval mode.
        images: (B, C, H, W), two at least, that differ.
        precision: of the model's arithmetic.

    Raises:
        InputError: an answer depends on the rest of the batch, or on chance.
    """
    if is_stochastic(model):
        _check_draws(model, images, _ROUNDING[precision])
        return
    told = model(images)
    if not isinstance(told, Tensor) or told.ndim != 2 or not bool(told.isfinite().all()):
        return  # `check_logits` has a word for these
    largest = _ROUNDING[precision] * float(told[0].abs().max())
    among_others = torch.cat([images[:1], 1 - images[1:]])
    for batch, place in ((among_others, 0), (images.flip(0), -1), (images, 0)):
        if not torch.allclose(model(batch)[place], told[0], rtol=0, atol=largest):
            raise InputError(
                "Expected a model whose answer to an image does not depend on the rest of the "
                "batch, nor on chance, but this one's does: BatchNorm without running statistics "
                "does that, and noise. A model that draws for each image anew says so by the class "
                "attribute `stochastic = True`."
            )


def _check_draws(model: nn.Module, images: Tensor, largest: float) -> None:
    """Check of a model that draws what can be seen of its drawing for each image anew."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise InputError(
                "Expected a model whose answer to an image does not depend on the rest of the "
                f"batch, but {name or 'it'} is a BatchNorm without running statistics."
            )
    copies = images[:1].expand(_COPIES, *images.shape[1:])
    answers = [model(copies) for _ in range(_COPIES)]
    if not all(isinstance(told, Tensor) and told.ndim == 2 for told in answers):
        return
    within = max(float((told - told[:1]).abs().max()) for told in answers)
    between = max(float((told[0] - answers[0][0]).abs().max()) for told in answers)
    if between > largest * float(answers[0].abs().max()) and 100 * within < between:
        raise InputError(
            "Expected a model that draws for each image anew (`stochastic = True`), but this one "
            f"gives {_COPIES} copies of an image one answer, and another one the next time: it "
            "draws once for a batch, whose draws are then not independent."
        )
