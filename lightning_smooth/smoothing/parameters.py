"""Noise on the parameters of a transformation, in place of pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.maths.resolvable import Laws
from lightning_smooth.smoothing.laws import Law
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey, backend, random_words
from lightning_smooth.transforms.base import Transform


class ParameterNoise(Law):
    """Images under a transformation whose parameters are drawn, each independently of the others.

    Draws are by inversion of each law, in float64, from the 53 leading bits of the generator's
    words: the same on every device.

    Args:
        transform: what is done to images.
        laws: law of each parameter that is drawn, of what is added to its identity; the others
            stay there.

    Raises:
        InputError: no law is given, or a law is that of a parameter which the transformation has
            not, or its draws may leave the parameter's range.
    """

    def __init__(self, transform: Transform, laws: Laws) -> None:
        unknown = sorted(set(laws) - set(transform.names))
        if unknown or not laws:
            raise InputError(
                f"Expected `laws` of one or more of {', '.join(transform.names)}, the parameters "
                f"of {transform!r}, but got {sorted(laws) or 'none'}."
            )
        for parameter in transform.parameters:
            law = laws.get(parameter.name)
            if law is None:
                continue
            ends = law.quantile(np.array([2.0**-54, 1 - 2.0**-53]))
            if not all(parameter.allows(parameter.identity + end) for end in ends.tolist()):
                raise InputError(
                    f"Expected a law of `{parameter.name}` whose draws are {parameter.range}, but "
                    f"{law!r} draws {float(ends[0]):.4g} to {float(ends[1]):.4g}. Noise that is "
                    "never below 0: ExponentialLaw, OneSidedUniformLaw, FoldedGaussianLaw."
                )
        self.transform = transform
        self.laws = {name: laws[name] for name in transform.names if name in laws}

    def __repr__(self) -> str:
        return f"ParameterNoise({self.transform!r}, {self.laws})"

    def block(
        self,
        key: NoiseKey,
        block: int,
        shape: tuple[int, int, int],
        device: torch.device,
        *,
        draws: int = BLOCK,
    ) -> Tensor:
        """See `Law.block`: parameters (draws, P), float64."""
        del shape
        words = random_words(key, block, (len(self.laws), 1, 1), draws=draws)
        # Between 0 and 1: never either of them.
        uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        return self._theta(np.minimum(uniform.reshape(draws, -1), 1 - 2.0**-53)).to(device)

    def draws(self, key: NoiseKey, first: int, end: int) -> Tensor:
        """Draws `first` to `end` of a stream, whatever the image: (N, P) float64, on the CPU."""
        blocks = range(first // BLOCK, (end + BLOCK - 1) // BLOCK)
        cpu = torch.device("cpu")
        theta = torch.cat([self.block(key, block, (1, 1, 1), cpu) for block in blocks])
        return theta[first % BLOCK :][: end - first]

    def generator(self, device: torch.device) -> str:
        """See `Law.generator`: that of the CPU, wherever the draws are wanted."""
        return backend(torch.device("cpu"))

    def perturb(self, image: Tensor, drawn: Tensor) -> Tensor:
        """See `Law.perturb`: the image transformed by parameters (B, P)."""
        return self.transform(image[None], drawn)

    def perturbed(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """See `Law.perturbed`."""
        return self.transform(images, self.theta(len(images), generator).to(images.device))

    def theta(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw parameters (count, P), float64, for training."""
        size = (count, len(self.laws))
        drawn = torch.rand(size, generator=generator, dtype=torch.float64, device=generator.device)
        return self._theta(drawn.cpu().numpy().clip(2.0**-54, 1 - 2.0**-53))

    def _theta(self, uniform: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensor:
        theta = self.transform.identity().repeat(len(uniform), 1)
        for place, (name, law) in enumerate(self.laws.items()):
            column = self.transform.names.index(name)
            theta[:, column] += torch.from_numpy(law.quantile(uniform[:, place]))
        return theta
