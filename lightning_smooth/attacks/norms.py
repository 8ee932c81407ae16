"""Balls of the norms that attacks are bounded in: distance, projection, steepest direction."""

from __future__ import annotations

from typing import Final, get_args

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.smoothing.rng import NoiseKey, standard_normal, standard_uniform
from lightning_smooth.types import RadiusUnit

Norm = RadiusUnit
"""A norm of the change of an image whose pixels lie in [0, 1]."""

_SPARSE: Final = 0.01
"""Part of the pixels that a steepest step in l1 changes, beside those of equal slope."""

_INSIDE: Final = 1 - 2.0**-20
"""Factor on a change that rounding has left outside of its ball."""


def check_norm(norm: str) -> Norm:
    """Return a norm, if it is one.

    Raises:
        InputError: it is not.
    """
    for known in get_args(Norm):
        if norm == known:
            return known  # type: ignore[no-any-return]
    raise InputError(f"Expected `norm` to be one of {', '.join(get_args(Norm))}, but got {norm!r}.")


def distance(norm: Norm, change: Tensor) -> Tensor:
    """Norms (B,), float64, of changes (B, C, H, W).

    >>> change = torch.tensor([3.0, -4.0]).reshape(1, 1, 1, 2)
    >>> [float(distance(norm, change)) for norm in ("linf", "l2", "l1")]
    [4.0, 5.0, 7.0]
    """
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    size: Tensor = torch.linalg.vector_norm(change.flatten(1).double(), ord=order, dim=1)
    return size


def project(norm: Norm, change: Tensor, bound: Tensor) -> Tensor:
    """The nearest (in l2) changes (B, C, H, W) whose norms are at most `bound` (B,).

    In l1 the threshold is that of Duchi et al., "Efficient projections onto the l1-ball for
    learning in high dimensions", ICML 2008 (section 3).

    >>> far = torch.tensor([3.0, -4.0]).reshape(1, 1, 1, 2)
    >>> [project(norm, far, torch.tensor([1.0])).flatten().tolist() for norm in ("linf", "l1")]
    [[1.0, -1.0], [0.0, -1.0]]
    """
    limit = bound.to(change).reshape(-1, 1)
    flat = change.flatten(1)
    if norm == "linf":
        return flat.clamp(-limit, limit).reshape(change.shape)
    if norm == "l2":
        length = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
        held: Tensor = flat * (limit / length.clamp_min(limit))
        return held.reshape(change.shape)
    size = flat.abs()
    ordered = size.sort(dim=1, descending=True).values
    number = torch.arange(1, ordered.shape[1] + 1, device=change.device)
    threshold = (ordered.cumsum(dim=1) - limit) / number
    last = (ordered > threshold).sum(dim=1, keepdim=True).clamp_min(1) - 1
    shrunk = flat.sign() * (size - threshold.gather(1, last)).clamp_min(0)
    outside = size.sum(dim=1, keepdim=True) > limit
    return torch.where(outside, shrunk, flat).reshape(change.shape)


def near(norm: Norm, points: Tensor, images: Tensor, bound: Tensor) -> Tensor:
    """Points (B, C, H, W) brought into the ball around images, to within rounding, and into [0, 1].

    Going to [0, 1], where the images are, brings no pixel further from its image's, so the points
    stay in the ball. It is for the steps of a search; `legal` is exact.
    """
    return (images + project(norm, points - images, bound)).clamp_(0, 1)


def legal(norm: Norm, points: Tensor, images: Tensor, bound: Tensor | None) -> Tensor:
    """Points (B, C, H, W) brought into the ball around images, and into [0, 1], exactly.

    See `near`. Their distance, taken in float64 of the points as they are, is at most
    `bound`: what rounding has left outside is drawn in. What lies in both already stays as it is,
    bit for bit.

    Args:
        norm: the norm of the ball.
        points: any points; those that are not finite become the image's.
        images: centres, in [0, 1].
        bound: (B,) radii; None for [0, 1] alone.
    """
    points = torch.where(points.isfinite(), points, images)
    if bound is None:
        return points.clamp(0, 1)
    beyond = distance(norm, points.double() - images) > bound
    drawn = images + project(norm, points - images, bound)
    points = torch.where(beyond[:, None, None, None], drawn, points).clamp(0, 1)
    while bool((outside := distance(norm, points.double() - images) > bound).any()):
        shrunk = images + (points - images) * _INSIDE
        # Where the factor is lost in rounding, a pixel takes the next float towards its image's.
        stuck = shrunk == points
        shrunk = torch.where(stuck, torch.nextafter(points, images), shrunk)
        points = torch.where(outside[:, None, None, None], shrunk, points)
    return points


def steepest(norm: Norm, slope: Tensor) -> Tensor:
    """Changes of norm 1 along which a function grows fastest, from its slope (B, C, H, W).

    linf: the signs. l2: the slope, scaled. l1: the signs of the pixels of the largest slopes, one
    in a hundred and those of equal slope, where one pixel alone would be steepest: a step of PGD
    would change too little (Tramer and Boneh, "Adversarial training and robustness for multiple
    perturbations", NeurIPS 2019, section 2).
    """
    if norm == "linf":
        return slope.sign()
    flat = slope.flatten(1)
    size = flat.abs()
    # By the largest first: squares of what a confident network leaves underflow.
    flat = flat / size.amax(dim=1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    if norm == "l2":
        length = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
        unit: Tensor = flat / length.clamp_min(1)
        return unit.reshape(slope.shape)
    count = max(1, round(_SPARSE * flat.shape[1]))
    least = size.topk(count, dim=1).values[:, -1:]
    chosen = flat.sign() * ((size >= least) & (size > 0))
    return (chosen / chosen.abs().sum(dim=1, keepdim=True).clamp_min(1)).reshape(slope.shape)


def random_change(norm: Norm, key: NoiseKey, number: int, image: Tensor, bound: float) -> Tensor:
    """Draw a change of an image (C, H, W), in the ball: uniform in linf, else along a normal one.

    In l2 and l1 its length is uniform in [0, bound].

    Args:
        norm: the norm of the ball.
        key: whose draws.
        number: of the draw, a block of its own.
        image: whose shape, device and dtype count.
        bound: the ball's radius.
    """
    shape = (image.shape[0], image.shape[1], image.shape[2])
    uniform = standard_uniform(key, number, shape, image.device, draws=1)[:1].to(image.dtype)
    if norm == "linf":
        return ((2 * uniform - 1) * bound)[0]
    sign = standard_normal(key, number + (1 << 31), shape, image.device, draws=1)[:1]
    normal = sign.to(image.dtype)
    length = distance(norm, normal).to(normal)
    return (normal * (bound * uniform.flatten()[0] / length))[0]
