"""What straight lines in the angle leave of one image: r over pieces and windows, and |K r|."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_smooth.interpolation.curvature import Curvature, swept_by_rotation
from lightning_smooth.interpolation.seen import Seen
from lightning_smooth.transforms.sampling import centered

_REACH = 1.5
"""A pixel of a rotated image shows samples that are less than sqrt(2) from where it looks."""

_SHARED = 0.6
"""Windows a piece above which none are used: they are wider than pieces, and bounds larger."""


class Remainders:
    """Bounds of remainders of one image under rotation.

    Args:
        image: (C, H, W).
        seen: K.
        at_once: images that are worked on at once.
    """

    def __init__(self, image: Tensor, seen: Seen, at_once: int) -> None:
        self.shape = image.shape
        self.seen = seen
        self.at_once = at_once
        self._curvature = Curvature(image)
        self._windows: dict[float, dict[int, float]] = {}
        y, x = (centered(size, image) for size in image.shape[1:])
        radius = (y[:, None].square() + x.square()).sqrt().flatten()
        self._near = (radius <= radius[seen.pixels].max() + _REACH).nonzero()[:, 0]

    def pieces(self, middle: Tensor, step: float) -> Tensor:
        """(A, C, H, W) float32: of pieces `step` wide, where K sees them after any rotation."""
        return self._bounds(middle, step / 2, step, self._near)

    def norms(self, middle: Tensor, step: float) -> Tensor:
        """(A,): |K r| of pieces `step` wide."""
        return self._norms(middle, step / 2, step)

    def windowed(self, left: Tensor, step: float) -> Tensor:
        """(P,): |K r| of pieces from angles `left`, `step` wide.

        Over windows of a fixed grid that hold the pieces, where many pieces share one, and else
        over the pieces themselves. Where K does not mind quarters, T_{s+90} x is T_s x, turned by
        a quarter, and has the same bounds.
        """
        pitch = step / 4
        known = self._windows.setdefault(step, {})
        if self.seen.quarters:
            left = left.remainder(90)
        shown, where = torch.unique((left / pitch).floor().long(), return_inverse=True)
        new = torch.tensor([w for w in shown.tolist() if w not in known], dtype=torch.float64)
        if len(new) > _SHARED * len(left):
            parts = torch.split(left + step / 2, self.at_once)
            return torch.cat([self._norms(middle, step / 2, step) for middle in parts])
        for part in torch.split(new, self.at_once):
            norms = self._norms((part + 2.5) * pitch, 2.5 * pitch, step)
            known.update(zip(part.long().tolist(), norms.tolist(), strict=True))
        return torch.tensor([known[w] for w in shown.tolist()], dtype=torch.float64)[where]

    def _norms(self, middle: Tensor, half: float, step: float) -> Tensor:
        bent = self._bounds(middle, half, step, self.seen.pixels)
        return self.seen.norm(bent) * (1 + sum(self.seen.wrong))

    def _bounds(self, middle: Tensor, half: float, step: float, pixels: Tensor) -> Tensor:
        """(A, C, H, W) float32: of some pixels, and 0 elsewhere."""
        swept = swept_by_rotation(middle, half, *self.shape[1:], pixels=pixels)
        beyond = math.radians(max(0.0, half - step / 2))
        found = self._curvature.departure(swept, math.radians(step), beyond=beyond)
        bent = torch.zeros(len(middle), self.shape[0], self.shape[1] * self.shape[2])
        return bent.index_copy_(2, pixels, found[:, :, 0]).view(-1, *self.shape)
