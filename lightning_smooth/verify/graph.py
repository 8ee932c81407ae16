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
from lightning_smooth.verify.following import listened
from lightning_smooth.verify.rounding import plain_sums
from lightning_smooth.verify.tracing import Tracing

_TRIED: Final = 1e-4
"""Difference of two values, as a share of what they are summed from, that rounding may explain."""

_SCALES: Final = ((1.0, 0.0), (3.0, -1.0), (0.01, 0.3))
"""Factors and shifts of random images that steps are tried on."""


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
    concatenation, factors and shifts by parameters, buffers and numbers, slices, padding by zeros;
    `Dropout` is passed by. Every step that was found is tried on random images.

    Only values of weights may change afterwards: modules, hooks, constants or attributes that are
    put in place of others later are not seen.

    Args:
        network: images (B, C, H, W) -> scores (B, K), in float32 or float64. It is meant as it is
            in eval mode, and left as it is; values of its weights may change later on.
        image_shape: (C, H, W).

    Raises:
        InputError: a step has no bounds (it is named, with its module), control flow depends on
            the images, a constant is computed or drawn in the forward pass, a step in place
            changes what is read again, images are of another shape, a module has hooks, or weights
            are of another dtype.

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
    # Not in inference mode: whether a step works in place is seen by versions of tensors.
    with evaluating(network), torch.inference_mode(False), torch.no_grad(), plain_sums():
        drawn = torch.rand(2, channels, height, width, generator=generator).to(device, dtype)
        traced = Tracing(network, drawn.clone())
        steps = tuple(Step(*step) for step in traced.steps)
        if len(steps[-1].shape) == 1:
            for factor, shift in _SCALES:
                _try(network, traced, steps, factor * drawn + shift)
    found = BoundedNetwork(steps, (channels, height, width))
    if len(found.steps[-1].shape) != 1:
        raise InputError(
            f"Expected a network that gives scores (B, K), but it gives features of shape "
            f"{found.steps[-1].shape} for an image: flatten them."
        )
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


def _try(
    network: nn.Module, traced: Tracing, steps: tuple[Step, ...], images: torch.Tensor
) -> None:
    """Compare the trace with the network, and each step with what the trace gives there."""
    run = traced.followed.run(images.clone())
    with listened(network, {path for path, _, _ in run.calls}) as heard:
        scores = network(images.clone())
    pairs = [(run.found[traced.results[len(steps) - 1]], scores, "")]
    same = len(heard) == len(run.calls)
    for (path, *ours), (module, *theirs) in zip(run.calls, heard, strict=False):
        same = same and network.get_submodule(path) is module
        pairs += [(one, two, path) for one, two in zip(ours, theirs, strict=True)]
    for one, two, path in pairs:
        if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
            size = two.double().abs().amax() if two.numel() else two
            same = same and one.shape == two.shape and _near(one, two, size)
        if not same:
            raise _other(path)
    values = [images.double()]
    for place, step in enumerate(steps[1:], 1):
        inputs, operation = [values[read] for read in step.inputs], step.operation
        if isinstance(operation, Affine):
            value = operation.linear(inputs)
            size = operation.linear([one.abs() for one in inputs], absolute=True)
            offset = operation.offset(value)
            if offset is not None:
                value, size = value + offset[0], size + offset[1]
        elif operation is not None:
            value = operation.bounds(inputs[0], inputs[0])[0]
            size = value.abs()
        node = traced.results.get(place)
        if node is not None:
            given = run.found[node].double()
            if given.shape != value.shape or not _near(value, given, size):
                raise _other(step.path)
            value = given
        values.append(value)


def _near(one: torch.Tensor, two: torch.Tensor, size: torch.Tensor) -> bool:
    # Numbers below the normal ones of float32 may be rounded to 0.
    return bool(((one.double() - two.double()).abs() <= _TRIED * size.abs() + 2.0**-120).all())


def _other(path: str) -> InputError:
    return InputError(
        "Expected a network that can be taken apart into steps, but the steps give other "
        f"scores than the network does, or values within `{path}`: its forward pass does "
        "something that was not traced, or values are not finite."
    )
