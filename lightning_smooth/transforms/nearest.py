"""Rotation without interpolation: every pixel shows the sample that is nearest to its point."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_smooth.transforms.base import Parameter, Transform
from lightning_smooth.transforms.geometric import cos_sin
from lightning_smooth.transforms.sampling import centered

_APART: Final = 1e-9
"""Degrees between angles at which the image changes; what is nearer is one of them."""


class NearestRotation(Transform):
    """Rotation about the image's centre, of whole samples.

    Convention: as `Rotation`, but a pixel shows the sample in whose square its point lies, and 0
    where that is outside the image. The image changes at the `critical_angles` of its size and
    nowhere else: an angle is looked up among them, those themselves count to the smaller turn, and
    the pixels' points are those of the middle between two. So the images are finitely many, however
    they are computed.

    Piecewise constant in its parameter: no gradient goes to it. It does not compose.

    Source: Pei et al. 2017 (VeriVis), critical parameter values; THEORY section 9.
    """

    parameters = (Parameter(name="angle", unit="degrees", usual=(-30.0, 30.0)),)

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        angle = theta[:, 0].detach().double()
        angle = angle - 360 * (angle / 360).round()  # in [-180, 180]
        middles = torch.from_numpy(middle_angles((height, width))).to(angle)
        ends = torch.from_numpy(critical_angles((height, width))).to(angle)
        middle = middles[torch.searchsorted(ends, angle.abs())] * angle.sign()
        cosine, sine = (part[:, None, None] for part in cos_sin(middle))
        x, y = centered(width, angle), centered(height, angle)[:, None]
        column = (cosine * x - sine * y + width / 2).floor().long()
        row = (sine * x + cosine * y + height / 2).floor().long()
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        # What lies outside reads the last column of a frame, which is 0.
        index = torch.where(inside, row * (width + 1) + column, width).flatten(1)
        framed = torch.nn.functional.pad(images, (0, 1)).flatten(2)
        batch, channels = max(len(images), len(theta)), images.shape[1]
        index = index.expand(batch, -1)[:, None].expand(-1, channels, -1)
        shown = framed.expand(batch, -1, -1).gather(2, index)
        return shown.view(batch, channels, height, width)


@lru_cache(maxsize=8)
def critical_angles(size: tuple[int, int]) -> NDArray[np.float64]:
    """Angles in (0, 180) at which some pixel's point passes from one sample's square to another's.

    Those below 0 are their negatives: the grid of samples is its own mirror image.

    Args:
        size: (height, width) of the images.

    Returns:
        (N,) degrees, ascending, float64.
    """
    height, width = size
    x = np.arange(width) - (width - 1) / 2
    y = (np.arange(height) - (height - 1) / 2)[:, None]
    radius = np.hypot(x, y).ravel()
    start = np.degrees(np.arctan2(y, x)).ravel()
    found = []
    for length, across, turned, along in (
        (width, height, np.arccos, np.sin), (height, width, np.arcsin, np.cos)
    ):  # fmt: skip
        border = np.arange(length + 1) - length / 2
        reached = np.abs(border[:, None]) < radius
        ratio = np.divide(border[:, None], radius, where=reached, out=np.zeros(reached.shape))
        angle = np.degrees(turned(ratio))
        for one in (angle, -angle if turned is np.arccos else 180 - angle):
            # Beside the image there is no sample on either side of a border.
            inside = np.abs(radius * along(np.radians(one))) < across / 2 + _APART
            found.append((one - start)[reached & inside])
    angles = np.unique(np.concatenate(found) % 360)
    angles = angles[(angles > _APART) & (angles < 180 - _APART)]
    first = np.concatenate([[True], np.diff(angles) > _APART]) if len(angles) else angles > 0
    return np.ascontiguousarray(angles[first])


@lru_cache(maxsize=8)
def middle_angles(size: tuple[int, int]) -> NDArray[np.float64]:
    """Angles (N + 1,) between 0, the `critical_angles` and 180: one for each image; the first is 0.

    Args:
        size: (height, width) of the images.
    """
    ends = np.concatenate([critical_angles(size), [180.0]])
    middles: NDArray[np.float64] = np.concatenate([[0.0], (ends[:-1] + ends[1:]) / 2])
    return middles
