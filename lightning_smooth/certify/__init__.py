"""Certifiers: algorithms from (model, image) to a certificate."""

from lightning_smooth.certify.base import Certifier
from lightning_smooth.certify.gaussian import GaussianCertifier
from lightning_smooth.certify.sequential import (
    AdaptiveGaussianCertifier,
    SequentialGaussianCertifier,
)

__all__ = [
    "AdaptiveGaussianCertifier",
    "Certifier",
    "GaussianCertifier",
    "SequentialGaussianCertifier",
]
