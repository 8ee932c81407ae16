"""What two translations that add up to s differ from one by s by, whatever the two are.

A draw b at an attack g shows the image at s = b + g, twice interpolated where a clean one is
interpolated once. Here s is fixed and g is any attack: e(g) = K (T_{s-g} T_g x - T_s x). So each s
has its own largest error, which an inner classifier has to bear there and nowhere else.

Along each axis T_{s-g} T_g is a matrix A(g). Between two values at which g or s - g is whole both
factors are linear in the part t of the way, U_0 + t dU and V_0 + t dV, so that

    A = (1 - t) A_0 + t A_1 - q dU dV,   q = t (1 - t), 0 <= t <= 1, 0 <= q <= 1/4,

or in a part of these ranges, at the ends of those of g. e is therefore linear in t_x, in q_x, in
t_y and in q_y, one at a time. Taken for four numbers of their own, which can only add images, they
leave its norm largest where each is at an end of its range: finitely many images, of which few
differ. Where nothing of the image leaves the frame, A_0 and A_1 are the same, and the largest is
attained.

Where the published way (Fischer, Baader, Vechev, NeurIPS 2020, section 5) has one E for all draws.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.error import length, stored_as_float32
from lightning_smooth.interpolation.translation import corners, ends_of
from lightning_smooth.types import Box

_ROUNDING = 1e-9
_SAME = 1e-8
"""Images that differ by no more than this in any pixel are taken for one."""


class PairError:
    """Bounds of the largest error of any two translations of one image that add up to s.

    Args:
        image: (C, H, W), in [0, 1].
        box: (least, greatest) `dx` and `dy` of the attack, in pixels; what is left out stays 0.
        preprocessing: K, as the classifier has it: linear, with weights that are at least 0 and sum
            to at most 1, such as `Preprocessing`; None for none.
        rounding: how far each pixel of T_g x may be from what real arithmetic gives, as an attack
            may store it: .5/255 for bytes. All else is done in float64, and shown as float32.
        chunk: pixels of images that are worked on at once, some 40 bytes each; one row of images
            at least.

    Raises:
        InputError: the box is empty, upside down or not of these parameters, or the image is not
            one, or not in [0, 1].
    """

    def __init__(
        self,
        image: Tensor,
        box: Box,
        preprocessing: nn.Module | None = None,
        *,
        rounding: float = 0.0,
        chunk: int = 1 << 20,
    ) -> None:
        self.box = ends_of(image, box)
        if not bool(((image >= 0) & (image <= 1)).all()):
            raise InputError("Expected `image` to be in [0, 1], but some of its pixels are not.")
        self.image = image.double()
        self.preprocessing = preprocessing or nn.Identity()
        self.chunk = chunk
        flat = torch.full_like(self.image[None], rounding)
        # float32 rounds the attacked image, and what is shown of it and of the clean one.
        slack = 1.5 * stored_as_float32(image) + float(length(self.preprocessing(flat)))
        # Ends of an axis that are merged may differ by twice `_SAME` after those of the other.
        self._slack = slack + 8 * _SAME * image.numel() ** 0.5

    def bounds(self, total: Tensor) -> Tensor:
        """Bound the largest error over the box, for each s.

        Args:
            total: (N, 2) `dx` and `dy` of s = b + g in pixels, float64 and finite.

        Returns:
            (N,) float64: no error is larger; without rounding of images, and where nothing leaves
            the frame, larger than an error by no more than arithmetic needs.
        """
        largest = [self._largest(*s.tolist()) for s in total.double()]
        found = torch.tensor(largest, dtype=torch.float64)
        upper: Tensor = (found + self._slack) * (1 + _ROUNDING) + _ROUNDING
        return upper

    def _largest(self, dx: float, dy: float) -> float:
        height, width = self.image.shape[1:]
        across, along = self._ends(0, dx, width), self._ends(1, dy, height)
        moved = self.image @ across.transpose(1, 2)[:, None]  # (ends, C, H, W)
        across = across[_different(moved)]
        along = along[_different(along[:, None] @ self.image)]
        moved = self.image @ across.transpose(1, 2)[:, None]
        once = _shift(dy, height) @ self.image @ _shift(dx, width).T
        largest = 0.0
        for part in torch.split(along, max(1, self.chunk // moved.numel())):
            apart = (part[:, None, None] @ moved - once).flatten(0, 1)
            largest = max(largest, float(length(self.preprocessing(apart)).max()))
        return largest

    def _ends(self, axis: int, s: float, size: int) -> Tensor:
        """(ends, size, size): A along an axis where t and q are at an end of their range."""
        low, high = self.box[axis]
        least, most = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
        places = corners(least, most, -s, size + 1)
        first = torch.stack([_shift(g, size) for g in places.tolist()])
        second = torch.stack([_shift(s - g, size) for g in places.tolist()])
        whole, bent = second @ first, second.diff(dim=0) @ first.diff(dim=0)
        inside = (places[1:] >= low) & (places[:-1] <= high)
        start, wide = places[:-1][inside], places.diff()[inside]
        parts = [((end - start) / wide).clamp(0, 1)[:, None, None] for end in (low, high)]
        around = [part * (1 - part) for part in parts]
        half = (parts[0] <= 0.5) & (parts[1] >= 0.5)
        most_bent = torch.where(half, 0.25, torch.maximum(*around))
        return torch.cat([
            torch.lerp(whole[:-1][inside], whole[1:][inside], part) - q * bent[inside]
            for part in parts
            for q in (torch.minimum(*around), most_bent)
        ])  # fmt: skip


def _shift(by: float, size: int) -> Tensor:
    """(size, size): a translation by some pixels along an axis, bilinear and 0 outside."""
    place = torch.arange(size, dtype=torch.float64)
    return (1 - (place[:, None] - by - place).abs()).clamp(min=0)


def _different(images: Tensor) -> Tensor:
    """Places of (N, C, H, W) images, one of each group that are the same within `_SAME`."""
    rounded = (images.flatten(1) / _SAME).round()
    _, group = torch.unique(rounded, dim=0, return_inverse=True)
    first = torch.full((int(group.max()) + 1,), len(group), dtype=torch.int64)
    return first.scatter_reduce_(0, group, torch.arange(len(group)), "amin")
