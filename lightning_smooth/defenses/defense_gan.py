"""Reconstruction of images by a generator that has learned clean ones.

Source: Samangouei, Kabkab, Chellappa 2018 (Defense-GAN).
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from lightning_smooth.defenses.base import check_batch
from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.models.weights import load_weights
from lightning_smooth.models.wgan import Generator

_MOMENTUM: Final = 0.7
"""This and the falling rate are ours."""


class DefenseGAN(nn.Module):
    """Replace an image x by G(z), where z is what gradient descent finds to make them alike.

    From `restarts` latents, drawn N(0, I) for each image of each call, `steps` steps of gradient
    descent with momentum .7 go down the mean square of G(z) - x over an image's values; the rate
    falls to 0 by a half cosine. The latent with the least error at the end counts.

    Keeps shape and dtype, and [0, 1]. It has no gradient: what it returns is detached, and its own
    gradients are taken whatever surrounds it, inference mode too. An image's result depends on its
    own draws alone, up to rounding.

    Args:
        generator: G.
        steps: of gradient descent; 200 as published.
        restarts: latents that are tried; 10 as published.
        lr: of gradient descent, at the first step.
        weights: file of the generator's weights, read when this is built; None to leave them. What
            is read, and how: `models.load_weights`.
        batch_size: latents in a pass; those of one image may be split.

    Raises:
        InputError: `generator` is no Generator, a number is out of range, or the weights do not
            fit; in the call: images of another shape than the generator's.
    """

    stochastic = True

    def __init__(
        self,
        generator: Generator,
        steps: int = 200,
        restarts: int = 10,
        lr: float = 10.0,
        weights: str | None = None,
        *,
        batch_size: int = 100,
    ) -> None:
        super().__init__()
        if not isinstance(generator, Generator):
            raise InputError(
                f"Expected `generator` to be a Generator, but got {type(generator).__name__}."
            )
        self.generator = generator
        self.steps = check_count("steps", steps, least=0)
        self.restarts = check_count("restarts", restarts)
        self.lr = check_positive("lr", lr)
        self.batch_size = check_count("batch_size", batch_size)
        if weights is not None:
            load_weights(generator, weights)

    def extra_repr(self) -> str:
        """Show the numbers in the model's repr."""
        return f"steps={self.steps}, restarts={self.restarts}, lr={self.lr:g}"

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct images (B, C, S, S) in [0, 1]."""
        latents, _ = self.project(images)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            made: Tensor = self.generator(latents)
        return made.to(images.dtype)

    def project(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Find latents of images.

        Args:
            images: (B, C, S, S) in [0, 1].

        Returns:
            Latents (B, latent), the best of the restarts; and the mean square of the error of each
            (B,).

        Raises:
            InputError: images of another shape than the generator's.
        """
        shape = self.generator.image_shape
        if tuple(check_batch(images).shape[1:]) != shape:
            raise InputError(
                f"Expected `images` of shape (B, {', '.join(map(str, shape))}), those of the "
                f"generator, but got {tuple(images.shape)}."
            )
        latents, errors = self.restarted(images, self.restarts)
        best = errors.nan_to_num(nan=math.inf).min(dim=1)
        return latents[torch.arange(len(images)), best.indices.cpu()], best.values

    def restarted(self, images: Tensor, restarts: int) -> tuple[Tensor, Tensor]:
        """Find latents of images from several starts each: all of them, not the best alone.

        Args:
            images: (B, C, S, S) in [0, 1], of the generator's shape.
            restarts: starts R of an image.

        Returns:
            Latents (B, R, latent), and the mean square of the error of each (B, R).
        """
        with (
            torch.inference_mode(False),
            torch.autocast(images.device.type, enabled=False),
        ):
            dtype = next(self.generator.parameters()).dtype
            targets = images.detach().clone().to(dtype).repeat_interleave(restarts, dim=0)
            starts = torch.randn(
                len(targets), self.generator.latent, dtype=dtype, device=images.device
            )
            parts = (torch.split(whole, self.batch_size) for whole in (starts, targets))
            found = [self._descend(*part) for part in zip(*parts, strict=True)]
            latents = torch.cat([latent for latent, _ in found])
            errors = torch.cat([error for _, error in found]).view(len(images), restarts)
            return latents.view(*errors.shape, self.generator.latent), errors

    def unrolled(self, latents: Tensor, images: Tensor, steps: int) -> Tensor:
        """Go on with the descent, at its first rate, so that the latents depend on the images.

        Near the minimum that they have reached, it is a truncated series of the derivative of that
        minimum by the image; the more steps, the nearer.

        Args:
            latents: (N, latent), taken as they are.
            images: (N, C, S, S), one for each latent, differentiable.
            steps: further steps of gradient descent with momentum.

        Returns:
            Latents (N, latent), differentiable in the images where gradients are on.
        """
        latents = latents.detach().requires_grad_()
        speed = torch.zeros_like(latents)
        for _ in range(steps):
            errors = self._errors(latents, images)
            (slope,) = torch.autograd.grad(errors.sum(), latents, create_graph=True)
            speed = _MOMENTUM * speed + slope
            latents = latents - self.lr * speed
        return latents

    def _descend(self, latents: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        speed = torch.zeros_like(latents)
        for step in range(self.steps):
            rate = self.lr * (1 + math.cos(math.pi * step / self.steps)) / 2
            with torch.enable_grad():
                moving = latents.detach().requires_grad_()
                errors = self._errors(moving, targets)
                (slope,) = torch.autograd.grad(errors.sum(), moving)
            speed = _MOMENTUM * speed + slope
            latents = latents - rate * speed
        with torch.no_grad():
            return latents, self._errors(latents, targets)

    def _errors(self, latents: Tensor, targets: Tensor) -> Tensor:
        wrong: Tensor = self.generator(latents) - targets
        return wrong.square().flatten(1).mean(dim=1)
