"""Vignette and pre-blur: fixed steps that make interpolation's error small.

Rotated pixels leave the image and come back black; bilinear weights smooth what is sharp. Both
make two rotations differ from one. A vignette hides the first, a blur reduces the second (Fischer
et al. 2020; THEORY section 6). Both are linear, with non-negative weights that sum to at most 1:
images in [0, 1] stay there, and bounds of an image become bounds of the result.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.transforms.sampling import centered

Shape = Literal["circle", "rectangle"]
_MARGINS = {"circle": 2.0, "rectangle": 4.0}


class Vignette(nn.Module):
    """Set the pixels outside a centred circle or rectangle to 0.

    Convention: distances in pixels, between a pixel's centre and the image's. `circle` keeps a
    pixel if that distance is at most min(height, width)/2 - margin; `rectangle` keeps it if its
    distance along each axis is at most half that axis - margin: all but `margin` pixels at each
    side, for a whole margin. The circle is meant for rotations, the rectangle for translations.

    Args:
        shape: circle or rectangle.
        margin: pixels, at least 0. None: 2 for a circle, 4 for a rectangle, as published.

    Raises:
        InputError: the shape is unknown, or the margin is not a finite number of at least 0; in
            the call: the image is so small that no pixel is kept.
    """

    def __init__(self, shape: Shape = "circle", *, margin: float | None = None) -> None:
        super().__init__()
        if shape not in _MARGINS:
            raise InputError(f"Expected `shape` to be circle or rectangle, but got {shape!r}.")
        self.shape: Shape = shape
        self.margin = _MARGINS[shape] if margin is None else float(margin)
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise InputError(
                f"Expected `margin` to be a number of pixels of at least 0, but got {margin!r}."
            )

    def extra_repr(self) -> str:
        """Settings, for repr."""
        return f"{self.shape!r}, margin={self.margin:g}"

    def mask(self, height: int, width: int, *, device: torch.device | None = None) -> Tensor:
        """(height, width) bool: which pixels are kept.

        Raises:
            InputError: none is.

        >>> Vignette("rectangle", margin=1).mask(3, 4).int()
        tensor([[0, 0, 0, 0],
                [0, 1, 1, 0],
                [0, 0, 0, 0]], dtype=torch.int32)
        """
        radius = min(height, width) / 2 - self.margin
        half_width, half_height = width / 2 - self.margin, height / 2 - self.margin
        # The pixels nearest to the centre are on it along an odd axis, half a pixel off an even.
        nearest_x, nearest_y = (width - 1) % 2 / 2, (height - 1) % 2 / 2
        if self.shape == "circle":
            empty = radius < 0 or nearest_x**2 + nearest_y**2 > radius * radius
        else:
            empty = nearest_x > half_width or nearest_y > half_height
        if empty:
            raise InputError(
                f"Expected images of which {self!r} keeps a pixel, but got {height} x {width}: "
                "reduce the margin."
            )
        like = torch.empty((), dtype=torch.float64, device=device)
        y, x = centered(height, like)[:, None], centered(width, like)
        if self.shape == "circle":
            return x * x + y * y <= radius * radius
        return (x.abs() <= half_width) & (y.abs() <= half_height)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W), with 0 outside the shape."""
        kept = self.mask(images.shape[-2], images.shape[-1], device=images.device)
        return images * kept.to(images.dtype)


class PreBlur(nn.Module):
    """Blur images by a small fixed Gaussian kernel.

    Convention: the weight of a pixel at distance r is proportional to exp(-r^2 / s), so s is twice
    the variance, on a square of `size` pixels; all weights sum to 1, and what lies outside the
    image is 0, as for rotation: near the border images get darker. With the vignette before it,
    nothing but 0 is near the border.

    Args:
        size: pixels, odd.
        s: square pixels; 2 for MNIST and ImageNet and 1 for CIFAR-10, as published.

    Raises:
        InputError: `size` is not odd, or `s` is not above 0; in the call: the kernel is larger
            than the image.
    """

    def __init__(self, size: int = 5, *, s: float = 2.0) -> None:
        super().__init__()
        self.size = check_count("size", size)
        if self.size % 2 == 0:
            raise InputError(f"Expected `size` to be odd, but got {size}.")
        self.s = check_positive("s", s)

    def extra_repr(self) -> str:
        """Settings, for repr."""
        return f"{self.size}, s={self.s:g}"

    def weights(self) -> Tensor:
        """(size,) float64, of sum 1: the kernel is the product of two of them.

        >>> PreBlur(3, s=1.0).weights()
        tensor([0.2119, 0.5761, 0.2119], dtype=torch.float64)
        """
        offsets = centered(self.size, torch.empty((), dtype=torch.float64))
        weights = torch.exp(-offsets.square() / self.s)
        return weights / weights.sum()

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W), blurred."""
        height, width = images.shape[-2:]
        if self.size > min(height, width):
            raise InputError(
                f"Expected images at least as large as the kernel, {self.size} x {self.size}, "
                f"but got {height} x {width}: choose a smaller `size`."
            )
        # Products, not convolutions: faster on a CPU, and on a GPU not in TF32 unless asked for.
        return self._band(height, images) @ (images @ self._band(width, images))

    def _band(self, size: int, like: Tensor) -> Tensor:
        """(size, size): the blur along one axis; it is symmetric."""
        weights = self.weights()
        band = torch.zeros(size, size, dtype=torch.float64)
        for offset, weight in enumerate(weights.tolist(), start=-(self.size // 2)):
            band.diagonal(offset).fill_(weight)
        return band.to(like)
