"""What a translation of a network holds while it goes from node to node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor, fx, nn

from lightning_smooth.errors import InputError
from lightning_smooth.verify.activation import Activation
from lightning_smooth.verify.affine import Affine
from lightning_smooth.verify.following import Followed

Translated: TypeAlias = tuple[Affine | Activation | None, tuple[int, ...], tuple[int, ...], str]
"""Operation, places of its inputs, shape of what it gives, and path of its module."""


class Translation:
    """A network that is followed, the steps that were found, and the node that is looked at.

    Args:
        network: the network.
        images: two different images (2, C, H, W) that it takes.
    """

    node: fx.Node
    name: str
    function: Any
    path: str

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        self.followed = Followed(network, tuple(images.shape[1:]))
        self.run = self.followed.run(images)
        self.values = self.run.found
        self.modules = dict(network.named_modules(remove_duplicate=False))
        self.steps: list[Translated] = []
        self.places: dict[fx.Node, int | InputError] = {}
        self.last = 0

    def _place(self, node: fx.Node) -> int:
        place = self.places.get(node)
        if isinstance(place, InputError):
            raise place
        if place is None:
            raise InputError("Expected scores that depend on the images, but they do not.")
        return place

    def _refused(self, why: str = "no bounds of it are known") -> InputError:
        place = f"in module `{self.path}`" if self.path else "in the network itself"
        return InputError(
            f"Expected a network of steps that can be bounded, but `{self.name}` {place} is none: "
            f"{why}."
        )

    def _append(self, operation: Affine | Activation, *inputs: int) -> int:
        shape = tuple(self.values[self.node].shape[1:])
        self.steps.append((operation, inputs, shape, self.path))
        return len(self.steps) - 1

    def _argument(self, place: int, name: str, default: Any) -> Any:
        """An argument of a call, as it is in this network."""
        found = self.node.args[place] if place < len(self.node.args) else None
        found = self.node.kwargs.get(name, default) if found is None else found
        return fx.node.map_arg(found, lambda node: self._held(node)())

    def _held(self, node: fx.Node) -> Callable[[], Any]:
        """Reads an argument that no image decides, as it is by then."""
        found = self.followed.constant(node)
        if found is not None:
            return found
        value = self.values[node]
        if not self.followed.sized(node, self.values.__getitem__):
            raise self._refused(
                "it takes what the forward pass computes from images or weights, or draws; only "
                "parameters, buffers and numbers can be constants"
            )
        return lambda: value

    @property
    def _read(self) -> fx.Node:
        """The node that a step of one input reads."""
        found = self.node.args[0] if self.node.args else None
        if not isinstance(found, fx.Node):
            raise self._refused("it is called without a first argument")
        return found

    def _shape(self, node: fx.Node) -> tuple[int, ...]:
        return tuple(self.values[node].shape[1:])
