"""Steps of a network that are not linear: their ranges over a box, and linear bounds of them.

Source of the lines: Zhang et al., "Efficient neural network robustness certification with general
activation functions" (CROWN), 2018; Singh et al., "An abstract domain for certifying neural
networks" (DeepPoly), 2019.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from lightning_smooth.verify.rounding import gamma, own

_OWN: Final = 2.0**-32
"""Share of the values that lines, computed in float64, are moved outward by."""

_ROOT: Final = 2.0**-50
"""Squares of numbers above it, and of ones below its inverse, are far within float32."""


class Relaxation(ABC):
    """Linear bounds of a step over a box of its inputs x, for features z that it gives.

    Each z lies between a lower and an upper line in x. Where a row has a factor above 0 the lower
    line bounds it from below, elsewhere the upper one.

    Attributes:
        positive: (B, *out), what the lower line adds.
        negative: (B, *out), what the upper line adds.
    """

    positive: Tensor
    negative: Tensor

    @abstractmethod
    def back(self, rows: Tensor) -> Tensor:
        """Factors (B, S, *in) of x in lower bounds of sums with factors (B, S, *out) of z."""


@dataclass(frozen=True)
class Lines(Relaxation):
    """Lines of each value by itself: `low` x + `positive` <= z <= `high` x + `negative`."""

    low: Tensor
    high: Tensor
    positive: Tensor
    negative: Tensor

    def back(self, rows: Tensor) -> Tensor:
        """See `Relaxation.back`."""
        return rows * torch.where(rows > 0, self.low[:, None], self.high[:, None])


class Activation(ABC):
    """A step of one input that is not linear; in floating point it is as `bounds` says."""

    @abstractmethod
    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds (B, *out) of what the network gives for x between bounds (B, *in)."""

    @abstractmethod
    def relax(self, lower: Tensor, upper: Tensor) -> Relaxation:
        """Linear bounds of the same, in float64."""

    def fits(self, size: Tensor) -> bool:
        """Whether nothing within can overflow or underflow, for x of absolute values (B, *in)."""
        del size
        return True

    def matters(self, lower: Tensor, upper: Tensor) -> Tensor:
        """(B, *in) bool: whose tighter bounds would tighten the relaxation."""
        return lower < upper


class ReLU(Activation):
    """max(x, 0), which rounds nothing.

    Where l < 0 < u, the upper line is the chord, of slope u / (u - l); the lower one is x or 0,
    whichever encloses less with it.
    """

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """See `Activation.bounds`."""
        return lower.relu(), upper.relu()

    def relax(self, lower: Tensor, upper: Tensor) -> Lines:
        """See `Activation.relax`."""
        crossing = self.matters(lower, upper)
        passing = (lower >= 0).to(lower)
        chord = upper / torch.where(crossing, upper - lower, 1.0)
        # Whatever the slope was rounded to, a line is above the kink if it is at both ends.
        above = torch.maximum(-chord * lower, (1 - chord) * upper)
        slack = _OWN * torch.maximum(lower.abs(), upper.abs())
        return Lines(
            low=torch.where(crossing, (upper > -lower).to(lower), passing),
            high=torch.where(crossing, chord, passing),
            positive=-slack,
            negative=torch.where(crossing, above, 0.0) + slack,
        )

    def matters(self, lower: Tensor, upper: Tensor) -> Tensor:
        """See `Activation.matters`."""
        return (lower < 0) & (upper > 0)


@dataclass(frozen=True)
class Windows(Relaxation):
    """Linear bounds of the greatest value in each window.

    Attributes:
        low: (B, C, k, P) factors of the k values of P windows in the lower lines.
        high: likewise, in the upper ones.
        pool: the step.
        shape: (C, H, W) of the input.
    """

    low: Tensor
    high: Tensor
    positive: Tensor
    negative: Tensor
    pool: MaxPool
    shape: torch.Size

    def back(self, rows: Tensor) -> Tensor:
        """See `Relaxation.back`."""
        boxes, count, channels = rows.shape[:3]
        flat = rows.reshape(boxes, count, channels, 1, -1)
        spread = flat * torch.where(flat > 0, self.low[:, None], self.high[:, None])
        folded = self.pool.fold(spread.reshape(boxes * count, -1, flat.shape[-1]), self.shape)
        return folded.reshape(boxes, count, *self.shape)


