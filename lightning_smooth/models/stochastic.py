"""Which models draw when they answer."""

from __future__ import annotations

from torch import nn


def is_stochastic(module: nn.Module) -> bool:
    """Tell whether a module, or one inside it, says that it draws in eval mode.

    It says so by the class attribute `stochastic = True`, and draws for each image anew.

    >>> is_stochastic(nn.Dropout())
    False
    """
    return any(getattr(inner, "stochastic", False) is True for inner in module.modules())
