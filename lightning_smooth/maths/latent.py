"""What a shift of an image, or of a latent, costs a smoothed classifier, in standard deviations.

The classifier: g(c) = P(h(F(theta) + e + c) is a class), theta ~ N(t, S^2) with S = diag(scales),
e ~ N(0, sigma^2 I). From c to c + d, for any vector k and with the largest over all theta,

    |PPF(g(c + d)) - PPF(g(c))| <= sqrt(|k / S|^2 + max |d - F'(theta) k|^2 / sigma^2).

Proof: on the line c + u d, d/du g = E[h s] with
s = <k, (theta - t) / S^2> + <d - F'(theta) k, e> / sigma^2 (integrate by parts, in theta and in e).
Given theta, s is normal around its first term, with a variance that is at most the largest; so s is
below N(0, M^2) in convex order, M the right side, and E[h s] at E[h] = p is at most
M pdf(PPF(p)). M is the same all along the line.

It is a seminorm in (d, k) together. So no detour costs less than the straight line: what a path of
several steps costs, each with a k of its own, the line costs with the sum of the k, or less.

k = 0 is plain smoothing, |d| / sigma. k = the change of the parameter is the bound of GSmooth (Hao
et al. 2022, theorem 2) for a latent that moves as F does. Source: THEORY section 7, the path
certificate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_smooth.errors import InputError, check_positive

_UP = 1 + 1e-12
_CANCELLED = 1e-13
_SHRINK = (1.0, 0.9, 0.75, 0.5)
"""Parts of the best k for constant slopes that are tried; any k gives a bound."""

_WORTH = 0.01
"""Where no k saves more than this part of the squared cost, none is tried."""

Array = NDArray[np.float64]


class LatentShift:
    """Costs of shifts between latents, under noise in parameters and in latents.

    Args:
        sigma: standard deviation of the noise in the latent, in its units.
        scales: (P,) standard deviation of the noise on each parameter, in its unit; empty or 0
            where there is none.
        slopes: (G, L, P) the derivatives F' at G parameters; None where there is no F.
        radius: every F'(theta), for all real theta, is within this operator norm of one of them.

    Raises:
        InputError: sigma is not above 0, or shapes do not fit.
    """

    def __init__(
        self,
        sigma: float,
        scales: Sequence[float] = (),
        slopes: Array | None = None,
        radius: float = 0.0,
    ) -> None:
        self.sigma = check_positive("sigma", sigma)
        self.scales = np.asarray(scales, dtype=np.float64)
        self.radius = radius
        moves = slopes is not None and len(self.scales) > 0 and bool((self.scales > 0).all())
        self.slopes = np.asarray(slopes, dtype=np.float64) if moves else None
        if self.slopes is not None:
            if self.slopes.ndim != 3 or self.slopes.shape[2] != len(self.scales):
                raise InputError(
                    f"Expected `slopes` (G, L, {len(self.scales)}), but got {self.slopes.shape}."
                )
            self.slopes, self.radius = thinned(self.slopes, radius)
            mean, ridge = self.slopes.mean(axis=0), np.diag((self.sigma / self.scales) ** 2)
            self._solve = np.linalg.solve(mean.T @ mean + ridge, mean.T)
            self._gram = np.einsum("glp,glq->gpq", self.slopes, self.slopes)
            # |d|^2 less the square of this, times d's products with a slope: sigma^2 times the
            # least cost squared were it the only slope.
            self._white = np.linalg.inv(np.linalg.cholesky(self._gram + ridge))

    def pairs(self, latents: Array) -> Array:
        """Bound what it costs to go from each of some latents to each other one, rounded up.

        Args:
            latents: (N, L).

        Returns:
            (N, N), symmetric up to rounding: a class of probability p at one has a probability
            above 1/2 at another that costs less than PPF(p).

        >>> two = np.array([[0.0, 0.0], [3.0, 4.0]])
        >>> LatentShift(0.5).pairs(two)[0].round(6)
        array([ 0., 10.])
        >>> LatentShift(0.5, [2.0], np.array([[[3.0], [4.0]]])).pairs(two)[0].round(6)
        array([0.      , 0.499376])
        """
        latents = np.asarray(latents, dtype=np.float64)
        latents = latents - latents.mean(axis=0)  # what is far from 0 cancels badly
        squares = np.einsum("nl,nl->n", latents, latents)
        squared = squares[:, None] + squares - 2 * (latents @ latents.T)
        # What cancels there is off by the rounding of its largest part.
        wrong = max(_CANCELLED, latents.shape[1] * 2.0**-52)
        squared = squared.clip(min=0) + wrong * (squares[:, None] + squares)
        np.fill_diagonal(squared, 0.0)
        least: Array = np.sqrt(squared) / self.sigma
        if self.slopes is not None:
            along = np.einsum("nl,glp->ngp", latents, self.slopes, optimize=True)
            best, white = latents @ self._solve.T, np.einsum("gqp,ngp->ngq", self._white, along)
            for row, out in enumerate(least):
                # The largest over the slopes is at least what each of them gives.
                saved = ((white[row + 1 :] - white[row]) ** 2).sum(axis=2).min(axis=1)
                at = row + 1 + np.flatnonzero(saved > _WORTH * squared[row, row + 1 :])
                if len(at):
                    k, shift, size = best[at] - best[row], along[at] - along[row], squared[row, at]
                    for part in _SHRINK:
                        out[at] = np.minimum(out[at], self._bound(size, shift, part * k))
                    least[at, row] = out[at]
        return least * _UP

    def cost(self, shift: Array, k: Array) -> Array:
        """The bound for shifts (N, L) with given k (N, P): (N,)."""
        if self.slopes is None:
            raise InputError("Expected `slopes` and `scales`: without them there is no k.")
        squared = np.einsum("nl,nl->n", shift, shift)
        along = np.einsum("nl,glp->ngp", shift, self.slopes, optimize=True)
        return self._bound(squared, along, k)

    def _bound(self, squared: Array, along: Array, k: Array) -> Array:
        """From |d|^2 (N,), the products of d and the slopes (N, G, P), and k (N, P)."""
        moved = np.einsum("np,gpq,nq->ng", k, self._gram, k, optimize=True)
        both = squared[:, None] - 2 * np.einsum("ngp,np->ng", along, k) + moved
        wrong = _CANCELLED * (squared + moved.max(axis=1))
        rest = np.sqrt(both.max(axis=1).clip(min=0) + wrong)
        rest = rest + self.radius * np.sqrt((k * k).sum(axis=1))
        drawn = ((k / self.scales) ** 2).sum(axis=1)
        found: Array = np.sqrt(drawn + (rest / self.sigma) ** 2)
        return found

    def away(self, distance: float) -> float:
        """What a shift of unknown direction and at most this l2 length costs."""
        return distance / self.sigma * _UP if distance else 0.0


def thinned(slopes: Array, radius: float, share: float = 0.02) -> tuple[Array, float]:
    """Fewer slopes with a larger radius: those that are left out are near one that is not.

    Args:
        slopes: (G, L, P).
        radius: around each of them.
        share: by how much the radius may grow, of the root mean square of slopes.

    Returns:
        Those that are left, and the radius around them, rounded up.

    >>> left, radius = thinned(np.linspace(1, 1.01, 50).reshape(50, 1, 1), 0.0)
    >>> len(left), round(radius, 6)
    (1, 0.01)
    """
    flat = slopes.reshape(len(slopes), -1)
    goal = share * float(np.sqrt((flat * flat).sum(axis=1).mean()))
    # The Frobenius norm of a difference is at least its operator norm.
    far = np.sqrt(((flat - flat[0]) ** 2).sum(axis=1))
    kept = [0]
    while float(far.max()) > goal:
        kept.append(int(far.argmax()))
        far = np.minimum(far, np.sqrt(((flat - flat[kept[-1]]) ** 2).sum(axis=1)))
    return slopes[kept], (radius + float(far.max())) * _UP


def rate(shift: LatentShift, differences: Array, steps: Array) -> tuple[float, float]:
    """Bounds of GSmooth's M*, the largest cost of a unit of the parameter, with k = 1.

    Args:
        shift: of one parameter.
        differences: (N, L) c(xi_{j+1}) - c(xi_j) of the latents c(xi) = F2(tau(xi, x)).
        steps: (N,) xi_{j+1} - xi_j, above 0.

    Returns:
        A value that M* = max sqrt(1/s^2 + |c'(xi) - F'(theta)|^2 / sigma^2), over all xi and theta,
        is not below (over each step c' has the mean differences / steps), and one that no step
        through these latents exceeds.
    """
    if shift.slopes is None:
        raise InputError("Expected `slopes` and `scales`: without them there is no M*.")
    speeds = differences / steps[:, None]
    one = np.ones((len(speeds), len(shift.scales)))
    upper = float(shift.cost(speeds, one).max()) * _UP
    lower = upper if not shift.radius else 0.0
    for speed in speeds:
        apart = np.sqrt(((speed[:, None] - shift.slopes) ** 2).sum(axis=1)).max()
        inner = math.hypot(float(1 / shift.scales[0]), float(apart) / shift.sigma)
        lower = max(lower, inner / _UP)
    return lower, upper
