"""Callbacks: certification, run folder, tracking."""

from lightning_smooth.callbacks.certification import CertificationCallback
from lightning_smooth.callbacks.run_folder import RunFolder
from lightning_smooth.callbacks.tracking import WandbTracking

__all__ = ["CertificationCallback", "RunFolder", "WandbTracking"]
