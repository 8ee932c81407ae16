"""How a surrogate moves latents: F1, a smooth curve in latent space with bounded slopes."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.types import Box

POINTS: Final = 257
"""Points along one parameter at which slopes are listed, at most."""

LIMIT: Final = 1100
"""Points in all at which slopes of several parameters are listed, at most."""

FINE: Final = 0.02
"""Radius of the slopes, as a share of their root mean square, at which more points are not worth
their price."""

_SLACK: Final = 1e-9


class Motion(nn.Module):
    r"""F1(theta) = sum over parameters p of a_p(theta_p) V: sums of m latents, the rows of V.

    With t = (theta_p - middle) / half on the range of theta_p, which it maps to [-1, 1],

        a_p(theta_p) = t A_p + tanh(t w_p + b_p) W_p in R^m,

    and beyond the range a_p goes on as a line, with the value and the slope of the nearer end.

    Slopes: column p of the Jacobian, a_p'(theta_p) V, is a function of theta_p alone, and beyond
    the range it is what it is at the nearer end. So the Jacobian at any theta in R^P is that at the
    nearest point of the box, coordinate by coordinate: a supremum over R^P is one over the box.

    Args:
        box: (least, greatest) of each parameter, in its unit, in the order of the columns.
        latent_shape: (D, h, w).
        directions: m.
        hidden: units of tanh for each parameter.
        quiet: leading rows of latents in which V starts as 0.
    """

    def __init__(
        self,
        box: Box,
        latent_shape: tuple[int, int, int],
        *,
        directions: int,
        hidden: int,
        quiet: int = 0,
    ) -> None:
        super().__init__()
        self.names = tuple(box)
        self.low = tuple(float(low) for low, _ in box.values())
        self.high = tuple(float(high) for _, high in box.values())
        self.latent_shape = latent_shape
        count = len(self.names)
        start = torch.randn(directions, *latent_shape)
        start[:, :, :quiet] = 0
        self.vectors = nn.Parameter(nn.functional.normalize(start.flatten(1)).view_as(start))
        self.linear = nn.Parameter(torch.randn(count, directions))
        self.inner = nn.Parameter(torch.randn(count, hidden))
        self.shift = nn.Parameter(torch.empty(count, hidden).uniform_(-1, 1))
        self.outer = nn.Parameter(torch.randn(count, hidden, directions) / math.sqrt(hidden))

    def extra_repr(self) -> str:
        """Show the box and the sizes in the model's repr."""
        ends = zip(self.names, self.low, self.high, strict=True)
        box = ", ".join(f"{name}=({low:g}, {high:g})" for name, low, high in ends)
        directions, hidden = self.outer.shape[2], self.outer.shape[1]
        return f"{box}, directions={directions}, hidden={hidden}"

    def forward(self, theta: Tensor) -> Tensor:
        """F1 of parameters (B, P), any finite ones: (B, D, h, w)."""
        value, slope, beyond = self._along(theta)
        amounts = (value + slope * beyond[:, :, None]).sum(dim=1)
        return (amounts @ self.vectors.flatten(1)).view(-1, *self.latent_shape)

    def jacobian(self, theta: Tensor) -> Tensor:
        """Derivatives (B, L, P) of F1 at parameters (B, P), by unit of the parameter."""
        _, slope, _ = self._along(theta)
        _, half, _ = self._scale(slope)
        return torch.einsum("bpm,ml->blp", slope / half[:, None], self.vectors.flatten(1))

    def _along(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values and slopes (B, P, m) at the nearest point of the box, by t; and t beyond it."""
        if theta.ndim != 2 or theta.shape[1] != len(self.names):
            raise InputError(
                f"Expected `theta` (B, {len(self.names)}), a column for each of "
                f"{', '.join(self.names)}, but got shape {tuple(theta.shape)}."
            )
        theta = theta.to(self.linear)
        middle, half, end = self._scale(theta)
        place = (theta - middle) / half
        t = torch.minimum(torch.maximum(place, -end), end)
        bent = torch.tanh(t[:, :, None] * self.inner + self.shift)
        value = t[:, :, None] * self.linear + torch.einsum("bpn,pnm->bpm", bent, self.outer)
        rates = (1 - bent.square()) * self.inner
        slope = self.linear + torch.einsum("bpn,pnm->bpm", rates, self.outer)
        return value, slope, place - t

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Middles, half widths, ends in t: 1; of a range of one point, half width 1 and end 0."""
        low, high = (like.new_tensor(ends) for ends in (self.low, self.high))
        end = (high > low).to(like)
        return (low + high) / 2, (high - low) / 2 + (1 - end), end

    def slopes(self) -> tuple[Tensor, float]:
        """List slopes of F1 such that every slope is close to one of them.

        Guarantee: for every theta in R^P the Jacobian of F1, for the weights as they are stored and
        in real arithmetic, is within `radius` of one of the points, in the l2 operator norm.

        Proof: it suffices to take theta in the box (see the class). Along each parameter let the
        points be evenly spaced, both ends among them, 2 d apart in t. With s(u) = 1 - tanh(u)^2,
        the slope by t at a distance of at most d from a point t0 differs from that at t0 by at most
        d norm(a''(t0) V) + d^2 / 2 times the sum over units of abs(w)^3 S norm(W V), where S is the
        largest abs(s'') of the unit within that distance: s'' = 2 (1 - q) (3 q - 1) with
        q = tanh^2, whose range is known, is largest in q at 2/3 and monotone to either side. The
        largest of these sums, over half the range's width, is r_p. A matrix whose columns have
        norms of at most r_p has an operator norm of at most the root of the sum of their squares.
        Roundings in float64 are covered by a slack of 1e-9 of all that is added up.

        Returns:
            (G, L, P) float64 on the CPU, by unit of the parameters, L = D h w; and the radius. G is
            the product of 2^k + 1 points a parameter: the first k for which the radius is at most
            2 % of the slopes' root mean square, or the last that `POINTS` and `LIMIT` allow.
        """
        count = len(self.names)
        most = max(k for k in range(9) if 2**k < POINTS and (not k or (2**k + 1) ** count <= LIMIT))
        for k in range(min(1, most), most + 1):
            found = [self._column(p, 2**k + 1) for p in range(count)]
            radius = math.sqrt(math.fsum(r * r for _, r, _ in found)) * (1 + _SLACK)
            if radius <= FINE * math.sqrt(math.fsum(size for _, _, size in found)):
                break
        places = [torch.arange(len(column)) for column, _, _ in found]
        rows = torch.cartesian_prod(*places).view(-1, count)
        columns = [column[rows[:, p]] for p, (column, _, _) in enumerate(found)]
        return torch.stack(columns, dim=2), math.nextafter(radius, math.inf)

    def _column(self, p: int, points: int) -> tuple[Tensor, float, float]:
        """Column p of the Jacobian (points, L), its radius, and the mean of its squared norm."""
        vectors = self.vectors.detach().flatten(1).double().cpu()
        named = (self.linear, self.inner, self.shift, self.outer)
        linear, inner, shift, outer = (w[p].detach().double().cpu() for w in named)
        width = self.high[p] - self.low[p]
        t = torch.linspace(-1, 1, points, dtype=torch.float64)
        half, step = (width / 2, 1 / (points - 1)) if width > 0 else (1.0, 0.0)
        reached = (t if width > 0 else 0 * t)[:, None] * inner + shift
        bent = torch.tanh(reached)
        rate = 1 - bent.square()
        slope = linear + (rate * inner) @ outer
        curve = (-2 * bent * rate * inner.square()) @ outer
        # The triangle of V's QR decomposition gives the norms of combinations of V's rows.
        triangle = torch.linalg.qr(vectors.mT, mode="r")[1].mT
        units = (outer @ triangle).norm(dim=1)
        bend = (_bend(reached, inner.abs() * step) * inner.abs() ** 3) @ units
        turned = (curve @ triangle).norm(dim=1)
        scale = float((inner.abs() * units).sum() + (linear @ triangle).norm())
        worst = float((step * turned + step * step / 2 * bend).max())
        radius = worst * (1 + _SLACK) + _SLACK * scale
        column = slope @ vectors / half
        return column, radius / half, float(column.square().sum(dim=1).mean())


def _bend(reached: Tensor, within: Tensor) -> Tensor:
    """Largest abs(s'') within some distance of what units of tanh have reached: see `slopes`."""
    low, high = (torch.tanh(reached + side * within) for side in (-1, 1))
    least = torch.where(low * high > 0, torch.minimum(low.abs(), high.abs()), 0.0).square()
    most = torch.maximum(low.abs(), high.abs()).square()
    shares = (least, most, torch.full_like(most, 2 / 3).clamp(least, most))
    found = [(2 * (1 - share) * (3 * share - 1)).abs() for share in shares]
    return torch.stack(found).amax(dim=0)
