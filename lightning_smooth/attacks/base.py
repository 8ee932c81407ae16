"""What every attack is, whatever it changes: from images to outcomes that can be recorded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from torch import Tensor, nn

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.smoothing.checks import check_images


class Attack(ABC):
    """Looks, near each image, for one that is answered wrongly. One that finds none proves nothing.

    Args:
        seed: seed of what is drawn.

    Raises:
        InputError: the seed is below 0.
    """

    method: ClassVar[str]

    def __init__(self, *, seed: int) -> None:
        self.seed = check_count("seed", seed, least=0)

    @abstractmethod
    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, indices: Iterable[int]
    ) -> list[AttackOutcome]:
        """Attack images.

        Args:
            model: (B, C, H, W) in [0, 1] -> scores (B, K). Evaluated in eval mode; it gathers no
                gradients, and its own modes are put back.
            images: (B, C, H, W), floating point, in [0, 1].
            labels: (B,) true classes, integers.
            indices: the index of each image in its data set, at least 0. With the seed it keys
                what is drawn.

        Returns:
            An outcome an image, in their order.

        Raises:
            InputError: images, labels, indices or the model's answers are not what was expected.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The settings on which outcomes depend, in plain types."""


def checked(images: Tensor, labels: Tensor, indices: Iterable[int]) -> tuple[list[int], list[int]]:
    """Check what is handed to an attack, and return classes and indices as integers.

    Raises:
        InputError: they are not what `Attack` expects.
    """
    if images.ndim != 4:
        raise InputError(f"Expected `images` (B, C, H, W), but got shape {tuple(images.shape)}.")
    numbers = [check_count("indices", index, least=0) for index in indices]
    if labels.is_floating_point() or not len(images) == labels.numel() == len(numbers):
        raise InputError(
            f"Expected an integer label and an index for each of {len(images)} images, but got "
            f"{labels.numel()} labels of {labels.dtype} and {len(numbers)} indices."
        )
    if len(images):
        check_images(images)
    return [check_count("labels", int(label), least=0) for label in labels.flatten()], numbers
