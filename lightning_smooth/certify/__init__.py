"""Certifiers: algorithms from (model, image) to a certificate."""

from lightning_smooth.certify.base import Certifier
from lightning_smooth.certify.cover import CoverCertifier
from lightning_smooth.certify.dist_spt import DistSPTxCertifier
from lightning_smooth.certify.dist_spt_population import DistSPTDCertifier
from lightning_smooth.certify.exact import ExactGaussianCertifier
from lightning_smooth.certify.gaussian import GaussianCertifier
from lightning_smooth.certify.gsmooth import GSmoothCertifier
from lightning_smooth.certify.indiv_spt import IndivSPTCertifier
from lightning_smooth.certify.lipschitz import LipschitzCertifier
from lightning_smooth.certify.parameters import (
    BaseSPTCertifier,
    ResolvableCertifier,
    SequentialBaseSPTCertifier,
    SequentialResolvableCertifier,
)
from lightning_smooth.certify.path import PathCertifier
from lightning_smooth.certify.population import PopulationStudy
from lightning_smooth.certify.sequential import (
    AdaptiveGaussianCertifier,
    SequentialGaussianCertifier,
)
from lightning_smooth.certify.soft import SoftGaussianCertifier
from lightning_smooth.certify.uniform import UniformCertifier

__all__ = [
    "AdaptiveGaussianCertifier",
    "BaseSPTCertifier",
    "Certifier",
    "CoverCertifier",
    "DistSPTDCertifier",
    "DistSPTxCertifier",
    "ExactGaussianCertifier",
    "GSmoothCertifier",
    "GaussianCertifier",
    "IndivSPTCertifier",
    "LipschitzCertifier",
    "PathCertifier",
    "PopulationStudy",
    "ResolvableCertifier",
    "SequentialBaseSPTCertifier",
    "SequentialGaussianCertifier",
    "SequentialResolvableCertifier",
    "SoftGaussianCertifier",
    "UniformCertifier",
]
