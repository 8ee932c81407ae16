"""HopSkipJump: the nearest fooled point from answers alone, neither scores nor gradients."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_smooth.attacks.image import ImageAttack
from lightning_smooth.attacks.judges import Judge
from lightning_smooth.attacks.losses import fooled
from lightning_smooth.attacks.norms import Norm
from lightning_smooth.attacks.strategies import PlainGradient
from lightning_smooth.attacks.target import Target, Task
from lightning_smooth.errors import InputError, check_count
from lightning_smooth.smoothing.rng import generator_of

Array = NDArray[np.float64]
Walk = Generator[Array, NDArray[np.bool_], None]
"""Yields points (n, C, H, W) to ask about, and is sent which of them are fooled."""

_STARTS: Final = 50
"""Random images among which the first fooled one is looked for."""

_MOST: Final = 1000
"""Draws of an estimate of the normal, at most."""


class HopSkipJump(ImageAttack):
    """Walks along the decision boundary, towards the image, by the classes that are answered.

    From a random image that is fooled: a binary search towards the image, to the boundary; an
    estimate of the boundary's normal, from the answers at draws around; a step along it, halved
    until it stays fooled. And again, until the queries are spent or the point is in the ball. Draws
    are keyed by seed and index: of a deterministic model, the outcome of an image does not depend
    on others. It is stronger than the boundary attack (Brendel et al. 2018) at as many queries.

    Source: Chen, Jordan, Wainwright, "HopSkipJumpAttack: a query-efficient decision-based attack",
    IEEE S&P 2020 (algorithm 2; section IV.C for the numbers).

    Args:
        bound: radius of the ball that is judged in, where a walk ends; None for the nearest fooled
            point that the queries find.
        norm: l2 or linf.
        queries: forward passes of an image, at most.
        draws: draws of the first estimate of a normal; the k-th has sqrt(k) times as many.
        seed: seed of what is drawn.
        judge: see `PGD`.
        batch_size: see `PGD`.

    Raises:
        InputError: a number is out of range, or the norm is another one.
    """

    method = "HopSkipJump"

    def __init__(
        self,
        bound: float | None = None,
        norm: Norm = "l2",
        queries: int = 2000,
        draws: int = 50,
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
        if norm == "l1":
            raise InputError("Expected `norm` of HopSkipJump to be l2 or linf, but got 'l1'.")
        self.queries = check_count("queries", queries)
        self.draws = check_count("draws", draws)

    def _search(self, target: Target, task: Task) -> Tensor:
        walks = [_Walker(self, task, row) for row in range(len(task.images))]
        going = [(walk, walk.walk()) for walk in walks]
        asked = [(walk, steps, next(steps)) for walk, steps in going]
        while asked:
            points = [torch.from_numpy(some).to(task.images) for _, _, some in asked]
            counts = torch.tensor([len(some) for some in points])
            rows = torch.tensor([walk.row for walk, _, _ in asked]).repeat_interleave(counts)
            rows = rows.to(task.images.device)
            answers = (
                fooled(target.scores(torch.cat(points), rows), task.labels[rows]).cpu().numpy()
            )
            parts = np.split(answers, counts.cumsum(0)[:-1].numpy())
            left = []
            for (walk, steps, _), won in zip(asked, parts, strict=True):
                try:
                    left.append((walk, steps, steps.send(won)))
                except StopIteration:
                    continue
            asked = left
        found = np.stack([walk.best for walk in walks])
        return torch.from_numpy(found).to(task.images)[None]

    def _settings(self) -> dict[str, Any]:
        return {"queries": self.queries, "draws": self.draws}


class _Walker:
    """The walk of one image."""

    def __init__(self, attack: HopSkipJump, task: Task, row: int) -> None:
        self.row = row
        self.image: Array = task.images[row].double().cpu().numpy()
        self.best = self.image  # the nearest fooled point; the image itself where there is none
        self.dtype = np.float64 if task.images.dtype == torch.float64 else np.float32
        self.bound = None if task.bounds is None else float(task.bounds[row])
        self.linf = attack.norm == "linf"
        self.draws = attack.draws
        self.left = attack.queries
        self.drawing = generator_of(task.key(row, 2))
        size = self.image.size
        # Of the boundary: how close a binary search comes to it, as part of the distance.
        self.close = max(1 / size**2 if self.linf else size**-1.5, 2.0**-20)

    def walk(self) -> Walk:
        """Ask about points until the queries are spent; `best` is what was found."""
        if (yield from self._ask(self.image[None]))[0]:
            return
        point = yield from self._start()
        if point is None:
            return
        for number in range(1, self.left + 1):
            point = yield from self._boundary(point)
            if self._done():
                return
            away = self._distance(point)
            width = self._width(number, away)
            normal = yield from self._normal(point, width, number)
            length = away / math.sqrt(number)
            while self.left:
                moved = self._rounded(point + length * normal)
                if (yield from self._ask(moved[None]))[0]:
                    point = moved
                    break
                length /= 2
                if length < 1e-7:
                    break
            if self._done():
                return

    def _ask(self, points: Array) -> Generator[Array, NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of the points are fooled; those that the queries do not suffice for are not."""
        some = points[: self.left]
        won = np.zeros(len(points), dtype=bool)
        if len(some):
            self.left -= len(some)
            won[: len(some)] = yield some
        return won

    def _start(self) -> Generator[Array, NDArray[np.bool_], Array | None]:
        for _ in range(_STARTS):
            point = self._rounded(self.drawing.random(self.image.shape))
            if (yield from self._ask(point[None]))[0]:
                self._keep(point)
                return point
        return None

    def _boundary(self, point: Array) -> Generator[Array, NDArray[np.bool_], Array]:
        """The fooled point that is closest to the boundary on the way from the image."""
        away = self._distance(point)
        low, high = 0.0, (away if self.linf else 1.0)
        kept = point
        least = self.close * high
        while high - low > least and self.left:
            middle = (low + high) / 2
            between = self._rounded(self._mixed(point, middle))
            if (yield from self._ask(between[None]))[0]:
                high, kept = middle, between
            else:
                low = middle
        self._keep(kept)
        return kept

    def _mixed(self, point: Array, part: float) -> Array:
        """In l2 on the way from the image; in linf the point within `part` of the image."""
        if self.linf:
            return np.clip(point, self.image - part, self.image + part)
        return self.image + part * (point - self.image)

    def _width(self, number: int, away: float) -> float:
        if number == 1:
            return 0.1
        root = self.image.size if self.linf else math.sqrt(self.image.size)
        return max(root * self.close * away, 1e-6)

    def _normal(
        self, point: Array, width: float, number: int
    ) -> Generator[Array, NDArray[np.bool_], Array]:
        """A direction (linf: signs) in which it is fooled, from the answers around."""
        count = max(1, min(int(self.draws * math.sqrt(number)), _MOST, self.left))
        shape = (count, *point.shape)
        drawn = (
            self.drawing.uniform(-1, 1, shape) if self.linf else self.drawing.standard_normal(shape)
        )
        drawn /= np.sqrt((drawn**2).sum(axis=(1, 2, 3), keepdims=True))
        around = self._rounded(point + width * drawn)
        drawn = (around - point) / width
        won = yield from self._ask(around)
        sign = np.where(won, 1.0, -1.0)
        weight = sign if abs(sign.mean()) == 1 else sign - sign.mean()
        normal = (weight[:, None, None, None] * drawn).mean(axis=0)
        if self.linf:
            normal = np.sign(normal)
        else:
            normal = normal / max(float(np.linalg.norm(normal)), 1e-12)
        made: Array = normal
        return made

    def _rounded(self, points: Array) -> Array:
        """In [0, 1], as the model will see them."""
        made: Array = points.clip(0, 1).astype(self.dtype).astype(np.float64)
        return made

    def _distance(self, point: Array) -> float:
        change = (point - self.image).ravel()
        return float(np.linalg.norm(change, ord=np.inf if self.linf else 2))

    def _keep(self, point: Array) -> None:
        if self.best is self.image or self._distance(point) < self._distance(self.best):
            self.best = point

    def _done(self) -> bool:
        near = self.best is not self.image and self.bound is not None
        return not self.left or (near and self._distance(self.best) <= (self.bound or 0.0))
