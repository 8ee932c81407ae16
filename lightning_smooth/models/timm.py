"""Any classifier of timm, if timm is installed, with its normalisation as the first layer."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lightning_smooth.errors import DataError, InputError, check_count
from lightning_smooth.models.normalize import IMAGENET_MEAN, IMAGENET_STD, normalization


class TimmModel(nn.Module):
    """A timm classifier that takes images in [0, 1] and returns logits (B, num_classes).

    Args:
        name: timm's name of the model, such as resnet18 or convnext_tiny.fb_in1k.
        num_classes: number of logits.
        pretrained: download timm's weights; else they are random.
        mean: subtracted from each channel first; None for what timm notes for the model
            (`pretrained_cfg`), else ImageNet's.
        std: divides each channel after that; likewise.

    Raises:
        InputError: timm is not installed, or does not know `name`; or `mean` is given without
            `std`, or the reverse.
        DataError: the weights could not be downloaded.
    """

    def __init__(
        self,
        name: str,
        num_classes: int = 1000,
        *,
        pretrained: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        check_count("num_classes", num_classes)
        timm = _import_timm()
        if not timm.is_model(name):
            names = timm.list_models()
            close = difflib.get_close_matches(name, names, n=5) or names[:5]
            raise InputError(
                f"Expected `name` to be one of timm's {len(names)} models, but got {name!r}: did "
                f"you mean {', '.join(close)}?"
            )
        try:
            model = timm.create_model(name, pretrained=pretrained, num_classes=num_classes)
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            raise DataError(
                f"The weights of {name} could not be downloaded ({error}): check the network, or "
                f"use pretrained=False."
            ) from error
        cfg = model.pretrained_cfg
        self.normalization_assumed = mean is None
        if mean is None and std is None:
            mean, std = cfg.get("mean", IMAGENET_MEAN), cfg.get("std", IMAGENET_STD)
        self.normalize = normalization(mean, std)
        self.model: nn.Module = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (B, num_classes) of images (B, C, H, W) in [0, 1]."""
        logits: torch.Tensor = self.model(self.normalize(image))
        return logits


def _import_timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise InputError(
            "`TimmModel` needs the package timm, which is not installed: run "
            "`pip install lightning-smooth[timm]`, or choose `TorchvisionModel`."
        ) from error
