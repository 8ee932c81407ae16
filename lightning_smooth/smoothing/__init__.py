"""Noise, who draws it, and the smoothed classifier."""

from lightning_smooth.smoothing.laws import (
    GaussianNoise,
    Law,
    NoNoise,
    RoundedGaussianNoise,
    UniformNoise,
)
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey
from lightning_smooth.smoothing.smoothed import SmoothedClassifier

__all__ = [
    "BLOCK",
    "GaussianNoise",
    "Law",
    "NoNoise",
    "NoiseKey",
    "RoundedGaussianNoise",
    "SmoothedClassifier",
    "UniformNoise",
]
