"""What the parameters of a box may make of an image: sets that bounds of a network start from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from lightning_smooth.transforms.base import Transform
from lightning_smooth.verify.regions import Region


class Enclosure(ABC):
    """Encloses the images that a transformation makes of one, over boxes of its parameters.

    Args:
        transform: tau(theta, x).
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    @abstractmethod
    def regions(self, image: Tensor, low: Tensor, high: Tensor) -> Region:
        """A set for each box that holds all images of the box.

        Guarantee: for every theta of box b, tau(theta, image) is in set b, as real arithmetic has
        it and as `transform` computes it in float32 and in float64.

        Args:
            image: (C, H, W) in [0, 1], float64.
            low: (B, P) least parameters, all of the transformation's, in its order, float64.
            high: (B, P) greatest.

        Returns:
            A region of B boxes of images (B, C, H, W), in float64.

        Raises:
            InputError: the parameters are not allowed, or the image does not fit.
        """

    def describe(self) -> dict[str, Any]:
        """Settings on which the sets depend, beside the transformation, in plain types."""
        return {}
