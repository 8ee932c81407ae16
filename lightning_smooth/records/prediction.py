"""What PREDICT measured for one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lightning_smooth.types import ABSTAIN


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The smoothed classifier's answer at one image, without a radius.

    Attributes:
        index: the image's index in its data set.
        predicted: the class, or -1 for an abstention.
        votes: class -> count over the draws; classes without votes are left out.
        n: draws.
        p_value: of the two-sided test that the two most voted classes are equally likely.
        alpha: probability with which an answer may differ from the most probable class.
        seed: seed of the noise.
    """

    index: int
    predicted: int
    votes: Mapping[int, int]
    n: int
    p_value: float
    alpha: float
    seed: int

    @property
    def abstained(self) -> bool:
        """Whether the test did not decide."""
        return self.predicted == ABSTAIN
