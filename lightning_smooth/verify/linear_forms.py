"""Linear forms about the centre of a box of parameters, on their way to `ParameterForms`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.verify.regions import Bounds, ParameterForms

_OWN = 2.0**-44
"""Share of the values by which moving forms away from centres may change them, and more."""


@dataclass(frozen=True)
class Line:
    """What bounds pixels from one side: a (p - c) + b, for parameters p of boxes of centres c.

    Attributes:
        slope: a, (B, P, C, H, W).
        middle: b, (B, C, H, W).
    """

    slope: Tensor
    middle: Tensor


@dataclass(frozen=True)
class Forms:
    """Pixels of B boxes from both sides.

    Attributes:
        low: below.
        up: above.
        within: bounds (B, C, H, W) of pixels over whole boxes; None where forms tell as much.
    """

    low: Line
    up: Line
    within: Bounds | None = None


def parameter_forms(made: Sequence[Forms], low: Tensor, high: Tensor) -> ParameterForms:
    """Forms in the parameters themselves, rounded outward.

    Args:
        made: forms of some boxes after the other, about (low + high) / 2.
        low: (B, P) ends of all boxes.
        high: likewise.
    """
    center = (low + high) / 2
    sides = []
    for sign, lines in ((-1.0, [f.low for f in made]), (1.0, [f.up for f in made])):
        slope = torch.cat([line.slope for line in lines])
        middle = torch.cat([line.middle for line in lines])
        moved = slope * center[:, :, None, None, None]
        size = middle.abs() + moved.abs().sum(dim=1)
        sides += [slope, middle - moved.sum(dim=1) + sign * _OWN * size]
    known = [f.within for f in made if f.within is not None]
    within = None
    if len(known) == len(made):
        within = (torch.cat([b.lower for b in known]), torch.cat([b.upper for b in known]))
    box = torch.stack([low, high], dim=2)
    return ParameterForms(sides[0], sides[1], sides[2], sides[3], box, within)


def checked_image(image: Tensor) -> Tensor:
    """Return an image (C, H, W) in float64.

    Raises:
        InputError: it is none.
    """
    if image.ndim != 3 or not image.numel() or not image.is_floating_point():
        raise InputError(
            "Expected `image` of shape (C, H, W), of floating point, but got shape "
            f"{tuple(image.shape)} of {image.dtype}: take one image out of its batch."
        )
    if not bool(image.isfinite().all()):
        raise InputError("Expected `image` of finite numbers, but some are not.")
    return image.detach().double()
