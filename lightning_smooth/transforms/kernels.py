"""Blurs by a kernel that depends on the parameters: a disk out of focus, a segment of motion.

Kernels have mass 1 and nothing negative, so images in [0, 1] stay there up to rounding. Beyond its
ends an image goes on with its edge pixels. Two such blurs in a row are not one of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from lightning_smooth.errors import check_positive
from lightning_smooth.transforms.base import Parameter, Transform
from lightning_smooth.transforms.geometric import cos_sin

SAMPLES = 64
"""Samples along a segment of motion."""


class DefocusBlur(Transform):
    """Mean over a disk around each pixel, its rim anti-aliased.

    Convention: `radius` in pixels, 0 nothing; a kernel cell at distance d from the centre weighs
    clamp(radius + 1/2 - d, 0, 1) before normalising. Beyond its ends the image goes on with its
    edge pixels. Images in [0, 1] stay there up to rounding. Composition: none.

    Args:
        max_radius: largest radius allowed, in pixels; it fixes the kernel's size.

    Raises:
        InputError: `max_radius` is not a finite number above 0.

    Source: GSmooth, Hao et al. 2022, defocus blur (THEORY section 7); the rim's rule is ours.
    """

    def __init__(self, max_radius: float = 5.0) -> None:
        self.max_radius = check_positive("max_radius", max_radius)
        self.parameters = (
            Parameter(
                name="radius", unit="pixels", low=0.0, high=self.max_radius, usual=(0.0, max_radius)
            ),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_radius={self.max_radius:g})"

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        return filtered(images, disk(theta[:, 0], math.ceil(self.max_radius - 0.5)))


class MotionBlur(Transform):
    """Mean along a segment centred at each pixel.

    Convention: `length` in pixels from end to end, 0 nothing; `angle` in degrees, counter-clockwise
    from the horizontal as the image is looked at, the same again after 180. The mean is over 64
    bilinear samples, in the middles of 64 equal parts of the segment. Beyond its ends the image
    goes on with its edge pixels. Images in [0, 1] stay there up to rounding. Composition: none.

    Args:
        max_length: largest length allowed, in pixels; it fixes the kernel's size.

    Raises:
        InputError: `max_length` is not a finite number above 0.

    Source: the motion blur of Hendrycks and Dietterich 2019 in intent (THEORY section 11), here
    even along the segment and to both sides.
    """

    def __init__(self, max_length: float = 9.0) -> None:
        self.max_length = check_positive("max_length", max_length)
        self.parameters = (
            Parameter(
                name="length", unit="pixels", low=0.0, high=self.max_length, usual=(0.0, max_length)
            ),
            Parameter(name="angle", unit="degrees", usual=(-90.0, 90.0)),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_length={self.max_length:g})"

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        return filtered(images, segment(theta[:, 0], theta[:, 1], math.ceil(self.max_length / 2)))


def disk(radius: Tensor, half: int) -> Tensor:
    """Kernels (B, 2 half + 1, 2 half + 1) of anti-aliased disks of radii (B,).

    >>> disk(torch.tensor([1.0]), 1)
    tensor([[[0.0257, 0.1496, 0.0257],
             [0.1496, 0.2991, 0.1496],
             [0.0257, 0.1496, 0.0257]]])
    """
    along = torch.arange(-half, half + 1, dtype=radius.dtype, device=radius.device)
    distance = torch.hypot(along[:, None], along)
    weights = (radius[:, None, None] + 0.5 - distance).clamp(0, 1)
    return weights / weights.sum(dim=(1, 2), keepdim=True)


def segment(length: Tensor, angle: Tensor, half: int) -> Tensor:
    """Kernels (B, 2 half + 1, 2 half + 1) of centred segments of lengths and angles (B,).

    >>> segment(torch.tensor([2.0]), torch.tensor([90.0]), 1)
    tensor([[[0.0000, 0.2500, 0.0000],
             [0.0000, 0.5000, 0.0000],
             [0.0000, 0.2500, 0.0000]]])
    """
    cell = torch.arange(-half, half + 1, dtype=length.dtype, device=length.device)[:, None]
    part = torch.arange(SAMPLES // 2, dtype=length.dtype, device=length.device)
    along = (length[:, None] * ((part + 0.5) / SAMPLES))[:, None]
    cos, sin = (turned[:, None, None] for turned in cos_sin(angle))
    columns = (1 - (cell - along * cos).abs()).clamp_min(0)
    rows = (1 - (cell + along * sin).abs()).clamp_min(0)  # y points down
    one_end = rows @ columns.mT
    return (one_end + one_end.flip(1, 2)) / SAMPLES


def filtered(images: Tensor, kernels: Tensor) -> Tensor:
    """Correlate each channel with its image's kernel, beyond the ends with the edge pixels.

    Args:
        images: (B, C, H, W), or one (1, C, H, W) for all kernels.
        kernels: (B, K, K), or one (1, K, K) for all images; K odd.

    Returns:
        (B, C, H, W).
    """
    count, channels, height, width = images.shape
    if 0 in (count, len(kernels)):  # convolution takes no empty batch of kernels
        return images[:0]
    half = kernels.shape[-1] // 2
    padded = functional.pad(images, (half, half, half, half), mode="replicate")
    if 1 in (count, len(kernels)):
        # Every channel of every image meets every kernel: channels as a batch, kernels as filters.
        flat = functional.conv2d(padded.flatten(0, 1)[:, None], kernels[:, None])
        if count == 1:
            return flat.transpose(0, 1)
        return flat.reshape(count, channels, height, width)
    filters = kernels[:, None].expand(-1, channels, -1, -1).flatten(0, 1)[:, None]
    flat = functional.conv2d(padded.flatten(0, 1)[None], filters, groups=len(filters))
    return flat.reshape(count, channels, height, width)
