"""Test images that were attacked before anyone sees them: transformed, and stored in 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from lightning_smooth.attacks.random import uniform_parameters
from lightning_smooth.data.sources import ImageSource
from lightning_smooth.errors import check_count
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box

_LEVELS = 255


class StoredAttack:
    """Transforms each image by parameters of its own, drawn uniformly from a box.

    What comes out is clipped to [0, 1] and rounded to whole 255ths, as a file would hold it. The
    parameters are a function of seed and index alone: those that `RandomAttack` of this box and
    seed tries first. No classifier is looked at: they are any attack, not the worst.

    Args:
        transform: what is done to images, in float64.
        box: range of each parameter that is attacked; the others stay at their identity.
        seed: seed of the draws.

    Raises:
        InputError: the box does not fit the transformation, or the seed is below 0.
    """

    def __init__(self, transform: Transform, box: Box, seed: int = 0) -> None:
        self.transform = transform
        self.box = transform.check_box(box)
        self.seed = check_count("seed", seed, least=0)

    def __repr__(self) -> str:
        ends = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in self.box.items())
        return f"StoredAttack({self.transform!r}, {ends}, seed={self.seed})"

    def theta(self, index: int) -> torch.Tensor:
        """The parameters of one image: (P,) float64."""
        draws = uniform_parameters(self.transform, self.box, 1, seed=self.seed, index=index)
        return draws[0]


class AttackedSource(ImageSource):
    """A split as an attack left it.

    Args:
        source: the split.
        attack: what was done to it.
    """

    def __init__(self, source: ImageSource, attack: StoredAttack) -> None:
        super().__init__(source.labels, scale=_LEVELS)
        self.source = source
        self.attack = attack

    def pixels(self, indices: Sequence[int]) -> torch.Tensor:
        """Return the bytes of some images, uint8 (B, C, H, W)."""
        places = torch.as_tensor(indices, dtype=torch.int64).tolist()
        images = self.source.pixels(places).double() / self.source.scale
        moved = self.attack.transform(images, torch.stack([*map(self.attack.theta, places)]))
        return (moved.clamp(0, 1) * _LEVELS).round().to(torch.uint8)

    def update_digest(self, update: Callable[[bytes], None]) -> None:
        """Feed what the split is, and the attack, to a hash."""
        self.source.update_digest(update)
        update(f"\n{self.attack!r}".encode())
