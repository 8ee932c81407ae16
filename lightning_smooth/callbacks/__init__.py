"""Callbacks: certification, attack and corruption evaluation, run folder, tracking."""

from lightning_smooth.callbacks.attack import AttackEvaluation
from lightning_smooth.callbacks.certification import CertificationCallback
from lightning_smooth.callbacks.corruptions import CorruptionEvaluation
from lightning_smooth.callbacks.diagnosis import DiagnosisCallback
from lightning_smooth.callbacks.run_folder import RunFolder
from lightning_smooth.callbacks.tracking import WandbTracking

__all__ = [
    "AttackEvaluation",
    "CertificationCallback",
    "CorruptionEvaluation",
    "DiagnosisCallback",
    "RunFolder",
    "WandbTracking",
]
