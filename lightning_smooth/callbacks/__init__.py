"""Callbacks: certification, attack evaluation, run folder, tracking."""

from lightning_smooth.callbacks.attack import AttackEvaluation
from lightning_smooth.callbacks.certification import CertificationCallback
from lightning_smooth.callbacks.diagnosis import DiagnosisCallback
from lightning_smooth.callbacks.run_folder import RunFolder
from lightning_smooth.callbacks.tracking import WandbTracking

__all__ = [
    "AttackEvaluation",
    "CertificationCallback",
    "DiagnosisCallback",
    "RunFolder",
    "WandbTracking",
]
