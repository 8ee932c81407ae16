"""Sets of images over which bounds hold: boxes of pixels, and forms in a few parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.verify.rounding import check_dtype

_OWN: Final = 2.0**-32
"""Share of the absolute values that bounds, computed in float64, are moved outward by."""


class Bounds(NamedTuple):
    """Least and greatest values of the same shape, one box after the other along the first."""

    lower: Tensor
    upper: Tensor

    @property
    def size(self) -> Tensor:
        """Greatest absolute values."""
        return torch.maximum(self.lower.abs(), self.upper.abs())


def least(rows: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Sums (B, S) of factors (B, S, *shape) times a bound (B, *shape) that their sign chooses.

    Args:
        rows: factors.
        positive: what those above 0 are multiplied by.
        negative: what the others are multiplied by.
    """
    flat = rows.flatten(2)
    ends = [
        v.expand(len(rows), *rows.shape[2:]).flatten(1)[..., None] for v in (positive, negative)
    ]
    return (flat @ ends[1] + flat.relu() @ (ends[0] - ends[1]))[..., 0]


class Region(ABC):
    """A set of images for each of B boxes, in float64."""

    @property
    @abstractmethod
    def pixels(self) -> Bounds:
        """Bounds (B, C, H, W) of each pixel."""

    @abstractmethod
    def lower(self, rows: Tensor) -> Tensor:
        """Lower bounds (B, S) over the set of <row, x>, for rows (B, S, C, H, W)."""


@dataclass(frozen=True)
class PixelBox(Region):
    """Images each pixel of which lies between two values.

    Attributes:
        low: (B, C, H, W) least values.
        high: (B, C, H, W) greatest.
    """

    low: Tensor
    high: Tensor

    @property
    def pixels(self) -> Bounds:
        """See `Region.pixels`."""
        return Bounds(self.low, self.high)

    def lower(self, rows: Tensor) -> Tensor:
        """See `Region.lower`."""
        slack = _OWN * self.pixels.size
        return least(rows, self.low - slack, self.high + slack)


