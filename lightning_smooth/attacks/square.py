"""The Square attack: random squares of a change, kept where they raise the loss. No gradients."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_smooth.attacks.image import ImageAttack
from lightning_smooth.attacks.judges import Judge
from lightning_smooth.attacks.losses import fooled, margin
from lightning_smooth.attacks.norms import Norm, legal
from lightning_smooth.attacks.strategies import PlainGradient
from lightning_smooth.attacks.target import Target, Task
from lightning_smooth.errors import InputError, check_count, check_probability
from lightning_smooth.smoothing.rng import generator_of

_HALVINGS: Final = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Parts of the queries after which the share of pixels that a square changes is halved."""

_SEEN: Final = 1e-7
"""Change of a pixel below which a square changes nothing."""

_TRIES: Final = 10
"""Draws of a square, at most, until one changes the image."""

Array = NDArray[np.float64]


class Square(ImageAttack):
    """Puts squares of a change at random places, and keeps those that raise the margin.

    In linf each square is the bound, up or down for each channel. In l2 each moves the length of
    the change from one window into another, in a pattern that falls off from its middle. The size
    of squares shrinks as queries are spent. Draws are keyed by seed and index: the outcome of an
    image does not depend on others. The scores are those of the model, of one draw where it draws.

    Source: Andriushchenko, Croce, Flammarion, Hein, "Square Attack: a query-efficient black-box
    adversarial attack via random search", ECCV 2020 (algorithms 1 to 3; section 4.2 for sizes).

    Args:
        bound: radius of the ball, in units of pixels in [0, 1].
        norm: linf or l2.
        queries: forward passes of an image, at most; it stops before, where it is fooled.
        share: share of the pixels that the first squares change, above 0 and below 1.
        seed: seed of what is drawn.
        judge: see `PGD`.
        batch_size: see `PGD`.

    Raises:
        InputError: a number is out of range, or the norm is another one.
    """

    method = "Square"

    def __init__(
        self,
        bound: float,
        norm: Norm = "linf",
        queries: int = 1000,
        share: float = 0.8,
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
            raise InputError("Expected `norm` of Square to be linf or l2, but got 'l1'.")
        self.queries = check_count("queries", queries)
        self.share = check_probability("share", share)

    def _search(self, target: Target, task: Task) -> Tensor:
        every = torch.arange(len(task.images), device=task.images.device)
        best = task.images.clone()
        scores = target.scores(best, every)
        most = margin(scores, task.labels)
        rows = every[~fooled(scores, task.labels)] if target.deterministic else every
        drawing = {row: generator_of(task.key(row, 2)) for row in rows.tolist()}
        for number in range(self.queries - 1):
            if not len(rows):
                break
            images, bounds = task.images[rows], task.radii[rows]
            pixels = images.double().cpu().numpy()
            changes = best[rows].double().cpu().numpy() - pixels
            for place, row in enumerate(rows.tolist()):
                change = changes[place].copy()
                for _ in range(_TRIES):
                    changes[place] = self._changed(
                        change, float(bounds[place]), drawing[row], number
                    )
                    seen = (pixels[place] + np.stack([change, changes[place]])).clip(0, 1)
                    if float(abs(seen[1] - seen[0]).max()) > _SEEN:
                        break
            moved = torch.from_numpy(pixels + changes).to(images)
            points = legal(self.norm, moved, images, bounds)
            scores = target.scores(points, rows)
            value = margin(scores, task.labels[rows])
            # What is no better than the image itself is kept at first: it is a start.
            more = (value > most[rows]) | ((number == 0) & value.isfinite())
            best[rows[more]], most[rows[more]] = points[more], value[more]
            won = torch.zeros_like(more)
            won[more] = fooled(scores[more], task.labels[rows[more]])
            if target.deterministic:
                rows = rows[~won]
        return best[None]

    def _changed(
        self, change: Array, bound: float, drawing: np.random.Generator, number: int
    ) -> Array:
        side = self._side(change.shape, number)
        if self.norm == "linf":
            if number == 0:
                return _stripes(change, bound, drawing)
            return _square(change, bound, drawing, side)
        if number == 0:
            return _tiles(change, bound, drawing)
        return _moved(change, bound, drawing, side)

    def _side(self, shape: tuple[int, ...], number: int) -> int:
        """Side of the squares of a query, in pixels."""
        halvings = sum(number > part * self.queries for part in _HALVINGS)
        _, height, width = shape
        side = round(math.sqrt(self.share / 2**halvings * height * width))
        return min(max(side, 1), max(1, min(height, width) - 1))

    def _settings(self) -> dict[str, Any]:
        return {"queries": self.queries, "share": self.share}


def _signs(drawing: np.random.Generator, shape: tuple[int, ...]) -> Array:
    made: Array = 2 * drawing.integers(0, 2, shape).astype(np.float64) - 1
    return made


def _place(drawing: np.random.Generator, shape: tuple[int, ...], side: int) -> tuple[slice, ...]:
    row, column = (int(drawing.integers(0, max(1, size - side + 1))) for size in shape[1:])
    return slice(None), slice(row, row + side), slice(column, column + side)


def _stripes(change: Array, bound: float, drawing: np.random.Generator) -> Array:
    channels, height, width = change.shape
    made: Array = np.repeat(bound * _signs(drawing, (channels, 1, width)), height, axis=1)
    return made


def _square(change: Array, bound: float, drawing: np.random.Generator, side: int) -> Array:
    window = _place(drawing, change.shape, side)
    changed = change.copy()
    changed[window] = bound * _signs(drawing, (change.shape[0], 1, 1))
    return changed


def _tiles(change: Array, bound: float, drawing: np.random.Generator) -> Array:
    """A grid of tiles, about five a side, of the pattern and of either sign: l2 norm `bound`."""
    channels, height, width = change.shape
    side = max(1, min(height, width) // 5)
    made = np.zeros_like(change)
    for row in range(0, height - side + 1, side):
        for column in range(0, width - side + 1, side):
            tile = _pattern(side, drawing) * _signs(drawing, (channels, 1, 1))
            made[:, row : row + side, column : column + side] = tile
    return made * (bound / max(float(np.linalg.norm(made)), 1e-12))


def _moved(change: Array, bound: float, drawing: np.random.Generator, side: int) -> Array:
    """Moves the length of one window's change into another's, with what clipping has lost."""
    channels = change.shape[0]
    here, there = (_place(drawing, change.shape, side) for _ in range(2))
    union = np.zeros(change.shape, dtype=bool)
    union[here] = union[there] = True
    length = np.sqrt((change**2 * union).sum(axis=(1, 2), keepdims=True))
    spare = max(bound**2 - float((change**2).sum()), 0.0) / channels
    pattern = _pattern(side, drawing) * _signs(drawing, (channels, 1, 1))
    old = np.linalg.norm(change[here])
    pattern = pattern + change[here] / max(float(old), 1e-12)
    own = np.sqrt((pattern**2).sum(axis=(1, 2), keepdims=True)).clip(1e-12)
    changed = change.copy()
    changed[there] = 0.0
    changed[here] = pattern / own * np.sqrt(length**2 + spare)
    return changed * (bound / max(float(np.linalg.norm(changed)), 1e-12))


def _pattern(side: int, drawing: np.random.Generator) -> Array:
    """(side, side) of norm 1: two halves of either sign, each a pyramid of nested rectangles."""
    first = side // 2
    halves = np.concatenate(
        [_pyramid(first, side), -_pyramid(side - first, side)] if side > 1 else [_pyramid(1, 1)]
    )
    halves = halves / np.linalg.norm(halves)
    turned: Array = halves.T if drawing.integers(0, 2) else halves
    return turned


def _pyramid(height: int, width: int) -> Array:
    """Sum of 1 / (layer + 1)^2 over nested rectangles that a pixel lies in, layers from outside."""
    rows = np.minimum(np.arange(height), np.arange(height)[::-1])[:, None]
    columns = np.minimum(np.arange(width), np.arange(width)[::-1])[None]
    layer = np.minimum(rows, columns)
    deepest = int(layer.max())
    # The innermost rectangle weighs 1, each one around it less.
    weights = np.cumsum([1.0 / (deepest - k + 1) ** 2 for k in range(deepest + 1)])
    made: Array = weights[layer]
    return made
