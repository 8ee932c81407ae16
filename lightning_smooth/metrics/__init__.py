"""Metrics over certificates, for loops that hold torchmetrics."""

from lightning_smooth.metrics.certified import (
    AbstentionRate,
    AverageCertifiedRadius,
    CertifiedAccuracy,
)

__all__ = ["AbstentionRate", "AverageCertifiedRadius", "CertifiedAccuracy"]
