"""Who decides what is answered at a point: the model, a model that draws, a smoothed classifier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_smooth.attacks.expectations import SmoothedGradient
from lightning_smooth.attacks.losses import cross_entropy
from lightning_smooth.attacks.searches import SmoothedSearch, predicted
from lightning_smooth.attacks.strategies import Gradient, PlainGradient
from lightning_smooth.attacks.verdicts import Verdict
from lightning_smooth.certify.base import Certifier
from lightning_smooth.defenses.base import rejection_class
from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.stochastic import is_stochastic
from lightning_smooth.smoothing.checks import check_labels, check_logits
from lightning_smooth.smoothing.execution import ON_GPU
from lightning_smooth.smoothing.laws import PixelLaw
from lightning_smooth.smoothing.plans import Draws, Plan
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey
from lightning_smooth.smoothing.smoothed import evaluating
from lightning_smooth.types import ABSTAIN


class Judge(ABC):
    """Answers at points, by draws that no attack has seen."""

    @abstractmethod
    def __call__(
        self,
        model: nn.Module,
        points: Tensor,
        labels: Tensor,
        *,
        indices: Sequence[int],
        seed: int,
        part: int,
    ) -> Verdict:
        """Answer at points.

        Args:
            model: what is attacked.
            points: (B, C, H, W) in [0, 1], on the model's device.
            labels: (B,) true classes, there.
            indices: index of each image in its data set.
            seed: of the draws.
            part: number of a set of draws: those of two parts are independent.
        """

    @abstractmethod
    def gradient(self) -> Gradient:
        """The gradient that suits what is judged, for attacks that are given none."""

    def evaluations(self, model: nn.Module) -> int:
        """Draws of a point, of which the answer is made."""
        del model
        return 1

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The settings on which verdicts depend, in plain types."""

    def __repr__(self) -> str:
        own = ", ".join(f"{k}={v!r}" for k, v in self.describe().items() if k != "judge")
        return f"{type(self).__name__}({own})"


class ModelJudge(Judge):
    """The model's own answer: of one forward pass, or of several where layers of it draw.

    Args:
        evaluations: forward passes of a point for a model that draws; another has one.
        batch_size: points in a forward pass; None to choose.

    Raises:
        InputError: a number is below 1.
    """

    def __init__(self, evaluations: int = 20, batch_size: int | None = None) -> None:
        self.repeats = check_count("evaluations", evaluations)
        self.batch_size = None if batch_size is None else check_count("batch_size", batch_size)

    def __call__(
        self,
        model: nn.Module,
        points: Tensor,
        labels: Tensor,
        *,
        indices: Sequence[int],
        seed: int,
        part: int,
    ) -> Verdict:
        """See `Judge.__call__`; draws of the model's layers are those of torch's generator."""
        del indices, seed, part
        size = self.batch_size or (BLOCK if points.device.type == "cpu" else ON_GPU)
        repeats, rejection = self.evaluations(model), rejection_class(model)
        counts, losses, classes = [], [], 0
        with evaluating(model):
            for some, own in zip(torch.split(points, size), torch.split(labels, size), strict=True):
                scores = [check_logits(model(some), len(some)) for _ in range(repeats)]
                width = scores[0].shape[1]
                classes = width - (rejection is not None)
                check_labels(own, classes)
                answers = torch.stack([one.argmax(dim=1) for one in scores])
                counts.append(nn.functional.one_hot(answers, width).sum(dim=0))
                kept = [c for c in range(width) if c != rejection]
                each = torch.stack([cross_entropy(one[:, kept].double(), own) for one in scores])
                losses.append(each.mean(dim=0))
        votes = torch.cat(counts).cpu()
        loss = torch.cat(losses).cpu().nan_to_num(torch.inf)
        return _verdict(votes, labels.cpu(), loss, rejection, repeats, classes)

    def evaluations(self, model: nn.Module) -> int:
        """See `Judge.evaluations`."""
        return self.repeats if is_stochastic(model) else 1

    def gradient(self) -> Gradient:
        """See `Judge.gradient`."""
        return PlainGradient()

    def describe(self) -> dict[str, Any]:
        """See `Judge.describe`."""
        return {"judge": "model", "evaluations": self.repeats}


class SmoothedJudge(Judge):
    """The smoothed classifier of a certifier, which answers as PREDICT from fresh draws.

    Args:
        certifier: it gives the noise on pixels, alpha, and how the model is run.
        n: draws that answer; None for the certifier's.

    Raises:
        InputError: the certifier's classifier counts no votes, or its noise is not on pixels.
    """

    def __init__(self, certifier: Certifier, n: int | None = None) -> None:
        self.n = SmoothedSearch(certifier, n=n).n
        self.certifier = certifier
        if not isinstance(certifier.law, PixelLaw):
            raise InputError(
                f"Expected a `certifier` with noise on pixels, but that of {certifier!r} draws "
                "parameters: attack it in them, with AdaptiveAttack and SmoothedSearch."
            )
        self.law = certifier.law

    def __call__(
        self,
        model: nn.Module,
        points: Tensor,
        labels: Tensor,
        *,
        indices: Sequence[int],
        seed: int,
        part: int,
    ) -> Verdict:
        """See `Judge.__call__`."""
        classifier = self.certifier.smooth(model)
        wide = torch.promote_types(points.dtype, torch.float32)
        encoded = self.certifier.encode(points.to(wide))

        def plan(row: int) -> Plan[tuple[int, Tensor]]:
            key = NoiseKey(seed, indices[row], "attack verdict", part)
            return row, (yield Draws(encoded[row], key, 0, self.n))

        votes: dict[int, Tensor] = {}
        plans = (plan(row) for row in range(len(points)))
        for (row, sums), _ in classifier.run(plans, tuple(encoded.shape[1:]), most=self.n):
            votes[row] = sums
        counted = torch.stack([votes[row] for row in range(len(points))])
        own = check_labels(labels.cpu(), counted.shape[1])
        held = counted.gather(1, own[:, None])[:, 0]
        answers = [predicted(row, self.certifier.alpha) for row in counted]
        return Verdict(
            predicted=torch.tensor(answers),
            misses=counted.sum(dim=1) - held,
            loss=((self.n + 1) / (held.double() + 1)).log(),
            evaluations=self.n,
            classes=counted.shape[1],
        )

    def evaluations(self, model: nn.Module) -> int:
        """See `Judge.evaluations`."""
        del model
        return self.n

    def gradient(self) -> Gradient:
        """See `Judge.gradient`."""
        return SmoothedGradient(self.law)

    def describe(self) -> dict[str, Any]:
        """See `Judge.describe`."""
        return {"judge": "smoothed", "n": self.n, "certifier": self.certifier.describe()}


def _verdict(
    votes: Tensor, labels: Tensor, loss: Tensor, rejection: int | None, repeats: int, classes: int
) -> Verdict:
    """From how often each of the scores was greatest, (B, K) or (B, K + 1)."""
    rows = torch.arange(len(votes))
    rejected = (
        torch.zeros(len(votes), dtype=torch.int64) if rejection is None else votes[:, rejection]
    )
    misses = repeats - votes[rows, labels] - rejected
    # Twice the votes, one less for the label: of as many votes another class comes first.
    ranked = 2 * votes
    ranked[rows, labels] -= 1
    answers = ranked.argmax(dim=1)
    if rejection is not None:
        answers = torch.where(answers == rejection, ABSTAIN, answers)
    return Verdict(answers, misses, loss, repeats, classes)
