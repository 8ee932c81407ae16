"""LightningModules: one training method a file."""

from lightning_smooth.modules.base import SmoothingModule
from lightning_smooth.modules.gaussian import GaussianAugmentation

__all__ = ["GaussianAugmentation", "SmoothingModule"]
