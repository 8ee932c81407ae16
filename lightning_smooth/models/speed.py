"""How fast the image that a surrogate network makes moves with its parameter: proven bounds.

Of H(F1(t) + c), with c = F2(x) held, over an interval of t. H(z) = P z + S(g(R z) * (A z)), with P,
S, A and R linear or affine and g = W2 tanh(W1 . + b1) + b2 (`GatedDecoder`), so its derivative is

    P F1' + S(g'(u)[R F1'] * A z + g(u) * A F1'),    u = R z,  z = F1(t) + c,

and every part of it depends on t through the m amounts a(t) of F1 = a(t) V and their derivatives.
Both are enclosed in intervals, elementwise; what follows is interval arithmetic, and S is bounded
by its operator norm where an enclosure has a width. Rounding in float64 is covered by a relative
slack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_smooth.errors import InputError
from lightning_smooth.models.lipschitz import convolution_bound
from lightning_smooth.models.surrogate import SurrogateNetwork

_SLACK: Final = 1e-9


@dataclass(frozen=True)
class _Interval:
    """Enclosures: all numbers within `half` of `middle`, elementwise."""

    middle: Tensor
    half: Tensor

    @classmethod
    def between(cls, low: Tensor, high: Tensor) -> _Interval:
        return cls((low + high) / 2, (high - low) / 2)

    @property
    def largest(self) -> Tensor:
        """Bound of the absolute value."""
        return self.middle.abs() + self.half

    def __matmul__(self, matrix: Tensor) -> _Interval:
        return _Interval(self.middle @ matrix, self.half @ matrix.abs())

    def __add__(self, other: Tensor) -> _Interval:
        return _Interval(self.middle + other, self.half)

    def __mul__(self, other: _Interval) -> _Interval:
        width = self.middle.abs() * other.half + self.half * other.largest
        return _Interval(self.middle * other.middle, width)

    def plus(self, other: _Interval) -> _Interval:
        """The sum of two."""
        return _Interval(self.middle + other.middle, self.half + other.half)


@torch.no_grad()
def surrogate_speed(network: SurrogateNetwork, latent: Tensor, edges: Tensor) -> Tensor:
    """Bound the l2 norm of d/dt H(F1(t) + c) over each interval between edges.

    Guarantee: for the weights as they are stored, in real arithmetic.

    Args:
        network: of one parameter t.
        latent: c, (D, h, w).
        edges: (M + 1,) ascending values of t, in the network's range.

    Returns:
        (M,) float64, at least 0, by unit of the parameter.

    Raises:
        InputError: the network has several parameters.
    """
    if len(network.names) != 1:
        raise InputError(
            f"Expected a surrogate of one parameter, but got one of {', '.join(network.names)}."
        )
    amounts, rates = _amounts(network, edges.double())
    decoder = network.decoder
    vectors = network.motion.vectors.double()  # (m, D, h, w)
    read = decoder.read.weight.double()
    first, second = (cast(nn.Linear, decoder.gates[place]) for place in (0, 2))
    start = functional.linear(latent.double().flatten()[None], read, decoder.read.bias.double())
    gain = vectors.flatten(1) @ read.mT  # (m, controls): R of the rows of V
    inner = (amounts @ gain + start) @ first.weight.double().mT + first.bias.double()
    moved = rates @ (gain @ first.weight.double().mT)  # W1 R F1'
    bent = _Interval.between(
        torch.tanh(inner.middle - inner.half), torch.tanh(inner.middle + inner.half)
    )
    gates = bent @ second.weight.double().mT + second.bias.double()
    turned = _slope(bent) * moved @ second.weight.double().mT  # g'(u)[R F1']
    norm = _synthesis_norm(network)
    shown = _parts(network, latent.double()[None], constant=True)  # (1, parts, places)
    along = _parts(network, vectors, constant=False)  # (m, parts, places)
    count, places = along.shape[1:]
    seen = (amounts @ along.flatten(1)) + shown.flatten(1)
    pulled = rates @ along.flatten(1)

    def spread(gate: _Interval) -> _Interval:
        return _Interval(
            *(t[:, :, None].expand(-1, count, places).flatten(1) for t in (gate.middle, gate.half))
        )

    changed = (spread(turned) * seen).plus(spread(gates) * pulled)
    if decoder.kind == "conv":
        maps = decoder.maps.double().flatten()
        changed = _Interval(changed.middle * maps, changed.half * maps.abs())
    image = rates @ (decoder.shown(vectors).flatten(1) / decoder.share)
    middle = _synthesis(network, changed.middle, count, places) + image.middle
    size = middle.norm(dim=1) + norm * changed.half.norm(dim=1) + image.half.norm(dim=1)
    bound: Tensor = size * (1 + _SLACK) + _SLACK
    return bound


def _amounts(network: SurrogateNetwork, edges: Tensor) -> tuple[_Interval, _Interval]:
    """Enclosures (M, m) of a and a' over each interval, by unit of the parameter."""
    motion = network.motion
    linear, inner, shift, outer = (
        w[0].double() for w in (motion.linear, motion.inner, motion.shift, motion.outer)
    )
    low, high = motion.low[0], motion.high[0]
    half = (high - low) / 2 or 1.0
    t = (edges - (low + high) / 2) / half
    ends = torch.stack([t[:-1, None] * inner, t[1:, None] * inner]) + shift
    bent = _Interval.between(torch.tanh(ends.amin(dim=0)), torch.tanh(ends.amax(dim=0)))
    rates = _Interval(_slope(bent).middle * inner, _slope(bent).half * inner.abs()) @ outer
    rates = _Interval((rates.middle + linear) / half, rates.half / half)
    place = (t[:-1] + t[1:]) / 2
    value = place[:, None] * linear + torch.tanh(place[:, None] * inner + shift) @ outer
    reach = edges.diff()[:, None] / 2
    return _Interval(value, rates.largest * reach), rates


