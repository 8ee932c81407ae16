"""How a model is run: layout, batch size, folding, compiling. Speed alone depends on it.

The scores change by float rounding, as they do from one machine to another; a vote changes where
two scores are equal to within that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.smoothing.folding import folded
from lightning_smooth.smoothing.pooling import pooled
from lightning_smooth.smoothing.rng import BLOCK

Layout = Literal["auto", "channels_last", "contiguous"]

ON_GPU: Final = 1024
"""Draws in a forward pass on a GPU, where none is said."""

_TRIED = (64, 128, 256)
_ROUNDS = 4
_LONGEST = 0.5
"""Seconds of a batch of 64 above which measuring would cost more than it brings."""

_MARGIN = 1.05
"""How much faster than the usual way another one must be."""


@dataclass(frozen=True)
class Speed:
    """How the model is run.

    Attributes:
        layout: memory layout of batches; `auto` for the faster one that the model takes, measured
            on a CPU before a long certification.
        fold_batchnorm: fold BatchNorm into convolutions where that can be done.
        compile: run the model through `torch.compile` (seconds to minutes before the first image).
    """

    layout: Layout = "auto"
    fold_batchnorm: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        if self.layout not in get_args(Layout):
            raise InputError(
                f"Expected `layout` to be one of {get_args(Layout)}, but got {self.layout!r}."
            )


@dataclass(frozen=True)
class Execution:
    """A model made ready to run.

    Attributes:
        model: images (B, C, H, W) -> scores (B, K).
        batch_size: draws in a forward pass.
        channels_last: whether batches are channels last in memory.
        folded: whether BatchNorms were folded.
        compiled: whether it is compiled; batches are then always full.
    """

    model: Callable[[Tensor], Tensor]
    batch_size: int
    channels_last: bool
    folded: bool
    compiled: bool


def prepare(
    model: nn.Module, example: Tensor, *, batch_size: int | None, speed: Speed, long: bool
) -> Execution:
    """Make a model ready, in the modes and the arithmetic that the caller has set.

    Args:
        model: network in eval mode.
        example: (C, H, W) on the model's device, of the dtype and shape of its inputs.
        batch_size: draws in a forward pass; None to choose.
        speed: how to run it.
        long: whether enough draws are to come for choices to be measured.
    """
    trial = trial_images(example)
    replica = folded(model, trial) if speed.fold_batchnorm else None
    on_cpu = example.device.type == "cpu"
    ready: nn.Module = model if replica is None else replica
    ready = pooled(ready, trial) if on_cpu and not speed.compile else ready
    chosen = (batch_size or (BLOCK if on_cpu else ON_GPU), _channels_last(model, trial, speed))
    if long and on_cpu and (batch_size is None or speed.layout == "auto"):
        if model not in _MEASURED:
            _MEASURED[model] = _fastest(ready, example, batch_size, chosen, speed)
        chosen = (batch_size or _MEASURED[model][0], _MEASURED[model][1])
    call: Callable[[Tensor], Tensor] = ready
    if speed.compile:
        call = torch.compile(ready, dynamic=False)
    return Execution(call, *chosen, folded=replica is not None, compiled=speed.compile)


def trial_images(example: Tensor) -> Tensor:
    """Noise (4, C, H, W) in [0, 1] like an image (C, H, W), to compare ways to run a model on.

    Brightness and contrast differ, the first image's most, so that what depends on a batch shows.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, *example.shape, generator=generator)
    mean, spread = torch.tensor([[0.6, 0.1, 0.3, 0.4], [0.5, 0.2, 0.3, 0.1]])[..., None, None, None]
    images: Tensor = mean + spread * noise
    return images.clamp(0, 1).to(example)


def laid_out(batch: Tensor, *, channels_last: bool) -> Tensor:
    """A batch (B, C, H, W) in a layout that convolutions recognise, copied if need be.

    Of one channel both layouts are the same memory, and the strides alone tell them apart:
    `contiguous` leaves those as they are, and so the slower kernels.
    """
    if batch.shape[1] > 1:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        return batch.contiguous(memory_format=layout)
    size, _, height, width = batch.shape
    channel = 1 if channels_last else height * width
    strides = (height * width, channel, width, 1)
    return batch.contiguous().as_strided((size, 1, height, width), strides)


_MEASURED: WeakKeyDictionary[nn.Module, tuple[int, bool]] = WeakKeyDictionary()


def _channels_last(model: nn.Module, images: Tensor, speed: Speed) -> bool:
    """Whether the layout works: a model that calls `view` on its features refuses it."""
    if speed.layout == "contiguous":
        return False
    takes = takes_channels_last(model, images)
    if speed.layout == "channels_last" and not takes:
        raise InputError(
            "Expected a model that takes channels-last batches, as `layout` says, but it fails on "
            "one: probably it calls `view` on its features. Leave the layout to auto."
        )
    return takes


def takes_channels_last(model: nn.Module, images: Tensor) -> bool:
    """Whether a model runs on images (B, C, H, W) that are channels last in memory."""
    try:
        model(laid_out(images, channels_last=True))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return False
    return True


def _fastest(
    model: nn.Module, example: Tensor, size: int | None, usual: tuple[int, bool], speed: Speed
) -> tuple[int, bool]:
    """The fastest batch size and layout, by the best of a few batches each, in turns."""
    start = time.perf_counter()
    model(example.expand(_TRIED[0], *example.shape))
    if time.perf_counter() - start > _LONGEST:
        return usual
    layouts = {usual[1], False} if speed.layout == "auto" else {usual[1]}
    ways = [usual, *((b, last) for b in ([size] if size else _TRIED) for last in layouts)]
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(_ROUNDS):
        for batch, last in seconds:
            inputs = laid_out(example.expand(batch, *example.shape), channels_last=last)
            start = time.perf_counter()
            model(inputs)
            spent = (time.perf_counter() - start) / batch
            seconds[batch, last] = min(seconds[batch, last], spent)
    best = min(seconds, key=lambda way: seconds[way])
    return best if seconds[best] * _MARGIN < seconds[usual] else usual
