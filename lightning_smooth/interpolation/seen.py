"""How large what a classifier sees of an image is: the l2 norm of K y, where K is its first step.

K is a vignette and a blur. A blur is a sum of shifted images along one axis and then the other,
which costs a fraction of what products with bands do, and only the pixels that the vignette keeps
are worked on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_smooth.transforms.preprocessing import Preprocessing
from lightning_smooth.transforms.vignette import PreBlur, Vignette

_UNIT = 2.0**-24


class Seen:
    """Norms of images after K.

    In float32 they are of use where the images are at least 0, or small: a pixel of K y is a sum
    of weights times pixels, of which each passes at most `size` + 11 roundings for a blur of
    `size` pixels (both passes, weights and storing y among them), and a row's norm is that of
    `width` pixels. So with u = 2^-24

        | |K y| as computed - |K y| | <= (size + 11) u |K |y|| + (width + 4) u |K y|,

    and |K |y|| is |K y| where y is at least 0, and at most |y| for any y.

    Args:
        preprocessing: K: None, `Preprocessing`, or anything else that is linear, with weights of
            at least 0 that sum to at most 1 for each pixel that is made and each that is used;
            that one is called in float64 whatever the images are.
        height: of the images, in pixels.
        width: likewise.

    Attributes:
        wrong: factors of |K |y|| and of |K y| above; 0 where nothing is done in float32.
        rows: that K uses any pixel of.
        columns: likewise.
        pixels: (P,) numbers of those that K uses, row by row.
        quarters: whether K does the same to an image that is turned by 90 degrees.
    """

    def __init__(self, preprocessing: nn.Module | None, height: int, width: int) -> None:
        vignette = getattr(preprocessing, "vignette", None)
        blur = getattr(preprocessing, "blur", None)
        known = preprocessing is None or (
            type(preprocessing) is Preprocessing
            and type(vignette) in (type(None), Vignette)
            and type(blur) in (type(None), PreBlur)
        )
        self.other = None if known else preprocessing
        if not known:
            vignette = blur = None
        mask = torch.ones(height, width) if vignette is None else vignette.mask(height, width)
        self.weights = [1.0] if blur is None else blur.weights().tolist()
        reach = len(self.weights) // 2
        self.pixels = mask.flatten().nonzero()[:, 0]
        rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
        self.rows = slice(int(rows[0]), int(rows[-1]) + 1)
        self.columns = slice(int(columns[0]), int(columns[-1]) + 1)
        self.mask = mask[self.rows, self.columns].float()
        # A blur shows kept pixels as far as `reach` beyond them, but not outside the image.
        self._before = min(reach, self.rows.start), min(reach, self.columns.start)
        after = min(reach, height - self.rows.stop), min(reach, width - self.columns.stop)
        kept = self.mask.shape
        self._size = [
            n + b + a + 2 * reach for n, b, a in zip(kept, self._before, after, strict=True)
        ]
        roundings = (len(self.weights) + 11, width + 4) if known else (0, 0)
        self.wrong = roundings[0] * _UNIT, roundings[1] * _UNIT
        self.quarters = known and height == width
        if blur is not None and blur.size > min(height, width):
            blur(torch.zeros(1, 1, height, width))  # which refuses it

    def norm(self, images: Tensor) -> Tensor:
        """(B,) float64: norms of images (B, C, H, W) after K, in the precision of the images."""
        return self.cropped(images[:, :, self.rows, self.columns], images.dtype)

    def cropped(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """As `norm`, of the pixels within `rows` and `columns` alone, and computed in `dtype`."""
        if self.other is not None:
            return length(self.other(images.double()))
        reach = len(self.weights) // 2
        top, left = (reach + before for before in self._before)
        framed = torch.zeros(*images.shape[:2], *self._size, dtype=dtype)
        height, width = self.mask.shape
        inner = framed[:, :, top : top + height, left : left + width]
        inner.copy_(images).mul_(self.mask)
        if reach:
            framed = self._blurred(self._blurred(framed, dim=2), dim=3)
        rows = torch.linalg.vector_norm(framed, dim=3)
        norms: Tensor = torch.linalg.vector_norm(rows.double(), dim=(1, 2))
        return norms

    def _blurred(self, framed: Tensor, dim: int) -> Tensor:
        reach = len(self.weights) // 2
        count = framed.shape[dim] - 2 * reach
        blurred = framed.narrow(dim, reach, count) * self.weights[reach]
        for shift in range(1, reach + 1):
            pair = framed.narrow(dim, reach - shift, count)
            pair = pair + framed.narrow(dim, reach + shift, count)
            blurred.add_(pair, alpha=self.weights[reach + shift])
        return blurred


def length(images: Tensor) -> Tensor:
    """(B,) float64: l2 norms of images (B, C, H, W), summed in float64."""
    norms: Tensor = torch.linalg.vector_norm(images, dim=(1, 2, 3), dtype=torch.float64)
    return norms