def _slope(bent: _Interval) -> _Interval:
    """1 - y^2 for y in an interval within [-1, 1]."""
    most = bent.largest.clamp(max=1)
    least = (bent.middle.abs() - bent.half).clamp(min=0)
    return _Interval.between(1 - most.square(), 1 - least.square())


def _parts(network: SurrogateNetwork, latents: Tensor, *, constant: bool) -> Tensor:
    """A of latents (B, D, h, w), with its constant or without: (B, parts, places) float64."""
    decoder = network.decoder
    layer = cast("nn.Linear | nn.Conv2d", decoder.analysis)
    weight, added = layer.weight.double(), cast(Tensor, layer.bias).double() if constant else None
    seen = decoder.seen(latents)
    if decoder.kind == "dense":
        return functional.linear(seen.flatten(1), weight, added)[:, :, None]
    shown = functional.pixel_unshuffle(seen, decoder.stride)
    return functional.conv2d(shown, weight, added, padding=weight.shape[2] // 2).flatten(2)


def _synthesis(network: SurrogateNetwork, changes: Tensor, count: int, places: int) -> Tensor:
    """S without its constant, of changes (M, parts x places): (M, pixels)."""
    decoder = network.decoder
    weight = decoder.synthesis.weight.double()
    if decoder.kind == "dense":
        return functional.linear(changes, weight)
    height, width = decoder.size
    planes = changes.view(-1, count, height // decoder.stride, width // decoder.stride)
    images = functional.conv2d(planes, weight, padding=weight.shape[2] // 2)
    return functional.pixel_shuffle(images, decoder.stride).flatten(1)


def _synthesis_norm(network: SurrogateNetwork) -> float:
    """Bound of S's operator norm."""
    decoder = network.decoder
    weight = decoder.synthesis.weight.double()
    if decoder.kind == "dense":
        return float(torch.linalg.matrix_norm(weight, 2)) * (1 + _SLACK)
    height, width = decoder.size
    return convolution_bound(weight, (height // decoder.stride, width // decoder.stride))
