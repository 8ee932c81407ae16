"""Norms of an image rotated twice, for many pairs of angles: what two rotations differ from one by.

Work is shared by rotations b where all have the same angles g, and by angles where pieces of many
b have one in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from lightning_smooth.interpolation.remainders import Remainders
from lightning_smooth.interpolation.seen import Seen, length
from lightning_smooth.transforms.geometric import rotation_matrix
from lightning_smooth.transforms.sampling import affine_sample, sample_weights

_TURNED = 15 * 16 * 2.0**-24
"""Of a norm before a rotation in float32, relative, for each pixel of the image's size.

A position is wrong by at most c = 16 * 2^-24 * size; so is each factor of a weight. A sample has
weight in at most 9 pixels, a pixel weights of at most 6 samples: 2 c sqrt(54) in all (Schur).
"""

_WEIGHTS = 12 * 2.0**-24
"""Of pixels rotated by float32 weights that are right but for that: of the largest, or relative
where all are at least 0. Seven roundings: of a sample, a weight, their product, three sums, and
of the difference from another image, which is at most twice as large.
"""


class Turned:
    """Norms of e(b, g) = K (T_b T_g x - T_{b+g} x), and of remainders that are rotated by b.

    Args:
        image: (C, H, W) float64.
        seen: K.
        chunk: pixels of images that are worked on at once: about 100 bytes each.

    Attributes:
        remainders: of the image.
        single: how far a norm of e may be off that was computed in float32.
    """

    def __init__(self, image: Tensor, seen: Seen, chunk: int) -> None:
        self.image = image
        self._seen = seen
        self._at_once = max(1, chunk // (8 * image.numel()))
        self._table = max(1, chunk // image.numel())
        self._kept = seen.rows, seen.columns
        self._turned = _TURNED * 2 * max(image.shape[1:])
        self.remainders = Remainders(image, seen, self._at_once)
        apart = 2 * float(image.abs().max()) * math.sqrt(seen.mask.sum() * len(image))
        # K in float32, of a difference of images, of which one was rotated in float32.
        self.single = (seen.wrong[0] + _WEIGHTS / 2) * apart

    def norms(self, noise: Tensor, angles: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(P,): norms of e(b, g), of which K is done in `dtype`."""
        norms = torch.zeros_like(noise)
        for shown, pieces, piece in self._shared(angles):
            attacked = self._rotated(shown)
            for part, which in self._split(pieces, piece):
                apart = affine_sample(
                    attacked[which], rotation_matrix(noise[part]), kept=self._kept
                )
                apart = apart.sub_(self._once(noise[part] + angles[part]))
                norms[part] = self._seen.cropped(apart, dtype)
        return norms

    def at_all(self, noise: Tensor, angles: Tensor) -> Tensor:
        """(N, A): norms of e(b, g), of all b (N,) at all angles g (A,), in float32."""
        parts = [self._at_all(noise, g)[0] for g in torch.split(angles, self._table)]
        return torch.cat(parts, dim=1)

    def everywhere(self, noise: Tensor, angles: Tensor, step: float) -> tuple[Tensor, Tensor]:
        """Norms (N, A) for each b at all angles; |K T_b r_1| (N (A - 1),) between them."""
        ends, bends = [], []
        for g in torch.split(angles, self._table):
            bent = self.remainders.pieces(g + step / 2, step)
            end, bend = self._at_all(noise, g, bent)
            ends.append(end)
            bends.append(bend)
        bend = torch.cat(bends, dim=1)[:, :-1] * (1 + sum(self._seen.wrong) + _WEIGHTS)
        return torch.cat(ends, dim=1), bend.flatten()

    def bends(self, noise: Tensor, middle: Tensor, step: float) -> Tensor:
        """(P,): |K T_b r_1| of pieces about angles `middle`, `step` wide, each at its own b."""
        norms = torch.zeros_like(noise)
        for shown, pieces, piece in self._shared(middle):
            bent = self.remainders.pieces(shown, step)
            wrong = self._turned * length(bent)
            for part, which in self._split(pieces, piece):
                matrix = rotation_matrix(noise[part]).float()
                turned = affine_sample(bent[which], matrix, kept=self._kept)
                seen = self._seen.cropped(turned, torch.float32)
                norms[part] = seen * (1 + sum(self._seen.wrong)) + wrong[which]
        return norms

    def _at_all(self, noise: Tensor, angles: Tensor, bent: Tensor | None = None) -> list[Tensor]:
        """(N, A): |K (T_b T_g x - T_{b+g} x)|, and |K T_b y| of images y (A, C, H, W)."""
        images = [self._rotated(angles)] + ([] if bent is None else [bent])
        # One row for each pixel, of all images: what `embedding_bag` mixes.
        tables = [y.flatten(2).permute(2, 0, 1).flatten(1).float() for y in images]
        norms = [torch.zeros(len(noise), len(y), dtype=torch.float64) for y in images]
        height, width = self.image.shape[1:]
        shape = -1, self.image.shape[0], *self._seen.mask.shape
        few = max(1, 2 * self._at_once // len(angles))
        for first in range(0, len(noise), few):
            b = noise[first : first + few]
            places, weights = sample_weights(rotation_matrix(b), height, width, *self._kept)
            for table, found in zip(tables, norms, strict=True):
                turned = functional.embedding_bag(
                    places.flatten(0, 1), table, mode="sum",
                    per_sample_weights=weights.flatten(0, 1).to(table),
                )  # fmt: skip
                turned = turned.view(len(b), -1, table.shape[1]).transpose(1, 2).reshape(shape)
                if table is tables[0]:
                    turned.sub_(self._once((b[:, None] + angles).flatten()))
                seen = self._seen.cropped(turned, torch.float32)
                found[first : first + few] = seen.view(len(b), -1)
        return norms

    def _rotated(self, angles: Tensor) -> Tensor:
        return affine_sample(self.image[None], rotation_matrix(angles))

    def _once(self, angles: Tensor) -> Tensor:
        return affine_sample(self.image[None], rotation_matrix(angles), kept=self._kept)

    def _shared(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Some of the values, where in `values` they are, and which of them is there."""
        shown, piece = torch.unique(values, return_inverse=True)
        order = piece.argsort()
        starts = torch.arange(0, len(shown) + self._at_once, self._at_once)
        parts = torch.searchsorted(piece[order], starts).tolist()
        for first, start, end in zip(starts.tolist(), parts[:-1], parts[1:], strict=False):
            where = order[start:end]
            yield shown[first : first + self._at_once], where, piece[where] - first

    def _split(self, first: Tensor, second: Tensor) -> list[tuple[Tensor, Tensor]]:
        size = self._at_once
        return list(zip(torch.split(first, size), torch.split(second, size), strict=True))
