"""A search that leaves modules out: those that change nothing on the points it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from lightning_smooth.attacks.replaced import Replaced
from lightning_smooth.attacks.strategies import At, Change, Gradient, PlainGradient, Scores, Slope
from lightning_smooth.errors import InputError


class Bypass(Gradient):
    """Takes gradients as if modules were not there: each returns its input.

    For attacks by reparameterisation: their points x = h(z) a defence g gives back, g(h(z)) = h(z).
    Where it does so only nearly, points that are found may fail before the judge, who asks the
    whole model. BPDA with identity runs the real g in each step, this does not run it at all.

    Source: Athalye, Carlini, Wagner, ICML 2018 (section 4.3 for the idea; 5.4.2, Defense-GAN).

    Args:
        modules: names of modules, as `model.named_modules()` has them.
        gradient: how the gradient is taken without them; None for plainly.

    Raises:
        InputError: there is no module. When a gradient is taken: the model has none of a name.
    """

    def __init__(self, modules: Sequence[str], gradient: Gradient | None = None) -> None:
        if not modules or isinstance(modules, str):
            raise InputError(f"Expected `modules` to be a list of names, but got {modules!r}.")
        self.modules = list(modules)
        self.gradient = gradient or PlainGradient()

    @property
    def passes(self) -> int:
        """See `Gradient.passes`."""
        return self.gradient.passes

    @property
    def copies(self) -> int:
        """See `Gradient.copies`."""
        return self.gradient.copies

    @contextmanager
    def installed(self, model: nn.Module) -> Iterator[None]:
        """See `Gradient.installed`."""
        left_out = _LeftOut(dict.fromkeys(self.modules))
        with left_out.installed(model), self.gradient.installed(model):
            yield

    def slope(self, scores: Scores, points: Tensor, at: At, change: Change) -> Slope:
        """See `Gradient.slope`."""
        return self.gradient.slope(scores, points, at, change)

    def describe(self) -> dict[str, Any]:
        """See `Gradient.describe`."""
        of = self.gradient.describe()
        return {"gradient": "bypass", "modules": self.modules, "of": of}


class _LeftOut(Replaced):
    def _forward(
        self, name: str, real: Callable[..., Any], soft: nn.Module | None
    ) -> Callable[[Tensor], Tensor]:
        del name, real, soft
        return _given


def _given(images: Tensor) -> Tensor:
    return images
