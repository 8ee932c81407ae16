"""The gradient of a projection on a generator's images, through the latents that it finds.

Source: Athalye, Carlini, Wagner, ICML 2018 (section 5.4.2, Defense-GAN, whose projection they leave
out on the way back); the mixture over starts and the unrolled steps are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_smooth.attacks.bypass import Bypass
from lightning_smooth.attacks.strategies import At, Change, Gradient, Scores, Slope, derivative
from lightning_smooth.defenses import DefenseGAN
from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.smoothing.rng import NoiseKey


class ProjectionGradient(Gradient):
    """A smooth form of Defense-GAN, differentiated: latents move with the image, and compete.

    The defence answers for the image h(z) nearest to x among those of a few latents that descent
    found from random starts. BPDA's identity sees neither that z moves with x on the range of h
    alone, nor that x decides which z is the nearest. Here a gradient has `draws` latents z_k a
    point, found by the defence's own descent; `unrolled` more steps of it are differentiated. With
    e_k = |h(z_k) - x|^2, scores are the logarithm of the mixture

        sum_k w_k softmax(f(h(z_k))),  w_k proportional to exp(-e_k / `temperature`),

    so that the loss grows where wrong latents come nearer than right ones, too. In the first
    gradient all latents of a point are found from fresh starts; later `fresh` of them are, in the
    place of the oldest, and the others are followed from where they were, which costs little.

    Points that are found are judged by the defence as it is.

    Args:
        module: name of the defence in the model, as `model.named_modules()` has it.
        draws: latents of a point.
        fresh: latents of them that are found anew for each gradient; None for all.
        unrolled: steps of the descent that are differentiated; 0 leaves latents where they are.
        temperature: of the mixture, in squared l2 of pixels in [0, 1].

    Raises:
        InputError: a number is out of range. When a gradient is taken: the model has no module of
            that name, or it is no DefenseGAN.
    """

    def __init__(
        self,
        module: str = "defense",
        draws: int = 8,
        fresh: int | None = 2,
        unrolled: int = 5,
        temperature: float = 2.0,
    ) -> None:
        self.module = module
        self.draws = check_count("draws", draws)
        self.fresh = self.draws if fresh is None else check_count("fresh", fresh)
        if self.fresh > self.draws:
            raise InputError(f"Expected `fresh` to be at most `draws`, {draws}, but got {fresh!r}.")
        self.unrolled = check_count("unrolled", unrolled, least=0)
        self.temperature = check_positive("temperature", temperature)
        self._bypass = Bypass([module])
        self._defence: DefenseGAN | None = None
        self._kept: dict[tuple[NoiseKey, int], Tensor] = {}

    @property
    def passes(self) -> int:
        """See `Gradient.passes`: those of the network; the generator has many more."""
        return self.draws

    @property
    def copies(self) -> int:
        """See `Gradient.copies`."""
        return self.draws

    @contextmanager
    def installed(self, model: nn.Module) -> Iterator[None]:
        """See `Gradient.installed`; latents are followed until it ends."""
        with self._bypass.installed(model):
            defence = dict(model.named_modules())[self.module]
            if not isinstance(defence, DefenseGAN):
                raise InputError(
                    f"Expected the module {self.module!r} to be a DefenseGAN, but it is a "
                    f"{type(defence).__name__}: BPDA has rules for any module."
                )
            self._defence, self._kept = defence, {}
            try:
                yield
            finally:
                self._defence, self._kept = None, {}

    def slope(self, scores: Scores, points: Tensor, at: At, change: Change) -> Slope:
        """See `Gradient.slope`; starts are those of torch's generator."""
        defence = self._defence
        if defence is None:
            raise InputError("Expected a ProjectionGradient to be used within `installed`.")
        leaf = points.detach().clone().requires_grad_()
        images = change(leaf)
        names = _named(at.keys)
        dtype = next(defence.generator.parameters()).dtype
        targets = images.to(dtype).repeat_interleave(self.draws, dim=0)
        latents = defence.unrolled(self._latents(defence, images, names), targets, self.unrolled)
        for name, own in zip(names, torch.split(latents.detach(), self.draws), strict=True):
            self._kept[name] = own
        made = defence.generator(latents)
        errors = (made - targets).flatten(1).square().sum(dim=1)
        weights = (-errors / self.temperature).view(len(points), -1).log_softmax(dim=1)
        likely = scores(made.to(images.dtype)).log_softmax(dim=1)
        mixed = (weights[:, :, None] + likely.view(*weights.shape, -1)).logsumexp(dim=1)
        loss = at.loss(mixed, at.labels)
        return Slope(loss.detach(), derivative(loss, leaf), None, mixed.detach())

    def describe(self) -> dict[str, Any]:
        """See `Gradient.describe`."""
        names = ("module", "draws", "fresh", "unrolled", "temperature")
        return {"gradient": "projection", **{name: getattr(self, name) for name in names}}

    def _latents(
        self, defence: DefenseGAN, images: Tensor, names: Sequence[tuple[NoiseKey, int]]
    ) -> Tensor:
        """Latents (N draws, latent), of a point one after the other, the freshest last."""
        kept = [self._kept.get(name) for name in names]
        made: list[Tensor | None] = [None] * len(names)
        for known in (False, True):
            rows = [row for row, own in enumerate(kept) if (own is not None) is known]
            if not rows:
                continue
            count = self.fresh if known else self.draws
            found, _ = defence.restarted(images[rows], count)
            for row, new in zip(rows, found, strict=True):
                old = kept[row]
                made[row] = new if old is None else torch.cat([old[count:], new])
        return torch.cat([own for own in made if own is not None])


def _named(keys: Sequence[NoiseKey]) -> list[tuple[NoiseKey, int]]:
    """Keys with a number for each point that shares one."""
    seen: Counter[NoiseKey] = Counter()
    names = []
    for key in keys:
        names.append((key, seen[key]))
        seen[key] += 1
    return names
