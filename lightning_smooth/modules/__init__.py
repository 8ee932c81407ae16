"""LightningModules: one training method a file."""

from lightning_smooth.modules.adversarial import AdversarialTraining
from lightning_smooth.modules.augmix import AugMixTraining
from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.modules.cascade import CascadeTraining
from lightning_smooth.modules.consistency import ConsistencyRegularization
from lightning_smooth.modules.gaussian import GaussianAugmentation
from lightning_smooth.modules.interval import IntervalTraining
from lightning_smooth.modules.macer import Macer
from lightning_smooth.modules.parameter_interval import ParameterIntervalTraining
from lightning_smooth.modules.pixelcnn import PixelCNNTraining
from lightning_smooth.modules.ranges import RangeAugmentation
from lightning_smooth.modules.smoothadv import SmoothAdv
from lightning_smooth.modules.smoothmix import SmoothMix
from lightning_smooth.modules.stability import StabilityTraining
from lightning_smooth.modules.surrogate import SurrogateTransform
from lightning_smooth.modules.transformation import TransformAugmentation
from lightning_smooth.modules.wgan import WGANTraining

__all__ = [
    "AdversarialTraining",
    "AugMixTraining",
    "CascadeTraining",
    "ConsistencyRegularization",
    "GaussianAugmentation",
    "IntervalTraining",
    "Macer",
    "ParameterIntervalTraining",
    "PixelCNNTraining",
    "RangeAugmentation",
    "SmoothAdv",
    "SmoothMix",
    "SmoothingModule",
    "StabilityTraining",
    "SurrogateTransform",
    "TransformAugmentation",
    "WGANTraining",
]
