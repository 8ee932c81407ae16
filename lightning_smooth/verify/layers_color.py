"""Linear forms of what changes of brightness, contrast, saturation and hue make of pixels.

Source: Mohapatra, Weng, Chen, Liu, Daniel, "Towards verifying robustness of neural networks against
a family of semantic perturbations", CVPR 2020, section 4; THEORY section 9.

**Gains.** With g = e^k and s = x + b, a pixel becomes g s (of saturation: the grey plus g s, s its
distance from it). e^k is convex: a secant is above it and a tangent below. Where both range,
(g - l)(s - m) >= 0 for the least values l and m, and likewise for the greatest, which are linear
bounds of g s from below; from above (g - l)(s - m) <= 0 for the least of one and the greatest of
the other (McCormick). The better of two at the box's centre is taken.

**Hue.** V - (V - m) clamp(d - 1, 0, 1) is piecewise linear in the turn, with corners where the
turned hue is a multiple of 60 degrees. Less a line, its extremes are at corners and ends.

**Rounding**, with u = 2^-24. Of a gain: see `gains`. Of saturation: grey, distance and
interpolation have no more than 8 roundings of values that (1 + g) times the largest channel
bounds. Of hue: rounding of the parameter, of its sixtieth and remainder cost 4u |turn| / 60
chromas; a channel is a Lipschitz function of the pixel, and all else 64u of the largest channel.
A chroma below the normal numbers has no hue in float32, but moves a channel by itself at most.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from lightning_smooth.interpolation.boxes import ROUNDING
from lightning_smooth.transforms.base import Transform
from lightning_smooth.transforms.color import LUMA, Hue
from lightning_smooth.verify.gains import gain_slack
from lightning_smooth.verify.linear_forms import Forms, Line
from lightning_smooth.verify.linear_slopes import slope_below
from lightning_smooth.verify.regions import Bounds

_TURN: Final = 360.0
_SECTOR: Final = 60.0
_GREY: Final = 2.0**-125
"""What a pixel whose chroma is no normal number of float32 may be wrong by."""


def adjusted(transform: Transform, image: Tensor, low: Tensor, high: Tensor) -> Forms:
    """Forms of `Brightness`, `Contrast` and `BrightnessContrast`: e^k (x + b).

    Args:
        transform: whose parameters are named `brightness`, `contrast` or both.
        image: (C, H, W) float64.
        low: (B, P) ends of boxes.
        high: likewise.
    """
    nothing = torch.zeros_like(low[:, :1])
    ends = {name: (low[:, [k]], high[:, [k]]) for k, name in enumerate(transform.names)}
    shift = Bounds(*ends.get("brightness", (nothing, nothing)))
    gain = Bounds(*ends.get("contrast", (nothing, nothing)))
    sides = _products(image, shift, gain)
    slack = gain_slack(image.abs() + shift.size[..., None, None], _pixelwise(gain))
    kept = [("brightness", "contrast").index(name) for name in transform.names]
    return _outward([Line(line.slope[:, kept], line.middle) for line in sides], slack)


def saturated(image: Tensor, low: Tensor, high: Tensor) -> Forms:
    """Forms of `Saturation`, of boxes (B, 1)."""
    grey = (image * image.new_tensor(LUMA)[:, None, None]).sum(dim=0, keepdim=True)
    nothing, gain = torch.zeros_like(low), Bounds(low, high)
    sides = _products(image - grey, Bounds(nothing, nothing), gain)
    largest = image.abs().amax(dim=0, keepdim=True)
    slack = gain_slack(largest, _pixelwise(gain), kept=1.0)
    return _outward([Line(line.slope[:, 1:], line.middle + grey) for line in sides], slack)


def _pixelwise(bound: Bounds) -> Bounds:
    return Bounds(bound.lower[..., None, None], bound.upper[..., None, None])


def _outward(sides: list[Line], slack: Tensor) -> Forms:
    low, up = sides
    return Forms(Line(low.slope, low.middle - slack), Line(up.slope, up.middle + slack))


def _products(values: Tensor, shift: Bounds, log_gain: Bounds) -> list[Line]:
    """Lines in (b, k) below and above e^k (s + b), for s (C, H, W) and b, k in boxes (B, 1)."""
    b, k = _pixelwise(shift), _pixelwise(log_gain)
    least, most = k.lower.exp(), k.upper.exp()
    middle, width = (k.lower + k.upper) / 2, k.upper - k.lower
    # A tangent in the middle, and the secant: their slopes, and values in the middle.
    tangent = middle.exp()
    some = torch.where(width > 0, width, 1.0)
    secant = least * torch.where(width > 0, width.expm1() / some, 1.0)
    chord = least + secant * (middle - k.lower)
    center = values + (b.lower + b.upper) / 2
    small, large = values + b.lower, values + b.upper
    sides = []
    for sign, pairs in (
        (1.0, ((least, small), (most, large))),
        (-1.0, ((most, small), (least, large))),
    ):
        one, other = (
            _product(gain, value, center, sign, (tangent, secant, chord)) for gain, value in pairs
        )
        better = sign * other[0] >= sign * one[0]
        at, *slopes = (torch.where(better, *both) for both in zip(other, one, strict=True))
        sides.append(Line(torch.stack(slopes, dim=1), at))
    return sides


def _product(
    gain: Tensor, value: Tensor, center: Tensor, sign: float, curve: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gain s + value g - gain value: at the centre, and its slopes in both parameters.

    g = exp is bounded by its tangent or its secant, from the side that the sign of value asks for.
    """
    tangent, secant, chord = curve
    below = sign * value >= 0
    slope = value * torch.where(below, tangent, secant)
    at = gain * (center - value) + value * torch.where(below, tangent, chord)
    return at, gain.expand_as(at), slope


