"""Following a network: a symbolic trace, what runs of it give, and what a trace may not hide."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

from lightning_smooth.errors import InputError
from lightning_smooth.verify.running import Literals, Run, Tracer, copied

_ALIASES: Final = {
    "flatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "detach", "Identity",
    "Dropout", "Dropout2d", "dropout", "getitem", "permute", "transpose", "Flatten", "getattr",
}  # fmt: skip
"""What may give a part of its input's memory, for a batch of some size at least."""

_SIZES: Final = {"size", "dim", "numel", "ndimension"}
_SIZE_ATTRIBUTES: Final = {"shape", "ndim"}
_NEW: Final = "_tensor_constant"


class Followed:
    """A network's graph, and constants in it as they are whenever they are asked for.

    Args:
        network: in eval mode.
        shape: of the images, for messages.

    Raises:
        InputError: the network cannot be traced.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, ...]) -> None:
        self.network, self.shape = network, shape
        with _as_it_was(network):
            self.module, self.literals = self._trace()
        with _as_it_was(network):
            again, _ = self._trace()
        self.graph = self.module.graph
        if not _same(self.module, again):
            raise InputError(
                "Expected a network whose forward pass has fixed constants, but two traces of "
                f"{type(network).__name__} differ: take random numbers out of it."
            )

    def _trace(self) -> tuple[fx.GraphModule, set[str]]:
        literals = Literals()
        try:
            with literals:
                graph = Tracer().trace(self.network)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"Expected a network whose way does not depend on the images, but "
                f"{type(self.network).__name__} cannot be traced ({error}): take its forward pass "
                "apart into modules, without `len`."
            ) from error
        new = {str(n.target) for n in graph.nodes if n.op == "get_attr"}
        new = {name for name in new if name.startswith(_NEW)}
        kept = {name for name in new if literals.holds(getattr(self.network, name))}
        return fx.GraphModule(self.network, graph), kept

    def run(self, images: Tensor) -> Run:
        """Run the trace.

        Raises:
            InputError: the network does not take such images.
        """
        try:
            return Run(self.module, images)
        except InputError:
            raise
        except Exception as error:
            reason = str(error).splitlines()[:1]
            raise InputError(
                f"Expected a network that takes images of shape {self.shape}, but "
                f"{type(self.network).__name__} fails on them ({''.join(reason)}): check "
                "`image_shape`."
            ) from error

    def constant(self, node: fx.Node) -> Callable[[], Any] | None:
        """Reads a parameter, a buffer or a literal; None for what is computed, or drawn."""
        if node.op != "get_attr":
            return None
        path = str(node.target)
        if path.startswith(_NEW):
            value = getattr(self.module, path)
            return (lambda: value) if path in self.literals else None
        if not isinstance(operator.attrgetter(path)(self.network), Tensor):
            return None
        network = self.network
        return lambda: operator.attrgetter(path)(network)

    def sized(self, node: fx.Node, value: Callable[[fx.Node], Any]) -> bool:
        """Whether a node is a number, or some, that follow from shapes alone."""
        if isinstance(value(node), Tensor):
            return False
        called = str(getattr(node.target, "__name__", node.target))
        if node.op == "call_method" and called in _SIZES:
            return True
        if node.op != "call_function":
            return False
        if called == "getattr":
            return node.args[1] in _SIZE_ATTRIBUTES
        inner = node.all_input_nodes
        return bool(inner) and all(self.sized(one, value) for one in inner)

    def check_in_place(self, run: Run) -> None:
        """Check that nothing reads memory that a step in place has changed, but through that step.

        Raises:
            InputError: something does, or a constant is changed.
        """
        nodes = list(self.graph.nodes)
        order = {node: i for i, node in enumerate(nodes)}
        memory = self._memory(nodes, run)
        for node in nodes:
            for written in run.written.get(node, []):
                shared = [n for n in nodes[: order[node]] if memory[n] & memory[written]]
                if any(n.op == "get_attr" for n in shared):
                    raise _refused(node, self.network, "it changes a constant in place")
                later = [
                    n for n in nodes[order[node] + 1 :] if set(shared) & set(n.all_input_nodes)
                ]
                beside = set(node.all_input_nodes) & set(shared) - {written}
                if later or beside:
                    raise _refused(
                        node,
                        self.network,
                        "it changes in place what is read again later; use it out of place",
                    )

    @staticmethod
    def _memory(nodes: list[fx.Node], run: Run) -> dict[fx.Node, set[int]]:
        """Numbers of the pieces of memory that a node's value may be part of."""
        found: dict[fx.Node, set[int]] = {}
        for node in nodes:
            here = {t.untyped_storage().data_ptr() for t in _tensors(run.raw.get(node))}
            target = node.target
            called = str(getattr(target, "__name__", target))
            if node.op == "call_module":
                called = type(run.fetch_attr(str(target))).__name__
            if called in _ALIASES or run.written.get(node):
                here = here.union(*(found[read] for read in node.all_input_nodes))
            found[node] = here
        return found


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for one in value for t in _tensors(one)] if isinstance(value, (tuple, list)) else []


def _refused(node: fx.Node, network: nn.Module, why: str) -> InputError:
    called = str(getattr(node.target, "__name__", node.target))
    place = within(node)
    if node.op == "call_module":
        place, called = called, type(network.get_submodule(called)).__name__
    where = f"in module `{place}`" if place else "in the network itself"
    return InputError(
        f"Expected a network of steps that can be bounded, but `{called}` {where} is none: {why}."
    )


def within(node: fx.Node) -> str:
    """Path of the module in whose forward pass a node is."""
    stack = list(node.meta.get("nn_module_stack") or {})
    return str(stack[-1]) if stack else ""


@contextmanager
def _as_it_was(network: nn.Module) -> Iterator[None]:
    """Take off what a trace puts on a network: tensors made in its forward pass."""
    before = set(vars(network)) | set(network._buffers)
    try:
        yield
    finally:
        for name in (set(vars(network)) | set(network._buffers)) - before:
            if name.startswith(_NEW):
                delattr(network, name)


def _same(one: fx.GraphModule, two: fx.GraphModule) -> bool:
    if str(one.graph) != str(two.graph):
        return False
    names = {str(n.target) for n in one.graph.nodes if n.op == "get_attr"}
    return all(
        torch.equal(getattr(one, name), getattr(two, name))
        for name in names
        if name.startswith(_NEW)
    )


@contextmanager
def listened(network: nn.Module, paths: set[str]) -> Iterator[list[tuple[Any, Any, Any]]]:
    """Module, input and output of every call of the modules at some paths, while it lasts."""
    heard: list[tuple[Any, Any, Any]] = []
    waiting: list[Any] = []

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        del module
        waiting.append(copied(args[0]) if args else None)

    def after(module: nn.Module, args: tuple[Any, ...], value: Any) -> None:
        del args
        heard.append((module, waiting.pop(), copied(value)))

    modules = {id(m): m for m in (network.get_submodule(path) for path in paths)}.values()
    hooks = [h for m in modules for h in (
        m.register_forward_pre_hook(before), m.register_forward_hook(after)
    )]  # fmt: skip
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()
