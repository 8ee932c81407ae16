"""Rotation, scaling, shear and translation.

They are about the image's centre, bilinear, and 0 where they show what lies outside the image
(`transforms.sampling` has the convention). Interpolation keeps them from composing: two of them do
not what one does (Fischer et al. 2020; THEORY section 6). Whole translations are in
`transforms.shifts`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_smooth.transforms.base import Parameter, Transform
from lightning_smooth.transforms.sampling import affine_sample


class Rotation(Transform):
    """Rotation about the image's centre.

    Convention: degrees, counter-clockwise as the image is looked at; bilinear, 0 outside. A
    multiple of 90 degrees moves samples onto samples, of a square image, exactly.
    """

    parameters = (Parameter(name="angle", unit="degrees", usual=(-30.0, 30.0)),)

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        return affine_sample(images, rotation_matrix(theta[:, 0]))


class Scaling(Transform):
    """Scaling about the image's centre, by one factor for both axes.

    Convention: a factor above 1 enlarges; bilinear, without a low-pass before it reduces; 0
    outside, which a factor below 1 shows. The size of the image stays.
    """

    # Below the least factor nothing is left of an image, and its inverse may overflow.
    parameters = (Parameter(name="scale", unit="factor", identity=1.0, low=1e-3, usual=(0.7, 1.3)),)

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        return affine_sample(images, scaling_matrix(theta[:, 0]))


class Shear(Transform):
    """Horizontal shear: rows are shifted by their distance from the middle row.

    Convention: pixels to the right for each pixel down from the centre, so a positive shear moves
    the lower half to the right and the upper half to the left; bilinear, 0 outside.
    """

    parameters = (Parameter(name="shear", unit="pixels per row", usual=(-0.3, 0.3)),)

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        shear = theta[:, 0]
        one, zero = torch.ones_like(shear), torch.zeros_like(shear)
        return affine_sample(images, _matrix(one, -shear, zero, one))


class Translation(Transform):
    """Translation by any number of pixels.

    Convention: `dx` pixels to the right, then `dy` pixels down; bilinear, 0 outside. Whole numbers
    move samples onto samples, exactly: as `IntegerTranslation(padding="zero")` does.
    """

    parameters = (
        Parameter(name="dx", unit="pixels", usual=(-4.0, 4.0)),
        Parameter(name="dy", unit="pixels", usual=(-4.0, 4.0)),
    )

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        matrix = torch.eye(2, dtype=theta.dtype, device=theta.device).expand(len(theta), 2, 2)
        return affine_sample(images, matrix, -theta)


def rotation_matrix(degrees: Tensor) -> Tensor:
    """(B, 2, 2): where each pixel of an image rotated by (B,) degrees looks.

    >>> rotation_matrix(torch.tensor([90.0]))[0].tolist() == [[0, -1], [1, 0]]
    True
    """
    cos, sin = cos_sin(degrees)
    # y points down: a counter-clockwise turn shows, at (x, y), what was at (cx - sy, sx + cy).
    return _matrix(cos, -sin, sin, cos)


def scaling_matrix(factors: Tensor) -> Tensor:
    """(B, 2, 2): where each pixel of an image enlarged by (B,) factors looks.

    >>> scaling_matrix(torch.tensor([2.0]))[0].tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    inverse, zero = 1 / factors, torch.zeros_like(factors)
    return _matrix(inverse, zero, zero, inverse)


def _matrix(xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor) -> Tensor:
    return torch.stack([xx, xy, yx, yy], dim=1).view(-1, 2, 2)


def cos_sin(degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of angles in degrees; multiples of 90 give 0, 1 and -1 exactly.

    >>> cos, sin = cos_sin(torch.tensor([0.0, 90.0, 540.0]))
    >>> cos.tolist() == [1, 0, -1], sin.tolist() == [0, 1, 0]
    (True, True)
    """
    quarters = torch.round(degrees.detach() / 90)
    rest = (degrees - 90 * quarters) * (math.pi / 180)
    cos, sin = torch.cos(rest), torch.sin(rest)
    turn = quarters.remainder(4)
    cosine = torch.where(turn == 0, cos, torch.where(turn == 1, -sin, -cos))
    cosine = torch.where(turn == 3, sin, cosine)
    sine = torch.where(turn == 0, sin, torch.where(turn == 1, cos, -sin))
    return cosine, torch.where(turn == 3, -cos, sine)
