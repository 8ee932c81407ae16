"""Defences that hide gradients and prove nothing: what attacks must break."""

from lightning_smooth.defenses.base import Defended, rejection_class
from lightning_smooth.defenses.cropping import CropRescale
from lightning_smooth.defenses.defense_gan import DefenseGAN
from lightning_smooth.defenses.jpeg import JPEG
from lightning_smooth.defenses.lid import LIDDetector, local_dimension
from lightning_smooth.defenses.pixeldefend import PixelDefend, SoftPixelDefend
from lightning_smooth.defenses.pruning import StochasticActivationPruning, pruned
from lightning_smooth.defenses.quantize import BitDepth
from lightning_smooth.defenses.quilting import Quilting
from lightning_smooth.defenses.resizing import RandomResizePad
from lightning_smooth.defenses.thermometer import SoftThermometer, Thermometer
from lightning_smooth.defenses.variation import TotalVariation
from lightning_smooth.models.stochastic import is_stochastic

__all__ = [
    "JPEG",
    "BitDepth",
    "CropRescale",
    "Defended",
    "DefenseGAN",
    "LIDDetector",
    "PixelDefend",
    "Quilting",
    "RandomResizePad",
    "SoftPixelDefend",
    "SoftThermometer",
    "StochasticActivationPruning",
    "Thermometer",
    "TotalVariation",
    "is_stochastic",
    "local_dimension",
    "pruned",
    "rejection_class",
]
