"""A range of a transformation's parameters in cells, and how its images move within each."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Cells:
    """Cells that cover a box of one or two parameters, for one image x.

    Guarantee: for every theta in the box there is a cell that holds it, and the hull of whose
    corner images tau(theta, x) is within `stray` of: l2 over all pixels and channels, in floating
    point as in real arithmetic. Every cell that holds theta is one, faces included, but where tau
    is piecewise constant (`Pixelate`, `IntegerTranslation`): there a face that two cells share
    belongs to one of the two.

    Attributes:
        names: the P parameters that vary, in the transformation's order.
        low: (M, P) float64, least parameters of each cell, as the transformation takes them.
        high: (M, P) float64, greatest; no gaps are left. With P = 1 cells ascend.
        theta: (V, all parameters) float64, those of the corner images.
        images: (V, C, H, W) float64, tau(theta, x).
        corners: (M, K) int64, rows of `images` whose hull is meant: K = 2 for one parameter, the
            ends of a segment, and 4 for two. A row is repeated where there are fewer.
        stray: (M,) float64, at least 0: the distance from the hull, at most.
    """

    names: tuple[str, ...]
    low: Tensor
    high: Tensor
    theta: Tensor
    images: Tensor
    corners: Tensor
    stray: Tensor
