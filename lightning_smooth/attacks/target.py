"""The model as an attack meets it: scores and slopes of points, each query counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lightning_smooth.attacks.losses import LOSSES, Loss
from lightning_smooth.attacks.strategies import At, Change, Gradient, Slope
from lightning_smooth.defenses.base import rejection_class
from lightning_smooth.errors import InputError
from lightning_smooth.models.stochastic import is_stochastic
from lightning_smooth.smoothing.checks import check_labels, check_logits
from lightning_smooth.smoothing.execution import ON_GPU, laid_out, takes_channels_last
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey, training_seed


@dataclass(frozen=True)
class Task:
    """The images of an attack.

    Attributes:
        images: (B, C, H, W) in [0, 1], where the model is, in its dtype.
        labels: (B,) true classes, there.
        indices: index of each image in its data set.
        bounds: (B,) float64 radii of their balls; None without a bound.
        seed: of what is drawn.
    """

    images: Tensor
    labels: Tensor
    indices: Sequence[int]
    bounds: Tensor | None
    seed: int

    @property
    def radii(self) -> Tensor:
        """`bounds`, for an attack that has them."""
        if self.bounds is None:
            raise InputError("Expected this attack to have a `bound`, but there is none.")
        return self.bounds

    def key(self, row: int, part: int = 0) -> NoiseKey:
        """Names the draws of an image."""
        return NoiseKey(self.seed, self.indices[row], "attack", part)

    @contextmanager
    def drawing(self, part: int) -> Iterator[None]:
        """Seed what layers of the model draw, and put torch's generators back."""
        device = self.images.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(training_seed(self.seed, part, self.indices[0]))
            yield


class Target:
    """A model under attack. Use it within `differentiating` and the gradient's `installed`.

    Args:
        model: images (B, C, H, W) -> scores (B, K), with one more for rejection if it rejects.
        task: the images.
        gradient: how gradients are taken.
        batch_size: forward passes of points in a batch; None to choose.
        shattered: whether a gradient that is 0 for every image and every loss is accepted.

    Attributes:
        queries: (B,) forward passes of each image's points so far.
        deterministic: whether a second look at a point shows what the first did.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        gradient: Gradient,
        *,
        batch_size: int | None,
        shattered: bool,
    ) -> None:
        self.task = task
        self.queries = torch.zeros(len(task.images), dtype=torch.int64)
        self.deterministic = gradient.passes == 1 and not is_stochastic(model)
        self._model = model
        self._gradient = gradient
        on_cpu = task.images.device.type == "cpu"
        self._batch = batch_size or (BLOCK if on_cpu else ON_GPU)
        self._shattered = shattered
        with torch.no_grad():
            self._channels_last = takes_channels_last(model, task.images[:1].repeat(2, 1, 1, 1))
        self._rejection = rejection_class(model)
        self._rejected: Tensor | None = None
        self._step = 0

    def scores(self, points: Tensor, rows: Tensor) -> Tensor:
        """Scores (N, K) of points (N, C, H, W), of the images in these rows, without gradients.

        Those of a model that draws are of one draw. A score for rejection is left out; where it
        is the highest, the others are not a number.
        """
        with torch.no_grad():
            made = [self._refused(self._scores(part)) for part in torch.split(points, self._batch)]
        self._count(rows, 1)
        return torch.cat(made)

    def slope(
        self, points: Tensor, rows: Tensor, loss: Loss, change: Change | None = None
    ) -> Slope:
        """Take the gradient of a loss at points.

        Args:
            points: (N, ...): images, or what `change` makes images of.
            rows: (N,) which image of the task each point belongs to.
            loss: what to differentiate.
            change: differentiable, row by row; None for nothing.

        Raises:
            InputError: no gradient comes back, for any image, whatever the loss.
        """
        step, self._step = self._step, self._step + 1
        slope = self._slope(points, rows, loss, change, step)
        if not (step or self._shattered or bool(slope.gradient.count_nonzero())):
            # A sure model has a cross-entropy that is flat to rounding; its margin is not.
            self._check(self._slope(points, rows, LOSSES["margin"], change, step))
        return slope

    def attached(self, points: Tensor) -> Tensor:
        """Scores (N, K) of any points, with gradients: for attacks that take their own.

        Count what they ask with `spend`.
        """
        return self._scores(points)

    def spend(self, passes: int) -> None:
        """Count forward passes that cannot be told apart, an equal part for each image."""
        self.queries += -(-passes // len(self.queries))

    def _slope(
        self, points: Tensor, rows: Tensor, loss: Loss, change: Change | None, step: int
    ) -> Slope:
        size = max(1, self._batch // self._gradient.copies)
        made: list[Slope] = []
        for start in range(0, len(points), size):
            part = slice(start, start + size)
            keys = [self.task.key(row, 1) for row in rows[part].tolist()]
            at = At(self.task.labels[rows[part]], loss, keys, step)
            slope = self._gradient.slope(self._scores, points[part], at, change or _same)
            made.append(replace(slope, scores=self._refused(slope.scores)))
        self._count(rows, self._gradient.passes)
        variances = [one.variance for one in made if one.variance is not None]
        return Slope(
            torch.cat([one.loss for one in made]),
            torch.cat([one.gradient for one in made]),
            torch.cat(variances) if variances else None,
            torch.cat([one.scores for one in made]),
        )

    def _scores(self, points: Tensor) -> Tensor:
        batch = laid_out(points, channels_last=self._channels_last)
        scores = check_logits(self._model(batch), len(batch))
        if self._rejection is not None:
            self._rejected = scores.detach().argmax(dim=1) == self._rejection
            scores = torch.cat(
                [scores[:, : self._rejection], scores[:, self._rejection + 1 :]], dim=1
            )
        check_labels(self.task.labels, scores.shape[1])
        return scores

    def _refused(self, scores: Tensor) -> Tensor:
        """Scores of the points just seen, not a number where the model rejects: not fooled."""
        if self._rejected is None or len(self._rejected) != len(scores):
            return scores
        return scores.masked_fill(self._rejected[:, None], torch.nan)

    def _count(self, rows: Tensor, passes: int) -> None:
        self.queries += passes * torch.bincount(rows.cpu(), minlength=len(self.queries))

    def _check(self, slope: Slope) -> None:
        if not bool(slope.gradient.count_nonzero()):
            raise InputError(
                "The model's gradient is 0 for every image: probably it is shattered, by a step "
                "that has no derivative (a quantiser, an encoding, a detached layer). Attack with "
                "gradient BPDA, which names that module and what to differentiate instead; with "
                "shattered true the attack runs without a gradient."
            )


def _same(points: Tensor) -> Tensor:
    return points
