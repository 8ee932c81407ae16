"""Which transformations have a bound: one path class for each of their parameters, in order.

To bound a new transformation, write its paths and enter them here. Types are looked up exactly: of
a subclass nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import (
    Brightness,
    BrightnessContrast,
    Commuting,
    Compose,
    Contrast,
    DefocusBlur,
    GaussianBlur,
    Hue,
    IntegerTranslation,
    Pixelate,
    Rotation,
    RotationalBlur,
    SampledGaussianBlur,
    Saturation,
    Scaling,
    Shear,
    Transform,
    Translation,
    ZoomBlur,
)
from lightning_smooth.variation.affine import (
    RotationalBlurPath,
    RotationPath,
    ScalingPath,
    ShearPath,
    TranslationPath,
    ZoomBlurPath,
)
from lightning_smooth.variation.blur import DefocusPath, GaussianPath, SampledGaussianPath
from lightning_smooth.variation.color import BrightnessPath, ContrastPath, HuePath, SaturationPath
from lightning_smooth.variation.finite import PixelatePath, WholePath
from lightning_smooth.variation.path import Path

PATHS: Final[Mapping[type[Transform], tuple[type[Path], ...]]] = {
    Brightness: (BrightnessPath,),
    BrightnessContrast: (BrightnessPath, ContrastPath),
    Contrast: (ContrastPath,),
    DefocusBlur: (DefocusPath,),
    GaussianBlur: (GaussianPath,),
    Hue: (HuePath,),
    IntegerTranslation: (WholePath, WholePath),
    Pixelate: (PixelatePath,),
    Rotation: (RotationPath,),
    RotationalBlur: (RotationalBlurPath,),
    SampledGaussianBlur: (SampledGaussianPath,),
    Saturation: (SaturationPath,),
    Scaling: (ScalingPath,),
    Shear: (ShearPath,),
    Translation: (TranslationPath, TranslationPath),
    ZoomBlur: (ZoomBlurPath,),
}
"""A transformation with several parameters does what its paths do, one after the other."""


def has_bound(transform: Transform) -> bool:
    """Whether `vary` can bound every one of a transformation's parameters.

    Of `Compose` and `Commuting`: whether it can bound those of each part. `vary` asks for bounds of
    the parameters alone that a box names.

    >>> from lightning_smooth.transforms import MotionBlur
    >>> has_bound(Rotation()), has_bound(MotionBlur())
    (True, False)
    """
    return all(type(part) in PATHS for part, _ in _columns(transform))


def paths_of(transform: Transform, names: tuple[str, ...]) -> list[Path]:
    """Paths of one or two parameters, in the order in which they are applied.

    Raises:
        InputError: one of the parameters has no bound, or the second of two is not affine in the
            image.
    """
    parts = dict(zip(transform.names, _columns(transform), strict=True))
    paths = []
    for name in names:
        part, column = parts[name]
        if type(part) not in PATHS:
            raise InputError(
                f"Expected `transform` to have a proven bound for `{name}`, but {part!r} has none: "
                f"those that have are {', '.join(sorted(kind.__name__ for kind in PATHS))}, and "
                "Compose and Commuting of them."
            )
        paths.append(PATHS[type(part)][column](part, column))
    for path in paths[1:]:
        if not path.affine:
            raise InputError(
                f"Expected the second transformation of two that vary to be affine in the image, "
                f"but {path.transform!r} is not: apply it first."
            )
    return paths


def _columns(transform: Transform) -> Iterator[tuple[Transform, int]]:
    """For each parameter the transformation that it is one of, and its place there."""
    if isinstance(transform, Compose) and type(transform) in (Compose, Commuting):
        for part in transform.transforms:
            yield from _columns(part)
    else:
        for column in range(len(transform.parameters)):
            yield transform, column
