"""The adaptive attack on a transformation: gradients of the smoothed score, and restarts.

Source: Hao et al., "GSmooth", ICML 2022 (its PGD with EOT on the parameters of a transformation);
Athalye, Carlini, Wagner, ICML 2018; THEORY sections 7 and 10.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from lightning_smooth.attacks.gradients import ScoreGradient, differentiating
from lightning_smooth.attacks.grid import even_grid
from lightning_smooth.attacks.parameters import ParameterAttack
from lightning_smooth.attacks.random import uniform_parameters
from lightning_smooth.attacks.search import Search, ready
from lightning_smooth.errors import check_count, check_positive
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.transforms.base import Transform
from lightning_smooth.transforms.pixelate import Level, Pixelate
from lightning_smooth.types import Box

_FEW: Final = 32
"""Points of the grid, where no number is said; or both ends of each range, if those are more."""

_LISTED: Final = 400
"""Distinct results of a transformation up to which all of them are tried."""

_PATIENCE: Final = 2
"""Steps in a row that leave a restart where it is, after which it ends."""


class AdaptiveAttack(ParameterAttack):
    """Follows the gradient of the smoothed score up to where the label has the least of it.

    From each of `restarts` starts, `steps` steps theta <- P(theta + s_t h sign(grad loss)), with
    h half of each range, s_t = `step` (1 + cos(pi t / `steps`)) / 2, and P the projection on the
    box. The loss is that of `ScoreGradient`: of the classifier's mean softmax score of the label
    over `draws` fresh draws of its noise, through the real transformation. The last point of each
    restart, its `kept` points of the largest loss and an even grid over the box are then ranked and
    judged as those of every attack are: by fresh draws of `search`.

    Where no gradient comes back (a transformation that is piecewise constant, parameters that are
    whole, a model without gradients), as many random points as there would have been steps are
    tried, with the grid. Where the transformation has no more than 400 distinct results in the box
    (`Pixelate`, whole parameters), all of them are tried, and nothing else. Of a chain of
    transformations, parameters without a gradient stay where a restart began.

    Args:
        transform: what is done to images.
        box: range of each parameter that is attacked.
        steps: steps of a restart. It ends before, where two of them leave it where it was.
        restarts: starts of an image, uniform in the box, seed and index deciding; of three or
            more, the last two are its least and its greatest corner.
        draws: draws of the noise for a gradient; an image's restarts share them. Without noise,
            as for `BaseSearch`, one.
        step: length of the first step, in halves of each range.
        grid: values of each parameter on the grid, at least 2: to the power of the number of
            parameters are tried. None for what makes 32 points at most, or 2.
        kept: points of each restart that are candidates beside its last.
        seed: seed of starts and draws.
        search: see `ParameterAttack`. Its classifier is the one that gradients are taken of.
        batch_size: noisy copies in a pass with gradients, of several images and restarts; None to
            choose. Memory and speed depend on it, and what is found by float rounding alone.

    Raises:
        InputError: the box does not fit the transformation, or a number is out of its range.
    """

    method = "adaptive"

    def __init__(
        self,
        transform: Transform,
        box: Box,
        steps: int = 20,
        restarts: int = 5,
        draws: int = 16,
        step: float = 0.25,
        grid: int | None = None,
        kept: int = 1,
        seed: int = 0,
        search: Search | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(transform, seed=seed, search=search)
        self.box = transform.check_box(box)
        self.steps = check_count("steps", steps)
        self.restarts = check_count("restarts", restarts)
        self.draws = check_count("draws", draws)
        self.step = check_positive("step", step)
        most = max(2, math.floor(_FEW ** (1 / len(self.box)) + 1e-9))
        self.grid = most if grid is None else check_count("grid", grid, least=2)
        self.kept = check_count("kept", kept, least=0)
        self.batch_size = None if batch_size is None else check_count("batch_size", batch_size)
        self._low, self._high = (self._corner(end) for end in (0, 1))
        movable = [not p.whole for p in transform.parameters]
        self._half = (self._high - self._low) / 2 * torch.tensor(movable)
        self._even = even_grid(transform, self.box, self.grid)

    def starts(self, index: int) -> Tensor:
        """Where restarts begin: (restarts, P) float64, a function of seed and index."""
        ends = [self._low, self._high] if self.restarts > 2 else []
        k = self.restarts - len(ends)
        drawn = uniform_parameters(self.transform, self.box, k, seed=self.seed, index=index)
        return torch.cat([drawn, *(end[None] for end in ends)])

    def _parameters(self, index: int) -> Tensor:
        k = self.restarts * self.steps
        drawn = uniform_parameters(self.transform, self.box, k, seed=self.seed, index=index)
        return torch.cat([self._even, drawn])

    def _candidates(
        self, model: nn.Module, images: Tensor, labels: Sequence[int], indices: Sequence[int]
    ) -> list[Tensor]:
        listed = self._listed((images.shape[-2], images.shape[-1]))
        if listed is not None:
            return [listed] * len(indices)
        classifier = self.search.classifier(model)
        with differentiating(classifier.model):
            found = self._climbed(classifier, images, torch.tensor(labels), indices)
        if found is None:
            return [_distinct(self._parameters(index)) for index in indices]
        return [_distinct(torch.cat([points, self._even])) for points in found]

    def _climbed(
        self,
        classifier: SmoothedClassifier,
        images: Tensor,
        labels: Tensor,
        indices: Sequence[int],
    ) -> list[Tensor] | None:
        """Points (k, P) that restarts came upon, for each image; None without a gradient."""
        images = ready(classifier, images).clone()  # gradients need no tensor of inference mode
        theta = torch.stack([self.starts(index) for index in indices])
        size = (self.steps, *theta.shape[:2])
        losses = torch.full(size, -math.inf, dtype=torch.float64)
        visited = theta.repeat(self.steps, 1, 1, 1)
        idle = torch.zeros(size[1:], dtype=torch.long)
        gradient = ScoreGradient(
            classifier,
            self.search.encode,
            self.transform,
            images[0],
            draws=self.draws,
            seed=self.seed,
            batch_size=self.batch_size,
        )
        for number in range(self.steps):
            rows = (idle < _PATIENCE).nonzero(as_tuple=True)
            if not len(rows[0]):
                break
            points, which = theta[rows], [indices[place] for place in rows[0].tolist()]
            loss, slope = gradient(
                images[rows[0].to(images.device)], labels[rows[0]], which, points, step=number
            )
            if slope is None:
                return None
            losses[number][rows], visited[number][rows] = loss, points
            length = self.step * (1 + math.cos(math.pi * number / self.steps)) / 2
            moved = points + length * self._half * slope.sign()
            theta[rows] = moved.clamp(self._low, self._high)
            still = (theta[rows] == points).all(dim=1)
            idle[rows] = torch.where(still, idle[rows] + 1, 0)
        return [
            self._best(losses[:, place], visited[:, place], theta[place])
            for place in range(len(images))
        ]

    def _best(self, losses: Tensor, visited: Tensor, last: Tensor) -> Tensor:
        """Points of (steps, R, P) with the largest losses (steps, R) of each restart; the last."""
        values, places = losses.topk(min(self.kept, self.steps), dim=0)
        points = visited.gather(0, places[:, :, None].expand(-1, -1, visited.shape[2]))
        order = values.flatten().argsort(descending=True, stable=True)
        return torch.cat([points.flatten(0, 1)[order], last])

    def _listed(self, size: tuple[int, int]) -> Tensor | None:
        """One parameter (k, P) for each distinct result; None where they are many, or not known."""
        if isinstance(self.transform, Pixelate):
            ends = self.box[self.transform.names[0]]
            return self.transform.theta([[v] for v in _inside(self.transform.levels(size), *ends)])
        whole = {p.name: p.whole for p in self.transform.parameters}
        if not all(whole[name] for name in self.box):
            return None
        values = [range(math.ceil(low), math.floor(high) + 1) for low, high in self.box.values()]
        if math.prod(map(len, values)) > _LISTED:
            return None
        rows = torch.tensor(list(itertools.product(*values)), dtype=torch.float64)
        columns = dict(zip(self.box, rows.T, strict=True))
        return self.transform.theta(**columns)

    def _corner(self, end: int) -> Tensor:
        values = []
        for parameter in self.transform.parameters:
            ends = self.box.get(parameter.name, (parameter.identity, parameter.identity))
            if parameter.whole and parameter.name in self.box:
                ends = (float(math.ceil(ends[0])), float(math.floor(ends[1])))
            values.append(ends[end])
        return torch.tensor(values, dtype=torch.float64)

    def _settings(self) -> dict[str, Any]:
        names = ("steps", "restarts", "draws", "step", "grid", "kept")
        box: dict[str, Any] = {name: list(ends) for name, ends in self.box.items()}
        return {"box": box, **{name: getattr(self, name) for name in names}}


def _inside(levels: Sequence[Level], low: float, high: float) -> Iterator[float]:
    """A strength in [low, high] for each of the levels that has one."""
    for level in levels:
        value = min(max((level.low + level.high) / 2, low), high)
        if level.low < value <= level.high or value == level.low == level.high:
            yield value


def _distinct(theta: Tensor) -> Tensor:
    """The rows of theta, each once, in their order."""
    rows = dict.fromkeys(tuple(row) for row in theta.tolist())
    return torch.tensor(list(rows), dtype=theta.dtype)
