"""Transformations of images: tau(theta, x), batched, differentiable, each with its convention."""

from lightning_smooth.transforms.base import Composition, Parameter, Transform
from lightning_smooth.transforms.blur import GaussianBlur, SampledGaussianBlur
from lightning_smooth.transforms.color import Hue, Saturation
from lightning_smooth.transforms.commuting import Commuting
from lightning_smooth.transforms.compose import Compose
from lightning_smooth.transforms.geometric import Rotation, Scaling, Shear, Translation
from lightning_smooth.transforms.kernels import DefocusBlur, MotionBlur
from lightning_smooth.transforms.nearest import NearestRotation
from lightning_smooth.transforms.occlusion import Occlusion
from lightning_smooth.transforms.photometric import (
    Brightness,
    BrightnessContrast,
    Contrast,
    LevelBrightness,
)
from lightning_smooth.transforms.pixelate import Level, Pixelate
from lightning_smooth.transforms.preprocessing import Preprocessing
from lightning_smooth.transforms.shifts import IntegerTranslation
from lightning_smooth.transforms.vignette import PreBlur, Vignette
from lightning_smooth.transforms.zoom import RotationalBlur, ZoomBlur

__all__ = [
    "Brightness",
    "BrightnessContrast",
    "Commuting",
    "Compose",
    "Composition",
    "Contrast",
    "DefocusBlur",
    "GaussianBlur",
    "Hue",
    "IntegerTranslation",
    "Level",
    "LevelBrightness",
    "MotionBlur",
    "NearestRotation",
    "Occlusion",
    "Parameter",
    "Pixelate",
    "PreBlur",
    "Preprocessing",
    "Rotation",
    "RotationalBlur",
    "SampledGaussianBlur",
    "Saturation",
    "Scaling",
    "Shear",
    "Transform",
    "Translation",
    "Vignette",
    "ZoomBlur",
]
