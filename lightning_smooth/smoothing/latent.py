"""Noise in a surrogate network's latents, and on the parameters that it learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.models.surrogate import SurrogateNetwork
from lightning_smooth.smoothing.laws import GaussianNoise, Law
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey, standard_normal

_PARAMETERS = 1 << 44
"""Streams of parameters are numbered from here, beside those of latents."""


class LatentNoise(Law):
    """F1(theta) + e on a latent: theta ~ N(identity, diag(scales)^2), e ~ N(0, sigma^2 I).

    Source: Hao et al., "GSmooth", ICML 2022, section 4; THEORY section 7.

    Args:
        surrogate: its F1 moves latents.
        scales: standard deviation of each parameter of the surrogate that is drawn, in its unit;
            none: F1 is left out.
        sigma: standard deviation of the noise on latents, in their units.

    Raises:
        InputError: sigma is not above 0, or a scale is not, or is of a parameter that the surrogate
            has not; or only some of its parameters have one.
    """

    def __init__(
        self, surrogate: SurrogateNetwork, scales: Mapping[str, float], sigma: float
    ) -> None:
        self.surrogate = surrogate
        self.noise = GaussianNoise(sigma)
        self.sigma = self.noise.sigma
        names = list(surrogate.box)
        if scales and set(scales) != set(names):
            raise InputError(
                f"Expected `scales` of {', '.join(names)}, the parameters of the surrogate, or "
                f"none, but got {sorted(scales)}."
            )
        if not all(scale > 0 for scale in scales.values()):
            raise InputError(f"Expected `scales` above 0, but got {dict(scales)}: leave them out.")
        self.scales = {name: float(scales[name]) for name in names if name in scales}
        transform = surrogate.transform
        place = dict(zip(transform.names, transform.identity().tolist(), strict=True))
        self.center = torch.tensor([place[name] for name in names])
        self._width = torch.tensor([self.scales[name] for name in self.scales])

    def __repr__(self) -> str:
        return f"LatentNoise(scales={self.scales}, sigma={self.sigma:g})"

    def block(
        self,
        key: NoiseKey,
        block: int,
        shape: tuple[int, int, int],
        device: torch.device,
        *,
        draws: int = BLOCK,
    ) -> Tensor:
        """See `Law.block`: noise of latents (draws, D, h, w), the moves of parameters in it."""
        noise = self.noise.block(key, block, shape, device, draws=draws)
        if not self.scales:
            return noise
        other = replace(key, part=key.part + _PARAMETERS)
        size = (len(self.scales), 1, 1)
        # All of the block: a CPU may round a product of few rows otherwise than of many.
        drawn = standard_normal(other, block, size, device).flatten(1)
        return noise + self._moves(drawn)[: len(noise)]

    def perturb(self, image: Tensor, drawn: Tensor) -> Tensor:
        """See `Law.perturb`: noisy copies of a latent (D, h, w)."""
        return drawn + image

    def perturbed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """See `Law.perturbed`: of latents (B, D, h, w)."""
        return images + self.like(images, generator)

    def like(self, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Draw noise of the shape of latents (..., D, h, w), an independent draw each."""
        noise = self.noise.like(latents, generator)
        if not self.scales:
            return noise
        count = latents.shape[:-3].numel()
        size = (count, len(self.scales))
        drawn = torch.empty(size, device=latents.device).normal_(generator=generator)
        return noise + self._moves(drawn).to(noise).reshape(latents.shape)

    def _moves(self, drawn: Tensor) -> Tensor:
        theta = self.center.to(drawn) + self._width.to(drawn) * drawn
        # Autocast is for models: bounds are those of F1, and not of F1 in bfloat16.
        with torch.autocast(drawn.device.type, enabled=False):
            return self.surrogate.move(theta)
