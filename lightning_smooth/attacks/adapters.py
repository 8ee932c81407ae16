"""Attacks of other packages, where they are installed: AutoAttack, foolbox, torchattacks."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from importlib import import_module, metadata
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from lightning_smooth.attacks.foreign import ForeignAttack
from lightning_smooth.attacks.judges import Judge
from lightning_smooth.attacks.norms import Norm
from lightning_smooth.attacks.strategies import Gradient
from lightning_smooth.errors import InputError

_ORDERS: Final[dict[str, float]] = {"linf": math.inf, "l2": 2, "l1": 1}
_TARGETS: Final = 9
"""Classes that AutoAttack's targeted parts aim at, at most."""


class AutoAttack(ForeignAttack):
    """AutoAttack: APGD on two losses, FAB and Square, without parameters to set.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
    diverse parameter-free attacks", ICML 2020. Package `autoattack`, or `pyautoattack`.

    Args:
        bound: radius of the ball, in units of pixels in [0, 1].
        norm: linf, l2 or l1.
        version: `standard`, `plus`, or `rand` for a model that draws.
        seed: seed of what is drawn.
        gradient: a plain one, or BPDA; None for a plain one.
        judge: see `PGD`.
        batch_size: images in a batch; None for all.

    Raises:
        InputError: a number is out of range. When called: the package is not installed.
    """

    method = "AutoAttack"

    def __init__(
        self,
        bound: float,
        norm: Norm = "linf",
        version: Literal["standard", "plus", "rand"] = "standard",
        seed: int = 0,
        gradient: Gradient | None = None,
        judge: Judge | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(
            bound=bound,
            norm=norm,
            seed=seed,
            gradient=gradient,
            judge=judge,
            batch_size=batch_size,
        )
        self.version = version

    def _run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        package = _package("AutoAttack", "autoattack", "pyautoattack")
        settings = {"norm": self.norm.capitalize(), "eps": self.bound, "version": self.version}
        attack = package.AutoAttack(
            model, **settings, seed=self.seed, device=images.device, **_quiet(package.AutoAttack)
        )
        attack.verbose = False
        with torch.no_grad():
            classes = model(images[:1]).shape[1]
        for part in (attack.apgd_targeted, attack.fab):
            part.n_target_classes = min(_TARGETS, part.n_target_classes, classes - 1)
        found = attack.run_standard_evaluation(images, labels)
        points: Tensor = found[0] if isinstance(found, tuple) else found
        return points

    def _settings(self) -> dict[str, Any]:
        return {"version": self.version, "package": _installed("autoattack", "pyautoattack")}


class FoolboxAttack(ForeignAttack):
    """An attack of foolbox (Rauber et al. 2017), by its name in `foolbox.attacks`.

    Args:
        attack: its name, `LinfPGD` say.
        bound: radius of the ball; None for attacks that look for the nearest fooled point.
        norm: the norm that it is bounded in: linf, l2 or l1.
        settings: what its class takes.
        seed: seed of torch's generator.
        gradient: a plain one, or BPDA; None for a plain one.
        judge: see `PGD`.
        batch_size: images in a batch; None for all.

    Raises:
        InputError: a number is out of range. When called: foolbox is not installed, has no such
            attack, or its norm is another one.
    """

    method = "foolbox"

    def __init__(
        self,
        attack: str,
        bound: float | None,
        norm: Norm = "linf",
        settings: Mapping[str, Any] | None = None,
        seed: int = 0,
        gradient: Gradient | None = None,
        judge: Judge | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(
            bound=bound,
            norm=norm,
            seed=seed,
            gradient=gradient,
            judge=judge,
            batch_size=batch_size,
        )
        self.attack = attack
        self.settings = dict(settings or {})

    def _run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        package = _package("FoolboxAttack", "foolbox")
        attack = _built(_found(package.attacks, self.attack), self.settings)
        order = getattr(attack.distance, "p", None)
        if order != _ORDERS[self.norm]:
            raise InputError(
                f"Expected `norm` to be that of {self.attack}, l{order}, but got {self.norm!r}."
            )
        foreign = package.PyTorchModel(model, bounds=(0, 1), device=images.device)
        criterion = package.Misclassification(labels)
        points: Tensor = attack(foreign, images, criterion, epsilons=self.bound)[1]
        return points

    def _settings(self) -> dict[str, Any]:
        settings = {"attack": self.attack, "settings": self.settings}
        return {**settings, "package": _installed("foolbox")}


class TorchattacksAttack(ForeignAttack):
    """An attack of torchattacks (Kim 2020), by its name there.

    Args:
        attack: its name, `APGD` say.
        bound: radius of the ball: its `eps`, if it has one; None for what it has of its own.
        norm: the norm that it is bounded in: linf, l2 or l1. The package does not say; points
            are judged in this ball.
        settings: what its class takes beside the model and `eps`.
        seed: seed of torch's generator.
        gradient: a plain one, or BPDA; None for a plain one.
        judge: see `PGD`.
        batch_size: images in a batch; None for all.

    Raises:
        InputError: a number is out of range. When called: torchattacks is not installed, has no
            such attack, or it takes other settings.
    """

    method = "torchattacks"

    def __init__(
        self,
        attack: str,
        bound: float | None,
        norm: Norm = "linf",
        settings: Mapping[str, Any] | None = None,
        seed: int = 0,
        gradient: Gradient | None = None,
        judge: Judge | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(
            bound=bound,
            norm=norm,
            seed=seed,
            gradient=gradient,
            judge=judge,
            batch_size=batch_size,
        )
        self.attack = attack
        self.settings = dict(settings or {})

    def _run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        made = _found(_package("TorchattacksAttack", "torchattacks"), self.attack)
        takes = inspect.signature(made).parameters
        bound = {"eps": self.bound} if "eps" in takes and self.bound is not None else {}
        points: Tensor = _built(made, {"model": model, **bound, **self.settings})(images, labels)
        return points

    def _settings(self) -> dict[str, Any]:
        settings = {"attack": self.attack, "settings": self.settings}
        return {**settings, "package": _installed("torchattacks")}


def _installed(*names: str) -> str:
    """Name and version of the first of some packages that is installed; empty where none is."""
    for name in names:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return ""


def _package(attack: str, *names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise InputError(
                    f"Expected the package {name} to be complete, but it lacks {error.name}: "
                    f"install {error.name}."
                ) from error
    # torchattacks pins an old requests, which it needs only for its models' weights.
    how = "--no-deps torchattacks" if names[0] == "torchattacks" else "lightning-smooth[attacks]"
    raise InputError(
        f"Expected the package {' or '.join(names)} to be installed for {attack}, but it is not: "
        f"pip install {how}."
    )


def _found(package: Any, name: str) -> Any:
    made = getattr(package, name, None)
    if not inspect.isclass(made):
        known = sorted(n for n, v in vars(package).items() if inspect.isclass(v) and n[0] != "_")
        raise InputError(f"Expected `attack` to be one of {', '.join(known)}, but got {name!r}.")
    return made


def _built(made: Any, settings: Mapping[str, Any]) -> Any:
    try:
        return made(**settings)
    except TypeError as error:
        raise InputError(
            f"Expected `settings` to be what {made.__name__} takes, {inspect.signature(made)}, but "
            f"got {dict(settings)!r}: {error}."
        ) from error


def _quiet(made: Any) -> dict[str, Any]:
    return {"verbose": False} if "verbose" in inspect.signature(made).parameters else {}
