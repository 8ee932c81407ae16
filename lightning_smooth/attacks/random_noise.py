"""Random points of the ball: the weakest attack there is, and what others must beat."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_smooth.attacks.image import ImageAttack
from lightning_smooth.attacks.judges import Judge
from lightning_smooth.attacks.losses import fooled, margin
from lightning_smooth.attacks.norms import Norm, legal, random_change
from lightning_smooth.attacks.strategies import PlainGradient
from lightning_smooth.attacks.target import Target, Task
from lightning_smooth.errors import check_count


class RandomNoise(ImageAttack):
    """Tries random points of the ball, and keeps that of the largest margin.

    Points are those that `PGD` starts from. Draws are keyed by seed and index: the outcome of an
    image does not depend on others. The scores are those of the model, of one draw where it draws.

    Args:
        bound: radius of the ball, in units of pixels in [0, 1].
        norm: linf, l2 or l1.
        draws: points of an image, at most; it stops before, where it is fooled.
        seed: seed of what is drawn.
        judge: see `PGD`.
        batch_size: see `PGD`.

    Raises:
        InputError: a number is out of range, or the norm is not known.
    """

    method = "random noise"

    def __init__(
        self,
        bound: float,
        norm: Norm = "linf",
        draws: int = 1000,
        seed: int = 0,
        judge: Judge | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(
            bound=bound,
            norm=norm,
            seed=seed,
            gradient=PlainGradient(),
            judge=judge,
            batch_size=batch_size,
            shattered=True,
        )
        self.draws = check_count("draws", draws)

    def _search(self, target: Target, task: Task) -> Tensor:
        best = task.images.clone()
        rows = torch.arange(len(best), device=best.device)
        scores = target.scores(best, rows)
        most = margin(scores, task.labels)
        if target.deterministic:
            rows = rows[~fooled(scores, task.labels)]
        for number in range(self.draws):
            if not len(rows):
                break
            images, bounds = task.images[rows], task.radii[rows]
            changes = [
                random_change(self.norm, task.key(row, 2), number, image, float(bound))
                for row, image, bound in zip(rows.tolist(), images, bounds, strict=True)
            ]
            points = legal(self.norm, images + torch.stack(changes), images, bounds)
            scores = target.scores(points, rows)
            value = margin(scores, task.labels[rows])
            more = value > most[rows]
            best[rows[more]], most[rows[more]] = points[more], value[more]
            if target.deterministic:
                rows = rows[~(more & fooled(scores, task.labels[rows]))]
        return best[None]

    def _settings(self) -> dict[str, Any]:
        return {"draws": self.draws}
