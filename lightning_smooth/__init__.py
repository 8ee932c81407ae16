"""Image classifiers whose robustness is proven: train, certify, report."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightning_smooth._version import __version__

if TYPE_CHECKING:
    from lightning_smooth.callbacks import CertificationCallback
    from lightning_smooth.certify import (
        AdaptiveGaussianCertifier,
        BaseSPTCertifier,
        Certifier,
        ExactGaussianCertifier,
        GaussianCertifier,
        LipschitzCertifier,
        ResolvableCertifier,
        SequentialGaussianCertifier,
        SequentialResolvableCertifier,
        SoftGaussianCertifier,
        UniformCertifier,
    )
    from lightning_smooth.errors import SmoothError
    from lightning_smooth.modules import (
        GaussianAugmentation,
        SmoothingModule,
        TransformAugmentation,
    )
    from lightning_smooth.records.certificate import Certificate
    from lightning_smooth.records.prediction import Prediction
    from lightning_smooth.smoothing import GaussianNoise, SmoothedClassifier
    from lightning_smooth.smoothing.parameters import ParameterNoise
    from lightning_smooth.trainer import SmoothTrainer
    from lightning_smooth.verify import EnumerationCertifier

_HOMES = {
    "AdaptiveGaussianCertifier": "lightning_smooth.certify",
    "BaseSPTCertifier": "lightning_smooth.certify",
    "Certificate": "lightning_smooth.records.certificate",
    "CertificationCallback": "lightning_smooth.callbacks",
    "Certifier": "lightning_smooth.certify",
    "EnumerationCertifier": "lightning_smooth.verify",
    "ExactGaussianCertifier": "lightning_smooth.certify",
    "GaussianAugmentation": "lightning_smooth.modules",
    "GaussianCertifier": "lightning_smooth.certify",
    "GaussianNoise": "lightning_smooth.smoothing",
    "LipschitzCertifier": "lightning_smooth.certify",
    "ParameterNoise": "lightning_smooth.smoothing.parameters",
    "Prediction": "lightning_smooth.records.prediction",
    "ResolvableCertifier": "lightning_smooth.certify",
    "SequentialGaussianCertifier": "lightning_smooth.certify",
    "SequentialResolvableCertifier": "lightning_smooth.certify",
    "SmoothError": "lightning_smooth.errors",
    "SmoothTrainer": "lightning_smooth.trainer",
    "SmoothedClassifier": "lightning_smooth.smoothing",
    "SmoothingModule": "lightning_smooth.modules",
    "SoftGaussianCertifier": "lightning_smooth.certify",
    "TransformAugmentation": "lightning_smooth.modules",
    "UniformCertifier": "lightning_smooth.certify",
}

__all__ = [
    "AdaptiveGaussianCertifier",
    "BaseSPTCertifier",
    "Certificate",
    "CertificationCallback",
    "Certifier",
    "EnumerationCertifier",
    "ExactGaussianCertifier",
    "GaussianAugmentation",
    "GaussianCertifier",
    "GaussianNoise",
    "LipschitzCertifier",
    "ParameterNoise",
    "Prediction",
    "ResolvableCertifier",
    "SequentialGaussianCertifier",
    "SequentialResolvableCertifier",
    "SmoothError",
    "SmoothTrainer",
    "SmoothedClassifier",
    "SmoothingModule",
    "SoftGaussianCertifier",
    "TransformAugmentation",
    "UniformCertifier",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: the report needs no torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
