"""Which classifier is attacked: a model itself, or the smoothed one of a certifier."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_smooth.attacks.search import Search
from lightning_smooth.certify.lipschitz import score_bits
from lightning_smooth.certify.voting import VotingCertifier
from lightning_smooth.errors import check_count
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

    def _classifier(self, model: nn.Module) -> SmoothedClassifier:
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

    Candidates are ranked by the votes of `n_rank` draws each: the fewer for the label, the worse.
    The worst is then answered as PREDICT answers, from the certifier's `n` fresh draws. The loss
    is -log((votes of the label + 1) / (n_rank + 1)), by the draws that rank; no two candidates
    share a draw, and none is one of a certificate. The answer without attack is that of the
    certifier's `predict`.

    Args:
        certifier: it gives the noise, `n`, alpha, and how the model is run.
        n_rank: draws that rank a candidate.

    Raises:
        InputError: `n_rank` is below 1.
    """

    def __init__(self, certifier: VotingCertifier, n_rank: int = 50) -> None:
        self.certifier = certifier
        self.n_rank = check_count("n_rank", n_rank)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.certifier!r}, n_rank={self.n_rank})"

    def describe(self) -> dict[str, Any]:
        """See `Search.describe`."""
        own = self.certifier.describe()
        return {"classifier": "smoothed", "n_rank": self.n_rank, "certifier": own}

    @property
    def _most(self) -> int:
        return self.certifier.n

    def _classifier(self, model: nn.Module) -> SmoothedClassifier:
        return self.certifier.smooth(model)

    def _clean(self, image: Tensor, index: int, seed: int) -> Draws:
        del seed
        key = NoiseKey(self.certifier.seed, index, "prediction")
        return Draws(image, key, 0, self.certifier.n)

    def _rank(self, image: Tensor, index: int, row: int, seed: int) -> Draws:
        stride = -(-self.n_rank // BLOCK) * BLOCK  # every candidate has blocks of its own
        return Draws(image, NoiseKey(seed, index, "attack ranking"), row * stride, self.n_rank)

    def _judge(self, image: Tensor, index: int, seed: int) -> Draws:
        return Draws(image, NoiseKey(seed, index, "attack verdict"), 0, self.certifier.n)

    def _ranked(self, sums: Tensor, label: int) -> tuple[int, float]:
        return int(sums.argmax()), math.log((self.n_rank + 1) / (int(sums[label]) + 1))

    def _answer(self, sums: Tensor) -> int:
        # PREDICT (Cohen et al. 2019, section 3.2.1), of images that may lie outside [0, 1].
        top, second = (int(count) for count in sums.topk(2).values)
        sure = top_two_p_value(top, second) <= self.certifier.alpha
        return int(sums.argmax()) if sure else ABSTAIN
