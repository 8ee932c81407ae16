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
    MotionBlur,
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
from lightning_smooth.variation.motion import AnglePath, LengthPath, MotionPlane
from lightning_smooth.variation.path import Path
from lightning_smooth.variation.way import InTurn, Plane, Way

PATHS: Final[Mapping[type[Transform], tuple[type[Path], ...]]] = {
    Brightness: (BrightnessPath,),
    BrightnessContrast: (BrightnessPath, ContrastPath),
    Contrast: (ContrastPath,),
    DefocusBlur: (DefocusPath,),
    GaussianBlur: (GaussianPath,),
    Hue: (HuePath,),
    IntegerTranslation: (WholePath, WholePath),
    MotionBlur: (LengthPath, AnglePath),
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
"""A transformation with several parameters does what its paths do, one after the other; that of
`PLANES` does so where one of them alone varies.
"""

PLANES: Final[Mapping[type[Transform], type[Plane]]] = {MotionBlur: MotionPlane}
"""Of those whose parameters do not act one after the other: what bounds both at once."""


def has_bound(transform: Transform) -> bool:
    """Whether `vary` can bound every one of a transformation's parameters.

    Of `Compose` and `Commuting`: whether it can bound those of each part. `vary` asks for bounds of
    the parameters alone that a box names.

    >>> from lightning_smooth.transforms import Occlusion
    >>> has_bound(Rotation()), has_bound(Occlusion())
    (True, False)
    """
    return all(type(part) in PATHS for part in _parts(transform))


def way_of(transform: Transform, names: tuple[str, ...]) -> Way:
    """How one or two parameters move images, in the order in which they are applied.

    Raises:
        InputError: one of the parameters has no bound, or the second of two is not affine in the
            image.
    """
    columns = [
        (place, part, column)
        for place, part in enumerate(_parts(transform))
        for column in range(len(part.parameters))
    ]
    named = dict(zip(transform.names, columns, strict=True))
    places, parts, taken = zip(*(named[name] for name in names), strict=True)
    for part, name in zip(parts, names, strict=True):
        if type(part) not in PATHS:
            raise InputError(
                f"Expected `transform` to have a proven bound for `{name}`, but {part!r} has none: "
                f"those that have are {', '.join(sorted(kind.__name__ for kind in PATHS))}, and "
                "Compose and Commuting of them."
            )
    if len(names) == 2 and places[0] == places[1] and type(parts[0]) in PLANES:
        return PLANES[type(parts[0])](parts[0])
    paths = [PATHS[type(p)][column](p, column) for p, column in zip(parts, taken, strict=True)]
    for path in paths[1:]:
        if not path.affine:
            raise InputError(
                f"Expected the second transformation of two that vary to be affine in the image, "
                f"but {path.transform!r} is not: apply it first."
            )
    return InTurn(paths)


def _parts(transform: Transform) -> Iterator[Transform]:
    """The transformations that are applied one after the other."""
    if isinstance(transform, Compose) and type(transform) in (Compose, Commuting):
        for part in transform.transforms:
            yield from _parts(part)
    else:
        yield transform
