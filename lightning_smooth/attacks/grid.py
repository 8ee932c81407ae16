"""A dense grid of parameters: what a search by hand would find."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_smooth.attacks.parameters import ParameterAttack
from lightning_smooth.attacks.search import Search
from lightning_smooth.errors import check_count
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box


class GridAttack(ParameterAttack):
    """Tries all parameters of a grid, both ends of each range, and the identity.

    Args:
        transform: what is done to images.
        box: range of each parameter that is attacked; whole ones are rounded.
        steps: values of each parameter, from end to end, at least 2: `steps` to the power of the
            number of parameters are tried.
        search: see `ParameterAttack`.

    Raises:
        InputError: the box does not fit the transformation, or there are fewer than 2 steps.

    >>> from lightning_smooth.transforms import Brightness
    >>> GridAttack(Brightness(), {"brightness": (-0.5, 0.25)}, 4).theta[:, 0].tolist()
    [-0.5, -0.25, 0.0, 0.25]
    """

    method = "grid"

    def __init__(
        self, transform: Transform, box: Box, steps: int, search: Search | None = None
    ) -> None:
        super().__init__(transform, seed=0, search=search)
        self.box = transform.check_box(box)
        self.steps = check_count("steps", steps, least=2)
        self.theta = self._grid()

    def _grid(self) -> Tensor:
        grid = even_grid(self.transform, self.box, self.steps)
        identity = self.transform.identity()
        if bool((grid == identity).all(dim=1).any()):
            return grid
        return torch.cat([grid, identity[None]])

    def _parameters(self, index: int) -> Tensor:
        del index
        return self.theta

    def _settings(self) -> dict[str, Any]:
        box: dict[str, Any] = {name: list(ends) for name, ends in self.box.items()}
        return {"box": box, "steps": self.steps}


def even_grid(transform: Transform, box: Box, steps: int) -> Tensor:
    """Parameters (k, P) float64 of a grid over a box, both ends of each range among them.

    Args:
        transform: whose parameters; those that are not in the box stay at their identity.
        box: as `Transform.check_box` returns it.
        steps: values of each parameter; of whole ones, as many of them as differ.
    """
    columns = []
    for parameter in transform.parameters:
        low, high = box.get(parameter.name, (parameter.identity, parameter.identity))
        values = np.unique(np.linspace(low, high, steps))
        if parameter.whole:
            values = np.unique(values.clip(math.ceil(low), math.floor(high)).round())
        columns.append(torch.from_numpy(values))
    return torch.cartesian_prod(*columns).reshape(-1, len(columns))
