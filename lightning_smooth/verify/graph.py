"""A network as a list of steps of which bounds are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.smoothing.smoothed import evaluating
from lightning_smooth.verify.activation import Activation
from lightning_smooth.verify.affine import Affine
from lightning_smooth.verify.tracing import Tracing

_TRIED: Final = 1e-4
"""Difference of traced and real scores, as a share of the largest, that rounding may explain."""


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a network.

    Attributes:
        operation: what is done; None for the images themselves.
        inputs: places of the steps that it reads.
        shape: of what it gives for one image.
        path: the module that does it.
    """

    operation: Affine | Activation | None
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    path: str


@dataclass(frozen=True, eq=False)
class BoundedNetwork:
    """A network in eval mode, in steps; weights are read from it whenever bounds are computed.

    Attributes:
        steps: in order; the first is the images, the last the scores.
        image_shape: (C, H, W).
    """

    steps: tuple[Step, ...]
    image_shape: tuple[int, int, int]

    @property
    def classes(self) -> int:
        """Scores of an image."""
        return self.steps[-1].shape[0]


def bounded(network: nn.Module, image_shape: Sequence[int]) -> BoundedNetwork:
    """Take a network apart, symbolically, into steps of which bounds are known.

    Known are: `Linear`, `Conv2d` (zeros or cyclic around), `BatchNorm` (folded into what it alone
    reads, or by itself), `ReLU`, max-pooling, average pooling, also adaptive or by `mean`,
    `Flatten` and reshaping, `Normalize`, `Vignette`, standardised images, sums of features,
    concatenation, factors and shifts, slices, padding by zeros; `Dropout` is passed by. What was
    found is tried on two random images.

    Args:
        network: images (B, C, H, W) -> scores (B, K), in float32 or float64. It is meant as it is
            in eval mode, and left as it is; its weights may change later on.
        image_shape: (C, H, W).

    Raises:
        InputError: a step has no bounds (it is named, with its module), control flow depends on
            the images, a module has hooks, or weights are of another dtype.

    >>> found = bounded(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU()), (1, 2, 2))
    >>> [type(step.operation).__name__ for step in found.steps]
    ['NoneType', 'Moving', 'Dense', 'ReLU']
    """
    channels, height, width = (check_count("image_shape", size) for size in image_shape)
    dtype, device = _dtype(network)
    for path, module in network.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise InputError(
                f"Expected a network without hooks, but `{path}` has some, which may change what "
                "it gives: remove them."
            )
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, channels, height, width, generator=generator).to(device, dtype)
    with evaluating(network):
        traced = Tracing(network, images)
        steps = tuple(Step(*step) for step in traced.steps)
        expected = network(images)
    found = BoundedNetwork(steps, (channels, height, width))
    if len(found.steps[-1].shape) != 1:
        raise InputError(
            f"Expected a network that gives scores (B, K), but it gives features of shape "
            f"{found.steps[-1].shape} for an image: flatten them."
        )
    _try(found, images, expected)
    return found


def _dtype(network: nn.Module) -> tuple[torch.dtype, torch.device]:
    tensors = [t for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()]
    found = {tensor.dtype for tensor in tensors}
    if not found <= {torch.float32, torch.float64} or len(found) > 1:
        raise InputError(
            "Expected a network with weights in float32 or float64, one of them, but got "
            f"{', '.join(sorted(map(str, found)))}: bounds are of that arithmetic alone."
        )
    if not tensors:
        return torch.float32, torch.device("cpu")
    return tensors[0].dtype, tensors[0].device


def _try(network: BoundedNetwork, images: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare the steps with the network that they were taken from."""
    values = [images.double()]
    with torch.no_grad():
        for step in network.steps[1:]:
            inputs, operation = [values[place] for place in step.inputs], step.operation
            if isinstance(operation, Affine):
                value = operation.linear(inputs)
                offset = operation.offset(value)
                values.append(value if offset is None else value + offset[0])
            elif operation is not None:
                values.append(operation.bounds(inputs[0], inputs[0])[0])
    scale = max(1.0, float(expected.abs().max()))
    if not torch.allclose(values[-1], expected.double(), rtol=0, atol=_TRIED * scale):
        raise InputError(
            "Expected a network that can be taken apart into steps, but the steps give other "
            "scores than the network does: its forward pass does something that was not traced."
        )
