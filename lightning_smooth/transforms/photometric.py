"""Brightness and contrast: the same affine function of every value, so they compose exactly.

Nothing is clipped to [0, 1]: a clipped image forgets how far it went, and two such changes are no
longer one. Source: Li et al. 2021 (TSS); THEORY sections 0 and 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_smooth.transforms.base import Parameter, Transform

_BRIGHTNESS = Parameter(name="brightness", unit="value", usual=(-0.4, 0.4))
_CONTRAST = Parameter(name="contrast", unit="log gain", usual=(-0.4, 0.4))


class Brightness(Transform):
    """Brightness: b added to every value.

    Convention: x + b; b in units of the values, 0 nothing. Values may leave [0, 1]; they are not
    clipped. Composition: shifts add.
    """

    parameters = (_BRIGHTNESS,)
    composition = "additive"
    keeps_range = False

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        return images + theta.reshape(-1, 1, 1, 1)


class Contrast(Transform):
    """Contrast: every value times e^k.

    Convention: e^k x, about 0 and not about the mean; k is the log of the gain, 0 nothing. Values
    may leave [0, 1]; they are not clipped. Composition: logs of gains add.
    """

    parameters = (_CONTRAST,)
    composition = "additive"
    keeps_range = False

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        return images * theta.exp().reshape(-1, 1, 1, 1)


class BrightnessContrast(Transform):
    """A shift by b, then a gain of e^k.

    Convention: e^k (x + b), the shift first; units as of `Brightness` and `Contrast`. Values may
    leave [0, 1]; they are not clipped. Composition: resolvable, `compose`.

    Source: Li et al. 2021 (TSS), brightness and contrast; THEORY section 5.
    """

    parameters = (_BRIGHTNESS, _CONTRAST)
    composition = "resolvable"
    keeps_range = False
    coupled = ("brightness", "contrast")

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        shift, log_gain = theta.reshape(-1, 2, 1, 1, 1).unbind(dim=1)
        shifted, gain = images + shift, log_gain.exp()
        if theta.requires_grad:  # the gradient of the gain needs what would be overwritten
            return shifted * gain
        # Of one image and one theta for many, the sum may be the smaller.
        return shifted.mul_(gain)

    def compose(self, second: Tensor, first: Tensor) -> Tensor:
        """Parameters of one transformation that does what `first` and then `second` do.

        From e^k2 (e^k1 (x + b1) + b2) = e^(k1 + k2) (x + b1 + e^-k1 b2).

        Args:
            second: (B, 2), applied last.
            first: (B, 2), applied first.

        Returns:
            (B, 2).

        >>> first, second = torch.tensor([[0.1, 0.0]]), torch.tensor([[0.2, 0.5]])
        >>> BrightnessContrast().compose(second, first)
        tensor([[0.3000, 0.5000]])
        """
        shift = first[:, 0] + second[:, 0] * torch.exp(-first[:, 1])
        return torch.stack([shift, first[:, 1] + second[:, 1]], dim=1)


class LevelBrightness(Transform):
    """Brightness by whole levels of a byte, clipped as bytes are.

    Convention: x + l / 255, brought to [0, 1]; l is rounded to the nearest whole number, halves to
    the even one. Clipping forgets, so it does not compose; but images are finitely many, to be
    tried one by one (THEORY section 9). No gradient goes to its parameter.

    Source: Pei et al. 2017 (VeriVis).
    """

    parameters = (Parameter(name="levels", unit="levels", whole=True, usual=(-64.0, 64.0)),)

    def _apply(self, images: Tensor, theta: Tensor) -> Tensor:
        levels = theta.detach().round().to(images.dtype)
        return (images + levels.reshape(-1, 1, 1, 1) / 255).clamp(0, 1)
