"""What searches for the nearest fooled point share: Adam row by row, and the best so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from lightning_smooth.attacks.losses import fooled, margin
from lightning_smooth.attacks.norms import Norm, distance
from lightning_smooth.attacks.target import Target, Task

_SLACK: Final = 2.0**-14
"""Part of the largest score that a margin must exceed: batches of another size round otherwise."""


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1) on rows, each with moments of its own.

    Rows that all take the same number of steps, or stop for good, do not depend on each other.

    Args:
        like: (N, ...) what is optimised.
        rate: length of a step.
    """

    def __init__(self, like: Tensor, rate: float) -> None:
        self.rate = rate
        self._mean, self._square = torch.zeros_like(like), torch.zeros_like(like)
        self._steps = 0

    def step(self, rows: Tensor, slope: Tensor) -> Tensor:
        """Return how rows (n,) of slopes (n, ...) go downhill: what is to be added to them."""
        self._steps += 1
        mean = 0.9 * self._mean[rows] + 0.1 * slope
        square = 0.999 * self._square[rows] + 0.001 * slope.square()
        self._mean[rows], self._square[rows] = mean, square
        size = (square / (1 - 0.999**self._steps)).sqrt() + 1e-8
        return -self.rate * mean / (1 - 0.9**self._steps) / size


class Nearest:
    """The nearest fooled point of each image so far; the image itself where there is none.

    Args:
        norm: norm of the distance.
        task: the images.
    """

    def __init__(self, norm: Norm, task: Task) -> None:
        self.norm = norm
        self.points = task.images.clone()
        self.distance = torch.full((len(task.images),), torch.inf, dtype=torch.float64)
        self.distance = self.distance.to(task.images.device)
        self._images = task.images

    def offer(self, rows: Tensor, points: Tensor, won: Tensor) -> None:
        """Keep those of the points (n, C, H, W) of rows (n,) that are fooled, `won`, and nearer."""
        away = distance(self.norm, points.double() - self._images[rows])
        better = won & (away < self.distance[rows])
        self.points[rows[better]] = points[better]
        self.distance[rows[better]] = away[better]


def begun(target: Target, task: Task, nearest: Nearest) -> Tensor:
    """Rows of the images that have to be attacked; those that are fooled as they are, are found.

    Of a model that draws, all of them: one answer says little.
    """
    rows = torch.arange(len(task.images), device=task.images.device)
    if not target.deterministic:
        return rows
    won = fooled(target.scores(task.images, rows), task.labels)
    nearest.offer(rows, task.images, won)
    return rows[~won]


def gap(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Margins (N,) of scores, and what they must exceed so that rounding leaves them above 0."""
    return margin(scores, labels), _SLACK * scores.abs().amax(dim=1)


def pulled(
    change: Callable[[Tensor], Tensor], values: Tensor, images: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Points h(v) (N, C, H, W), squared l2 distances (N,) from images, and their gradients in v."""
    leaf = values.detach().clone().requires_grad_()
    points = change(leaf)
    away = (points - images).flatten(1).square().sum(dim=1)
    (slope,) = torch.autograd.grad(away.sum(), leaf)
    return points.detach(), away.detach(), slope
