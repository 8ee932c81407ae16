"""The worst of k random parameters, the usual attack on transformations (THEORY section 6)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from lightning_smooth.attacks.parameters import ParameterAttack
from lightning_smooth.attacks.search import Search
from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey, random_words
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box


class RandomAttack(ParameterAttack):
    """Tries k parameters drawn from a box, each uniformly and independently of the others.

    Source: worst-of-k of Fischer, Baader, Vechev, NeurIPS 2020 (k = 100); THEORY section 6.

    Args:
        transform: what is done to images.
        box: range of each parameter that is attacked. Of whole ones, the whole numbers in it are
            equally likely.
        k: parameters that are tried on an image.
        seed: seed of the draws.
        search: see `ParameterAttack`.

    Raises:
        InputError: the box does not fit the transformation, k is below 1, or the seed below 0.
    """

    method = "random"

    def __init__(
        self,
        transform: Transform,
        box: Box,
        k: int = 100,
        seed: int = 0,
        search: Search | None = None,
    ) -> None:
        super().__init__(transform, seed=seed, search=search)
        self.box = transform.check_box(box)
        self.k = check_count("k", k)

    def _parameters(self, index: int) -> Tensor:
        return uniform_parameters(self.transform, self.box, self.k, seed=self.seed, index=index)

    def _settings(self) -> dict[str, Any]:
        box: dict[str, Any] = {name: list(ends) for name, ends in self.box.items()}
        return {"box": box, "k": self.k}


class RandomBallAttack(ParameterAttack):
    """Tries k parameters drawn uniformly from an l2 ball around the identity.

    Args:
        transform: what is done to images; all of its parameters are attacked, in one unit.
        radius: of the ball, in the unit of the parameters. Of whole parameters, the whole points
            in it, its sphere included, are equally likely.
        k: parameters that are tried on an image.
        seed: seed of the draws.
        search: see `ParameterAttack`.

    Raises:
        InputError: the radius is not above 0, or the ball leaves what the transformation allows;
            its parameters have no unit in common, or some of them are whole and some are not; k is
            below 1, or the seed below 0.
    """

    method = "random ball"

    def __init__(
        self,
        transform: Transform,
        radius: float,
        k: int = 100,
        seed: int = 0,
        search: Search | None = None,
    ) -> None:
        super().__init__(transform, seed=seed, search=search)
        self.radius = check_positive("radius", radius)
        self.k = check_count("k", k)
        kinds = {(p.unit, p.whole) for p in transform.parameters}
        if len(kinds) > 1:
            raise InputError(
                f"Expected a transformation whose parameters have one unit, but {transform!r} has "
                f"{', '.join(sorted(unit for unit, _ in kinds))}: attack a box with RandomAttack."
            )
        transform.check_box(
            {p.name: (p.identity - radius, p.identity + radius) for p in transform.parameters}
        )
        self._points = self._whole_points() if transform.parameters[0].whole else None

    def _whole_points(self) -> NDArray[np.float64]:
        reach, axes = math.floor(self.radius), len(self.transform.parameters)
        points: NDArray[np.int64] = np.array(
            list(itertools.product(range(-reach, reach + 1), repeat=axes))
        )
        inside = np.sqrt((points**2).sum(axis=1)) <= self.radius
        kept: NDArray[np.float64] = points[inside].astype(np.float64)
        return kept

    def _parameters(self, index: int) -> Tensor:
        axes = len(self.transform.parameters)
        uniform = _uniform(NoiseKey(self.seed, index, "attack"), self.k, axes + 1)
        if self._points is not None:
            drawn = self._points[(uniform[:, -1] * len(self._points)).astype(np.int64)]
        else:
            normal = ndtri(uniform[:, :axes])
            length = self.radius * uniform[:, -1:] ** (1 / axes)
            drawn = normal / np.linalg.norm(normal, axis=1, keepdims=True) * length
        return self.transform.identity() + torch.from_numpy(drawn)

    def _settings(self) -> dict[str, Any]:
        return {"radius": self.radius, "k": self.k}


def uniform_parameters(transform: Transform, box: Box, k: int, *, seed: int, index: int) -> Tensor:
    """Draw k parameters from a box, each uniformly: (k, P) float64, the others at their identity.

    A function of seed and index alone; of more, the first ones are the same.

    Args:
        transform: whose parameters.
        box: as `Transform.check_box` returns it.
        k: how many.
        seed: seed of the draws.
        index: index of the image that they are for.
    """
    uniform = _uniform(NoiseKey(seed, index, "attack"), k, len(box))
    theta = transform.identity().repeat(k, 1)
    for column, parameter in enumerate(transform.parameters):
        if parameter.name not in box:
            continue
        low, high = box[parameter.name]
        share = uniform[:, list(box).index(parameter.name)]
        if parameter.whole:
            least = math.ceil(low)
            values = least + np.floor(share * (math.floor(high) - least + 1))
        else:
            values = (low + (high - low) * share).clip(low, high)
        theta[:, column] = torch.from_numpy(values)
    return theta


def _uniform(key: NoiseKey, rows: int, columns: int) -> NDArray[np.float64]:
    """(rows, columns), uniform on (0, 1): of more rows, the first ones are the same."""
    blocks = [
        random_words(key, block, (columns, 1, 1), draws=min(BLOCK, rows - block * BLOCK))
        for block in range(-(-rows // BLOCK))
    ]
    words = np.concatenate(blocks).reshape(rows, columns)
    drawn: NDArray[np.float64] = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return drawn.clip(max=1 - 2.0**-53)
