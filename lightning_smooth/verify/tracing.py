"""From a network to its steps: a symbolic trace, step by step translated."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from lightning_smooth.errors import InputError
from lightning_smooth.models.normalize import Normalize
from lightning_smooth.transforms.vignette import Vignette
from lightning_smooth.verify.activation import MaxPool, ReLU
from lightning_smooth.verify.affine import Convolution, Dense, Norm
from lightning_smooth.verify.arithmetic import FACTORS, SUMS, Arithmetic
from lightning_smooth.verify.following import within
from lightning_smooth.verify.moving import Moving
from lightning_smooth.verify.scaling import masked, norm_scaling, normalized

_NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d)
_RESHAPING: Final = {"flatten", "view", "reshape", "squeeze", "unsqueeze"}
_PASSED: Final = {"contiguous", "clone", "detach", "Identity", "Dropout", "Dropout2d"}
_AVERAGING: Final = {"mean", "avg_pool2d", "adaptive_avg_pool2d", "AvgPool2d", "AdaptiveAvgPool2d"}


class Tracing(Arithmetic):
    """The steps of a network in eval mode.

    Args:
        network: the network.
        images: two different images (2, C, H, W) that it takes.

    Attributes:
        steps: see `graph.Step`.
        results: the last node whose value each of the steps gives, where one does.

    Raises:
        InputError: see `graph.bounded`.
    """

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        super().__init__(network, images)
        for node in self.followed.graph.nodes:
            self._translate(node)
        self.followed.check_in_place(self.run)
        self.steps = self.steps[: self.last + 1]
        self.results = {p: n for n, p in self.places.items() if isinstance(p, int)}

    def _translate(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if not self.steps:
                self.steps.append((None, (), tuple(self.values[node].shape[1:]), ""))
                self.places[node] = 0
            return
        if node.op == "output":
            last = node.args[0]
            if not isinstance(last, fx.Node):
                raise InputError("Expected a network that gives scores alone, but got a container.")
            self.last = self._place(last)
            return
        if not any(read in self.places for read in node.all_input_nodes):
            return  # a constant
        try:
            self.places[node] = self._step(node)
        except InputError as error:  # raised where something that is bounded needs it
            self.places[node] = error

    def _step(self, node: fx.Node) -> int:
        """Append the step of a node, and return its place."""
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            name, function = type(module).__name__, module
        elif node.op == "call_method":
            module, name = None, str(node.target)
            function = getattr(torch.Tensor, name)
        else:
            module, function = None, node.target
            name = getattr(function, "__name__", str(function))
            name = "max_pool2d" if function is functional.max_pool2d else name
        self.node, self.name, self.function = node, name, function
        self.path = str(node.target) if module is not None else within(node)
        value = self.values[node]
        if not isinstance(value, Tensor):
            raise self._refused("what depends on its value cannot be bounded")
        if value.ndim < 2 or len(value) != 2:
            raise self._refused("it mixes the images of a batch")
        if "out" in node.kwargs:
            raise self._refused("it writes into `out`")
        return self._module(module) if module is not None else self._call()

    def _module(self, module: nn.Module) -> int:
        before = self._read
        place, shape = self._place(before), self._shape(before)
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d)) and len(shape) != 3:
            raise self._refused("it mixes the images of a batch")
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            return self._weighted(module, place, shape)
        if isinstance(module, _NORMS):
            self._check_norm(module)
            if before.op == "call_module" and self._norm_after(before) is module:
                return place
            return self._append(norm_scaling(module, len(shape) + 1), place)
        if isinstance(module, Normalize):
            return self._append(normalized(module), place)
        if isinstance(module, Vignette):
            return self._append(masked(module, shape), place)
        if isinstance(module, nn.MaxPool2d):
            sizes = module.kernel_size, module.stride, module.padding, module.dilation
            if module.return_indices:
                raise self._refused("it returns places")
            return self._pooled(place, *sizes, module.ceil_mode)
        if isinstance(module, nn.Flatten):
            return self._reshaped(place, shape)
        return self._named(place, shape)

    def _named(self, place: int, shape: tuple[int, ...]) -> int:
        """Steps that are known by name, whether they are modules, functions or methods."""
        if self.name in ("ReLU", "relu", "relu_"):
            return self._append(ReLU(), place)
        if self.name in _PASSED:
            return place
        if self.name in _AVERAGING:
            self._check_divisor()
            return self._moved(place, shape, self._averaged(shape) + 2)
        raise self._refused()

    def _check_divisor(self) -> None:
        module = self.modules.get(str(self.node.target)) if self.node.op == "call_module" else None
        divisor = getattr(module, "divisor_override", None)
        if self.name == "avg_pool2d":
            divisor = self._argument(6, "divisor_override", None)
        if divisor is not None and not divisor > 0:
            raise self._refused("its `divisor_override` is not above 0")

    def _averaged(self, shape: tuple[int, ...]) -> int:
        """How many values are averaged, at most."""
        out = self._shape(self.node)
        if self.name == "mean":
            return math.prod(shape) // math.prod(out)
        if self.name.lower().startswith("adaptive"):
            return math.prod(shape[1:])
        kernel = getattr(self.modules.get(self.path), "kernel_size", None)
        return math.prod(_pair(self._argument(1, "kernel_size", kernel)))

    def _call(self) -> int:
        name = self.name
        if name in ("cat", "concat"):
            return self._concatenated()
        if name in SUMS or name in FACTORS:
            return self._arithmetic()
        place, shape = self._place(self._read), self._shape(self._read)
        if name == "max_pool2d":
            kernel = self._argument(1, "kernel_size", None)
            sizes = (self._argument(2 + i, n, d) for i, (n, d) in enumerate(
                (("stride", None), ("padding", 0), ("dilation", 1), ("ceil_mode", False))
            ))  # fmt: skip
            stride, *rest = sizes
            if len(shape) != 3:
                raise self._refused("it mixes the images of a batch")
            return self._pooled(place, kernel, stride or kernel, *rest)
        if name == "amax":
            return self._greatest(place, shape)
        if name in _RESHAPING:
            return self._reshaped(place, shape)
        if name == "dropout":
            if self._argument(2, "training", True):
                raise self._refused("it is on in eval mode")
            return place
        if name == "pad":
            if self._argument(2, "mode", "constant") == "constant" and self._argument(
                3, "value", None
            ):
                raise self._refused("it pads with other numbers than 0")
            return self._moved(place, shape)
        if name in ("getitem", "permute", "transpose"):
            return self._moved(place, shape)
        return self._named(place, shape)

    def _weighted(self, module: nn.Linear | nn.Conv2d, place: int, shape: tuple[int, ...]) -> int:
        norm = self._norm_after(self.node)
        if isinstance(module, nn.Linear):
            return self._append(Dense(module, norm), place)
        padding: Any = module.padding
        if module.padding_mode == "circular" and not isinstance(padding, str):
            around = (padding[1], padding[1], padding[0], padding[0])
            moved = Moving(lambda x: functional.pad(x, around, mode="circular"), shape)
            shape = (shape[0], shape[1] + 2 * padding[0], shape[2] + 2 * padding[1])
            self.steps.append((moved, (place,), shape, self.path))
            place, padding = len(self.steps) - 1, (0, 0)
        elif module.padding_mode != "zeros":
            raise self._refused(f"it pads by {module.padding_mode!r}")
        return self._append(Convolution(module, norm, shape, padding), place)

    def _norm_after(self, node: fx.Node) -> Norm | None:
        """The BatchNorm that alone reads a linear step, if there is one to fold into it."""
        module = self.modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(module, (nn.Linear, nn.Conv2d)) or len(node.users) != 1:
            return None
        (user,) = node.users
        after = self.modules.get(str(user.target)) if user.op == "call_module" else None
        flat = not isinstance(module, nn.Linear) or self.values[node].ndim == 2
        if isinstance(after, _NORMS) and after.running_mean is not None and flat:
            return after
        return None

    def _check_norm(self, norm: Norm) -> None:
        if norm.running_mean is None or norm.running_var is None:
            raise self._refused("it has no running statistics, and so depends on the batch")

    def _reshaped(self, place: int, shape: tuple[int, ...]) -> int:
        fx.node.map_arg((self.node.args[1:], self.node.kwargs), lambda node: self._held(node)())
        out = tuple(self.values[self.node].shape[1:])
        if math.prod(out) != math.prod(shape):
            raise self._refused("it mixes the images of a batch")
        return self._append(Moving(lambda x: x.reshape(len(x), *out), shape), place)

    def _moved(self, place: int, shape: tuple[int, ...], roundings: int = 0) -> int:
        function, node = self.function, self.node
        given = node.args[1:], node.kwargs
        inner: list[fx.Node] = []
        fx.node.map_arg(given, inner.append)
        held = {one: self._held(one) for one in inner}

        def moved(x: Tensor) -> Tensor:
            rest, named = fx.node.map_arg(given, lambda n: held[n]())
            found: Tensor = function(x, *rest, **named)
            return found

        images = self.values[self._read]
        whole, single = moved(images), moved(images[:1])
        if single.shape != whole[:1].shape or not torch.allclose(single, whole[:1]):
            raise self._refused("it mixes the images of a batch")
        return self._append(Moving(moved, shape, roundings), place)

    def _pooled(
        self, place: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
    ) -> int:
        if _pair(dilation) != (1, 1) or ceil:
            raise self._refused("only windows without dilation and `ceil_mode` are")
        return self._append(MaxPool(_pair(kernel), _pair(stride), _pair(padding)), place)

    def _greatest(self, place: int, shape: tuple[int, ...]) -> int:
        dims = self._argument(1, "dim", ())
        dims = (dims,) if isinstance(dims, int) else dims
        if (
            len(shape) != 3
            or self.values[self.node].ndim < 2
            or sorted(d % 4 for d in dims) != [2, 3]
        ):
            raise self._refused("only the maximum over height and width is")
        self.steps.append((MaxPool(shape[1:], shape[1:]), (place,), (shape[0], 1, 1), self.path))
        out = tuple(self.values[self.node].shape[1:])
        moved = Moving(lambda x: x.reshape(len(x), *out), (shape[0], 1, 1))
        return self._append(moved, len(self.steps) - 1)


def _pair(size: Any) -> tuple[int, int]:
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))
