"""Modules that run as they are, and are differentiated as others: what BPDA is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.models.fingerprint import fingerprint

Rules = Mapping[str, Literal["identity"] | nn.Module]
"""Name of a module -> what is differentiated in its place.

A module with the attribute `takes_result` is called with what the real one made, too: soft(images,
result), for an approximation around that point.
"""

_SHOWN = 12
"""Modules that an error message names."""


class _As(torch.autograd.Function):
    """The value of one tensor, with the way back of another."""

    @staticmethod
    def forward(ctx: Any, soft: Tensor, hard: Tensor) -> Tensor:
        del ctx, soft
        return hard.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        del ctx
        return slopes[0], None


class Replaced:
    """Rules of BPDA, ready to be installed; `replaced` makes them."""

    def __init__(self, rules: Mapping[str, nn.Module | None]) -> None:
        self.rules = dict(rules)

    @contextmanager
    def installed(self, model: nn.Module) -> Iterator[None]:
        """Replace the backward passes of a model's modules, and put them back.

        Raises:
            InputError: a name is none of the model's modules.
        """
        modules = dict(model.named_modules())
        for name in self.rules:
            if name not in modules:
                raise InputError(
                    f"Expected the gradient to name modules of the model, but it has no {name!r}: "
                    f"it has {_names(modules)}."
                )
        before = {name: modules[name].__dict__.get("forward") for name in self.rules}
        try:
            for name, soft in self.rules.items():
                real = modules[name].forward
                modules[name].__dict__["forward"] = self._forward(name, real, soft)
            yield
        finally:
            for name, own in before.items():
                del modules[name].__dict__["forward"]
                if own is not None:
                    modules[name].__dict__["forward"] = own

    def _forward(
        self, name: str, real: Callable[..., Any], soft: nn.Module | None
    ) -> Callable[[Tensor], Tensor]:
        return _straight(name, real, soft)

    def describe(self) -> dict[str, str]:
        """The rules in plain types."""
        return {k: "identity" if v is None else _said(v) for k, v in self.rules.items()}


def replaced(rules: Rules) -> Replaced:
    """Check rules of BPDA.

    Raises:
        InputError: there is none, or one is neither `identity` nor a module.
    """
    if not rules:
        raise InputError("Expected BPDA's `rules` to name a module, but there are none.")
    made: dict[str, nn.Module | None] = {}
    for name, soft in rules.items():
        if soft != "identity" and not isinstance(soft, nn.Module):
            raise InputError(
                f"Expected the rule of {name!r} to be identity or a module, but got {soft!r}."
            )
        made[name] = soft.eval() if isinstance(soft, nn.Module) else None
    return Replaced(made)


def _straight(
    name: str, real: Callable[..., Any], soft: nn.Module | None
) -> Callable[[Tensor], Tensor]:
    def forward(images: Tensor) -> Tensor:
        with torch.no_grad():
            hard: Tensor = real(images.detach())
        if not torch.is_grad_enabled():
            return hard
        way = images if soft is None else _soft(soft.to(images.device), images, hard)
        if way.shape != hard.shape:
            raise InputError(
                f"Expected what stands for {name!r} to give its shape {tuple(hard.shape)}, but it "
                f"gives {tuple(way.shape)}: give a differentiable module with the same output."
            )
        way = way.to(hard.dtype)
        made: Tensor = _As.apply(way, hard)
        return made

    return forward


def _soft(soft: nn.Module, images: Tensor, hard: Tensor) -> Tensor:
    given = (images, hard) if getattr(soft, "takes_result", False) else (images,)
    made: Tensor = soft(*given)
    return made


def _said(soft: nn.Module) -> str:
    weights = f", weights {fingerprint(soft)['weights'][:16]}" if soft.state_dict() else ""
    return f"{soft!r}{weights}"


def _names(modules: Mapping[str, nn.Module]) -> str:
    names = [name for name in modules if name]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none below itself (the empty name)") + more
