"""torchmetrics over certificates: they gather across ranks; the formulas are in maths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_smooth.errors import InputError
from lightning_smooth.maths.certified import average_certified_radius, certified_accuracy
from lightning_smooth.records.certificate import Certificate


class _OverCertificates(Metric):
    """Keeps (correct, radius, abstained) of each certificate; `options` are torchmetrics' own."""

    full_state_update = False
    correct: list[Tensor]
    radius: list[Tensor]
    abstained: list[Tensor]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name in ("correct", "radius", "abstained"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, certificates: Iterable[Certificate]) -> None:
        """Add certificates, each image once."""
        for c in certificates:
            self.correct.append(torch.tensor([c.correct], device=self.device))
            self.radius.append(
                torch.tensor([c.radius or 0.0], dtype=torch.float64, device=self.device)
            )
            self.abstained.append(torch.tensor([c.abstained], device=self.device))

    def _column(self, state: list[Tensor]) -> Tensor:
        return dim_zero_cat(state).cpu() if len(state) else torch.zeros(0)


class CertifiedAccuracy(_OverCertificates):
    """Fraction of images that are right and certified at each radius.

    Args:
        radii: the radii, at least one, none negative.
        options: torchmetrics' own arguments.

    Raises:
        InputError: there are none, or one is negative.

    >>> CertifiedAccuracy([0.0, 0.5]).radii
    (0.0, 0.5)
    """

    def __init__(self, radii: Sequence[float], **options: Any) -> None:
        super().__init__(**options)
        self.radii = tuple(float(radius) for radius in radii)
        if not self.radii or min(self.radii) < 0:
            raise InputError(f"Expected `radii` of at least 0, at least one, but got {radii!r}.")

    def compute(self) -> Tensor:
        """(R,) float64 fractions; NaN without images."""
        correct, radius = self._column(self.correct), self._column(self.radius)
        return torch.from_numpy(certified_accuracy(correct.numpy(), radius.numpy(), self.radii))


class AverageCertifiedRadius(_OverCertificates):
    """Mean radius, 0 for images that are wrong or abstained (ACR)."""

    def compute(self) -> Tensor:
        """Scalar float64, in the unit of the radii; NaN without images."""
        correct, radius = self._column(self.correct), self._column(self.radius)
        value = average_certified_radius(correct.numpy(), radius.numpy())
        return torch.tensor(value, dtype=torch.float64)


class AbstentionRate(_OverCertificates):
    """Fraction of images on which the certifier abstained."""

    def compute(self) -> Tensor:
        """Scalar float64; NaN without images."""
        return self._column(self.abstained).double().mean()
