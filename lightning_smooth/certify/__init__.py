"""Certifiers: algorithms from (model, image) to a certificate."""

from lightning_smooth.certify.base import Certifier
from lightning_smooth.certify.gaussian import GaussianCertifier

__all__ = ["Certifier", "GaussianCertifier"]
