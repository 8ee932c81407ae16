"""What every attack on pixels is: it looks in a ball around each image, and is judged there."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from lightning_smooth.attacks.base import Attack, checked
from lightning_smooth.attacks.gradients import differentiating, dtype_of
from lightning_smooth.attacks.judges import Judge, ModelJudge
from lightning_smooth.attacks.norms import Norm, check_norm, distance, legal
from lightning_smooth.attacks.strategies import Gradient
from lightning_smooth.attacks.target import Target, Task
from lightning_smooth.attacks.verdicts import Verdict, check_settled, chosen
from lightning_smooth.certify.base import image_digest
from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.records.attack import AttackOutcome


@dataclass(frozen=True)
class Attacked:
    """What an attack made of B images, and how it was judged.

    Attributes:
        raw: (B, C, H, W) where the search ended.
        clipped: (B, C, H, W) the same, brought into the ball and into [0, 1]: what is judged.
        success: (B,) whether a wrong class is answered there; an abstention is none.
        norm: (B,) float64 distances of `clipped` from the images.
        queries: (B,) forward passes of the search; those of the judge come on top.
        clean: (B,) classes without attack.
        tried: points of an image that were judged.
        wrong: (B,) how many of them were answered wrongly.
        verdict: what is answered at `clipped`.
    """

    raw: Tensor
    clipped: Tensor
    success: Tensor
    norm: Tensor
    queries: Tensor
    clean: Tensor
    tried: int
    wrong: Tensor
    verdict: Verdict


class ImageAttack(Attack):
    """Changes the pixels of each image, within a ball, so that it is answered wrongly.

    A subclass writes `_search`, which returns points; the public calls validate what comes in,
    bring the points into the ball and into [0, 1], judge them, and keep each image's worst: that of
    most misses, then of the largest loss. Of a model that draws, the worst of several is judged
    again, by fresh evaluations: a wrong class is one that they answer as often as the label.

    Args:
        bound: radius of the ball, in units of pixels in [0, 1]; None for all of [0, 1].
        norm: norm of the ball: linf, l2 or l1.
        seed: seed of what is drawn.
        gradient: how gradients are taken; None for what suits the judge.
        judge: who answers; None for the model itself, 20 times where it draws.
        batch_size: points in a forward pass; None to choose.
        shattered: attack a model whose gradient is 0 for every image, too; else that is an error.

    Raises:
        InputError: the bound is not above 0, the norm is not known, or a number is out of range.
    """

    def __init__(
        self,
        *,
        bound: float | None,
        norm: Norm,
        seed: int,
        gradient: Gradient | None,
        judge: Judge | None,
        batch_size: int | None,
        shattered: bool = False,
    ) -> None:
        super().__init__(seed=seed)
        self.bound = None if bound is None else check_positive("bound", bound)
        self.norm = check_norm(norm)
        self.judge = judge or ModelJudge(batch_size=batch_size)
        self.gradient = gradient or self.judge.gradient()
        self.batch_size = None if batch_size is None else check_count("batch_size", batch_size)
        self.shattered = shattered

    def __repr__(self) -> str:
        settings = {k: v for k, v in self.describe().items() if k != "method"}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in settings.items())})"

    @final
    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, indices: Iterable[int]
    ) -> list[AttackOutcome]:
        """See `Attack.__call__`."""
        numbers = list(indices)
        start = time.perf_counter()
        if not len(images):
            return []
        found = self.attacked(model, images, labels, indices=numbers)
        spent = (time.perf_counter() - start) / len(images)
        verdict = found.verdict
        return [
            AttackOutcome(
                index=int(index),
                label=int(labels.flatten()[row]),
                clean=int(found.clean[row]),
                theta={},
                predicted=int(verdict.predicted[row]),
                loss=min(float(verdict.loss[row]), torch.finfo(torch.float64).max),
                tried=found.tried,
                wrong=int(found.wrong[row]),
                method=self.method,
                parameters={**self.describe(), "classes": verdict.classes},
                seed=self.seed,
                seconds=round(spent, 6),
                image=image_digest(images[row]),
                norm=self.norm,
                bound=self.bound,
                distance=float(found.norm[row]),
                queries=int(found.queries[row]),
                evaluations=verdict.evaluations,
                misses=int(verdict.misses[row]),
            )
            for row, index in enumerate(numbers)
        ]

    @final
    def attacked(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        indices: Iterable[int],
        bounds: Tensor | None = None,
    ) -> Attacked:
        """Attack images, and return the points that were found.

        Args:
            model: see `Attack.__call__`.
            images: see there; at least one.
            labels: see there.
            indices: see there. What is drawn for the layers of a model that draws depends on the
                batch, and on its first index.
            bounds: (B,) a radius for each image in place of `bound`, at least 0.

        Raises:
            InputError: as `Attack.__call__`; there is no image; or no gradient comes back.
        """
        with differentiating(model):
            task = self._task(model, images, labels, indices, bounds)
            raw, queries = self._found(model, task)
            with task.drawing(1):
                return self._judged(model, task, raw, queries)

    @final
    def found(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        indices: Iterable[int],
        seed: int | None = None,
    ) -> Tensor:
        """Attack images, and judge nothing: for training.

        Args:
            model: see `Attack.__call__`.
            images: see there; at least one.
            labels: see there.
            indices: see there.
            seed: of what is drawn, in place of the attack's own.

        Returns:
            (B, C, H, W) the first point of each image, in the ball and in [0, 1].

        Raises:
            InputError: as `attacked`.
        """
        with differentiating(model):
            task = self._task(model, images, labels, indices, None)
            task = task if seed is None else replace(task, seed=check_count("seed", seed, least=0))
            raw, _ = self._found(model, task)
            return legal(self.norm, raw[0], task.images, task.bounds)

    def describe(self) -> dict[str, Any]:
        """See `Attack.describe`."""
        return {
            "method": self.method,
            "bound": self.bound,
            "norm": self.norm,
            **self._settings(),
            **self.gradient.describe(),
            **self.judge.describe(),
            "seed": self.seed,
        }

    @abstractmethod
    def _search(self, target: Target, task: Task) -> Tensor:
        """Look for points: (R, B, C, H, W), R of each image, anywhere."""

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """The attack's own part of `describe`."""

    def _task(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        indices: Iterable[int],
        bounds: Tensor | None,
    ) -> Task:
        classes, numbers = checked(images, labels, indices)
        if not classes:
            raise InputError("Expected an image to attack, but got none.")
        device, dtype = _device(model, images), dtype_of(model)
        if dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"Expected a model in float32 or float64 to attack, but its weights are {dtype}: "
                "it would round the images before they are changed. Give model.float()."
            )
        return Task(
            images=images.detach().to(device, dtype, copy=True),
            labels=torch.tensor(classes, device=device),
            indices=numbers,
            bounds=self._bounds(bounds, len(images), device),
            seed=self.seed,
        )

    def _found(self, model: nn.Module, task: Task) -> tuple[Tensor, Tensor]:
        """Points (R, B, C, H, W), and the queries (B,) that they took."""
        with task.drawing(0), self.gradient.installed(model):
            target = Target(
                model, task, self.gradient, batch_size=self.batch_size, shattered=self.shattered
            )
            return self._search(target, task).detach(), target.queries

    def _bounds(self, given: Tensor | None, count: int, device: torch.device) -> Tensor | None:
        if given is None:
            every = self.bound
            return (
                None
                if every is None
                else torch.full((count,), every, dtype=torch.float64, device=device)
            )
        bounds = given.double().to(device)
        if bounds.shape != (count,) or not bool((bounds.isfinite() & (bounds >= 0)).all()):
            raise InputError(
                f"Expected `bounds` ({count},), finite and at least 0, but got {given!r}."
            )
        return bounds

    def _judged(self, model: nn.Module, task: Task, raw: Tensor, queries: Tensor) -> Attacked:
        def verdict(points: Tensor, part: int) -> Verdict:
            return self.judge(
                model, points, task.labels, indices=task.indices, seed=self.seed, part=part
            )

        points = torch.stack([legal(self.norm, one, task.images, task.bounds) for one in raw])
        clean = verdict(task.images, 0)
        if clean.evaluations == 1:
            with task.drawing(2):
                check_settled(clean, verdict(task.images, 0))
        verdicts = [verdict(one, 1 + number) for number, one in enumerate(points)]
        order = torch.stack([v.worth() for v in verdicts])
        rows, worst = torch.arange(len(task.images)), order.argmax(dim=0)
        clipped = points[worst, rows]
        wrong = torch.stack([v.missed(task.labels) for v in verdicts]).sum(dim=0)
        best = (
            verdict(clipped, 1 + len(points))
            if verdicts[0].evaluations > 1 and len(points) > 1
            else chosen(verdicts, worst)
        )
        return Attacked(
            raw=raw[worst, rows],
            clipped=clipped,
            success=best.missed(task.labels),
            norm=distance(self.norm, clipped.double() - task.images).cpu(),
            queries=queries,
            clean=clean.predicted,
            tried=len(points),
            wrong=wrong,
            verdict=best,
        )


def _device(model: nn.Module, images: Tensor) -> torch.device:
    tensors = (*model.parameters(), *model.buffers())
    return next((t.device for t in tensors), images.device)