def turned(transform: Hue, image: Tensor, low: Tensor, high: Tensor) -> Forms:
    """Forms of `Hue`, of boxes (B, 1); flat ones of boxes of a whole turn and more."""
    low, high = low[..., None], high[..., None]  # (B, 1, 1) beside (H, W)
    center = (low + high) / 2
    whole = high - low >= _TURN
    last = torch.minimum(high, low + _TURN)
    hue = _hue(image)
    first = (hue + low / _SECTOR).ceil()
    count = int(((last - low) / _SECTOR).max()) + 1 if len(low) else 0
    corners = first + torch.arange(count, dtype=torch.float64)[:, None, None, None]
    corners = torch.minimum(torch.maximum(_SECTOR * (corners - hue), low), last)
    places = torch.cat([t.expand(1, *corners.shape[1:]) for t in (low, last)] + [corners])
    pixels = image.permute(1, 2, 0).expand(*places.shape, -1).reshape(-1, 3, 1, 1)
    values = transform(pixels, places.reshape(-1, 1)).view(*places.shape, 3)
    values = values.movedim(-1, 2)  # (n, B, 3, H, W)
    places = (places - center)[:, :, None]
    largest = image.abs().amax(dim=0)
    chroma = image.amax(dim=0) - image.amin(dim=0)
    angle = torch.maximum(low.abs(), high.abs()) / _SECTOR
    slack = (ROUNDING * (64 * largest + 8 * angle * chroma) + _GREY)[:, None]
    lines = []
    for sign in (1.0, -1.0):
        slope = torch.where(whole[:, None], 0.0, slope_below(places, sign * values))
        middle = (sign * values - slope * places).amin(dim=0) - slack
        lines.append(Line(sign * slope[:, None], sign * middle))
    within = Bounds(values.amin(dim=0) - slack, values.amax(dim=0) + slack)
    return Forms(lines[0], lines[1], within)


def _hue(image: Tensor) -> Tensor:
    """(H, W): hue of a pixel (red, green, blue) in sectors of 60 degrees; of grey, anything."""
    red, green, blue = image
    value = image.amax(dim=0)
    chroma = value - image.amin(dim=0)
    some = torch.where(chroma > 0, chroma, 1.0)
    other = torch.where(value == green, 2 + (blue - red) / some, 4 + (red - green) / some)
    return torch.where(value == red, (green - blue) / some, other)
