"""Transformations as layers before a network, relaxed linearly one by one (Semantify-NN).

Source: Mohapatra, Weng, Chen, Liu, Daniel, "Towards verifying robustness of neural networks against
a family of semantic perturbations", CVPR 2020; THEORY section 9. What is linear in the parameters
is exact; the rest is in `layers_color`, `layers_sampling` and `layers_occlusion`, with the reasons
why it holds.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.boxes import checked_range
from lightning_smooth.transforms.base import Transform
from lightning_smooth.transforms.color import Hue, Saturation
from lightning_smooth.transforms.geometric import Rotation, Scaling, Translation
from lightning_smooth.transforms.occlusion import Occlusion
from lightning_smooth.transforms.photometric import Brightness, BrightnessContrast, Contrast
from lightning_smooth.verify.enclosure import Enclosure
from lightning_smooth.verify.layers_color import adjusted, saturated, turned
from lightning_smooth.verify.layers_occlusion import occluded, rounded
from lightning_smooth.verify.layers_sampling import sampled
from lightning_smooth.verify.linear_forms import Forms, checked_image, parameter_forms
from lightning_smooth.verify.regions import ParameterForms

_ADJUSTED: Final = (Brightness, Contrast, BrightnessContrast)
_SAMPLED: Final = (Rotation, Scaling, Translation)
_KNOWN: Final = (*_ADJUSTED, Saturation, Hue, *_SAMPLED, Occlusion)
_CHUNK: Final = 1 << 18
"""Values of pixels that are worked on at once."""


class LayerEnclosure(Enclosure):
    """Linear forms in the parameters, of a transformation as layers (Semantify-NN).

    Guarantee: that of `Enclosure.regions`. Forms of `Brightness` are exact, but for rounding; those
    of `Contrast` and `Saturation` are a tangent and a secant, those of `BrightnessContrast` have
    McCormick's term of the two widths on top. `Hue` has the best lines. `Rotation`, `Scaling` and
    `Translation` are relaxed weight by weight, so that they are looser than `LinearEnclosure`.
    Those of `Occlusion` are in the whole numbers that parameters are rounded to, over a box of
    these: the image itself, if that is one patch.

    Args:
        transform: one of these.

    Raises:
        InputError: it is another one, or derived from one.
    """

    def __init__(self, transform: Transform) -> None:
        if type(transform) not in _KNOWN:  # a subclass may do anything
            names = ", ".join(known.__name__ for known in _KNOWN)
            raise InputError(
                f"Expected `transform` to be one of {names}, but got {transform!r}: its layers are "
                "not known here."
            )
        super().__init__(transform)

    def regions(self, image: Tensor, low: Tensor, high: Tensor) -> ParameterForms:
        """See `Enclosure.regions`."""
        image = checked_image(image)
        low, high = checked_range(self.transform, low, high)
        if isinstance(self.transform, Occlusion):
            low, high = rounded(low, high)
        if isinstance(self.transform, (Hue, Saturation)):
            self.transform(image[None], low[:1])  # the image's channels are checked
        size = max(1, _CHUNK // image.numel())
        pairs = zip(torch.split(low, size), torch.split(high, size), strict=True)
        return parameter_forms([self._forms(image, *pair) for pair in pairs], low, high)

    def _forms(self, image: Tensor, low: Tensor, high: Tensor) -> Forms:
        if isinstance(self.transform, _ADJUSTED):
            return adjusted(self.transform, image, low, high)
        if isinstance(self.transform, Saturation):
            return saturated(image, low, high)
        if isinstance(self.transform, Hue):
            return turned(self.transform, image, low, high)
        if isinstance(self.transform, Occlusion):
            return occluded(self.transform, image, low, high)
        return sampled(self.transform, image, low, high)
