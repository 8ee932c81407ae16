"""Attacks that training draws: parameters that are uniform in a box."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box


class UniformAttack:
    """Attacks on a transformation's parameters, each uniform in its range and independent.

    Args:
        transform: whose parameters.
        box: (least, greatest) of what is added to the identity of each; those that it leaves out
            stay there.
        widen: factor on the box.

    Raises:
        InputError: the widened box is no box of parameters of the transformation.
    """

    def __init__(self, transform: Transform, box: Box, widen: float = 1.0) -> None:
        origin = {p.name: p.identity for p in transform.parameters}
        wide = {name: (widen * low, widen * high) for name, (low, high) in box.items()}
        transform.check_box(
            {n: (origin.get(n, 0.0) + a, origin.get(n, 0.0) + b) for n, (a, b) in wide.items()}
        )
        ends = [wide.get(name, (0.0, 0.0)) for name in transform.names]
        self.low, self.high = torch.tensor(ends, dtype=torch.float64).unbind(dim=1)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """What is added to the identity: (count, P), float64, on the CPU."""
        size = (count, len(self.low))
        part = torch.rand(size, generator=generator, device=generator.device).cpu()
        return self.low + (self.high - self.low) * part.double()


def plain_box(box: Box | None) -> dict[str, list[float]] | None:
    """A box in plain types, for hyperparameters.

    >>> plain_box({"angle": (-30, 30)})
    {'angle': [-30, 30]}
    """
    return None if box is None else {name: list(ends) for name, ends in box.items()}
