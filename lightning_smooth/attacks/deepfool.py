"""DeepFool: step by step to the nearest of the decision boundaries, each taken to be linear."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lightning_smooth.attacks.descent import Nearest, begun, gap
from lightning_smooth.attacks.image import ImageAttack
from lightning_smooth.attacks.judges import Judge
from lightning_smooth.attacks.losses import Loss, fooled
from lightning_smooth.attacks.norms import Norm, distance
from lightning_smooth.attacks.strategies import Gradient
from lightning_smooth.attacks.target import Target, Task
from lightning_smooth.errors import InputError, check_count

_BEYOND = 1e-4
"""Added to each score difference, so that a step does not end on the boundary itself."""


class DeepFool(ImageAttack):
    """Goes to the nearest linearised decision boundary, again and again, until it is crossed.

    In each step the score differences f_r of the `candidates` highest other classes from the label
    are linearised, and the nearest boundary, that of least |f_r| / |grad f_r|_q (q = 2 for l2, 1
    for linf), is stepped to. What leaves [0, 1] is cut off, which further steps make up for. Of EOT
    the r-th highest class is that of each draw.

    Source: Moosavi-Dezfooli, Fawzi, Frossard, "DeepFool: a simple and accurate method to fool deep
    neural networks", CVPR 2016 (algorithm 2; section 3.3 for linf).

    Args:
        bound: radius of the ball that is judged in; None for the fooled point at any distance.
        norm: l2 or linf.
        steps: steps, at most.
        candidates: other classes that are looked at, the highest first.
        overshoot: part by which the sum of all steps is lengthened.
        seed: see `PGD`.
        gradient: see `PGD`.
        judge: see `PGD`.
        batch_size: see `PGD`.
        shattered: see `ImageAttack`.

    Raises:
        InputError: a number is out of range, or the norm is another one.
    """

    method = "DeepFool"

    def __init__(
        self,
        bound: float | None = None,
        norm: Norm = "l2",
        steps: int = 50,
        candidates: int = 9,
        overshoot: float = 0.02,
        seed: int = 0,
        gradient: Gradient | None = None,
        judge: Judge | None = None,
        batch_size: int | None = None,
        shattered: bool = False,
    ) -> None:
        super().__init__(
            bound=bound,
            norm=norm,
            seed=seed,
            gradient=gradient,
            judge=judge,
            batch_size=batch_size,
            shattered=shattered,
        )
        if norm == "l1":
            raise InputError("Expected `norm` of DeepFool to be l2 or linf, but got 'l1'.")
        self.steps = check_count("steps", steps)
        self.candidates = check_count("candidates", candidates)
        if not 0 <= overshoot < math.inf:
            raise InputError(f"Expected `overshoot` finite and at least 0, but got {overshoot!r}.")
        self.overshoot = float(overshoot)

    def _search(self, target: Target, task: Task) -> Tensor:
        nearest = Nearest(self.norm, task)
        rows = begun(target, task, nearest)
        points, bases = task.images.clone(), task.images.clone()
        for number in range(self.steps + 1):
            if not len(rows):
                break
            slopes = [target.slope(points[rows], rows, _ranked(0))]
            scores, labels = slopes[0].scores, task.labels[rows]
            more, slack = gap(scores, labels)
            won = (more > slack) & fooled(scores, labels)
            nearest.offer(rows, points[rows], won)
            if number == self.steps or bool(won.all()):
                break
            rest, some = rows[~won], min(self.candidates, scores.shape[1] - 1)
            others = [target.slope(points[rest], rest, _ranked(r)) for r in range(1, some)]
            losses = torch.stack([slopes[0].loss[~won], *(one.loss for one in others)])
            gradients = torch.stack([slopes[0].gradient[~won], *(one.gradient for one in others)])
            bases[rest] = (bases[rest] + self._step(losses, gradients)).clamp(0, 1)
            images = task.images[rest]
            points[rest] = (images + (1 + self.overshoot) * (bases[rest] - images)).clamp(0, 1)
            rows = rest
        return nearest.points[None]

    def _step(self, losses: Tensor, gradients: Tensor) -> Tensor:
        """The shortest of R steps, from differences (R, N) and their gradients (R, N, C, H, W)."""
        flat = gradients.flatten(0, 1)
        dual: Norm = "l2" if self.norm == "l2" else "l1"
        size = distance(dual, flat).reshape(losses.shape)
        length = (losses.double().abs() + _BEYOND) / size
        length = torch.where(size > 0, length, torch.inf)
        which = length.argmin(dim=0)
        count = torch.arange(len(which), device=which.device)
        shortest, least = length[which, count], size[which, count]
        slope = flat.reshape(gradients.shape)[which, count]
        if self.norm == "l2":
            slope, shortest = slope.double(), shortest / least
        else:
            slope = slope.sign().double()
        step = shortest[:, None, None, None] * slope
        return step.nan_to_num(0.0, 0.0, 0.0).to(gradients)

    def _settings(self) -> dict[str, Any]:
        names = ("steps", "candidates", "overshoot")
        return {name: getattr(self, name) for name in names}


def _ranked(rank: int) -> Loss:
    """The score of the other class that has this rank among them, less the label's."""

    def difference(scores: Tensor, labels: Tensor) -> Tensor:
        own = scores.gather(1, labels[:, None])[:, 0]
        label = torch.nn.functional.one_hot(labels, scores.shape[1]).bool()
        others = scores.masked_fill(label, -math.inf).topk(rank + 1, dim=1).values
        return others[:, rank] - own

    return difference
