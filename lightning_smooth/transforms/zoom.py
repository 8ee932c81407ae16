"""Blurs that are means of other transformations: rotational blur and zoom blur.

The mean over finitely many samples is the definition and not an approximation of one: how many
there are is part of the transformation. What bounds each sample bounds the mean.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_smooth.errors import check_count
from lightning_smooth.transforms.base import Parameter, Transform
from lightning_smooth.transforms.geometric import rotation_matrix, scaling_matrix
from lightning_smooth.transforms.sampling import affine_sample


class _MeanBlur(Transform):
    """The mean of `samples` affine samplings of the image.

    Args:
        samples: how many, at least 2.
    """

    def __init__(self, *, samples: int = 16) -> None:
        self.samples = check_count("samples", samples, least=2)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(samples={self.samples})"

    @abstractmethod
    def matrices(self, theta: Tensor) -> Iterator[Tensor]:
        """Give, for (B, 1) parameters, the (B, 2, 2) of each sampling in turn."""

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        matrices = self.matrices(theta)
        mean = affine_sample(images, next(matrices))
        for count, matrix in enumerate(matrices, start=2):
            # A running mean of equal images is that image; a sum of them may be rounded.
            mean = torch.lerp(mean, affine_sample(images, matrix), 1 / count)
        return mean


class RotationalBlur(_MeanBlur):
    """The mean of rotations about the image's centre, up to an angle in either sense.

    Convention: the rotations are `Rotation`'s, by `samples` angles equally spaced from -`angle` to
    `angle`, both ends among them; degrees; bilinear, 0 outside. Either sense, because the mean of
    one sense is a smaller blur and a rotation by half the angle: with both, the picture stays in
    place, and its blur is not mistaken for a rotation. The arc is twice the angle long.

    It does not compose (Hao et al. 2022; THEORY section 7).

    Args:
        samples: how many rotations, at least 2. Beyond one pixel between neighbours at the rim
            the picture is seen many times over: 16 do for 32 pixels and 20 degrees.

    Raises:
        InputError: `samples` is not a whole number of at least 2.
    """

    parameters = (Parameter(name="angle", unit="degrees", low=0.0, high=180.0, usual=(0.0, 10.0)),)

    def matrices(self, theta: Tensor) -> Iterator[Tensor]:
        """Give the rotations, from -`angle` to `angle`."""
        for k in range(self.samples):
            yield rotation_matrix(theta[:, 0] * (2 * k / (self.samples - 1) - 1))


class ZoomBlur(_MeanBlur):
    """The mean of an image and its enlargements about the centre, up to a factor.

    Convention: the enlargements are `Scaling`'s, by `samples` factors equally spaced from 1 to
    1 + `zoom`, both ends among them; bilinear. Nothing from outside the image is seen.

    It does not compose (Hao et al. 2022; THEORY section 7).

    Args:
        samples: how many enlargements, at least 2.

    Raises:
        InputError: `samples` is not a whole number of at least 2.
    """

    parameters = (Parameter(name="zoom", unit="factor above 1", low=0.0, usual=(0.0, 0.5)),)

    def matrices(self, theta: Tensor) -> Iterator[Tensor]:
        """Give the enlargements, from none to the largest."""
        for k in range(self.samples):
            yield scaling_matrix(1 + theta[:, 0] * (k / (self.samples - 1)))