@dataclass(frozen=True)
class ParameterForms(Region):
    """Images that lie between two linear forms in a few parameters p, over a box of these.

    For every p in the box there may be any image x with low_a p + low_b <= x <= up_a p + up_b, in
    each pixel; so DeepG (Balunovic et al. 2019) bounds what a transformation makes of an image,
    and so a transformation that is linear in its parameters is given exactly (Semantify-NN,
    Mohapatra et al. 2020). Rounding in whatever computed the forms is theirs to bound.

    Attributes:
        low_a: (B, P, C, H, W) slopes of each pixel's lower form.
        low_b: (B, C, H, W) what the lower form adds.
        up_a: (B, P, C, H, W) slopes of the upper form.
        up_b: (B, C, H, W) what the upper form adds.
        box: (B, P, 2) least and greatest value of each parameter.
        within: bounds (B, C, H, W) that all images keep as well, such as an interval image or
            [0, 1]; None where there are none.

    Raises:
        InputError: shapes do not fit, a number is not finite, or a box is empty.
    """

    low_a: Tensor
    low_b: Tensor
    up_a: Tensor
    up_b: Tensor
    box: Tensor
    within: tuple[Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        names = ("low_a", "low_b", "up_a", "up_b", "box")
        if self.low_b.ndim != 4 or self.low_a.ndim != 5:
            raise InputError(
                "Expected `low_a` of shape (B, P, C, H, W) and `low_b` of shape (B, C, H, W), but "
                f"got {tuple(self.low_a.shape)} and {tuple(self.low_b.shape)}."
            )
        boxes, parameters = self.low_a.shape[:2]
        image = tuple(self.low_b.shape[1:])
        slopes, added = (boxes, parameters, *image), (boxes, *image)
        for name, shape in zip(
            names, (slopes, added, slopes, added, (boxes, parameters, 2)), strict=True
        ):
            value = getattr(self, name)
            if tuple(value.shape) != shape:
                raise InputError(
                    f"Expected `{name}` of shape {shape}, for {boxes} boxes of {parameters} "
                    f"parameters, but got {tuple(value.shape)}."
                )
            if not bool(value.isfinite().all()):
                raise InputError(f"Expected `{name}` of finite numbers, but some are not.")
            object.__setattr__(self, name, value.detach().double())
        if not bool((self.box[..., 0] <= self.box[..., 1]).all()):
            raise InputError("Expected `box` with no least value above the greatest one.")
        if self.within is not None:
            checked = check_box(*self.within)
            if checked.lower.shape != self.low_b.shape:
                raise InputError(
                    f"Expected `within` of shape {added}, but got {tuple(checked.lower.shape)}."
                )
            object.__setattr__(self, "within", (checked.lower.double(), checked.upper.double()))

    @property
    def pixels(self) -> Bounds:
        """See `Region.pixels`."""
        low = self._end(self.low_a, self.low_b, -1.0)
        high = self._end(self.up_a, self.up_b, 1.0)
        if self.within is not None:
            low, high = torch.maximum(low, self.within[0]), torch.minimum(high, self.within[1])
        return Bounds(low, high)

    @property
    def _reach(self) -> tuple[Tensor, Tensor, Tensor]:
        """Centre, half width and greatest absolute value of each parameter, (B, P)."""
        low, high = self.box[..., 0], self.box[..., 1]
        center = (low + high) / 2
        away = torch.maximum(high - center, center - low)
        return center, away, torch.maximum(low.abs(), high.abs())

    def _end(self, slopes: Tensor, added: Tensor, sign: float) -> Tensor:
        center, away, size = self._reach
        middle = added + torch.einsum("bpchw,bp->bchw", slopes, center)
        reach = torch.einsum("bpchw,bp->bchw", slopes.abs(), away)
        return middle + sign * (reach + _OWN * self._size(slopes, added, size))

    @staticmethod
    def _size(slopes: Tensor, added: Tensor, size: Tensor) -> Tensor:
        return added.abs() + torch.einsum("bpchw,bp->bchw", slopes.abs(), size)

    def lower(self, rows: Tensor) -> Tensor:
        """See `Region.lower`: the better one of the forms' bound and that of the pixels'."""
        center, away, size = self._reach
        # Of the larger form: the other one is found as it plus a difference.
        slack = _OWN * torch.maximum(
            self._size(self.low_a, self.low_b, size), self._size(self.up_a, self.up_b, size)
        )
        added = least(rows, self.low_b - slack, self.up_b + slack)
        slopes = torch.stack(
            [least(rows, *pair) for pair in zip(
                self.low_a.unbind(dim=1), self.up_a.unbind(dim=1), strict=True
            )], dim=-1,
        )  # fmt: skip
        moved = (slopes * center[:, None]).sum(dim=-1) - (slopes.abs() * away[:, None]).sum(dim=-1)
        return torch.maximum(added + moved, PixelBox(*self.pixels).lower(rows))


def check_box(lower: Tensor, upper: Tensor) -> Bounds:
    """Return bounds of images, if they are some.

    Args:
        lower: (B, C, H, W), float32 or float64, finite.
        upper: likewise.

    Raises:
        InputError: they are not, and what to do about it.
    """
    check_dtype(lower.dtype)
    if lower.shape != upper.shape or lower.dtype != upper.dtype or lower.ndim != 4:
        raise InputError(
            "Expected `lower` and `upper` of one shape (B, C, H, W) and one dtype, but got "
            f"{tuple(lower.shape)} of {lower.dtype} and {tuple(upper.shape)} of {upper.dtype}."
        )
    if not bool((lower <= upper).all()) or not bool((lower.isfinite() & upper.isfinite()).all()):
        raise InputError(
            "Expected finite `lower` and `upper`, no lower bound above its upper one, but got "
            "others: look at what computed them."
        )
    return Bounds(lower, upper)
