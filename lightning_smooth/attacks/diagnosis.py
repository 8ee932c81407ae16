"""Does a model hide its gradients? Five signs, each a comparison of two attacks on the same images.

Source: Athalye, Carlini, Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018
(section 3.1); THEORY section 10.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from lightning_smooth.attacks.base import Attack, checked
from lightning_smooth.attacks.findings import Diagnosis, Figure, Sign, verdict
from lightning_smooth.attacks.image import ImageAttack
from lightning_smooth.attacks.judges import Judge
from lightning_smooth.attacks.losses import LOSSES, LossName, check_loss
from lightning_smooth.attacks.norms import Norm, check_norm
from lightning_smooth.attacks.pgd import FGSM, PGD
from lightning_smooth.attacks.random_noise import RandomNoise
from lightning_smooth.attacks.square import Square
from lightning_smooth.attacks.strategies import Gradient
from lightning_smooth.attacks.target import Target, Task
from lightning_smooth.errors import InputError, check_count, check_positive, check_probability
from lightning_smooth.maths.confidence import clopper_pearson_lower, clopper_pearson_upper
from lightning_smooth.maths.hypothesis import top_two_p_value

__all__ = ["Diagnosis", "GradientMaskingDiagnosis"]

_LEFT: Final = 0.01
"""Share of images that may withstand an attack without a bound."""

_HELPED: Final = 0.25
"""Share of the images that withstand which a larger bound breaks, at least, where it helps."""


class GradientMaskingDiagnosis:
    """Looks for the five signs that a model's gradients mislead attacks.

    On images that are right without attack: (1) one step breaks more than many; (2) a black-box
    attack breaks more than gradients do; (3) an attack that may go anywhere in [0, 1] does not
    break all; (4) random points break more than gradients do; (5) a much larger bound breaks no
    more. Signs 1, 2 and 4 compare attacks image by image, by McNemar's exact test (on images that
    one of the two breaks alone); 3 and 5 by Clopper-Pearson bounds (more than 1 % of images left;
    less than 25 % of those that withstood broken), each wrong with probability at most `alpha` of
    calling chance a sign. The larger bound is the geometric mean of the bound and that of all of
    [0, 1], or twice the bound if that is more. None of them proves anything: a model without signs
    can still fall to a better attack.

    Args:
        bound: radius of the ball, in units of pixels in [0, 1].
        norm: linf or l2.
        steps: steps of PGD; its length of a step is a tenth of the bound.
        queries: forward passes of the black-box attack (`Square`), for an image.
        draws: random points of an image.
        loss: see `PGD`.
        alpha: of each test, in (0, 1).
        seed: seed of what is drawn.
        gradient: how the attacks with gradients take them; None for what suits the judge. Signs
            that are there with plain ones and not with BPDA or EOT show what was hidden, and how.
        judge: see `PGD`.
        batch_size: see `PGD`.

    Raises:
        InputError: a number is out of range, or the norm is another one.
    """

    def __init__(
        self,
        bound: float,
        norm: Norm = "linf",
        steps: int = 40,
        queries: int = 500,
        draws: int = 200,
        loss: LossName = "margin",
        alpha: float = 0.01,
        seed: int = 0,
        gradient: Gradient | None = None,
        judge: Judge | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.bound = check_positive("bound", bound)
        self.norm = check_norm(norm)
        if norm == "l1":
            raise InputError("Expected `norm` of the diagnosis to be linf or l2, but got 'l1'.")
        self.steps = check_count("steps", steps)
        self.queries = check_count("queries", queries)
        self.draws = check_count("draws", draws)
        self.loss = check_loss(loss)
        self.alpha = check_probability("alpha", alpha)
        self.seed = check_count("seed", seed, least=0)
        self.gradient = gradient
        self.judge = judge
        self.batch_size = batch_size

    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, indices: Iterable[int]
    ) -> Diagnosis:
        """Diagnose a model.

        Args:
            model: see `Attack.__call__`.
            images: (B, C, H, W) in [0, 1]; at least one that is right without attack. 100 show
                strong signs.
            labels: see `Attack.__call__`.
            indices: see there.

        Raises:
            InputError: as `Attack.__call__`; or no image is right without attack.
        """
        numbers = list(indices)
        checked(images, labels, numbers)
        everything = 1.0 if self.norm == "linf" else math.sqrt(math.prod(images.shape[1:]))
        larger = max(2 * self.bound, math.sqrt(self.bound * everything))
        attacks: dict[str, Attack] = {
            "one step": FGSM(self.bound, **self._shared(), loss=self.loss, **self._how()),
            "many steps": self._pgd(self.bound),
            "black box": Square(self.bound, queries=self.queries, **self._shared()),
            "random": RandomNoise(self.bound, draws=self.draws, **self._shared()),
            "larger": self._pgd(larger),
            "unbounded": self._pgd(max(everything, larger)),
        }
        broken: dict[str, Tensor] = {}
        right = torch.zeros(len(images), dtype=torch.bool)
        for name, attack in attacks.items():
            outcomes = attack(model, images, labels, indices=numbers)
            right = torch.tensor([one.clean == one.label for one in outcomes])
            broken[name] = torch.tensor([one.broken for one in outcomes])
        if not bool(right.any()):
            raise InputError(
                "Expected images that the model answers rightly without attack, but there is "
                "none: look at the model and its labels."
            )
        kept = {name: found[right] for name, found in broken.items()}
        titles = {name: _title(attack) for name, attack in attacks.items()}
        signs = [
            self._compared("one step beats many", "one step", "many steps", kept, titles),
            self._compared("a black box beats gradients", "black box", "many steps", kept, titles),
            self._left(kept, titles),
            self._compared("random points beat gradients", "random", "many steps", kept, titles),
            self._helped(kept, titles),
        ]
        zero = self._zero(model, images, labels, numbers)
        return Diagnosis(signs, int(right.sum()), zero, verdict(signs))

    def _shared(self) -> dict[str, Any]:
        names = ("norm", "seed", "judge", "batch_size")
        return {name: getattr(self, name) for name in names}

    def _how(self) -> dict[str, Any]:
        return {"gradient": self.gradient, "shattered": True}

    def _pgd(self, bound: float) -> PGD:
        return PGD(
            bound,
            **self._shared(),
            steps=self.steps,
            step=0.1,
            restarts=2,
            random_start=False,
            loss=self.loss,
            **self._how(),
        )

    def _compared(
        self, name: str, weak: str, strong: str, broken: dict[str, Tensor], titles: dict[str, str]
    ) -> Sign:
        alone = int((broken[weak] & ~broken[strong]).sum())
        other = int((broken[strong] & ~broken[weak]).sum())
        p = top_two_p_value(max(alone, other), min(alone, other))
        return Sign(
            name,
            alone > other and p < self.alpha,
            self._figure(titles[weak], broken[weak]),
            self._figure(titles[strong], broken[strong]),
            f"alone {alone} against {other}, p = {p:.2g}",
        )

    def _left(self, broken: dict[str, Tensor], titles: dict[str, str]) -> Sign:
        left = int((~broken["unbounded"]).sum())
        least = clopper_pearson_lower(left, len(broken["unbounded"]), self.alpha)
        return Sign(
            "without a bound some withstand",
            least > _LEFT,
            self._figure(titles["many steps"], broken["many steps"]),
            self._figure(titles["unbounded"], broken["unbounded"]),
            f"at least {least:.1%} withstand",
        )

    def _helped(self, broken: dict[str, Tensor], titles: dict[str, str]) -> Sign:
        left = ~broken["many steps"]
        count, more = int(left.sum()), int((left & broken["larger"]).sum())
        most = clopper_pearson_upper(more, count, self.alpha) if count else 1.0
        return Sign(
            "a larger bound does not help",
            most < _HELPED,
            self._figure(titles["many steps"], broken["many steps"]),
            self._figure(titles["larger"], broken["larger"]),
            f"it breaks {more} of {count} left, at most {most:.0%}",
        )

    def _figure(self, title: str, broken: Tensor) -> Figure:
        hits, count = int(broken.sum()), len(broken)
        half = self.alpha / 2
        low, high = (
            bound(hits, count, half) for bound in (clopper_pearson_lower, clopper_pearson_upper)
        )
        return Figure(title, hits, count, low, high)

    def _zero(
        self, model: nn.Module, images: Tensor, labels: Tensor, indices: Sequence[int]
    ) -> float:
        probe = _Probe(self.loss, self.gradient, self.judge, self.batch_size, self.norm, self.seed)
        probe.attacked(model, images, labels, indices=indices)
        return probe.zero


class _Probe(ImageAttack):
    """Leaves images as they are, and notes for how many of them the gradient is 0."""

    method = "probe"

    def __init__(
        self,
        loss: LossName,
        gradient: Gradient | None,
        judge: Judge | None,
        batch_size: int | None,
        norm: Norm,
        seed: int,
    ) -> None:
        super().__init__(
            bound=None,
            norm=norm,
            seed=seed,
            gradient=gradient,
            judge=judge,
            batch_size=batch_size,
            shattered=True,
        )
        self.loss = loss
        self.zero = 0.0

    def _search(self, target: Target, task: Task) -> Tensor:
        rows = torch.arange(len(task.images), device=task.images.device)
        slope = target.slope(task.images, rows, LOSSES[self.loss]).gradient
        self.zero = float((slope.flatten(1) == 0).all(dim=1).double().mean())
        return task.images[None]

    def _settings(self) -> dict[str, Any]:
        return {"loss": self.loss}


def _title(attack: Attack) -> str:
    settings = attack.describe()
    return f"{attack.method} {settings['norm']} {settings['bound']:.3g}"
