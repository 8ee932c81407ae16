"""Transformations that compose, in a chain that composes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.transforms.base import Transform
from lightning_smooth.transforms.blur import GaussianBlur
from lightning_smooth.transforms.compose import Compose
from lightning_smooth.transforms.photometric import Brightness, BrightnessContrast, Contrast
from lightning_smooth.transforms.shifts import IntegerTranslation

_POINTWISE = (Brightness, Contrast, BrightnessContrast)


class Commuting(Compose):
    """Compose transformations whose order does not matter, so that the chain composes too.

    Convention: as for `Compose`. Two of a chain may be

    - a blur or a cyclic translation, with brightness, contrast or both: a mean of pixels with
      weights that add up to 1 commutes with an affine function of every value;
    - a blur with cyclic ends, with a cyclic translation; a blur with other ends does not;
    - one of each kind: brightness and contrast are one transformation, `BrightnessContrast`.

    Source: Li et al. 2021 (TSS), the composition of blur, translation, brightness and contrast;
    THEORY section 5.

    Args:
        transforms: two or more.

    Raises:
        InputError: two of them do not commute, or one does not compose by itself.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__(transforms)
        if len(self.transforms) < 2:
            raise InputError(
                f"Expected two or more transformations, but got {self.transforms[0]!r}."
            )
        for place, one in enumerate(self.transforms):
            for other in self.transforms[place + 1 :]:
                if not (_commute(one, other) or _commute(other, one)):
                    raise InputError(
                        f"Expected transformations that commute, but {one!r} and {other!r} do not, "
                        "or are not known to."
                    )
        kinds = {step.composition for step in self.transforms}
        if "none" in kinds:
            raise InputError(f"Expected transformations that compose, but got {self!r}.")
        self.composition = "additive" if kinds == {"additive"} else "resolvable"
        self.coupled = next((step.coupled for step in self.transforms if step.coupled), None)

    def __repr__(self) -> str:
        return f"Commuting([{', '.join(map(repr, self.transforms))}])"

    def compose(self, second: Tensor, first: Tensor) -> Tensor:
        """See `Transform.compose`."""
        parts = zip(self.transforms, self.split(second), self.split(first), strict=True)
        return torch.cat([step.compose(last, before) for step, last, before in parts], dim=1)


def _commute(one: Transform, other: Transform) -> bool:
    cyclic_shift = isinstance(one, IntegerTranslation) and one.padding == "cyclic"
    if isinstance(other, _POINTWISE):
        return isinstance(one, GaussianBlur) or cyclic_shift
    return cyclic_shift and isinstance(other, GaussianBlur) and other.ends == "cyclic"
