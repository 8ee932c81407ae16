"""What is done to a transformed image before noise: a vignette, then a small blur."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.transforms.vignette import PreBlur, Shape, Vignette


class Preprocessing(nn.Module):
    """A vignette, then a small blur, each of which may be left out.

    The steps are linear with non-negative weights that sum to at most 1, so images in [0, 1] stay
    there and bounds of an image become bounds of the result. It learns nothing, stores nothing and
    runs in the precision of the images: autocast has no influence.

    Source: Fischer et al. 2020, "Certified defense to image transformations via randomized
    smoothing"; THEORY section 6, whose order is transformation, vignette, blur, noise.

    Args:
        vignette: circle, for rotations; rectangle, for translations; None for none.
        margin: of the vignette, in pixels; None for the published one.
        blur: size of the blur's kernel in pixels, odd; None for no blur.
        s: weights of the blur are proportional to exp(-distance^2 / s), in square pixels; 2 for
            MNIST and ImageNet, 1 for CIFAR-10, as published.

    Attributes:
        vignette: the first step; None where it is left out.
        blur: the second step; None where it is left out.

    Raises:
        InputError: a setting is not one of `Vignette` or `PreBlur`, or a margin is given without a
            vignette; in the call: the images are too small for a step.

    >>> Preprocessing("rectangle", margin=1, blur=None)(torch.ones(1, 1, 3, 4)).int()
    tensor([[[[0, 0, 0, 0],
              [0, 1, 1, 0],
              [0, 0, 0, 0]]]], dtype=torch.int32)
    """

    vignette: Vignette | None
    blur: PreBlur | None

    def __init__(
        self,
        vignette: Shape | None = "circle",
        margin: float | None = None,
        blur: int | None = 5,
        s: float = 2.0,
    ) -> None:
        super().__init__()
        if vignette is None and margin is not None:
            raise InputError(
                f"Expected `margin` to be None where there is no vignette, but got {margin!r}: "
                "choose a `vignette`, circle or rectangle."
            )
        self.vignette = None if vignette is None else Vignette(vignette, margin=margin)
        self.blur = None if blur is None else PreBlur(blur, s=s)

    def __repr__(self) -> str:
        seen, blur = self.vignette, self.blur
        first = "None" if seen is None else f"{seen.shape!r}, margin={seen.margin:g}"
        second = "None" if blur is None else f"{blur.size}, s={blur.s:g}"
        return f"{type(self).__name__}({first}, blur={second})"

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1], after both steps."""
        with torch.autocast(images.device.type, enabled=False):
            if self.vignette is not None:
                images = self.vignette(images)
            if self.blur is not None:
                images = self.blur(images)
        return images
