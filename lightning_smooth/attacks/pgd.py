"""Gradient attacks in a ball: FGSM in one step, PGD in many."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightning_smooth.attacks.image import ImageAttack
from lightning_smooth.attacks.judges import Judge
from lightning_smooth.attacks.losses import LOSSES, LossName, check_loss, fooled
from lightning_smooth.attacks.norms import Norm, near, random_change, steepest
from lightning_smooth.attacks.strategies import Gradient
from lightning_smooth.attacks.target import Target, Task
from lightning_smooth.errors import InputError, check_count, check_positive

_Found = tuple[Tensor, Tensor, Tensor]
"""Points, their losses and their scores."""


class PGD(ImageAttack):
    """Projected gradient descent: from each start, `steps` steepest steps back into the ball.

    The first start is the image itself (or a random point, with `random_start`), those of further
    restarts are random points of the ball. Of a restart the point of the largest loss is kept, of
    those that are fooled if there are any; of a model that draws, the last. Where the model does
    not draw, a restart goes on with the images that are not yet fooled.

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR
    2018; momentum: Dong et al., "Boosting adversarial attacks with momentum", CVPR 2018.

    Args:
        bound: radius of the ball, in units of pixels in [0, 1].
        norm: norm of the ball: linf, l2 or l1.
        steps: steps of a restart.
        step: length of a step, as a part of the bound; of the first, with `final_step`.
        final_step: length of a restart's last step, as a part of the bound: they fall to it
            linearly, for scores that jump. None for steps of one length.
        restarts: starts of an image.
        random_start: whether the first start is random, too.
        loss: `cross_entropy`, or `margin` (of scores: not flat where a model is sure).
        momentum: decay of the mean of past gradients that steps follow; 0 for none.
        seed: seed of what is drawn.
        gradient: how gradients are taken; None for what suits the judge.
        judge: who answers; None for the model itself.
        batch_size: points in a forward pass; None to choose.
        shattered: see `ImageAttack`.

    Raises:
        InputError: a number is out of range, or norm or loss are not known.
    """

    method = "PGD"

    def __init__(
        self,
        bound: float,
        norm: Norm = "linf",
        steps: int = 40,
        step: float = 0.25,
        restarts: int = 1,
        random_start: bool = True,
        loss: LossName = "cross_entropy",
        momentum: float = 0.0,
        seed: int = 0,
        gradient: Gradient | None = None,
        judge: Judge | None = None,
        batch_size: int | None = None,
        shattered: bool = False,
        final_step: float | None = None,
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
        self.steps = check_count("steps", steps)
        self.step = check_positive("step", step)
        self.final_step = None if final_step is None else check_positive("final_step", final_step)
        self.restarts = check_count("restarts", restarts)
        self.random_start = random_start
        self.loss = check_loss(loss)
        if not 0 <= momentum < float("inf"):
            raise InputError(f"Expected `momentum` to be finite and at least 0, got {momentum!r}.")
        self.momentum = float(momentum)

    def _search(self, target: Target, task: Task) -> Tensor:
        found = task.images.repeat(self.restarts, 1, 1, 1, 1)
        rows = torch.arange(len(task.images), device=task.images.device)
        for number in range(self.restarts):
            points, scores = self._climbed(target, task, rows, number)
            found[number:, rows] = points  # images that are fooled keep their point from here on
            if target.deterministic:
                rows = rows[~fooled(scores, task.labels[rows])]
            if not len(rows):
                break
        return found

    def _climbed(
        self, target: Target, task: Task, rows: Tensor, number: int
    ) -> tuple[Tensor, Tensor]:
        """The best point of a restart, and its scores, for the images in these rows."""
        images, labels = task.images[rows], task.labels[rows]
        bounds = task.radii[rows]
        points = images.clone()
        if number or self.random_start:
            for place, row in enumerate(rows.tolist()):
                points[place] += random_change(
                    self.norm, task.key(row), number, images[place], float(bounds[place])
                )
            points = points.clamp(0, 1)
        best: _Found | None = None
        velocity = torch.zeros_like(points)
        for step in range(self.steps):
            slope = target.slope(points, rows, LOSSES[self.loss])
            here = (points, slope.loss, slope.scores)
            best = here if best is None else _better(best, here, labels)
            gradient = slope.gradient
            if self.momentum:
                mean = gradient.abs().flatten(1).mean(dim=1)[:, None, None, None]
                tiny = torch.finfo(mean.dtype).tiny
                velocity = self.momentum * velocity + gradient / mean.clamp_min(tiny)
                gradient = velocity
            length = (self._length(step) * bounds).to(points)[:, None, None, None]
            moved = points + length * steepest(self.norm, gradient)
            points = near(self.norm, moved, images, bounds)
        last = target.scores(points, rows) if target.deterministic else None
        if last is None or best is None:
            return points, points
        found, _, scores = _better(best, (points, LOSSES[self.loss](last, labels), last), labels)
        return found, scores

    def _settings(self) -> dict[str, Any]:
        names = ["steps", "step", "restarts", "random_start", "loss", "momentum"]
        names += ["final_step"] if self.final_step is not None else []
        return {name: getattr(self, name) for name in names}

    def _length(self, number: int) -> float:
        """Length of step `number`, from 0, as a part of the bound."""
        if self.final_step is None or self.steps == 1:
            return self.step
        return self.step + (self.final_step - self.step) * number / (self.steps - 1)


class FGSM(PGD):
    """The fast gradient sign method: one step as long as the bound, from the image itself.

    Source: Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples", 2015.

    Args:
        bound: see `PGD`.
        norm: see `PGD`.
        loss: see `PGD`.
        seed: see `PGD`.
        gradient: see `PGD`.
        judge: see `PGD`.
        batch_size: see `PGD`.
        shattered: see `PGD`.

    Raises:
        InputError: as `PGD`.
    """

    method = "FGSM"

    def __init__(
        self,
        bound: float,
        norm: Norm = "linf",
        loss: LossName = "cross_entropy",
        seed: int = 0,
        gradient: Gradient | None = None,
        judge: Judge | None = None,
        batch_size: int | None = None,
        shattered: bool = False,
    ) -> None:
        super().__init__(
            bound,
            norm,
            steps=1,
            step=1.0,
            random_start=False,
            loss=loss,
            seed=seed,
            gradient=gradient,
            judge=judge,
            batch_size=batch_size,
            shattered=shattered,
        )

    def _settings(self) -> dict[str, Any]:
        return {"loss": self.loss}


def _better(best: _Found, here: _Found, labels: Tensor) -> _Found:
    """Of two points of each image the fooled one; of two such, or none, that of the larger loss."""
    fools, fooled_before = fooled(here[2], labels), fooled(best[2], labels)
    more = torch.where(fools == fooled_before, here[1] > best[1], fools)
    return (
        torch.where(more[:, None, None, None], here[0], best[0]),
        torch.where(more, here[1], best[1]),
        torch.where(more[:, None], here[2], best[2]),
    )
