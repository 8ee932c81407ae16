"""What a few nodes of a trace make together."""

from __future__ import annotations

import math
from typing import Any

from torch import fx


def name(node: fx.Node) -> str:
    """Name of the function, method or module that a node calls."""
    return str(getattr(node.target, "__name__", node.target))


def _calls(node: Any, called: str) -> bool:
    if not isinstance(node, fx.Node) or node.op == "call_module" or not node.args:
        return False
    return name(node) == called and (called == "mean" or not node.kwargs)


def _averages(node: Any, read: Any) -> bool:
    """Whether a node is the mean over all values of each image (C, H, W), kept as it is."""
    if not _calls(node, "mean") or node.args != (read,):
        return False
    return dict(node.kwargs) == {"dim": (1, 2, 3), "keepdim": True}


def centres(node: Any) -> bool:
    """Whether a node is x - mean(x), the mean over all values of an image."""
    if not _calls(node, "sub") or len(node.args) != 2:
        return False
    return _averages(node.args[1], node.args[0])


def standardizes(node: fx.Node) -> float | None:
    """eps, where a node is c / sqrt(mean(c^2) + eps^2) of centred c, as `Standardized` has it."""
    divides = _calls(node, "div") or _calls(node, "truediv")
    if not divides or len(node.args) != 2:
        return None
    center, root = node.args
    if not centres(center) or not isinstance(root, fx.Node) or not _calls(root, "sqrt"):
        return None
    total = root.args[0]
    if not isinstance(total, fx.Node) or not _calls(total, "add") or len(total.args) != 2:
        return None
    mean, added = total.args
    square = mean.args[0] if isinstance(mean, fx.Node) and mean.args else None
    if not isinstance(square, fx.Node) or not _calls(square, "square"):
        return None
    fits = square.args[0] is center and _averages(mean, square)
    return math.sqrt(added) if fits and isinstance(added, float) and added > 0 else None
