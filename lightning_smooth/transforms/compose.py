"""Several transformations, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.transforms.base import Parameter, Transform


class Compose(Transform):
    """Apply transformations in turn, each with its own parameters.

    Convention: the first of the list is applied first. The columns of theta are those of the first,
    then those of the second, and so on. A name that two of them have gets its transformation's name
    before it (`rotation_angle`), and where that is not enough their place in the list, from 1
    (`rotation1_angle`).

    It keeps images in range if each of the transformations does. It does not compose, even where
    each of them does: they need not commute.

    Args:
        transforms: one or more.

    Raises:
        InputError: there are none, or one is not a transformation.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)
        wrong = [step for step in self.transforms if not isinstance(step, Transform)]
        if wrong or not self.transforms:
            got = repr(wrong[0]) if wrong else "none"
            raise InputError(f"Expected `transforms` to be one or more Transform, but got {got}.")
        self.parameters = tuple(_named(self.transforms))
        self.keeps_range = all(step.keeps_range for step in self.transforms)

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"

    def split(self, theta: Tensor) -> tuple[Tensor, ...]:
        """Parameters (B, P) of each of the transformations, in turn.

        >>> from lightning_smooth.transforms import Rotation, Translation
        >>> both = Compose([Rotation(), Translation()])
        >>> [part.tolist() for part in both.split(both.theta(angle=5.0, dy=2.0))]
        [[[5.0]], [[0.0, 2.0]]]
        """
        return theta.split_with_sizes([len(step.parameters) for step in self.transforms], dim=1)

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        for step, part in zip(self.transforms, self.split(theta), strict=True):
            images = step(images, part)
        return images


def _named(transforms: tuple[Transform, ...]) -> Iterator[Parameter]:
    """Parameters of all, each with a name of its own."""
    entries = [
        (type(step).__name__.lower(), place, parameter)
        for place, step in enumerate(transforms, start=1)
        for parameter in step.parameters
    ]
    short = Counter(parameter.name for _, _, parameter in entries)
    middle = Counter(f"{kind}_{parameter.name}" for kind, _, parameter in entries)
    for kind, place, parameter in entries:
        if short[parameter.name] == 1:
            yield parameter
        elif middle[f"{kind}_{parameter.name}"] == 1:
            yield replace(parameter, name=f"{kind}_{parameter.name}")
        else:
            yield replace(parameter, name=f"{kind}{place}_{parameter.name}")
