"""How the worst of many parameters is found, whichever classifier is attacked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.smoothing.plans import Draws, Plan, votes
from lightning_smooth.smoothing.smoothed import SmoothedClassifier, evaluating
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import ABSTAIN

_CHUNK: Final = 64
"""Parameters whose images are made at a time."""


@dataclass(frozen=True, eq=False)
class Subject:
    """An image, and the parameters to try on it.

    Attributes:
        index: in its data set.
        label: the true class.
        image: (C, H, W) in [0, 1].
        theta: (k, P) float64.
    """

    index: int
    label: int
    image: Tensor
    theta: Tensor


@dataclass(frozen=True)
class Finding:
    """What was found for one subject; the fields are those of `AttackOutcome`.

    Attributes:
        worst: row of `theta` with the largest loss, the first of equal ones.
        loss: the loss there.
        wrong: rows whose answer is not the label.
        clean: the answer without attack.
        predicted: the answer at the worst.
        classes: number of the model's classes.
        seconds: time that it took.
    """

    worst: int
    loss: float
    wrong: int
    clean: int
    predicted: int
    classes: int
    seconds: float


class Search(ABC):
    """Ranks the candidates of every subject, and judges the worst of each.

    A subclass says which draws are made of an image, and what their sums say of it.
    """

    @final
    def __call__(
        self, model: nn.Module, transform: Transform, subjects: Sequence[Subject], *, seed: int
    ) -> list[Finding]:
        """Find the worst parameters of every subject.

        Args:
            model: base classifier.
            transform: what is done to images.
            subjects: images of one shape, at least one.
            seed: seed of the draws, if there are any.

        Returns:
            A finding a subject, in their order. Of equal losses, the first.

        Raises:
            InputError: the model's answers are not scores, or a label is none of its classes.
        """
        classifier = self.classifier(model)
        notes = [_Notes([math.nan] * len(s.theta), [ABSTAIN] * len(s.theta)) for s in subjects]

        def first() -> Iterator[Plan[_Measured]]:
            for place, subject in enumerate(subjects):
                image = ready(classifier, subject.image)
                (clean,) = self.encode(image[None])
                yield _measured(place, None, self._clean(clean, subject.index, seed))
                for row, changed in self._transformed(transform, image, subject.theta):
                    yield _measured(place, row, self._rank(changed, subject.index, row, seed))

        def then() -> Iterator[Plan[_Measured]]:
            for place, (subject, note) in enumerate(zip(subjects, notes, strict=True)):
                image, rows = ready(classifier, subject.image), subject.theta[note.worst][None]
                for _, changed in self._transformed(transform, image, rows):
                    yield _measured(place, None, self._judge(changed, subject.index, seed))

        def run(plans: Iterator[Plan[_Measured]]) -> Iterator[_Measured]:
            with evaluating(classifier.model):
                shape = tuple(self.encode(ready(classifier, subjects[0].image)[None]).shape[1:])
            for found, spent in classifier.run(plans, shape, tally=self._tally, most=self._most):
                notes[found[0]].seconds += spent
                yield found

        for place, row, sums in run(first()):
            note, label = notes[place], subjects[place].label
            note.classes = self._classes(sums, label)
            if row is None:
                note.clean = self._answer(sums)
            else:
                note.answers[row], note.losses[row] = self._ranked(sums, label)
        for place, _, sums in run(then()):
            notes[place].predicted = self._answer(sums)
        return [note.finding(subject.label) for note, subject in zip(notes, subjects, strict=True)]

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The settings on which findings depend, in plain types."""

    @abstractmethod
    def classifier(self, model: nn.Module) -> SmoothedClassifier:
        """What is attacked: its noise is added to what `encode` gives, for its model to see."""

    def encode(self, images: Tensor) -> Tensor:
        """What noise is added to, of images (B, C, H, W): differentiable."""
        return images

    @property
    @abstractmethod
    def _most(self) -> int:
        """Draws that an image may take."""

    def _transformed(
        self, transform: Transform, image: Tensor, theta: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """The rows of theta with their encoded images, some of which are made at a time."""
        for start in range(0, len(theta), _CHUNK):
            changed = transform(image[None], theta[start : start + _CHUNK])
            yield from enumerate(self.encode(changed), start)

    @abstractmethod
    def _clean(self, image: Tensor, index: int, seed: int) -> Draws:
        """The draws that answer without attack."""

    @abstractmethod
    def _rank(self, image: Tensor, index: int, row: int, seed: int) -> Draws:
        """The draws that rank the candidate of a row."""

    @abstractmethod
    def _judge(self, image: Tensor, index: int, seed: int) -> Draws:
        """The draws that answer at the worst candidate."""

    @abstractmethod
    def _ranked(self, sums: Tensor, label: int) -> tuple[int, float]:
        """A candidate's answer, and its loss."""

    @abstractmethod
    def _answer(self, sums: Tensor) -> int:
        """The classifier's answer, or an abstention."""

    def _classes(self, sums: Tensor, label: int) -> int:
        """The number of classes, which the label is one of."""
        classes = len(self._scores(sums))
        if label >= classes:
            raise InputError(
                f"Expected `labels` in 0..{classes - 1}, the model's {classes} classes, but got "
                f"{label}: give the model the data's number of classes."
            )
        return classes

    @staticmethod
    def _tally(scores: Tensor) -> Tensor:
        """What a draw adds to the sums."""
        return votes(scores)

    @staticmethod
    def _scores(sums: Tensor) -> Tensor:
        """A number for each class."""
        return sums


_Measured = tuple[int, int | None, Tensor]
"""Number of a subject, row of a candidate (None for the image itself), and the sums."""


@dataclass
class _Notes:
    """What is known of a subject so far."""

    losses: list[float]
    answers: list[int]
    clean: int = ABSTAIN
    predicted: int = ABSTAIN
    classes: int = 0
    seconds: float = 0.0

    @property
    def worst(self) -> int:
        return max(range(len(self.losses)), key=self.losses.__getitem__)

    def finding(self, label: int) -> Finding:
        return Finding(
            worst=self.worst,
            loss=self.losses[self.worst],
            wrong=sum(answer != label for answer in self.answers),
            clean=self.clean,
            predicted=self.predicted,
            classes=self.classes,
            seconds=self.seconds,
        )


def _measured(place: int, row: int | None, ask: Draws) -> Plan[_Measured]:
    return place, row, (yield ask)


def ready(classifier: SmoothedClassifier, image: Tensor) -> Tensor:
    """The image where the model is, in at least float32, as noise is added to it."""
    return image.to(classifier.device, torch.promote_types(image.dtype, torch.float32))
