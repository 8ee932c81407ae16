"""What every transformation is: tau(theta, x), a function of parameters and images."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.types import Box

Composition = Literal["additive", "resolvable", "none"]
"""Whether tau(b, tau(a, x)) is tau(c, x) for some c, up to float rounding, whatever x.

`additive`: c = a + b. `resolvable`: c is another function of a and b, `Transform.compose`.
`none`: there is no such c; interpolation and clipping see to that.
"""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One number of a transformation.

    Attributes:
        name: what options, records and legends call it.
        unit: of its values, as a plot's axis shows it.
        identity: the value that changes nothing.
        low: least value allowed.
        high: largest value allowed.
        positive: whether `low` itself is not allowed.
        whole: whether values are rounded to whole numbers when they are applied.
        place: whether it says where, and not how much: at the identity of all others it changes
            nothing, whatever its value. It counts in no norm of an attack; `identity` is then what
            it is where no value is given.
        usual: a range that experiments take, for contact sheets and tests.
    """

    name: str
    unit: str
    identity: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    positive: bool = False
    whole: bool = False
    place: bool = False
    usual: tuple[float, float] = (-1.0, 1.0)

    def allows(self, value: float) -> bool:
        """Whether `value` is finite and in range."""
        least = value > self.low if self.positive else value >= self.low
        return math.isfinite(value) and least and value <= self.high

    @property
    def range(self) -> str:
        """The allowed values, in words."""
        if math.isinf(self.low) and math.isinf(self.high):
            return "finite"
        least = f"{'above' if self.positive else 'at least'} {self.low:g}"
        return least if math.isinf(self.high) else f"{least} and at most {self.high:g}"


class Transform(ABC):
    """A transformation of images with real parameters; it draws nothing itself.

    A subclass sets `parameters`, writes `_apply`, and says how it composes. The call validates.

    Attributes:
        parameters: one entry a parameter, in the order of the columns of theta.
        composition: whether and how it composes.
        keeps_range: whether images in [0, 1] stay in [0, 1]. Where they do not, they are not
            clipped: what is clipped does not compose.
        coupled: names of the brightness b and the log-contrast k, if it does e^k (x + b).
    """

    parameters: tuple[Parameter, ...]
    composition: Composition = "none"
    keeps_range: bool = True
    coupled: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @final
    def __call__(self, images: Tensor, theta: Tensor) -> Tensor:
        """Transform each image with its own parameters.

        Args:
            images: (B, C, H, W), floating point; or one image (1, C, H, W) for all parameters.
            theta: (B, P) parameters, one row an image; or (1, P) for all images.

        Returns:
            (B, C, H, W) in the dtype and on the device of `images`. Gradients flow to the images,
            and to the parameters wherever there is a derivative.

        Raises:
            InputError: shapes do not fit, images are not floating point, a parameter is not
                finite or out of range, or the images are too small for the transformation.
        """
        if images.ndim != 4 or not images.is_floating_point():
            raise InputError(
                "Expected `images` (B, C, H, W) of floating point, but got shape "
                f"{tuple(images.shape)} of {images.dtype}."
            )
        theta = self.check(theta.to(images.dtype))  # the values that are applied
        count, rows = images.shape[0], theta.shape[0]
        if 1 not in (count, rows) and count != rows:
            raise InputError(
                f"Expected as many rows of `theta` as images, or one of either, but got "
                f"{rows} rows and {count} images."
            )
        # Autocast is for models: what is rounded to bfloat16 on the way does not compose.
        with torch.autocast(images.device.type, enabled=False):
            transformed = self._apply(images, theta.to(images.device))
        wanted = rows if count == 1 else count
        return (
            transformed
            if transformed.shape[0] == wanted
            else transformed.expand(wanted, -1, -1, -1)
        )

    @abstractmethod
    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        """Transform images (B or 1, C, H, W) by checked theta (B or 1, P) of their dtype."""

    def compose(self, second: Tensor, first: Tensor) -> Tensor:
        """Parameters of one transformation that does what `first` and then `second` do.

        Args:
            second: (B, P), applied last.
            first: (B, P), applied first.

        Raises:
            InputError: it does not compose.
        """
        if self.composition != "additive":
            raise InputError(f"{self!r} does not compose: no parameters do what two of them do.")
        return first + second

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    def identity(self) -> Tensor:
        """(P,) float64: the parameters that change nothing."""
        values = [parameter.identity for parameter in self.parameters]
        return torch.tensor(values, dtype=torch.float64)

    def theta(self, rows: Sequence[Sequence[float]] | None = None, **values: Any) -> Tensor:
        """Build parameters (B, P), float64, from rows, or from names; the rest stay identity.

        >>> from lightning_smooth.transforms import Translation
        >>> Translation().theta(dx=[1.0, 2.0])
        tensor([[1., 0.],
                [2., 0.]], dtype=torch.float64)

        Raises:
            InputError: a name is unknown, or the parameters are not allowed.
        """
        if rows is not None:
            return self.check(torch.as_tensor(rows, dtype=torch.float64))
        unknown = sorted(set(values) - set(self.names))
        if unknown:
            raise InputError(
                f"{self!r} has no parameter {unknown[0]!r}: it has {', '.join(self.names)}."
            )
        columns = [
            torch.as_tensor(values.get(p.name, p.identity), dtype=torch.float64).reshape(-1)
            for p in self.parameters
        ]
        lengths = {len(column) for column in columns} - {1}
        if len(lengths) > 1:
            raise InputError(
                f"Expected as many values of each parameter, or one, but got {sorted(lengths)}."
            )
        length = max(lengths, default=1)
        return self.check(torch.stack([column.expand(length) for column in columns], dim=1))

    def check(self, theta: Tensor) -> Tensor:
        """Return parameters (B, P), if they are allowed.

        Raises:
            InputError: they are not; the message names the first that is not.
        """
        if theta.ndim != 2 or theta.shape[1] != len(self.parameters):
            raise InputError(
                f"Expected `theta` (B, {len(self.parameters)}), a column for each of "
                f"{', '.join(self.names)}, but got shape {tuple(theta.shape)}."
            )
        if theta.device.type != "cpu" or not len(theta):  # a check would wait for the device
            return theta
        for parameter, column in zip(self.parameters, theta.detach().unbind(dim=1), strict=True):
            for end in column.aminmax():  # both are NaN where one value is
                if not parameter.allows(end.item()):
                    raise InputError(
                        f"Expected `{parameter.name}` of {type(self).__name__} to be "
                        f"{parameter.range} ({parameter.unit}), but got {end.item():g}."
                    )
        return theta

    def check_box(self, box: Box) -> dict[str, tuple[float, float]]:
        """Return a box of parameters, if it is one.

        Raises:
            InputError: it is empty, names a parameter that the transformation has not, or has a
                range that is upside down, not allowed, or of a whole parameter and without a whole
                number.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        if not box or set(box) - set(known):
            raise InputError(
                f"Expected `box` to have ranges of {', '.join(known)}, the parameters of "
                f"{self!r}, but got {sorted(box) or 'none'}."
            )
        for name, (low, high) in box.items():
            parameter = known[name]
            if not (parameter.allows(low) and parameter.allows(high)) or low > high:
                raise InputError(
                    f"Expected the range of `{name}` in `box` to be (least, greatest), each "
                    f"{parameter.range} ({parameter.unit}), but got ({low:g}, {high:g})."
                )
            if parameter.whole and math.ceil(low) > math.floor(high):
                raise InputError(f"There is no whole number from {low:g} to {high:g} for `{name}`.")
        return {name: (float(box[name][0]), float(box[name][1])) for name in known if name in box}
