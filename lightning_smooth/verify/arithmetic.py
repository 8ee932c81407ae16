"""Steps of a network that put features together, with each other or with constants."""

from __future__ import annotations

import math
from typing import Any, Final

from torch import Tensor, fx

from lightning_smooth.verify.activation import Standardization
from lightning_smooth.verify.moving import Concatenation, Sum
from lightning_smooth.verify.patterns import centres, standardizes
from lightning_smooth.verify.scaling import Centering, constant
from lightning_smooth.verify.translation import Translation

SUMS: Final = {"add": 1.0, "iadd": 1.0, "add_": 1.0, "sub": -1.0, "isub": -1.0}
"""The sign that each gives what it takes second."""

FACTORS: Final = {"mul", "imul", "truediv", "itruediv", "div"}


class Arithmetic(Translation):
    """Translates sums, differences, factors, quotients and concatenations."""

    def _concatenated(self) -> int:
        parts, dimension = self.node.args[0], self._argument(1, "dim", 0)
        if not isinstance(parts, (list, tuple)):
            raise self._refused()
        nodes = [part for part in parts if isinstance(part, fx.Node)]
        dimension = dimension % self.values[self.node].ndim
        if not dimension or len(nodes) != len(parts):
            raise self._refused("it mixes the images of a batch")
        sizes = [self.values[node].shape[dimension] for node in nodes]
        return self._append(Concatenation(dimension, sizes), *map(self._place, nodes))

    def _arithmetic(self) -> int:
        """A sum, a difference, a factor or a quotient, of two features or with a constant."""
        if len(self.node.args) != 2 or self.node.kwargs:
            raise self._refused()
        one, two = self.node.args
        reads = [isinstance(a, fx.Node) and a in self.places for a in (one, two)]
        if all(reads):
            return self._combined(one, two)
        feature, other = (one, two) if reads[0] else (two, one)
        number = self.values[other] if isinstance(other, fx.Node) else other
        read: Any = self._held(other) if isinstance(other, fx.Node) else number
        out = self.values[self.node].shape
        batched = isinstance(number, Tensor) and number.ndim == len(out) and len(number) > 1
        if batched or not isinstance(feature, fx.Node) or self._shape(feature) != out[1:]:
            raise self._refused("the constant is not one for every image")
        place = self._place(feature)
        if self.name in FACTORS:
            divides = "div" in self.name
            if divides and not reads[0]:
                raise self._refused("it divides by features")
            return self._append(constant(read, divides=divides), place)
        sign = SUMS[self.name]
        step = constant(1.0, read, sign=sign) if reads[0] else constant(sign, read)
        return self._append(step, place)

    def _combined(self, one: Any, two: Any) -> int:
        if centres(self.node):
            return self._append(Centering(math.prod(self._shape(one))), self._place(one))
        if self.name in FACTORS:
            eps = standardizes(self.node)
            if eps is None:
                raise self._refused("both sides depend on the images")
            return self._append(Standardization(eps), self._place(one))
        first, second = self._place(one), self._place(two)
        if self._shape(one) != self._shape(two):
            raise self._refused("the two have different shapes")
        if SUMS[self.name] < 0:
            self.steps.append((constant(-1.0), (second,), self._shape(two), self.path))
            second = len(self.steps) - 1
        return self._append(Sum(), first, second)
