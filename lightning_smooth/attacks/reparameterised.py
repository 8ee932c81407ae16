"""Attacks by reparameterisation: the latent z of images x = h(z) is searched, not their pixels.

Source: Athalye, Carlini, Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018
(section 4.3; 5.4.2 for Defense-GAN).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_smooth.attacks.carlini import constant_search
from lightning_smooth.attacks.descent import Adam, Nearest, pulled
from lightning_smooth.attacks.gradients import differentiating, dtype_of
from lightning_smooth.attacks.image import ImageAttack
from lightning_smooth.attacks.judges import Judge
from lightning_smooth.attacks.losses import LOSSES, LossName, check_loss, fooled
from lightning_smooth.attacks.norms import Norm, project
from lightning_smooth.attacks.strategies import Gradient
from lightning_smooth.attacks.target import Target, Task
from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.models.fingerprint import fingerprint
from lightning_smooth.smoothing.rng import generator_of


class _LatentAttack(ImageAttack):
    """What attacks on a generator's latent share: starts that give images near the true one."""

    def __init__(
        self,
        generator: nn.Module,
        latent: int | Sequence[int],
        *,
        bound: float | None,
        norm: Norm,
        restarts: int,
        fit: int,
        rate: float,
        seed: int,
        gradient: Gradient | None,
        judge: Judge | None,
        batch_size: int | None,
        shattered: bool,
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
        self.generator = generator
        self._fingerprint = fingerprint(generator)
        sizes = [latent] if isinstance(latent, int) else list(latent)
        self.latent = tuple(check_count("latent", size) for size in sizes)
        self.restarts = check_count("restarts", restarts)
        self.fit = check_count("fit", fit, least=0)
        self.rate = check_positive("rate", rate)

    def _search(self, target: Target, task: Task) -> Tensor:
        self.generator.to(task.images.device)
        with differentiating(self.generator):
            self._check(task)
            starts = [self._start(task, number) for number in range(self.restarts)]
            return self._ended(target, task, starts)

    @abstractmethod
    def _ended(self, target: Target, task: Task, starts: list[Tensor]) -> Tensor:
        """The points (R, B, C, H, W) found from latents (B, ...)."""

    def _images(self, latents: Tensor) -> Tensor:
        images: Tensor = self.generator(latents.to(dtype_of(self.generator)))
        return images.to(latents)

    def _start(self, task: Task, number: int) -> Tensor:
        """Latents (B, ...) from N(0, I), brought to where the generator gives the images."""
        drawn = [
            torch.from_numpy(generator_of(task.key(row, 2 + number)).standard_normal(self.latent))
            for row in range(len(task.images))
        ]
        latents = torch.stack(drawn).to(task.images)
        rows, adam = torch.arange(len(latents), device=latents.device), Adam(latents, self.rate)
        for _ in range(self.fit):
            latents = latents + adam.step(rows, pulled(self._images, latents, task.images)[2])
        return latents

    def _check(self, task: Task) -> None:
        with torch.no_grad():
            shape = self._images(torch.zeros(1, *self.latent).to(task.images)).shape
        if shape[1:] != task.images.shape[1:]:
            raise InputError(
                f"Expected a `generator` of images {tuple(task.images.shape[1:])}, but for a "
                f"latent {self.latent} it gives {tuple(shape[1:])}."
            )

    def _settings(self) -> dict[str, Any]:
        names = ("restarts", "fit", "rate")
        made = {"generator": self._fingerprint, "latent": list(self.latent)}
        return {**made, **{name: getattr(self, name) for name in names}}


class ReparameterisedAttack(_LatentAttack):
    """Maximises the loss of h(z) over z, less a penalty on what of h(z) lies outside the ball.

    With d = h(z) - x and P the projection on the ball, the penalty is `penalty` |d - P(d)|^2 / (2
    r^2): half the squared l2 distance from the ball, in parts of its size r (the bound in l2 and
    l1, sqrt(CHW) times the bound in linf). It is 0 in the ball, where z is free to follow the loss
    alone; its gradient d - P(d) is continuous, and in linf and l1 it acts on all the pixels that
    stand out, where that of the norm's own excess would act on one of them or on all alike.

    Starts are latents from N(0, I) that `fit` steps have brought near the image. Of a restart the
    point of the largest objective is kept, of those that are fooled in the ball if there are any;
    brought into the ball, it is judged.

    Args:
        generator: h: latents (B, *`latent`) to images (B, C, H, W) in [0, 1]; it must
            treat each row apart.
        latent: shape of a latent, or its size.
        bound: radius of the ball, in units of pixels in [0, 1].
        norm: norm of the ball: linf, l2 or l1.
        steps: steps of Adam in z.
        restarts: starts of an image.
        fit: steps of Adam, before them, that bring h(z) near the image.
        rate: of Adam.
        penalty: weight of the penalty.
        loss: see `PGD`.
        seed: see `PGD`.
        gradient: see `PGD`; `Bypass` of a defence with g(h(z)) = h(z) leaves it out of the search.
        judge: see `PGD`.
        batch_size: see `PGD`.
        shattered: see `ImageAttack`.

    Raises:
        InputError: a number is out of range. When called: the generator gives other shapes.
    """

    method = "reparameterised"

    def __init__(
        self,
        generator: nn.Module,
        latent: int | Sequence[int],
        bound: float,
        norm: Norm = "l2",
        steps: int = 200,
        restarts: int = 2,
        fit: int = 200,
        rate: float = 0.05,
        penalty: float = 10.0,
        loss: LossName = "margin",
        seed: int = 0,
        gradient: Gradient | None = None,
        judge: Judge | None = None,
        batch_size: int | None = None,
        shattered: bool = False,
    ) -> None:
        super().__init__(
            generator,
            latent,
            bound=bound,
            norm=norm,
            restarts=restarts,
            fit=fit,
            rate=rate,
            seed=seed,
            gradient=gradient,
            judge=judge,
            batch_size=batch_size,
            shattered=shattered,
        )
        self.steps = check_count("steps", steps)
        self.penalty = check_positive("penalty", penalty)
        self.loss = check_loss(loss)

    def _ended(self, target: Target, task: Task, starts: list[Tensor]) -> Tensor:
        return torch.stack([self._climbed(target, task, latents) for latents in starts])

    def _climbed(self, target: Target, task: Task, latents: Tensor) -> Tensor:
        rows, adam = torch.arange(len(latents), device=latents.device), Adam(latents, self.rate)
        best = task.images.clone()
        most = torch.full((len(rows),), -torch.inf, dtype=torch.float64, device=rows.device)
        held = torch.zeros_like(rows, dtype=torch.bool)
        weight = (self.penalty / self._size(task).square()).to(latents)
        shape = (-1, *[1] * (latents.ndim - 1))
        for _ in range(self.steps):
            slope = target.slope(latents, rows, LOSSES[self.loss], self._images)
            leaf = latents.detach().clone().requires_grad_()
            points = self._images(leaf)
            change = points.detach() - task.images
            outside = change - project(self.norm, change, task.radii)
            (pull,) = torch.autograd.grad(points, leaf, outside)
            excess = weight * outside.flatten(1).square().sum(dim=1) / 2
            worth = (slope.loss - excess).double()
            inside = fooled(slope.scores, task.labels) & (excess == 0)
            more = (inside & ~held) | ((inside == held) & (worth > most))
            best[more], most[more] = points.detach()[more], worth[more]
            held |= inside
            latents = latents + adam.step(rows, weight.reshape(shape) * pull - slope.gradient)
        return best

    def _size(self, task: Task) -> Tensor:
        pixels = math.prod(task.images.shape[1:])
        return task.radii * (math.sqrt(pixels) if self.norm == "linf" else 1.0)

    def _settings(self) -> dict[str, Any]:
        names = ("steps", "penalty", "loss")
        return {**super()._settings(), **{name: getattr(self, name) for name in names}}


class ReparameterisedCarliniWagner(_LatentAttack):
    """The fooled point nearest to the image in l2 among those that a generator gives.

    What Athalye et al. did to Defense-GAN, whose projection g on the range of h gives h(z) back:
    minimises |h(z) - x|^2 + c max(`confidence` - margin(h(z)), 0) over z, with `CarliniWagner`'s
    search for c. Attack the defended network with `Bypass` of the projection; the judge asks it
    whole, with the projection as it is, which need not find the z of a point again.

    Args:
        generator: see `ReparameterisedAttack`.
        latent: see there.
        bound: see `CarliniWagner`: a point that is brought into a ball is not h(z) any more.
        steps: see `CarliniWagner`.
        searches: see there.
        constant: see there.
        confidence: see there; more than 0 makes up for a projection that is not perfect.
        restarts: starts of an image, of which the nearest fooled point is kept.
        fit: see `ReparameterisedAttack`.
        rate: of Adam.
        seed: see `PGD`.
        gradient: see `PGD`.
        judge: see `PGD`.
        batch_size: see `PGD`.
        shattered: see `ImageAttack`.

    Raises:
        InputError: a number is out of range. When called: the generator gives other shapes.
    """

    method = "reparameterised Carlini-Wagner"

    def __init__(
        self,
        generator: nn.Module,
        latent: int | Sequence[int],
        bound: float | None = None,
        steps: int = 200,
        searches: int = 5,
        constant: float = 1.0,
        confidence: float = 0.0,
        restarts: int = 1,
        fit: int = 200,
        rate: float = 0.05,
        seed: int = 0,
        gradient: Gradient | None = None,
        judge: Judge | None = None,
        batch_size: int | None = None,
        shattered: bool = False,
    ) -> None:
        super().__init__(
            generator,
            latent,
            bound=bound,
            norm="l2",
            restarts=restarts,
            fit=fit,
            rate=rate,
            seed=seed,
            gradient=gradient,
            judge=judge,
            batch_size=batch_size,
            shattered=shattered,
        )
        self.search = constant_search(steps, searches, rate, constant, confidence)

    def _ended(self, target: Target, task: Task, starts: list[Tensor]) -> Tensor:
        nearest = Nearest("l2", task)
        rows = torch.arange(len(task.images), device=task.images.device)
        for latents in starts:
            self.search.run(target, task, rows, latents, self._images, nearest)
        return nearest.points[None]

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), **vars(self.search)}
