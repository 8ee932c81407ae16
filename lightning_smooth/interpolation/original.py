"""What a rotation of an attacked image differs from that of its unknown original by.

The attacked image x' is T_g x of an original x and an angle g, of which a range is known. `inverse`
bounds the originals that each piece of the range allows; the interval image of T_{b+g} x over a
piece then bounds e = K (T_b x' - T_{b+g} x), whichever original it was. Source: Fischer, Baader,
Vechev, NeurIPS 2020, section 5 (IndivSPT); THEORY section 6.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_smooth.interpolation.boxes import swept_boxes
from lightning_smooth.interpolation.error import stored_as_float32
from lightning_smooth.interpolation.intervals import interval_images
from lightning_smooth.interpolation.inverse import inverse_over_range
from lightning_smooth.transforms.geometric import Rotation, Translation


class OriginalError:
    """Bounds of the error of an attacked image, over all that may be its original.

    Args:
        attacked: (C, H, W) in [0, 1].
        transform: Rotation or Translation.
        largest: greatest attack on each parameter.
        preprocessing: K; None for nothing.
        quantised: whether the attacked image was rounded to 8 bits. Where not, it may have been
            computed in float32, float64 or exactly.
        pieces: of the range of each parameter, rounded up to a power of two.

    Attributes:
        pieces: how many are possible. None: the image is no transformation, within the range, of
            any image in [0, 1].
    """

    def __init__(
        self,
        attacked: Tensor,
        transform: Rotation | Translation,
        largest: float,
        preprocessing: nn.Module | None = None,
        *,
        quantised: bool = False,
        pieces: int = 256,
    ) -> None:
        self.attacked = attacked.double()
        self.transform = transform
        self.preprocessing = preprocessing or nn.Identity()
        ends = torch.full((len(transform.parameters),), float(largest), dtype=torch.float64)
        self._originals = inverse_over_range(
            self.attacked, transform, -ends, ends, pieces, quantised=quantised
        )
        self.pieces = len(self._originals)

    def bounds(self, noise: Tensor) -> Tensor:
        """(N,) float64: the largest l2 norm of e that any original allows, for b (N, P).

        Guarantee: no original, in [0, 1], and no attack in the range has a larger one, what K gives
        being stored as float32. 0 where no piece is possible.
        """
        height, width = self.attacked.shape[1:]
        found = self._originals
        largest = []
        for b in noise.double():
            if not self.pieces:
                largest.append(0.0)
                continue
            boxes = swept_boxes(
                self.transform, found.start + b, found.end + b, height=height, width=width
            )
            low, high = interval_images(found.low, found.high, boxes)
            shown = self.transform(self.attacked[None], b[None])
            above, below = self.preprocessing(high - shown), self.preprocessing(shown - low)
            apart = torch.maximum(above, below).clamp(min=0).flatten(1).norm(dim=1)
            largest.append(float(apart.max()))
        slack = stored_as_float32(self.attacked)
        return torch.tensor(largest, dtype=torch.float64) * (1 + 1e-9) + slack
