"""What it costs to go from the vertices of a range to its cells, and what that is computed with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_smooth.interpolation.error import stored_as_float32
from lightning_smooth.variation import Cells


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Latents of a range's vertices, and what it costs to go from each to each cell.

    Attributes:
        latents: (V, D, h, w) float32: what noise is added to, to test a vertex.
        cells: (V, M) standard deviations, from a vertex to any image of a cell.
        slack: the part of it, in the unit of latents, that bounds of what is between vertices
            make up, of the cell where it is largest.
        measured: what else the certificate says.
    """

    latents: Tensor
    cells: NDArray[np.float64]
    slack: float
    measured: dict[str, float] = field(default_factory=dict)


def full_precision() -> torch.autocast:
    """Autocast is for models: what bounds are computed of is not rounded to bfloat16."""
    return torch.autocast("cpu", enabled=False)


def stored_off(images: Tensor) -> float:
    """How far an image of (V, C, H, W) moves at most, in l2, where it is stored as float32."""
    return stored_as_float32(images[0]) * max(1.0, float(images.abs().max()))


def widths(cells: Cells) -> Tensor:
    """(M,) float64: the largest l2 distance of two corners of each cell."""
    corners = cells.images.flatten(1)[cells.corners]
    return torch.cdist(corners, corners).amax(dim=(1, 2))
