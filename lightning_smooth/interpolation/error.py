"""What two rotations differ from one by: e(b, g) = K (T_b T_g x - T_{b+g} x), bounded over g.

K is what the classifier does to an image before it adds noise: vignette and blur (linear, weights
at least 0). Between two angles g_i and g_{i+1}, e is the straight line between its ends plus what
`curvature` bounds, and a norm is convex, so that

    |e(g)| <= max(|e(g_i)|, |e(g_{i+1})|) + |K T_b r_1| + |K r_2|

with r_1 the bound for T_g x and r_2 the bound for T_{b+g} x, both shared by all b. Pieces of the
range are halved until that is near the largest |e| found, or decides the question.

Source: the bound that this replaces is in Fischer, Baader, Vechev, NeurIPS 2020, section 5;
THEORY section 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.seen import Seen
from lightning_smooth.interpolation.seen import length as length
from lightning_smooth.interpolation.sizes import AngleSizes
from lightning_smooth.interpolation.turned import Turned
from lightning_smooth.transforms.geometric import rotation_matrix
from lightning_smooth.transforms.sampling import affine_sample

_ROUNDING = 1e-9
"""Of a norm, relative and absolute: many times what float64 is wrong by in the largest image."""

_HALVED = 0.25
"""What halving a piece leaves of its remainder; where that is not enough, it is halved again."""

_PROBES = 8
"""Pieces that tell how many to begin with."""

_DOUBLINGS = 2
"""How often that number may be doubled."""

_NONE = AngleSizes(torch.zeros(1, dtype=torch.float64))


@dataclass(frozen=True)
class ErrorBounds:
    """For each b, what the largest l2 norm of e(b, g) over the range of g is between.

    Attributes:
        lower: (N,) float64, attained at `worst`.
        upper: (N,) float64, never below the largest norm.
        worst: (N,) float64, the g of `lower`, in degrees.
        pieces: pieces of the range that were bounded, over all b.
    """

    lower: Tensor
    upper: Tensor
    worst: Tensor
    pieces: int


class RotationError:
    """Bounds of what rotations of one image lose by being two.

    Args:
        image: (C, H, W), in [0, 1].
        low: least angle g of the attack, in degrees.
        high: greatest angle of the attack, in degrees.
        preprocessing: K, as the classifier has it: linear, with weights of at least 0 that sum to
            at most 1 for each pixel that is made and for each that is used; None for nothing.
        rounding: how far each pixel of T_g x may be from what real arithmetic gives, as an attack
            may store it: .5/255 for bytes. It enters `upper` and the question of `target`, and
            not `lower`.
        step: width of the first pieces in degrees, reduced where a pixel would move too far.
        chunk: pixels of images that are worked on at once: about 100 bytes each.

    Raises:
        InputError: the range is empty, upside down or wider than 180 degrees, or the image is not
            one.
    """

    def __init__(
        self,
        image: Tensor,
        low: float,
        high: float,
        preprocessing: nn.Module | None = None,
        *,
        rounding: float = 0.0,
        step: float = 1.5,
        chunk: int = 1 << 20,
    ) -> None:
        if not (math.isfinite(low) and math.isfinite(high) and low < high <= low + 180):
            raise InputError(
                "Expected a range of angles (least, greatest), at most 180 degrees wide, but got "
                f"({low:g}, {high:g})."
            )
        if image.ndim != 3:
            raise InputError(f"Expected `image` (C, H, W), but got shape {tuple(image.shape)}.")
        self.image = image.double()
        self.low, self.high = float(low), float(high)
        self.rounding = rounding
        self._seen = Seen(preprocessing, *image.shape[1:])
        self._turned = Turned(self.image, self._seen, chunk)
        radius = math.hypot(*image.shape[1:]) / 2
        widest = math.degrees(0.7 / radius)  # windows are 1.25 times as wide, and half of it each
        self._count = math.ceil((self.high - self.low) / min(step, widest))

    def bounds(
        self,
        noise: Tensor,
        *,
        target: float | AngleSizes | None = None,
        tolerance: float = 0.1,
        least: float = 0.01,
        halvings: int = 12,
    ) -> ErrorBounds:
        """Bound the largest error over the range, for each b.

        It is sound whenever it stops: after `halvings`, `upper` may be farther off than asked.

        Args:
            noise: (N,) angles b in degrees, float64.
            target: only whether the error exceeds this is asked: stop where either bound says. With
                `AngleSizes` bounds are of what the error exceeds E(b + g) by: an `upper` of 0 or
                less proves that it does so nowhere.
            tolerance: stop where `upper` is within this part of `lower`. Not used with a target.
            least: a norm below which nothing is refined: no classifier sees it. Not used with a
                target.
            halvings: how often a piece may be halved.

        Raises:
            InputError: an angle is not finite.
        """
        noise = noise.double()
        if not bool(noise.isfinite().all()):
            raise InputError("Expected angles `noise` that are finite, but one is not.")
        sizes = target if isinstance(target, AngleSizes) else _NONE
        goal = 0.0 if target is None or isinstance(target, AngleSizes) else target
        count = self._first(noise, least if target is None else goal + float(sizes.values.min()))
        step = (self.high - self.low) / count
        rows, places = torch.arange(len(noise)), torch.arange(count + 1)
        angles = self.low + step * places.double()
        ends, bend = self._turned.everywhere(noise, angles, step)  # (N, count + 1), (N count,)
        lower, at = (ends - sizes.at(noise[:, None] + angles)).max(dim=1)
        worst = angles[at]
        row, place = rows.repeat_interleave(count), places[:-1].repeat(len(noise))
        ahead, behind = ends[:, :-1].flatten(), ends[:, 1:].flatten()
        bound = torch.full_like(ahead, math.inf)
        settled = torch.full_like(noise, -math.inf)
        slack, pieces = self._slack(noise) + self._turned.single, 0
        # `single` apart, what is off is so in proportion to a norm, and not to its excess over E.
        off = _ROUNDING + self._seen.wrong[1]
        hair = 1.01 * off * (1 + abs(goal) + sizes.largest)
        for level in range(halvings + 1):
            left = noise[row] + self.low + step * place.double()
            near = torch.maximum(ahead, behind) - sizes.least(left, left + step)
            if target is None:
                allowed = ((1 + tolerance) * lower - self._turned.single).clamp(min=least)
            else:
                allowed = torch.where(lower + slack > goal, math.inf, goal - slack - hair)
            tried = torch.arange(len(row))
            if 0 < level < halvings:  # others would hardly be settled
                tried = (near + _HALVED * bend <= allowed[row]).nonzero()[:, 0]
                bend *= _HALVED
            if level:
                bend[tried] = self._turned.bends(
                    noise[row[tried]], self.low + step * (place[tried].double() + 0.5), step
                )
            bend[tried] += self._turned.remainders.windowed(left[tried], step)
            # A bound of the whole is one of its halves.
            bound[tried] = torch.minimum(bound[tried], (near + bend)[tried])
            pieces += len(tried)
            open_ = (bound > allowed[row]) & (level < halvings)
            settled.scatter_reduce_(0, row[~open_], bound[~open_], "amax")
            if not bool(open_.any()):
                break
            row, place, ahead, behind, bend, bound = (
                v[open_] for v in (row, place, ahead, behind, bend, bound)
            )
            step /= 2
            angle = self.low + step * (2 * place + 1).double()
            middle = self._turned.norms(noise[row], angle)
            above = middle - sizes.at(noise[row] + angle)
            found = lower.scatter_reduce(0, row, above, "amax")
            hit = (above == found[row]) & (found > lower)[row]
            worst[row[hit]] = angle[hit]
            lower, row = found, row.repeat(2)
            place = torch.cat([2 * place, 2 * place + 1])
            bend, bound = bend.repeat(2), bound.repeat(2)
            ahead, behind = torch.cat([ahead, middle]), torch.cat([middle, behind])
        upper = torch.maximum(settled, lower) + slack
        upper = upper + off * (1 + upper.abs() + sizes.largest)
        lower = self.at(noise, worst) - sizes.at(noise + worst)
        return ErrorBounds(lower, upper, worst, pieces)

    def _first(self, noise: Tensor, least: float) -> int:
        """How many pieces to begin with: more, where wide ones have too large a remainder."""
        count = self._count
        if not len(noise):
            return count
        b = noise[torch.arange(_PROBES) % len(noise)]
        for _ in range(_DOUBLINGS):
            step = (self.high - self.low) / count
            place = torch.linspace(0, count - 1, _PROBES, dtype=torch.float64).floor()
            middle = self.low + step * (place + 0.5)
            bend = 2 * float(self._turned.remainders.norms(middle, step).mean())
            found = self._turned.norms(b, middle)
            if not bend > 2 * (max(float(found.max()), least) - float(found.mean())):
                break
            count *= 2
        return count

    def sampled(self, noise: Tensor) -> Tensor:
        """(N,) float64: for each b the largest error at the ends of the first pieces: no bound."""
        return self.samples(noise)[1].view(len(noise), -1).amax(dim=1)

    def samples(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Angles b + g, and norms of the error, at the ends of the first pieces, for all b (N,)."""
        angles = torch.linspace(self.low, self.high, self._count + 1, dtype=torch.float64)
        seen = noise.double()[:, None] + angles
        return seen.flatten(), self._turned.at_all(noise.double(), angles).flatten()

    def at(self, noise: Tensor, angles: Tensor) -> Tensor:
        """(N,) float64: the norms of e(b, g), for pairs of b and g in degrees, both (N,)."""
        return self._turned.norms(noise.double(), angles.double(), torch.float64)

    def _slack(self, noise: Tensor) -> Tensor:
        """(N,): norm of what the rounding of the attacked image becomes."""
        stored = stored_as_float32(self.image)
        if not self.rounding:
            return torch.full_like(noise, stored)
        flat = torch.full_like(self.image[None], self.rounding)
        return stored + self._seen.norm(affine_sample(flat, rotation_matrix(noise)))


def stored_as_float32(image: Tensor) -> float:
    """How far an image in [0, 1] moves at most, in l2, where its pixels are stored as float32."""
    return 2.0**-24 * math.sqrt(image.numel())
