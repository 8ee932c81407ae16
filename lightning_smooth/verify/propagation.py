"""Interval propagation: bounds of all scores of a network over a box of images.

Source: Gowal et al., "Scalable verified training for provably robust image classification", 2019
(interval bounds, and the last layer taken together with the margins); THEORY section 9.

**What is claimed.** Let x be any image, of real numbers or of float32, with lower <= x <= upper.
Every score lies within its bounds, both in exact arithmetic and as the network gives it in eval
mode in float32 or float64, if each value of a linear step is a sum of products, each rounded to
nearest, in any order, with or without fused multiplication, BatchNorm folded or not. So do plain
loops, matrix products and direct convolutions, batched anyhow. Not meant are TF32, bfloat16,
float16, nor convolutions by Winograd's or Fourier's transforms, which NNPACK and cuDNN may choose
(`rounding.plain_sums` keeps the first away), nor small numbers that are flushed to 0.

**Why it holds.** By induction over steps, what a step gives in floating point lies within its
bounds. Let x be between bounds of centre c and radius r, and z = fl(W x + b) with at most n
roundings in a row. Then |z - W c - b| <= |W| r + gamma_n (|W| (|c| + r) + |b|) (`rounding`). Bounds
themselves are computed in the dtype of `lower`, whose own errors are shares of |W| (|c| + r) + |b|
too: of W c + b (n and a few roundings), of the radius, all of whose terms are at least 0, and of
their sum. `own` has room for each. ReLU, maxima and moved values round nothing. No sum overflows
where bounds stay below 2^100: gamma_n is at least 2^-24 and a radius at least gamma_n times the sum
of absolute values, so that this is below 2^124.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.verify.activation import Activation
from lightning_smooth.verify.affine import Affine
from lightning_smooth.verify.graph import BoundedNetwork, Step, bounded
from lightning_smooth.verify.regions import Bounds, check_box, least
from lightning_smooth.verify.rounding import LARGEST, UNDERFLOW, gamma, own, plain_sums


def interval_bounds(
    network: nn.Module | BoundedNetwork,
    lower: Tensor,
    upper: Tensor,
    specification: Tensor | None = None,
) -> Bounds:
    """Bounds of a network's scores over boxes of images, by interval propagation.

    Guarantee: see the head of this file. Bounds are differentiable, in images and weights.

    Args:
        network: images (B, C, H, W) -> scores (B, K); or what `bounded` made of it, which saves
            the time of tracing.
        lower: (B, C, H, W) least pixels of B boxes, on the network's device. In float64 bounds are
            moved outward by the network's rounding alone; in float32, twice as fast, by about
            five times as much.
        upper: greatest pixels, likewise.
        specification: (B, S, K) or (S, K): bound these sums of scores, and not the scores; the
            last layer is taken together with them.

    Returns:
        Bounds (B, K), or (B, S).

    Raises:
        InputError: see `bounded`; or boxes or specification are not what was expected, or a
            network may overflow on them.
    """
    box = check_box(lower, upper)
    found = network_of(network, lower.shape)
    with plain_sums():
        passed = [box]
        for step in found.steps[1:]:
            passed.append(step_bounds(step, [passed[place] for place in step.inputs]))
        if specification is None:
            return passed[-1]
        rows = check_rows(specification, len(lower), found.classes).to(lower)
        low = specified(found, passed, torch.cat([rows, -rows], dim=1))
    return Bounds(low[:, : rows.shape[1]], -low[:, rows.shape[1] :])


def network_of(network: nn.Module | BoundedNetwork, shape: Sequence[int]) -> BoundedNetwork:
    """The steps of a network for images of a shape (B, C, H, W).

    Raises:
        InputError: see `bounded`; or the steps are for images of another shape.
    """
    if not isinstance(network, BoundedNetwork):
        return bounded(network, shape[1:])
    if tuple(shape[1:]) != network.image_shape:
        raise InputError(
            f"Expected images of shape {network.image_shape}, for which the network was taken "
            f"apart, but got {tuple(shape[1:])}."
        )
    return network


def check_rows(specification: Tensor, boxes: int, classes: int) -> Tensor:
    """Return a specification as (B, S, K).

    Raises:
        InputError: it is none for as many boxes and classes.
    """
    rows = specification[None] if specification.ndim == 2 else specification
    fits = rows.ndim == 3 and len(rows) in (1, boxes) and rows.shape[2] == classes
    if not fits or not rows.is_floating_point() or not bool(rows.isfinite().all()):
        raise InputError(
            f"Expected `specification` of shape ({boxes}, S, {classes}) or (S, {classes}), finite "
            f"and floating point, but got {tuple(specification.shape)} of {specification.dtype}."
        )
    return rows.expand(boxes, *rows.shape[1:])


def margins(labels: Tensor, classes: int) -> Tensor:
    """Specification (B, K - 1, K): the score of a label less that of each other class, in order.

    Args:
        labels: (B,) classes.
        classes: K.

    Raises:
        InputError: a label is none of the classes.

    >>> margins(torch.tensor([1]), 3)
    tensor([[[-1.,  1.,  0.],
             [ 0.,  1., -1.]]])
    """
    if labels.ndim != 1 or (
        len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes
    ):
        raise InputError(f"Expected labels (B,) in 0..{classes - 1}, but got {labels.tolist()}.")
    one = torch.eye(classes, device=labels.device)
    other = torch.arange(classes - 1, device=labels.device)[None]
    other = other + (other >= labels[:, None]).long()
    return one[labels][:, None] - one[other]


def step_bounds(step: Step, inputs: Sequence[Bounds]) -> Bounds:
    """Bounds (B, *out) of what a step gives, of those of its inputs.

    Raises:
        InputError: the network may overflow, or factors underflow.
    """
    operation = step.operation
    sizes = [bounds.size.detach() for bounds in inputs]
    if isinstance(operation, Affine):
        fits = operation.fits(sizes)
        found = affine_bounds(operation, inputs)
    elif isinstance(operation, Activation):
        fits = operation.fits(sizes[0])
        found = Bounds(*operation.bounds(*inputs[0]))
    else:
        raise TypeError("the images themselves have bounds already")
    largest = torch.aminmax(torch.stack([found.lower.amin(), found.upper.amax()]).detach())
    if not fits:
        raise InputError(
            f"Expected values and factors that float32 holds, but within `{step.path}` some may "
            "overflow, or are so small that they underflow: look at its weights."
        )
    if not -LARGEST < float(largest.min) <= float(largest.max) < LARGEST:
        raise InputError(
            f"Expected bounds that stay below 1e30, but those of `{step.path}` do not: the box is "
            "too large for this network, or its weights are damaged."
        )
    return found


def affine_bounds(operation: Affine, inputs: Sequence[Bounds]) -> Bounds:
    """Bounds (B, *out) of W x + b in floating point."""
    lowers, uppers = [b.lower for b in inputs], [b.upper for b in inputs]
    share = _share(operation, lowers[0].dtype)
    if operation.monotone:
        low, high = operation.linear(lowers), operation.linear(uppers)
        if not operation.roundings:
            return Bounds(low, high)
        slack = share * operation.linear([b.size for b in inputs]) + _underflow(operation)
        return Bounds(low - slack, high + slack)
    centers = [(low + high) / 2 for low, high in inputs]
    reach = [
        torch.maximum(high - center, center - low)
        for center, (low, high) in zip(centers, inputs, strict=True)
    ]
    middle = operation.linear(centers)
    grown = [r + share * (c.abs() + r) for c, r in zip(centers, reach, strict=True)]
    away = operation.linear(grown, absolute=True) + _underflow(operation)
    offset = operation.offset(middle)
    if offset is not None:
        middle, away = middle + offset[0], away + share * offset[1]
    return Bounds(middle - away, middle + away)


def _share(operation: Affine, dtype: torch.dtype) -> float:
    # own covers: the centre and W c + b; the radius; the sum of the two; products of errors.
    return gamma(operation.roundings) + own(dtype, operation.roundings + 24)


def _underflow(operation: Affine) -> float:
    return UNDERFLOW * operation.roundings


def charge(operation: Affine, inputs: Sequence[Bounds], more: int) -> Tensor:
    """What W x + b may be wrong by in a network, and a row's product with it in bounds.

    For a row y, |y| times it covers: the network's rounding, and that of y W, y b and of sums with
    them, for `more` further roundings. Each is a share of |y| (|W| |x| + |b|).

    Returns:
        (B, *out), at least 0.
    """
    size = operation.linear([b.size for b in inputs], absolute=True)
    offset = operation.offset(size)
    size = size if offset is None else size + offset[1]
    share = _share(operation, size.dtype) + own(size.dtype, operation.roundings + more + 24)
    return share * size + _underflow(operation)


def backward(
    operation: Affine, inputs: Sequence[Bounds], rows: Tensor, more: int = 0
) -> tuple[Tensor, list[Tensor]]:
    """One step back: <y, z> is at least a constant plus the sum of <y W_i, x_i>.

    Args:
        operation: z = W x + b, in floating point.
        inputs: bounds of the x_i.
        rows: (B, S, *out) rows y.
        more: see `charge`.

    Returns:
        The constants (B, S), and rows (B, S, *in_i).
    """
    slack = charge(operation, inputs, more)
    offset = operation.offset(rows)
    added = slack.new_zeros(()) if offset is None else offset[0]
    constant = least(rows, added - slack, added + slack)
    back = operation.transposed(rows.flatten(0, 1))
    return constant, [one.reshape(*rows.shape[:2], *one.shape[1:]) for one in back]


def specified(network: BoundedNetwork, passed: Sequence[Bounds], rows: Tensor) -> Tensor:
    """Lower bounds (B, S) of rows (B, S, K) of scores, the last step taken with them.

    Args:
        network: its steps.
        passed: bounds of what each step gives.
        rows: factors of the scores.
    """
    last = network.steps[-1]
    if not isinstance(last.operation, Affine):
        slack = own(rows.dtype, rows.shape[-1] + 24) * passed[-1].size
        return least(rows, passed[-1].lower - slack, passed[-1].upper + slack)
    inputs = [passed[place] for place in last.inputs]
    terms = sum(bounds.lower[0].numel() for bounds in inputs) + rows.shape[-1]
    found, back = backward(last.operation, inputs, rows, terms)
    for bounds, one in zip(inputs, back, strict=True):
        found = found + least(one, bounds.lower, bounds.upper)
    return found
