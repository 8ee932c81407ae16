"""LightningModules: one training method a file."""

from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.modules.consistency import ConsistencyRegularization
from lightning_smooth.modules.gaussian import GaussianAugmentation
from lightning_smooth.modules.macer import Macer
from lightning_smooth.modules.ranges import RangeAugmentation
from lightning_smooth.modules.smoothadv import SmoothAdv
from lightning_smooth.modules.smoothmix import SmoothMix
from lightning_smooth.modules.stability import StabilityTraining
from lightning_smooth.modules.surrogate import SurrogateTransform
from lightning_smooth.modules.transformation import TransformAugmentation

__all__ = [
    "ConsistencyRegularization",
    "GaussianAugmentation",
    "Macer",
    "RangeAugmentation",
    "SmoothAdv",
    "SmoothMix",
    "SmoothingModule",
    "StabilityTraining",
    "SurrogateTransform",
    "TransformAugmentation",
]
