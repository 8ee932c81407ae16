"""Within which l2 distance an inner classifier has to hold its class, for each outer draw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from lightning_smooth.interpolation.sizes import AngleSizes


@dataclass(frozen=True, kw_only=True)
class Distances(ABC):
    """Within which l2 distance the inner classifier has to hold its class.

    Attributes:
        rho: bound of the probability that the distance of an outer draw is not enough.
        possible: whether there is anything to certify.
        measured: what the certificate says of it.
    """

    rho: float = 0.0
    possible: bool = True
    measured: dict[str, int | float] = field(default_factory=dict)

    @abstractmethod
    def of(self, noise: Tensor) -> list[float]:
        """The distance of each outer draw b (N, P)."""


class Bounding(Protocol):
    """What bounds an error for each outer draw."""

    def bounds(self, noise: Tensor) -> Tensor:
        """(N,): bounds for (N, P) draws."""


@dataclass(frozen=True, kw_only=True)
class OwnDistances(Distances):
    """For each outer draw a bound of its own: there is no rho."""

    engine: Bounding

    def of(self, noise: Tensor) -> list[float]:
        """See `Distances.of`."""
        return [float(bound) for bound in self.engine.bounds(noise)]


@dataclass(frozen=True, kw_only=True)
class Sizes(Distances):
    """E of each outer draw: of its angle, or one for all."""

    size: float | AngleSizes

    def of(self, noise: Tensor) -> list[float]:
        """See `Distances.of`."""
        if isinstance(self.size, AngleSizes):
            return [float(size) for size in self.size.at(noise[:, 0])]
        return [self.size] * len(noise)
