"""What attacks of other packages share: a plain torch module to work on, and our judge."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from lightning_smooth.attacks.image import ImageAttack
from lightning_smooth.attacks.judges import Judge
from lightning_smooth.attacks.norms import Norm
from lightning_smooth.attacks.strategies import Gradient
from lightning_smooth.attacks.target import Target, Task
from lightning_smooth.errors import InputError


class ForeignAttack(ImageAttack):
    """An attack of another package on the model as a plain torch module, judged as all are.

    The module has the model's scores without one for rejection, in eval mode, and gives gradients;
    it counts its forward passes, which `queries` has as if every image had as many. Gradients are
    those that the package takes: plain ones, of a model that may have BPDA's rules in it.
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
    ) -> None:
        super().__init__(
            bound=bound,
            norm=norm,
            seed=seed,
            gradient=gradient,
            judge=judge,
            batch_size=batch_size,
            shattered=True,
        )
        if self.gradient.passes != 1:
            raise InputError(
                f"Expected {type(self).__name__} to have a plain `gradient` or BPDA of one, as its "
                f"package takes its own, but got {self.gradient!r}: give PlainGradient, or attack "
                "with PGD."
            )

    def _search(self, target: Target, task: Task) -> Tensor:
        model = _Plain(target, task.images).eval()
        size = self.batch_size or len(task.images)
        parts = [slice(start, start + size) for start in range(0, len(task.images), size)]
        found = [self._run(model, task.images[k].clone(), task.labels[k].clone()) for k in parts]
        target.spend(model.passes)
        points = torch.cat(found).detach().to(task.images)
        if points.shape != task.images.shape:
            raise InputError(
                f"Expected {type(self).__name__} to give points {tuple(task.images.shape)}, but "
                f"got {tuple(points.shape)}."
            )
        return points[None]

    @abstractmethod
    def _run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Run the package's attack: points (B, C, H, W)."""


class _Plain(nn.Module):
    """The model under attack, as other packages want one."""

    def __init__(self, target: Target, images: Tensor) -> None:
        super().__init__()
        # Packages ask for the device of a parameter.
        self.place = nn.Parameter(torch.zeros_like(images[0, 0, 0, 0]), requires_grad=False)
        self.passes = 0
        self._scores = target.attached

    def forward(self, images: Tensor) -> Tensor:
        self.passes += len(images)
        return self._scores(images)
