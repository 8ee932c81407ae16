"""Which classifier is attacked: a model itself, or the smoothed one of a certifier."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_smooth.attacks.search import Search
from lightning_smooth.certify.base import Certifier
from lightning_smooth.certify.lipschitz import score_bits
from lightning_smooth.certify.spt import SPTCertifier
from lightning_smooth.errors import InputError, check_count
from lightning_smooth.maths.hypothesis import top_two_p_value
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import NoNoise
from lightning_smooth.smoothing.plans import Draws
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey
from lightning_smooth.smoothing.smoothed import SmoothedClassifier, check_precision
from lightning_smooth.types import ABSTAIN, Precision


class BaseSearch(Search):
    """Attacks the model itself: one forward pass a candidate, ranked by cross-entropy.

    Args:
        batch_size: images in a forward pass; None to choose.
        precision: arithmetic of the model, as for `GaussianCertifier`.
        speed: how the model is run, as for `GaussianCertifier`.

    Raises:
        InputError: `batch_size` is below 1, or the precision is not known.
    """

    def __init__(
        self,
        batch_size: int | None = None,
        precision: Precision = "float32",
        speed: Speed | None = None,
    ) -> None:
        self.batch_size = (
            batch_size if batch_size is None else check_count("batch_size", batch_size)
        )
        self.precision = check_precision(precision)
        self.speed = speed

    def __repr__(self) -> str:
        return f"{type(self).__name__}(precision={self.precision!r})"

    def describe(self) -> dict[str, Any]:
        """See `Search.describe`."""
        return {"classifier": "base", "precision": self.precision}

    @property
    def _most(self) -> int:
        return 1

    def classifier(self, model: nn.Module) -> SmoothedClassifier:
        """See `Search.classifier`: the model, without noise."""
        return SmoothedClassifier(
            model,
            NoNoise(),
            batch_size=self.batch_size,
            precision=self.precision,
            speed=self.speed,
        )

    def _clean(self, image: Tensor, index: int, seed: int) -> Draws:
        return Draws(image, NoiseKey(seed, index, "prediction"), 0, 1)  # there is no noise to key

    def _rank(self, image: Tensor, index: int, row: int, seed: int) -> Draws:
        return Draws(image, NoiseKey(seed, index, "attack ranking"), row, 1)

    def _judge(self, image: Tensor, index: int, seed: int) -> Draws:
        return Draws(image, NoiseKey(seed, index, "attack verdict"), 0, 1)

    def _ranked(self, sums: Tensor, label: int) -> tuple[int, float]:
        loss = cross_entropy(self._scores(sums), torch.tensor(label))
        return self._answer(sums), float(loss)

    def _answer(self, sums: Tensor) -> int:
        return int(self._scores(sums).argmax())

    @staticmethod
    def _tally(scores: Tensor) -> Tensor:
        return score_bits(scores)

    @staticmethod
    def _scores(sums: Tensor) -> Tensor:
        return sums[:-1].view(torch.float64)


class SmoothedSearch(Search):
    """Attacks the smoothed classifier of a certifier, which does the judging.

    The classifier answers the class of the most votes, under the certifier's `law` on what its
    `encode` makes of an image. Candidates are ranked by the votes of `n_rank` draws each: the fewer
    for the label, the worse. The worst is then answered as PREDICT answers, from `n` fresh draws.
    The loss is -log((votes of the label + 1) / (n_rank + 1)), by the draws that rank; no two
    candidates share a draw, and none is one of a certificate. The answer without attack is PREDICT
    as well: that of the certifier's own `predict`, if it has one of `n` draws.

    Args:
        certifier: it gives the noise, alpha, and how the model is run; any certifier of a
            classifier that counts votes.
        n_rank: draws that rank a candidate.
        n: draws that answer; None for the certifier's `n`.

    Raises:
        InputError: `n_rank` or `n` is below 1, or the certifier has no `n`; it draws nothing,
            counts no votes, or smooths twice.
    """

    def __init__(self, certifier: Certifier, n_rank: int = 50, n: int | None = None) -> None:
        votes = type(certifier)._tally is Certifier._tally
        if certifier.deterministic or not votes or isinstance(certifier, SPTCertifier):
            raise InputError(
                "Expected a `certifier` whose classifier counts the votes of draws, but that of "
                f"{certifier!r} answers in another way: judge it by its own draws."
            )
        self.certifier = certifier
        self.n_rank = check_count("n_rank", n_rank)
        self.n = check_count("n", getattr(certifier, "n", 0) if n is None else n)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.certifier!r}, n_rank={self.n_rank}, n={self.n})"

    def describe(self) -> dict[str, Any]:
        """See `Search.describe`."""
        own = self.certifier.describe()
        return {"classifier": "smoothed", "n_rank": self.n_rank, "n": self.n, "certifier": own}

    def classifier(self, model: nn.Module) -> SmoothedClassifier:
        """See `Search.classifier`: that of the certifier."""
        return self.certifier.smooth(model)

    def encode(self, images: Tensor) -> Tensor:
        """See `Search.encode`: as the certifier does."""
        return self.certifier.encode(images)

    @property
    def _most(self) -> int:
        return self.n

    def _clean(self, image: Tensor, index: int, seed: int) -> Draws:
        del seed
        key = NoiseKey(self.certifier.seed, index, "prediction")
        return Draws(image, key, 0, self.n)

    def _rank(self, image: Tensor, index: int, row: int, seed: int) -> Draws:
        stride = -(-self.n_rank // BLOCK) * BLOCK  # every candidate has blocks of its own
        return Draws(image, NoiseKey(seed, index, "attack ranking"), row * stride, self.n_rank)

    def _judge(self, image: Tensor, index: int, seed: int) -> Draws:
        return Draws(image, NoiseKey(seed, index, "attack verdict"), 0, self.n)

    def _ranked(self, sums: Tensor, label: int) -> tuple[int, float]:
        return int(sums.argmax()), math.log((self.n_rank + 1) / (int(sums[label]) + 1))

    def _answer(self, sums: Tensor) -> int:
        return predicted(sums, self.certifier.alpha)


def predicted(votes: Tensor, alpha: float) -> int:
    """PREDICT of Cohen et al. 2019, section 3.2.1, of images that may lie outside [0, 1].

    Args:
        votes: (K,) of the draws.
        alpha: probability with which a class may be answered that is not the likeliest.
    """
    top, second = (int(count) for count in votes.topk(2).values)
    return int(votes.argmax()) if top_two_p_value(top, second) <= alpha else ABSTAIN
