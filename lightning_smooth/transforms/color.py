"""Hue and saturation of images of three channels: red, green, blue.

Both are exact for any real values, in [0, 1] or not, and both compose exactly: hue keeps the value
and the chroma that the next turn needs, saturation keeps the grey. Nothing is clipped.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.transforms.base import Parameter, Transform

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""
PIECE = 1 << 16
"""Pixels that a hue turn works on at a time, so that intermediate results stay in cache."""


class Hue(Transform):
    """Hue turned around its circle; value and chroma of HSV kept.

    Convention: degrees; red turns to green at 120 and to blue at 240. With V the largest channel,
    m the smallest, chroma V - m and h the hue, a channel at angle c (0 red, 120 green, 240 blue)
    becomes V - (V - m) clamp(d - 1, 0, 1), where d is the distance between h + theta and c on the
    circle, in units of 60 degrees. A grey pixel stays as it is. Values stay in [m, V].
    Composition: angles add (mod 360).

    Source: Smith 1978, color gamut transform pairs (HSV); in [0, 1] as Python's `colorsys`.
    """

    parameters = (Parameter(name="hue", unit="degrees", usual=(-90.0, 90.0)),)
    composition = "additive"

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        _channels(self, images)
        turns, size = (theta[:, 0] / 60).remainder(6)[:, None, None], _piece(images)
        if len(images) == 1:
            hexcone = _hexcone(images)
            return torch.cat([_turned(*hexcone, turn) for turn in torch.split(turns, size)])
        pairs = zip(
            torch.split(images, size),
            torch.split(turns.expand(len(images), 1, 1), size),
            strict=True,
        )
        return torch.cat([_turned(*_hexcone(some), turn) for some, turn in pairs])


class Saturation(Transform):
    """Saturation: the distance of each pixel from its grey, times e^s.

    Convention: grey + e^s (x - grey), grey = .299 red + .587 green + .114 blue; s is the log of
    the gain, 0 nothing. Values may leave [0, 1]; they are not clipped. Composition: logs of gains
    add, since the grey of a pixel stays what it is.

    Source: Haeberli and Voorhies 1994, image processing by interpolation and extrapolation.
    """

    parameters = (Parameter(name="saturation", unit="log gain", usual=(-0.7, 0.7)),)
    composition = "additive"
    keeps_range = False

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        red, green, blue = _channels(self, images)
        grey = (red * LUMA[0]).add(green, alpha=LUMA[1]).add(blue, alpha=LUMA[2])
        return torch.lerp(grey[:, None], images, theta[:, 0, None, None, None].exp())


def _channels(transform: Transform, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if images.shape[1] != 3:
        raise InputError(
            f"Expected `images` of 3 channels (red, green, blue) for {transform!r}, but got shape "
            f"{tuple(images.shape)}. A grey image has no color to change."
        )
    red, green, blue = images.unbind(dim=1)
    return red, green, blue


def _piece(images: Tensor) -> int:
    """How many images to work on at a time: on a CPU, what stays in its cache."""
    pixels = images.shape[-2] * images.shape[-1]
    return max(1, PIECE // max(1, pixels)) if images.device.type == "cpu" else sys.maxsize


def _hexcone(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, chroma and hue in [-3, 3], in units of 60 degrees from red, each (B, H, W)."""
    red, green, blue = images.unbind(dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    some = chroma.clamp_min(torch.finfo(images.dtype).tiny)  # grey has no hue: 0 is as good as any
    turn = green - blue
    apart, lack = turn.abs() / some, (value - red) / some
    # Red is the largest and lack 0, or it is the smallest and lack 1, or it is neither and apart 1:
    # apart, 3 - apart, and 1 + lack, without telling which.
    distance = torch.addcmul(apart, lack, 3 - 2 * apart)
    return value, chroma, torch.copysign(distance, turn)


def _turned(value: Tensor, chroma: Tensor, hue: Tensor, turn: Tensor) -> Tensor:
    hue = hue + turn
    hue = hue - 6 * (hue / 6).detach().round()  # in [-3, 3]; faster than a remainder
    # What each channel lacks of the value, in chromas: 0 within 60 degrees, 1 beyond 120.
    lacks = torch.stack([hue.abs() - 1, 2 - (hue + 1).abs(), 2 - (hue - 1).abs()], dim=1)
    return torch.addcmul(value[:, None], chroma[:, None], lacks.clamp(0, 1), value=-1)
