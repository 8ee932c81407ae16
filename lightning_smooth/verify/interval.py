"""Boxes of pixels that hold what a box of parameters makes of an image.

Source: Fischer, Baader, Vechev, NeurIPS 2020, section 5; Yang et al. 2023 (CGT), whose boxes of
source points are found once and used for all images; THEORY section 9.

**Rounding.** Of rotation, scaling and translation `interpolation.boxes` and `intervals` bound it.
Brightness and contrast do e^k (x + b), of which `gains` does.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeAlias

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.boxes import ROUNDING, Boxes, checked_range, swept_boxes
from lightning_smooth.interpolation.intervals import interval_images
from lightning_smooth.interpolation.measure import Stored
from lightning_smooth.smoothing.checks import check_image
from lightning_smooth.transforms.base import Transform
from lightning_smooth.transforms.geometric import Rotation, Scaling, Translation
from lightning_smooth.transforms.photometric import Brightness, BrightnessContrast, Contrast
from lightning_smooth.verify.enclosure import Enclosure
from lightning_smooth.verify.gains import gain_slack
from lightning_smooth.verify.regions import Bounds, ParameterForms, PixelBox, Region
from lightning_smooth.verify.rounding import UNDERFLOW

_SWEEPING: Final = (Rotation, Scaling, Translation)
_MONOTONE: Final = (Brightness, Contrast, BrightnessContrast)

_KEPT: Final = 1 << 24
"""Numbers of boxes of source points that are kept for the next images: 128 MiB."""

_STEP: Final = 255.0
_NEAR: Final = 2.0**-14
"""Steps by which float32 may miss a value times 255, in finding the nearest whole one."""

_STORED: Final = 2.0**-22
"""How far float32 may be off a multiple of 1/255 in [0, 1]."""

_Key: TypeAlias = tuple[int, int, tuple[float, ...], tuple[float, ...]]


class IntervalEnclosure(Enclosure):
    """The range of each pixel by itself, over each box of parameters.

    Guarantee: see `Enclosure.regions`. Of each pixel the range is the exact one of its box of
    source points, but for rounding; of brightness and contrast it is that of the parameters.

    Args:
        transform: `Rotation`, `Scaling`, `Translation`, `Brightness`, `Contrast` or
            `BrightnessContrast`.

    Raises:
        InputError: the transformation is another one.
    """

    def __init__(self, transform: Transform) -> None:
        if type(transform) not in (*_SWEEPING, *_MONOTONE):  # a subclass may do anything
            known = ", ".join(one.__name__ for one in (*_SWEEPING, *_MONOTONE))
            raise InputError(
                f"Expected `transform` to be one of {known}, but got {transform!r}: no interval "
                "images of it are known."
            )
        super().__init__(transform)
        self._swept: OrderedDict[_Key, Tensor] = OrderedDict()
        self._numbers = 0

    def regions(self, image: Tensor, low: Tensor, high: Tensor) -> PixelBox:
        """See `Enclosure.regions`.

        Raises:
            InputError: also where the log of a gain is beyond 64, or values might overflow.
        """
        image = check_image(image).double()
        low, high = checked_range(self.transform, low, high)
        if isinstance(self.transform, _MONOTONE):
            return self._monotone(image, low, high)
        height, width = image.shape[1:]
        return PixelBox(*interval_images(image, image, self._boxes(low, high, height, width)))

    def _boxes(self, low: Tensor, high: Tensor, height: int, width: int) -> Boxes:
        """Boxes of source points, of which those of earlier images are kept."""
        rows = zip(low.tolist(), high.tolist(), strict=True)
        keys: list[_Key] = [(height, width, tuple(least), tuple(most)) for least, most in rows]
        new = [place for place, key in enumerate(keys) if key not in self._swept]
        found = {key: self._swept[key] for key in keys if key in self._swept}
        if new:
            made = swept_boxes(self.transform, low[new], high[new], height=height, width=width)
            ends = torch.stack([made.x_low, made.x_high, made.y_low, made.y_high], dim=1)
            found |= {keys[place]: end.clone() for place, end in zip(new, ends, strict=True)}
        for key, end in found.items():
            self._keep(key, end)
        return Boxes(*torch.stack([found[key] for key in keys], dim=1).unbind())

    def _keep(self, key: _Key, ends: Tensor) -> None:
        if key in self._swept:
            self._swept.move_to_end(key)
            return
        self._swept[key] = ends
        self._numbers += ends.numel()
        while self._numbers > _KEPT:
            self._numbers -= self._swept.popitem(last=False)[1].numel()

    def _monotone(self, image: Tensor, low: Tensor, high: Tensor) -> PixelBox:
        """e^k (x + b): extremes are at ends of b, and there at ends of k."""
        ends = torch.zeros(2, 2, len(low), 1, 1, 1, dtype=torch.float64)  # least or most; b or k
        for place, name in enumerate(self.transform.names):
            row = 0 if name == "brightness" else 1
            ends[:, row] = torch.stack([low[:, place], high[:, place]])[..., None, None, None]
        (least, first), (most, last) = ends
        size = image.abs() + torch.maximum(least.abs(), most.abs())
        slack = gain_slack(size, Bounds(first, last))
        gains = first.exp(), last.exp()
        below, above = image + least, image + most
        return PixelBox(
            torch.minimum(*(below * gain for gain in gains)) - slack,
            torch.maximum(*(above * gain for gain in gains)) + slack,
        )


def as_stored(region: Region, stored: Stored) -> Region:
    """What a region becomes where an attack rounds its images before they reach the network.

    Guarantee: it holds every image of the region that was stored so. Rounding to whole 255ths is
    to the nearest, computed in float32 or finer, and what is beyond [0, 1] is clipped. It is
    monotone, so that bounds of a pixel round to bounds, and moves a linear form by half a step.

    Args:
        region: `PixelBox` or `ParameterForms`.
        stored: see `Stored`.

    >>> box = PixelBox(torch.full((1, 1, 1, 1), 0.1), torch.full((1, 1, 1, 1), 0.9 / 255 + 0.1))
    >>> [round(float(255 * end), 3) for end in as_stored(box, "uint8").pixels]
    [25.0, 26.0]
    """
    if stored == "exact":
        return region
    pixels = region.pixels
    if stored == "uint8":
        low = (_STEP * pixels.lower - 0.5 - _NEAR).ceil().clamp(0, _STEP) / _STEP - _STORED
        high = (_STEP * pixels.upper + 0.5 + _NEAR).floor().clamp(0, _STEP) / _STEP + _STORED
        moved = torch.full_like(low, (0.5 + _NEAR) / _STEP + _STORED)
    else:
        moved = ROUNDING * pixels.size + UNDERFLOW
        low, high = pixels.lower - moved, pixels.upper + moved
    if isinstance(region, ParameterForms):
        return ParameterForms(
            region.low_a, region.low_b - moved, region.up_a, region.up_b + moved, region.box,
            within=(low, high),
        )  # fmt: skip
    return PixelBox(low, high)
