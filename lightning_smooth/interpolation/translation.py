"""What two translations differ from one by: e(b, g) = K (T_b T_g x - T_{b+g} x), exactly.

A bilinear translation's weights are piecewise linear in dx, with corners where dx is whole, and in
dy. Along each axis e is therefore linear in g between two values where g or b + g is whole, and
|e| is convex there: its maximum over a box is at such values, or at the ends of the box. There are
finitely many, and all are tried; no bound is needed.

Where the published way (Fischer, Baader, Vechev, NeurIPS 2020, section 5) bounds intervals.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.error import ErrorBounds, length, stored_as_float32
from lightning_smooth.transforms.geometric import Translation
from lightning_smooth.types import Box

_ROUNDING = 1e-9


class TranslationError:
    """The largest error that two translations of one image make by being two.

    Args:
        image: (C, H, W), in [0, 1].
        box: (least, greatest) `dx` and `dy` of the attack, in pixels; what is left out stays 0.
        preprocessing: K, as the classifier has it; None for none.
        rounding: how far each pixel of T_g x may be from what real arithmetic gives, as an attack
            may store it: .5/255 for bytes. It enters `upper` alone.
        chunk: pixels of images that are worked on at once: about 100 bytes each.

    Raises:
        InputError: the box is empty, upside down or not of these parameters, or the image is not
            one.
    """

    def __init__(
        self,
        image: Tensor,
        box: Box,
        preprocessing: nn.Module | None = None,
        *,
        rounding: float = 0.0,
        chunk: int = 1 << 20,
    ) -> None:
        self.transform = Translation()
        self.box = ends_of(image, box)
        self.image = image.double()
        self.preprocessing = preprocessing or nn.Identity()
        self.rounding = rounding
        self.chunk = chunk

    def bounds(
        self, noise: Tensor, *, target: float | None = None, tolerance: float = 0.1
    ) -> ErrorBounds:
        """Find the largest error over the box, for each b.

        Args:
            noise: (N, 2) `dx` and `dy` of b in pixels, float64.
            target: not used: the answer is exact.
            tolerance: not used.

        Returns:
            Bounds that differ by rounding alone; `worst` is (N, 2).
        """
        del target, tolerance
        found, slack = [], []
        pieces = 0
        for b in noise.double():
            x, y = (
                corners(*self.box[axis], b[axis].item(), self.image.shape[2 - axis] + 1)
                for axis in (0, 1)
            )
            g = torch.cartesian_prod(x, y)
            norms = self.at(b.expand(len(g), 2), g)
            pieces += len(g)
            largest = int(norms.argmax())
            found.append(torch.cat([norms[largest, None], g[largest]]))
            slack.append(self._slack(b[None]))
        table = torch.stack(found) if found else torch.zeros(0, 3, dtype=torch.float64)
        more = torch.cat(slack) if slack else torch.zeros(0, dtype=torch.float64)
        upper = (table[:, 0] + more) * (1 + _ROUNDING) + _ROUNDING
        return ErrorBounds(table[:, 0], upper, table[:, 1:], pieces)

    def sampled(self, noise: Tensor) -> Tensor:
        """(N,) float64: for each b the largest error over the box."""
        return self.bounds(noise).lower

    def at(self, noise: Tensor, shift: Tensor) -> Tensor:
        """(N,) float64: the norms of e(b, g), for pairs of b and g in pixels, both (N, 2)."""
        size = max(1, self.chunk // self.image.numel())
        norms = [
            self._norm(
                self.transform(self.transform(self.image[None], g), b)
                - self.transform(self.image[None], b + g)
            )
            for b, g in zip(
                torch.split(noise.double(), size), torch.split(shift, size), strict=True
            )
        ]
        return torch.cat(norms)

    def _norm(self, images: Tensor) -> Tensor:
        return length(self.preprocessing(images))

    def _slack(self, noise: Tensor) -> Tensor:
        """(N,): norm of what the rounding of the attacked image becomes."""
        stored = stored_as_float32(self.image)
        if not self.rounding:
            return torch.full_like(noise[:, 0], stored)
        flat = torch.full_like(self.image[None], self.rounding)
        return stored + self._norm(self.transform(flat, noise))


def ends_of(image: Tensor, box: Box) -> list[tuple[float, float]]:
    """(least, greatest) shift along each axis, 0 where `box` has none, for an image (C, H, W).

    Raises:
        InputError: the box is empty, upside down or not of these parameters, or the image is not
            one.
    """
    if image.ndim != 3 or not image.numel():
        raise InputError(f"Expected `image` (C, H, W), but got shape {tuple(image.shape)}.")
    transform = Translation()
    given = transform.check_box(box)
    return [given.get(name, (0.0, 0.0)) for name in transform.names]


def corners(low: float, high: float, b: float, reach: int) -> Tensor:
    """Values of g along an axis between which T_g and T_{b + g} are linear.

    Args:
        low: least g.
        high: greatest g.
        b: what is added to it.
        reach: pixels beyond which nothing of the image is left, and nothing changes.

    Returns:
        Ascending, float64: where g or b + g is whole, and the ends.
    """
    whole = torch.arange(math.ceil(low), math.floor(high) + 1, dtype=torch.float64)
    both = torch.arange(math.ceil(low + b), math.floor(high + b) + 1, dtype=torch.float64) - b
    ends = torch.tensor([low, high], dtype=torch.float64)
    values = torch.cat([ends, whole[whole.abs() <= reach], both]).clamp(low, high)
    return torch.tensor(sorted(set(values.tolist())), dtype=torch.float64)
