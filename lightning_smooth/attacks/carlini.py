"""Carlini and Wagner's attack: the nearest fooled point in l2, by a search for the constant."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from lightning_smooth.attacks.descent import Adam, Nearest, begun, gap, pulled
from lightning_smooth.attacks.image import ImageAttack
from lightning_smooth.attacks.judges import Judge
from lightning_smooth.attacks.losses import LOSSES
from lightning_smooth.attacks.strategies import Gradient
from lightning_smooth.attacks.target import Target, Task
from lightning_smooth.errors import InputError, check_count, check_positive

_INSIDE: Final = 0.99
"""Factor that keeps pixels of 0 and 1 from where tanh is flat, which Adam leaves too slowly."""

_PROGRESS: Final = 0.9999
"""A descent ends that in a tenth of its steps has not come below this part of its objective."""


@dataclass(frozen=True)
class ConstantSearch:
    """Minimises |h(v) - x|^2 + c max(confidence - margin(h(v)), 0) over v, and searches for c.

    c starts at `constant`; it grows tenfold until a fooled point is found, and is halved into what
    is known of it from then on.

    Attributes:
        steps: steps of Adam for a constant, at most.
        searches: constants that are tried.
        rate: of Adam.
        constant: the first one.
        confidence: margin (of scores) that a fooled point must have.
    """

    steps: int
    searches: int
    rate: float
    constant: float
    confidence: float

    def run(
        self,
        target: Target,
        task: Task,
        rows: Tensor,
        start: Tensor,
        change: Callable[[Tensor], Tensor],
        nearest: Nearest,
    ) -> None:
        """Offer every fooled point to `nearest`.

        Args:
            target: the model.
            task: the images.
            rows: (N,) which of them are attacked.
            start: (N, ...) where v starts for each.
            change: h, row by row and differentiable.
            nearest: what is found.
        """
        constant = torch.full((len(rows),), self.constant).to(start)
        low, high = torch.zeros_like(constant), torch.full_like(constant, torch.inf)
        for _ in range(self.searches):
            won = self._descended(target, task, rows, start, constant, change, nearest)
            high = torch.where(won, torch.minimum(high, constant), high)
            low = torch.where(won, low, torch.maximum(low, constant))
            constant = torch.where(high.isfinite(), (low + high) / 2, 10 * constant)

    def _descended(
        self,
        target: Target,
        task: Task,
        rows: Tensor,
        start: Tensor,
        constant: Tensor,
        change: Callable[[Tensor], Tensor],
        nearest: Nearest,
    ) -> Tensor:
        """Descend for one constant (N,) an image; whether a fooled point was met, (N,)."""
        going = torch.arange(len(rows), device=rows.device)
        values, adam = start.clone(), Adam(start, self.rate)
        won = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        before = torch.full_like(constant, torch.inf)
        often = max(1, self.steps // 10)
        for step in range(self.steps):
            if not len(going):
                break
            own = rows[going]
            points, away, pull = pulled(change, values[going], task.images[own])
            slope = target.slope(values[going], own, LOSSES["margin"], change)
            more, slack = gap(slope.scores, task.labels[own])
            short = (self.confidence + slack - more).clamp_min(0).nan_to_num(0.0)
            here = ~(short > 0) & more.isfinite()
            won[going] |= here
            nearest.offer(own, points, here)
            weight = (constant[going] * (short > 0)).reshape(-1, *[1] * (values.ndim - 1))
            values[going] += adam.step(going, pull - weight * slope.gradient)
            if step % often == 0:
                total = away + constant[going] * short
                still = total > _PROGRESS * before[going]
                before[going] = total
                going = going[~still]
        return won


class CarliniWagner(ImageAttack):
    """The nearest fooled point in l2: a tanh in place of the box, Adam, a search for the constant.

    Minimises |x' - x|^2 + c max(`confidence` - margin(x'), 0) over w, x' = (1 + tanh w) / 2, which
    stays in [0, 1]. The nearest fooled point is kept; where there is none, the image itself. With a
    bound it is judged within it: fooled points further off are brought into the ball, where they
    rarely are fooled.

    Source: Carlini and Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P
    2017 (section VI.A).

    Args:
        bound: radius of the l2 ball that is judged in; None for the nearest fooled point at any
            distance.
        steps: steps of Adam for a constant; they end early where they lead no further.
        searches: constants that are tried: c grows tenfold until one fools, then is halved into.
        rate: of Adam.
        constant: the first c.
        confidence: margin (of scores) that a fooled point must have. Of a model that draws, more
            than 0 makes up for draws that differ.
        seed: see `PGD`.
        gradient: see `PGD`.
        judge: see `PGD`.
        batch_size: see `PGD`.
        shattered: see `ImageAttack`.

    Raises:
        InputError: a number is out of range.
    """

    method = "Carlini-Wagner"

    def __init__(
        self,
        bound: float | None = None,
        steps: int = 200,
        searches: int = 7,
        rate: float = 0.1,
        constant: float = 0.1,
        confidence: float = 0.0,
        seed: int = 0,
        gradient: Gradient | None = None,
        judge: Judge | None = None,
        batch_size: int | None = None,
        shattered: bool = False,
    ) -> None:
        super().__init__(
            bound=bound,
            norm="l2",
            seed=seed,
            gradient=gradient,
            judge=judge,
            batch_size=batch_size,
            shattered=shattered,
        )
        self.search = constant_search(steps, searches, rate, constant, confidence)

    def _search(self, target: Target, task: Task) -> Tensor:
        nearest = Nearest("l2", task)
        rows = begun(target, task, nearest)
        if len(rows):
            start = torch.atanh((2 * task.images[rows] - 1) * _INSIDE)
            self.search.run(target, task, rows, start, _unbounded, nearest)
        return nearest.points[None]

    def _settings(self) -> dict[str, Any]:
        return dict(vars(self.search))


def constant_search(
    steps: int, searches: int, rate: float, constant: float, confidence: float
) -> ConstantSearch:
    """Check what a search for the constant takes.

    Raises:
        InputError: a number is out of range.
    """
    if not 0 <= confidence < math.inf:
        raise InputError(
            f"Expected `confidence` to be finite and at least 0, but got {confidence!r}."
        )
    return ConstantSearch(
        steps=check_count("steps", steps),
        searches=check_count("searches", searches),
        rate=check_positive("rate", rate),
        constant=check_positive("constant", constant),
        confidence=float(confidence),
    )


def _unbounded(values: Tensor) -> Tensor:
    return (values.tanh() + 1) / 2
