"""Any classifier of torchvision, with its normalisation as the first layer."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
import torchvision
from torch import nn

from lightning_smooth.errors import DataError, InputError, check_count
from lightning_smooth.models.normalize import IMAGENET_MEAN, IMAGENET_STD, normalization
from lightning_smooth.models.weights import read_state_dict

zoo: Final[Any] = torchvision.models
_ZOO_CLASSES: Final = 1000


class TorchvisionModel(nn.Module):
    """A torchvision classifier that takes images in [0, 1] and returns logits (B, num_classes).

    Args:
        name: torchvision's name of the classifier, such as resnet50, wide_resnet50_2 or vit_b_16.
        num_classes: number of logits; with named weights of another number of classes, the last
            layer is a new one of this size.
        weights: None for random ones; DEFAULT or another of torchvision's names to download; or
            the path of a state dict of this classifier (.safetensors, .pt, .pth).
        mean: subtracted from each channel first; None for the named weights' own, else ImageNet's.
        std: divides each channel after that; None for the named weights' own, else ImageNet's.

    Raises:
        InputError: `name` or `weights` is unknown, or a file of weights does not fit.
        DataError: named weights could not be downloaded.
    """

    def __init__(
        self,
        name: str = "resnet50",
        num_classes: int = 1000,
        *,
        weights: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        check_count("num_classes", num_classes)
        names = zoo.list_models(module=zoo)
        if name not in names:
            close = difflib.get_close_matches(name, names, n=5) or names[:5]
            raise InputError(
                f"Expected `name` to be one of torchvision's {len(names)} classifiers, but got "
                f"{name!r}: did you mean {', '.join(close)}?"
            )
        named = None if weights is None or _is_path(weights) else _named_weights(name, weights)
        self.normalization_assumed = mean is None
        if mean is None and std is None:
            mean, std = _normalization_of(named)
        self.normalize = normalization(mean, std)
        self.model = _build(name, num_classes, named=named)
        if weights is not None and named is None:
            _load(self.model, weights)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (B, num_classes) of images (B, 3, H, W) in [0, 1]."""
        logits: torch.Tensor = self.model(self.normalize(image))
        return logits


def _is_path(weights: str) -> bool:
    return Path(weights).suffix in {".safetensors", ".pt", ".pth", ".th", ".bin"} or any(
        separator in weights for separator in "/\\"
    )


def _named_weights(name: str, weights: str) -> Any:
    choices = zoo.get_model_weights(name)
    if weights not in choices.__members__:
        raise InputError(
            f"Expected `weights` of {name} to be None, one of {', '.join(choices.__members__)}, "
            f"or a path ending in .safetensors, .pt or .pth, but got {weights!r}."
        )
    return choices[weights]


def _normalization_of(named: Any) -> tuple[Sequence[float], Sequence[float]]:
    if named is None:
        return IMAGENET_MEAN, IMAGENET_STD
    preset = named.transforms()
    return preset.mean, preset.std


def _build(name: str, num_classes: int, *, named: Any) -> nn.Module:
    options: dict[str, Any] = {}
    parameters = inspect.signature(zoo.get_model_builder(name)).parameters
    if name in {"googlenet", "inception_v3"}:
        options = {"aux_logits": False}  # else a tuple comes back in train mode
        if named is None:
            options["init_weights"] = True
    if named is None and ("num_classes" in parameters or "kwargs" in parameters):
        options["num_classes"] = num_classes
    try:
        model: nn.Module = zoo.get_model(name, weights=named, **options)
    except (OSError, RuntimeError) as error:
        if named is None:
            raise
        raise DataError(
            f"The weights {named.name} of {name} could not be downloaded from {named.url} "
            f"({error}): put that file into {torch.hub.get_dir()}/checkpoints, or give the path "
            f"of a file of weights, or weights=None."
        ) from error
    if named is not None and num_classes != len(named.meta["categories"]):
        _replace_head(model, num_classes)
    return model


def _replace_head(model: nn.Module, num_classes: int) -> None:
    """Put a new last layer of `num_classes` outputs in the place of the one for ImageNet."""
    for path, layer in reversed(list(model.named_modules())):
        head: nn.Module
        if isinstance(layer, nn.Linear) and layer.out_features == _ZOO_CLASSES:
            head = nn.Linear(layer.in_features, num_classes, bias=layer.bias is not None)
        elif isinstance(layer, nn.Conv2d) and layer.out_channels == _ZOO_CLASSES:
            head = nn.Conv2d(layer.in_channels, num_classes, kernel_size=1)
        else:
            continue
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, head)
        return
    raise InputError(
        f"Expected a last layer of {_ZOO_CLASSES} outputs, but {type(model).__name__} has none: "
        f"use num_classes={_ZOO_CLASSES}, or weights=None."
    )


def _load(model: nn.Module, path: str) -> None:
    try:
        model.load_state_dict(read_state_dict(path))
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise InputError(
            f"Expected `weights` to fit {type(model).__name__}, but {path} does not ({detail}): "
            f"give the file of this classifier with this `num_classes`."
        ) from error
