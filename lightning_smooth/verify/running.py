"""Tracing and running a network: what a trace sees, and what every node gives in a run."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_smooth.models.normalize import Normalize
from lightning_smooth.transforms.vignette import Vignette


class Proxy(fx.Proxy):
    """A value that is followed; `x += y` stays what it is, an operation in place."""

    def _in_place(self, function: Callable[..., Any], other: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    def __iadd__(self, other: Any) -> Any:
        return self._in_place(operator.iadd, other)

    def __isub__(self, other: Any) -> Any:
        return self._in_place(operator.isub, other)

    def __imul__(self, other: Any) -> Any:
        return self._in_place(operator.imul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._in_place(operator.itruediv, other)


class Tracer(fx.Tracer):
    """Follows images through a network; what checks its input's shape is one step."""

    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is taken as one step."""
        whole = isinstance(m, (Normalize, Vignette))
        return whole or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """What stands for a node's value."""
        return Proxy(node, self)


class Literals(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the tensors that are written down in a forward pass, `torch.tensor(2.0)`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.lift_fresh.default:
            self.kept.append(found)
        return found

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor is one of them, unchanged."""
        places = {one.data_ptr() for one in self.kept}
        return tensor.data_ptr() in places and tensor._version == 0


class Run(fx.Interpreter):
    """A run of a trace on images: what every node gave, and which of its inputs it changed.

    Attributes:
        found: value of each node, as it was when it was made.
        written: nodes whose memory a node changed.
        calls: path, input and output of each call of a module.
    """

    def __init__(self, module: fx.GraphModule, images: Tensor) -> None:
        super().__init__(module)
        self.found: dict[fx.Node, Any] = {}
        self.raw: dict[fx.Node, Any] = {}  # kept alive, so that no memory is used twice
        self.written: dict[fx.Node, list[fx.Node]] = {}
        self.calls: list[tuple[str, Any, Any]] = []
        self.run(images)

    def run_node(self, n: fx.Node) -> Any:
        """Run a node, and keep its value."""
        read = [node for node in n.all_input_nodes if isinstance(self.raw[node], Tensor)]
        before = [_version(self.raw[node]) for node in read]
        value = super().run_node(n)
        self.written[n] = [
            node for node, old in zip(read, before, strict=True) if _version(self.raw[node]) != old
        ]
        self.raw[n] = value
        self.found[n] = value if n.op == "get_attr" else copied(value)
        return value

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a module, and keep what it was given and gave."""
        given = copied(args[0]) if args else None
        value = super().call_module(target, args, kwargs)
        self.calls.append((str(target), given, copied(value)))
        return value


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def copied(value: Any) -> Any:
    """What a value is now, whatever is written into it later."""
    return value.detach().clone() if isinstance(value, Tensor) else value