class MaxPool(Activation):
    """The greatest value in each window, which rounds nothing; what is padded never is it.

    With L the greatest of a window's lower bounds l_i, of its value j, the lower line is x_j. The
    maximum is L + max_i max(x_i - L, 0), at most L + sum_i max(x_i - L, 0), whose terms are below
    their chords: so it is at most x_j + sum_i s_i (x_i - l_i), s_i = (u_i - L) / (u_i - l_i), over
    the i other than j with u_i > L. It is also at most the greatest u_i. The upper line is the one
    of the two that is lower amid the box; it is exact where no other value can be the greatest.

    Args:
        kernel: (height, width) of a window.
        stride: of windows.
        padding: pixels on each side, (height, width).
    """

    def __init__(
        self, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int] = (0, 0)
    ) -> None:
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """See `Activation.bounds`."""
        low, high = (
            functional.max_pool2d(x, self.kernel, self.stride, self.padding) for x in (lower, upper)
        )
        return low, high

    def relax(self, lower: Tensor, upper: Tensor) -> Windows:
        """See `Activation.relax`."""
        outside = 2 * min(float(lower.min()), 0.0) - 1.0  # below all, however large they are
        low, high = self._windows(lower, outside), self._windows(upper, outside)
        least, place = low.max(dim=2, keepdim=True)
        chosen = torch.zeros_like(low).scatter_(2, place, 1.0)
        rival = (high > least) & (chosen == 0)
        slopes = (high - least) / torch.where(rival, high - low, 1.0)
        slopes = torch.where(rival, slopes, chosen)
        added = least - (slopes * low).sum(dim=2, keepdim=True)
        amid = added + (slopes * (low + high)).sum(dim=2, keepdim=True) / 2
        most = high.amax(dim=2, keepdim=True)
        flat = (amid > most) & rival.any(dim=2, keepdim=True)
        real = self._windows(torch.maximum(lower.abs(), upper.abs()), 0.0)
        slack = _OWN * real.sum(dim=2)
        shape = self.bounds(lower[:1], lower[:1])[0].shape[1:]
        return Windows(
            low=chosen,
            high=torch.where(flat, 0.0, slopes),
            positive=(-slack).reshape(-1, *shape),
            negative=(torch.where(flat, most, added)[:, :, 0] + slack).reshape(-1, *shape),
            pool=self,
            shape=lower.shape[1:],
        )

    def _windows(self, images: Tensor, outside: float) -> Tensor:
        """(B, C, k, P): the values of each window."""
        down, across = self.padding
        padded = functional.pad(images, (across, across, down, down), value=outside)
        windows = functional.unfold(padded, self.kernel, stride=self.stride)
        return windows.reshape(len(images), images.shape[1], -1, windows.shape[-1])

    def fold(self, windows: Tensor, shape: torch.Size) -> Tensor:
        """Sums (N, C, H, W) of windows (N, C k, P) where they overlap, without the padding."""
        down, across = self.padding
        _, height, width = shape
        size = (height + 2 * down, width + 2 * across)
        images = functional.fold(windows, size, self.kernel, stride=self.stride)
        return images[:, :, down : down + height, across : across + width]


class Standardization(Activation):
    """Centred images over their standard deviation, as `models.Standardized` divides them.

    The standard deviation of an image is its l2 norm over sqrt(n), and so over a box within the
    radius' norm over sqrt(n) of that of the centre. Each value is one factor between two times x:
    its bounds are those of both, which are chords.

    Args:
        eps: see `models.Standardized`.
    """

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def fits(self, size: Tensor) -> bool:
        """See `Activation.fits`: squares of values and of `eps` are normal numbers."""
        return self.eps > _ROOT and float(size.max()) < 1 / _ROOT

    def _factors(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Least and greatest factor, (B, 1, 1, 1)."""
        pixels = lower[0].numel()
        center, reach = (lower + upper) / 2, (upper - lower) / 2
        middle, away = (
            v.flatten(1).norm(dim=1)[:, None, None, None] / pixels**0.5 for v in (center, reach)
        )
        # In a network squares, their mean, eps, the root and the quotient are rounded.
        mine = own(lower.dtype, pixels + 16)
        slack = gamma(pixels + 16) + mine
        away = away + mine * (middle + away)
        least = (middle - away).clamp_min(0).square() + self.eps**2
        most = (middle + away).square() + self.eps**2
        return most.rsqrt() * (1 - slack), least.rsqrt() * (1 + slack)

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """See `Activation.bounds`."""
        small, large = self._factors(lower, upper)
        return (
            torch.minimum(lower * small, lower * large),
            torch.maximum(upper * small, upper * large),
        )

    def relax(self, lower: Tensor, upper: Tensor) -> Lines:
        """See `Activation.relax`."""
        small, large = self._factors(lower, upper)
        low, high = self.bounds(lower, upper)
        top, bottom = (
            torch.maximum(lower * small, lower * large),
            torch.minimum(upper * small, upper * large),
        )
        width = upper - lower
        wide = width > 0
        safe = torch.where(wide, width, 1.0)
        upper_slope = torch.where(wide, (high - top) / safe, 0.0)
        lower_slope = torch.where(wide, (bottom - low) / safe, 0.0)
        slack = _OWN * large * torch.maximum(lower.abs(), upper.abs())
        # At each end a line is moved to where it bounds, whatever its slope was rounded to.
        return Lines(
            low=lower_slope,
            high=upper_slope,
            positive=torch.minimum(low - lower_slope * lower, bottom - lower_slope * upper) - slack,
            negative=torch.maximum(top - upper_slope * lower, high - upper_slope * upper) + slack,
        )
