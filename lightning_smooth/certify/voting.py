"""What certifiers share that count votes: a class chosen by some draws, bounded on others."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from lightning_smooth.certify.base import Certifier, sparse
from lightning_smooth.errors import check_count
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.hypothesis import top_two_p_value
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.prediction import Prediction
from lightning_smooth.smoothing.checks import check_image
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import Law
from lightning_smooth.smoothing.plans import Draws, Plan
from lightning_smooth.smoothing.rng import NoiseKey, Stream
from lightning_smooth.smoothing.smoothed import SmoothedClassifier
from lightning_smooth.types import ABSTAIN, Guarantee, Precision


class VotingCertifier(Certifier):
    """CERTIFY of Cohen et al. 2019, section 3.2.2, for any law with a radius for each bound.

    `n0` draws choose a class; `n` fresh ones bound its probability (Clopper and Pearson); the
    radius follows from the bound. A subclass says which radius, and in which unit.

    Args:
        law: the noise under which the model is smoothed.
        n0: draws that choose the class to certify.
        n: fresh draws that bound its probability.
        alpha: probability with which a certificate may be wrong.
        seed: seed of the noise.
        batch_size: noisy copies in a forward pass; None to choose.
        precision: arithmetic of the model.
        speed: how the model is run.

    Raises:
        InputError: alpha is not in (0, 1), n or n0 below 1, or the precision is not known.
    """

    method: ClassVar[str]
    guarantee: ClassVar[Guarantee] = "certified"

    def __init__(
        self,
        law: Law,
        *,
        n0: int,
        n: int,
        alpha: float,
        seed: int,
        batch_size: int | None,
        precision: Precision,
        speed: Speed | None,
    ) -> None:
        super().__init__(
            law, alpha=alpha, seed=seed, batch_size=batch_size, precision=precision, speed=speed
        )
        self.n0 = check_count("n0", n0)
        self.n = check_count("n", n)
        self._streams: tuple[Stream, Stream] = ("selection", "estimation")

    def __repr__(self) -> str:
        own = ", ".join(f"{name}={value!r}" for name, value in self._own().items())
        return (
            f"{type(self).__name__}({own}, n0={self.n0}, n={self.n}, "
            f"alpha={self.alpha:g}, seed={self.seed})"
        )

    @property
    @abstractmethod
    def radius_unit(self) -> str:
        """Unit of the radius."""

    @abstractmethod
    def radius_of(self, p_lower: float) -> float:
        """Radius that follows from a lower bound of the class's probability, rounded down."""

    @abstractmethod
    def probability_for(self, radius: float) -> float:
        """The bound that a radius needs, rounded up: above 1/2; 1 where none is enough."""

    @abstractmethod
    def _own(self) -> dict[str, Any]:
        """Parameters of the method, beside its draws: they stand in every certificate."""

    @abstractmethod
    def _fixed(self, n0: int, n: int) -> VotingCertifier:
        """A certifier of the same kind that makes a fixed number of draws."""

    @property
    def draws(self) -> int:
        """Draws that one image may take."""
        return self.n0 + self.n

    @property
    def largest_radius(self) -> float:
        """The radius that an image gets whose `n` draws all agree: no radius is larger."""
        return self.radius_of(clopper_pearson_lower(self.n, self.n, self.alpha))

    def for_validation(self, *, n0: int, n: int) -> VotingCertifier:
        """See `Certifier.for_validation`; a fixed number of draws."""
        other = self._fixed(n0, n)
        other._streams = ("validation selection", "validation estimation")
        return other

    def predict(self, model: nn.Module, image: Tensor, *, index: int) -> Prediction:
        """PREDICT: the smoothed classifier's class, or an abstention; no radius.

        Guarantee: with probability at least 1 - alpha over the `n` draws, the answer is g's
        most probable class, or an abstention (Cohen et al. 2019, proposition 1).

        Args:
            model: as for the call.
            image: (C, H, W), floating point, in [0, 1].
            index: the image's index in its data set.

        Returns:
            The prediction, with its votes and p-value.

        Raises:
            InputError: image, index or the model's answer is not what was expected.
        """
        check_image(image)
        index = check_count("index", index, least=0)
        votes = self.smooth(model).votes(image, NoiseKey(self.seed, index, "prediction"), self.n)
        top, second = (int(count) for count in votes.topk(2).values)
        p_value = top_two_p_value(top, second)
        return Prediction(
            index=index,
            predicted=int(votes.argmax()) if p_value <= self.alpha else ABSTAIN,
            votes=sparse(votes),
            n=self.n,
            p_value=p_value,
            alpha=self.alpha,
            seed=self.seed,
        )

    def _radii(self, p_lower: float) -> dict[str, float]:
        """Radius of each parameter by itself, where several have noise."""
        del p_lower
        return {}

    def _settings(self) -> dict[str, Any]:
        return {"method": self.method, **self._own(), "n0": self.n0, "n": self.n}

    def _select(self, image: Tensor, index: int) -> Plan[Tensor]:
        """Votes of the draws that choose the candidate."""
        return (yield Draws(image, NoiseKey(self.seed, index, self._streams[0]), 0, self.n0))

    def _plan(
        self, smoothed: SmoothedClassifier, image: Tensor, *, index: int
    ) -> Plan[Certificate]:
        votes0 = yield from self._select(image, index)
        votes = yield Draws(image, NoiseKey(self.seed, index, self._streams[1]), 0, self.n)
        p_lower = clopper_pearson_lower(int(votes[votes0.argmax()]), self.n, self.alpha)
        return self._certificate(
            smoothed,
            index,
            votes0,
            votes,
            n=self.n,
            p_lower=p_lower,
            radius=self.radius_of(p_lower),
            ledger={"estimation": self.alpha},
        )

    def _certificate(
        self,
        smoothed: SmoothedClassifier,
        index: int,
        votes0: Tensor,
        votes: Tensor,
        *,
        n: int,
        p_lower: float,
        radius: float,
        ledger: dict[str, float],
        looks: tuple[tuple[int, int], ...] = (),
        decisions: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> Certificate:
        """Write down what was measured; it is an abstention unless `p_lower` is above 1/2."""
        candidate = int(votes0.argmax())
        certified = p_lower > 0.5
        return Certificate(
            index=index,
            label=None,
            candidate=candidate,
            predicted=candidate if certified else ABSTAIN,
            radius=radius if certified else 0.0,
            radius_unit=self.radius_unit,
            guarantee=self.guarantee,
            hits=int(votes[candidate]),
            n=n,
            n0=self.n0,
            p_lower=p_lower,
            alpha=self.alpha,
            ledger=ledger,
            method=self.method,
            parameters={
                **self._own(),
                **smoothed.drawing,
                "classes": len(votes),
                **(parameters or {}),
            },
            seed=self.seed,
            seconds=0.0,
            votes=sparse(votes),
            votes0=sparse(votes0),
            radii=self._radii(p_lower) if certified else {},
            looks=looks,
            decisions=decisions or {},
        )
