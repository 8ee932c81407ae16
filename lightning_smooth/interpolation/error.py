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
from lightning_smooth.interpolation.curvature import Curvature, swept_by_rotation
from lightning_smooth.interpolation.sizes import AngleSizes
from lightning_smooth.transforms.geometric import rotation_matrix
from lightning_smooth.transforms.sampling import affine_sample

_ROUNDING = 1e-9
"""Of a norm, relative and absolute: many times what float64 is wrong by in the largest image."""

_TURNED = 15 * 16 * 2.0**-24
"""Of a norm before a rotation in float32, relative, for each pixel of the image's size.

A position is wrong by at most c = 16 * 2^-24 * size; so is each factor of a weight. A sample has
weight in at most 9 pixels, a pixel weights of at most 6 samples: 2 c sqrt(54) in all (Schur).
"""


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
        self.preprocessing = preprocessing or nn.Identity()
        self.rounding = rounding
        self.chunk = chunk
        self._curvature = Curvature(self.image)
        self._turned = _TURNED * 2 * max(image.shape[1:])
        self._windows: dict[float, dict[int, float]] = {}
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
        """
        noise = noise.double()
        count, step = self._count, (self.high - self.low) / self._count
        rows, places = torch.arange(len(noise)), torch.arange(count + 1)
        angles = self.low + step * places.double()
        ends, bend = self._everywhere(noise, angles, step)  # (N, count + 1), (N count,)
        sizes = target if isinstance(target, AngleSizes) else _NONE
        goal = 0.0 if target is None or isinstance(target, AngleSizes) else target
        lower, at = (ends - sizes.at(noise[:, None] + angles)).max(dim=1)
        worst = angles[at]
        row, place = rows.repeat_interleave(count), places[:-1].repeat(len(noise))
        ahead, behind = ends[:, :-1].flatten(), ends[:, 1:].flatten()
        settled = torch.full_like(noise, -math.inf)
        slack, pieces = self._slack(noise), 0
        for level in range(halvings + 1):
            if level:
                bend = self._bend(noise[row], place, step)
            left = noise[row] + self.low + step * place.double()
            bend = bend + self._windowed(left, step)
            bound = torch.maximum(ahead, behind) + bend - sizes.least(left, left + step)
            pieces += len(row)
            if target is None:
                open_ = bound > ((1 + tolerance) * lower).clamp(min=least)[row]
            else:
                open_ = (bound + slack[row] > goal) & ((lower + slack)[row] <= goal)
            open_ &= level < halvings
            settled.scatter_reduce_(0, row[~open_], bound[~open_], "amax")
            if not bool(open_.any()):
                break
            row, place, ahead, behind = (v[open_] for v in (row, place, ahead, behind))
            step /= 2
            angle = self.low + step * (2 * place + 1).double()
            middle = self.at(noise[row], angle)
            above = middle - sizes.at(noise[row] + angle)
            found = lower.scatter_reduce(0, row, above, "amax")
            hit = (above == found[row]) & (found > lower)[row]
            worst[row[hit]] = angle[hit]
            lower, row = found, row.repeat(2)
            place = torch.cat([2 * place, 2 * place + 1])
            ahead, behind = torch.cat([ahead, middle]), torch.cat([middle, behind])
        upper = torch.maximum(settled, lower) + slack
        upper = upper + _ROUNDING * (1 + upper.abs())
        return ErrorBounds(lower, upper, worst, pieces)

    def sampled(self, noise: Tensor) -> Tensor:
        """(N,) float64: for each b the largest error at the ends of the first pieces: no bound."""
        return self.samples(noise)[1].view(len(noise), -1).amax(dim=1)

    def samples(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Angles b + g, and norms of the error, at the ends of the first pieces, for all b (N,)."""
        angles = torch.linspace(self.low, self.high, self._count + 1, dtype=torch.float64)
        pairs = torch.cartesian_prod(noise.double(), angles)
        return pairs.sum(dim=1), self.at(pairs[:, 0], pairs[:, 1])

    def at(self, noise: Tensor, angles: Tensor) -> Tensor:
        """(N,) float64: the norms of e(b, g), for pairs of b and g in degrees, both (N,)."""
        return torch.cat([
            self._norms(b, self._rotated(g), g) for b, g in self._split(noise.double(), angles)
        ])  # fmt: skip

    def _rotated(self, angles: Tensor) -> Tensor:
        return affine_sample(self.image[None], rotation_matrix(angles))

    def _norms(self, noise: Tensor, images: Tensor, angles: Tensor) -> Tensor:
        twice = affine_sample(images, rotation_matrix(noise))
        return self._norm(twice - self._rotated(noise + angles))

    def _everywhere(self, noise: Tensor, angles: Tensor, step: float) -> tuple[Tensor, Tensor]:
        """Norms (N, A) for each b at all angles; |K T_b r_1| (N (A - 1),) between them."""
        at_once = max(1, self.chunk // self.image.numel())
        ends = [self._at_all(noise, self._rotated(g), g) for g in torch.split(angles, at_once)]
        bend = []
        for g in torch.split(angles[:-1] + step / 2, at_once):
            bent = self._remainder(g, step / 2, step)
            wrong = self._turned * length(bent)
            bend.append(self._at_all(noise, bent) + wrong)
        return torch.cat(ends, dim=1), torch.cat(bend, dim=1).flatten()

    def _at_all(self, noise: Tensor, images: Tensor, angles: Tensor | None = None) -> Tensor:
        """(N, A): |K T_b y| of images y (A, C, H, W); with angles g, |K (T_b y - T_{b+g} x)|."""
        stack = images.flatten(0, 1)[None]
        norms = []
        for b in torch.split(noise, max(1, self.chunk // stack.numel())):
            turned = affine_sample(stack, rotation_matrix(b).to(stack.dtype))
            turned = turned.reshape(-1, *images.shape[1:])
            if angles is not None:
                turned = turned - self._rotated((b[:, None] + angles).flatten())
            norms.append(self._norm(turned).view(len(b), -1))
        return torch.cat(norms)

    def _bend(self, noise: Tensor, place: Tensor, step: float) -> Tensor:
        """(P,): |K T_b r_1| of pieces of the attack, each at its own b."""
        norms = []
        for b, k in self._split(noise, place):
            starts, piece = torch.unique(k, return_inverse=True)
            middle = self.low + step * starts.double() + step / 2
            bent = self._remainder(middle, step / 2, step)[piece]
            wrong = self._turned * length(bent)
            turned = affine_sample(bent, rotation_matrix(b).float())
            norms.append(self._norm(turned) + wrong)
        return torch.cat(norms)

    def _windowed(self, left: Tensor, step: float) -> Tensor:
        """(P,): |K r_2| of pieces from angles `left`, `step` wide, of the image rotated once.

        Over windows of a fixed grid that hold the pieces: many pieces share one.
        """
        pitch = step / 4
        known = self._windows.setdefault(step, {})
        shown, where = torch.unique((left / pitch).floor().long(), return_inverse=True)
        new = torch.tensor([w for w in shown.tolist() if w not in known], dtype=torch.float64)
        for part in torch.split(new, max(1, self.chunk // (8 * self.image.numel()))):
            norms = self._norm(self._remainder((part + 2.5) * pitch, 2.5 * pitch, step))
            known.update(zip(part.long().tolist(), norms.tolist(), strict=True))
        return torch.tensor([known[w] for w in shown.tolist()], dtype=torch.float64)[where]

    def _remainder(self, middle: Tensor, half: float, step: float) -> Tensor:
        height, width = self.image.shape[1:]
        return self._curvature.remainder(swept_by_rotation(middle, half, height, width), step)

    def _norm(self, images: Tensor) -> Tensor:
        """(B,) float64: l2 norms of images (B, C, H, W) after K, which is done in float64."""
        return length(self.preprocessing(images.double()))

    def _slack(self, noise: Tensor) -> Tensor:
        """(N,): norm of what the rounding of the attacked image becomes."""
        stored = stored_as_float32(self.image)
        if not self.rounding:
            return torch.full_like(noise, stored)
        flat = torch.full_like(self.image[None], self.rounding)
        return stored + self._norm(affine_sample(flat, rotation_matrix(noise)))

    def _split(self, first: Tensor, second: Tensor) -> list[tuple[Tensor, Tensor]]:
        size = max(1, self.chunk // (8 * self.image.numel()))
        return list(zip(torch.split(first, size), torch.split(second, size), strict=True))


def length(images: Tensor) -> Tensor:
    """(B,) float64: l2 norms of images (B, C, H, W), summed in float64."""
    norms: Tensor = torch.linalg.vector_norm(images, dim=(1, 2, 3), dtype=torch.float64)
    return norms


def stored_as_float32(image: Tensor) -> float:
    """How far an image in [0, 1] moves at most, in l2, where its pixels are stored as float32."""
    return 2.0**-24 * math.sqrt(image.numel())
