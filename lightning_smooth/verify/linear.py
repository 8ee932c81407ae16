"""Linear forms in the parameters between which each pixel of a transformed image lies (DeepG).

Source: Balunovic, Baader, Singh, Gehr, Vechev, "Certifying geometric robustness of neural
networks", NeurIPS 2019; THEORY section 9. Slopes are chosen by values at some parameters, and what
is added is then made sound: here without a linear program or a search, for all boxes and pixels at
once.

**One parameter** (rotation, scaling). Let v(t) be a pixel's value, a a slope, t counted from the
box's centre. On a part [s, e] of the box v' is in [L, U] (`linear_paths`), so that the derivative
of r = v - a t is in [L - a, U - a]: r is above the line through its value at s with slope L - a,
and above the one through its value at e with slope U - a. The least value of the larger of the two
bounds r from below; so does the least value of the part's interval image, less the greatest of a t.
The better of both, and of all parts the least, is added to a t. Above, likewise.

**Two parameters** (translation). A pixel's source moves by -dx and -dy, so that v is bilinear in
(dx, dy) between whole shifts, and v less a linear form is, too: its extremes over a box are among
its values where dx is an end of the box or whole and dy likewise. Nothing needs to be cut.

**Rounding.** What is above is about real arithmetic. The value that float32 gives is that of a
point off by little, which lies in the swept box too, but for the rounding of sampling
(`linear_paths.rounding`); float64 errs by 2^-29 of it. This computation is in float64: a few dozen
times 2^-52, of values up to the image's largest one V, and of slopes' products with a box's width,
which are a few V, as slopes are quotients of values there. It is less than u V = 2^-24 V, and the
rounding of pixels is taken as 16 u V where 8 u V would do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.interpolation.boxes import checked_range, swept_boxes
from lightning_smooth.interpolation.intervals import interval_images
from lightning_smooth.transforms.base import Transform
from lightning_smooth.transforms.geometric import Rotation, Scaling, Translation
from lightning_smooth.verify.enclosure import Enclosure
from lightning_smooth.verify.linear_forms import Forms, Line, checked_image, parameter_forms
from lightning_smooth.verify.linear_paths import gradients, rounding, slopes
from lightning_smooth.verify.linear_slopes import plane_below, slope_below
from lightning_smooth.verify.regions import Bounds, ParameterForms

_KNOWN: Final = (Rotation, Scaling, Translation)
_TRIED: Final = 8
"""Equal parts of a box at whose ends values choose a slope, at most."""
_CHUNK: Final = 1 << 16
"""Values that are worked on at once."""


class LinearEnclosure(Enclosure):
    """Linear forms in the parameters, below and above each pixel (DeepG).

    Guarantee: that of `Enclosure.regions`; the head of this file has the proof. The forms are
    those of real parameters: theta itself, not what float32 makes of it.

    Args:
        transform: `Rotation`, `Scaling` or `Translation`, with boxes of any width.
        parts: sub-boxes that a box of one parameter is cut into; time grows with them. A
            translation's forms need none.

    Raises:
        InputError: the transformation is another one, or `parts` is not a count.
    """

    def __init__(self, transform: Transform, parts: int = 8) -> None:
        if type(transform) not in _KNOWN:  # a subclass may do anything
            names = ", ".join(known.__name__ for known in _KNOWN)
            raise InputError(
                f"Expected `transform` to be one of {names}, but got {transform!r}: linear forms "
                "of others are not known here; see `LayerEnclosure` for changes of color."
            )
        super().__init__(transform)
        self.parts = check_count("parts", parts)

    def describe(self) -> dict[str, Any]:
        """See `Enclosure.describe`."""
        return {"parts": self.parts}

    def regions(self, image: Tensor, low: Tensor, high: Tensor) -> ParameterForms:
        """See `Enclosure.regions`: forms with `within`, bounds of the pixels over whole boxes."""
        image = checked_image(image)
        low, high = checked_range(self.transform, low, high)
        if isinstance(self.transform, Translation):
            x, y = _knots(low, high, image)
            make, points = self._shifted, len(x) * len(y)
        else:
            make, points = self._cut, self.parts + 1
        size = max(1, _CHUNK // (points * image.numel()))
        pairs = zip(torch.split(low, size), torch.split(high, size), strict=True)
        return parameter_forms([make(image, *pair) for pair in pairs], low, high)

    def _cut(self, image: Tensor, low: Tensor, high: Tensor) -> Forms:
        """Forms in one parameter, of boxes (B, 1) in parts."""
        share = torch.linspace(0, 1, self.parts + 1, dtype=torch.float64)
        ends = torch.lerp(low, high, share)
        ends[:, 0], ends[:, -1] = low[:, 0], high[:, 0]
        places = (ends - (low + high) / 2).T[:, :, None, None, None]
        shape = (len(low), -1, *image.shape)
        values = self.transform(image[None], ends.reshape(-1, 1)).view(shape).transpose(0, 1)
        first, last = ends[:, :-1].reshape(-1, 1), ends[:, 1:].reshape(-1, 1)
        height, width = image.shape[1:]
        swept = swept_boxes(self.transform, first, last, height=height, width=width)
        found = gradients(image, swept)
        derivative, x, y = slopes(self.transform, found, swept, first[:, 0], last[:, 0])
        slack = rounding(self.transform, image, found, (x.size, y.size), first, last)
        least, greatest, steepest, slack, smallest = (
            one.view(shape).transpose(0, 1)
            for one in (*interval_images(image, image, swept), derivative.upper, slack,
                        derivative.lower)
        )  # fmt: skip
        below = _Parts(values, places, Bounds(smallest, steepest), least, slack)
        above = _Parts(-values, places, Bounds(-steepest, -smallest), -greatest, slack)
        within = Bounds(below.least(torch.zeros(())), -above.least(torch.zeros(())))
        low_line, up_line = below.line(), above.line()
        return Forms(low_line, Line(-up_line.slope, -up_line.middle), within)

    def _shifted(self, image: Tensor, low: Tensor, high: Tensor) -> Forms:
        """Forms in both parameters of a translation, of boxes (B, 2)."""
        x, y = _knots(low, high, image)
        shape = (len(x), len(y), len(low))
        grid = torch.stack([x[:, None].expand(shape), y[None].expand(shape)], dim=-1)
        values = self.transform(image[None], grid.reshape(-1, 2))
        values = values.view(*grid.shape[:3], *image.shape)
        height, width = image.shape[1:]
        swept = swept_boxes(self.transform, low, high, height=height, width=width)
        one = torch.ones((), dtype=torch.float64)
        slack = rounding(
            self.transform, image, gradients(image, swept), (one, one), low, high
        )  # fmt: skip
        center = (low + high) / 2
        x, y = ((p - center[:, k])[..., None, None, None] for k, p in enumerate((x, y)))
        within = Bounds(values.amin(dim=(0, 1)) - slack, values.amax(dim=(0, 1)) + slack)
        lines = []
        for sign in (1.0, -1.0):
            along_x, along_y = plane_below(x, y, sign * values)
            rest = sign * values - x[:, None] * along_x - y[None] * along_y
            middle = rest.amin(dim=(0, 1)) - slack
            lines.append(Line(sign * torch.stack([along_x, along_y], dim=1), sign * middle))
        return Forms(lines[0], lines[1], within)


@dataclass(frozen=True)
class _Parts:
    """What is known of pixels over K parts of each box.

    Attributes:
        values: (K + 1, B, C, H, W) at the parts' ends.
        places: (K + 1, B, 1, 1, 1) of the ends, from the box's centre.
        derivative: ranges (K, B, C, H, W).
        smallest: (K, B, C, H, W) least values, as they are computed.
        slack: (K, B, C, H, W) what computing a value may change.
    """

    values: Tensor
    places: Tensor
    derivative: Bounds
    smallest: Tensor
    slack: Tensor

    def line(self) -> Line:
        """The line below, of a slope that values choose."""
        parts = len(self.smallest)
        tried = sorted({*range(0, parts + 1, -(-parts // _TRIED)), parts})
        slope = slope_below(self.places[tried], self.values[tried])
        return Line(slope[:, None], self.least(slope))

    def least(self, slope: Tensor) -> Tensor:
        """Lower bound (B, C, H, W) of values less a slope times places."""
        rest = self.values - slope * self.places
        start, end = rest[:-1], rest[1:]
        width = self.places.diff(dim=0)
        low, high = self.derivative.lower - slope, self.derivative.upper - slope
        apart = high - low
        # Where the line from the start and the one from the end meet.
        met = (start - end + high * width) / torch.where(apart > 0, apart, 1.0)
        met = torch.minimum(met.clamp(min=0), width)
        rest = torch.where(high <= 0, end, start + low.clamp(max=0) * met) - self.slack
        moved = torch.maximum(slope * self.places[:-1], slope * self.places[1:])
        return torch.maximum(rest, self.smallest - moved).amin(dim=0)


def _knots(low: Tensor, high: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Places (n, B) along each axis: the ends of boxes, and whole shifts between them."""
    found = []
    for axis, size in enumerate((image.shape[2], image.shape[1])):
        one, two = low[:, axis], high[:, axis]
        # Farther away than its size nothing is left of an image.
        first, last = one.clamp(-size, size).ceil(), two.clamp(-size, size).floor()
        count = max(0, int((last - first).max()) + 1)
        whole = first + torch.arange(count, dtype=torch.float64)[:, None]
        inner = torch.minimum(torch.maximum(whole, one), two)
        found.append(torch.cat([one[None], inner, two[None]]))
    return found[0], found[1]
