"""What every attack on parameters is: a list of them for each image, of which the worst is kept."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, final

from torch import Tensor, nn

from lightning_smooth.attacks.base import Attack, checked
from lightning_smooth.attacks.search import Search, Subject
from lightning_smooth.attacks.searches import BaseSearch
from lightning_smooth.certify.base import image_digest
from lightning_smooth.errors import InputError
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.transforms.base import Transform


class ParameterAttack(Attack):
    """Tries parameters of a transformation on each image, and keeps those of the largest loss.

    A subclass says which ones, in `_parameters`; one that looks for them with the classifier, in
    `_candidates`. The call validates them, transforms, has the
    classifier answer on the transformed images, and judges the worst of them. Images are not
    clipped after they were transformed. An attack that finds nothing proves nothing.

    Args:
        transform: what is done to images.
        seed: seed of what is drawn.
        search: the classifier that is attacked, and how: `BaseSearch` (None: with its defaults)
            for the model itself, `SmoothedSearch` for the smoothed one.

    Raises:
        InputError: the seed is below 0.
    """

    def __init__(self, transform: Transform, *, seed: int, search: Search | None) -> None:
        super().__init__(seed=seed)
        self.transform = transform
        self.search = search or BaseSearch()

    def __repr__(self) -> str:
        own = ", ".join(f"{name}={value!r}" for name, value in self._settings().items())
        return f"{type(self).__name__}({self.transform!r}, {own}, {self.search!r})"

    @final
    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, indices: Iterable[int]
    ) -> list[AttackOutcome]:
        """Attack images.

        Args:
            model: base classifier: (B, C, H, W) in [0, 1] -> scores (B, K). Evaluated in eval
                mode; it gathers no gradients, and its own modes are put back.
            images: (B, C, H, W), floating point, in [0, 1].
            labels: (B,) true classes, integers.
            indices: the index of each image in its data set, at least 0. With the seed it keys
                what is drawn: an outcome depends neither on the batch nor on its order.

        Returns:
            An outcome an image, in their order. Of equal losses, the parameters tried first.

        Raises:
            InputError: images, labels, indices or the model's answers are not what was expected,
                or the transformation does not allow the parameters.
        """
        classes, numbers = checked(images, labels, indices)
        if not len(images):
            return []
        start = time.perf_counter()
        candidates = self._candidates(model, images.detach(), classes, numbers)
        spent = (time.perf_counter() - start) / len(images)
        subjects = [
            Subject(index, label, image, self._checked(theta))
            for index, label, image, theta in zip(
                numbers, classes, images.detach(), candidates, strict=True
            )
        ]
        findings = self.search(model, self.transform, subjects, seed=self.seed)
        return [
            AttackOutcome(
                index=subject.index,
                label=subject.label,
                clean=finding.clean,
                theta=self._named(subject.theta[finding.worst]),
                predicted=finding.predicted,
                loss=finding.loss,
                tried=len(subject.theta),
                wrong=finding.wrong,
                method=self.method,
                parameters={**self.describe(), "classes": finding.classes},
                seed=self.seed,
                seconds=round(finding.seconds + spent, 6),
                image=image_digest(subject.image),
            )
            for subject, finding in zip(subjects, findings, strict=True)
        ]

    def describe(self) -> dict[str, Any]:
        """The settings on which outcomes depend, in plain types."""
        return {
            "method": self.method,
            "transform": repr(self.transform),
            **self._settings(),
            **self.search.describe(),
            "seed": self.seed,
        }

    @abstractmethod
    def _parameters(self, index: int) -> Tensor:
        """The parameters (k, P), float64, to try on an image: a function of seed and index."""

    def _candidates(
        self, model: nn.Module, images: Tensor, labels: Sequence[int], indices: Sequence[int]
    ) -> list[Tensor]:
        """The parameters (k, P), float64, to try on each image, the first of equal losses first."""
        del model, images, labels
        return [self._parameters(index) for index in indices]

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """The attack's own part of `describe`."""

    def _checked(self, theta: Tensor) -> Tensor:
        if not len(theta):
            raise InputError(f"{self!r} has no parameters to try.")
        return self.transform.check(theta)

    def _named(self, theta: Tensor) -> dict[str, float]:
        return dict(zip(self.transform.names, theta.tolist(), strict=True))
