"""PixelCNN: the probability of an image, pixel by pixel, each given those before it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.logistics import (
    LEVELS,
    LogisticMixture,
    parameter_count,
    scaled,
    to_levels,
)
from lightning_smooth.models.weights import load_weights

REACH = 3
"""Pixels to each side, and above, that the first layer sees."""


class GatedLayer(nn.Module):
    """One layer of both stacks, residual, gated by tanh(a) sigmoid(b).

    Masked convolutions of type B, whose kernels are stored without their zeros: 2 x 3 over the
    vertical stack (this row and one above it; the stack's rows know of pixels above them alone),
    1 x 2 over the horizontal stack (this pixel and one to the left). The horizontal stack sees the
    vertical one, never the other way round.

    Args:
        width: channels of each stack.
        dilation: distance of a kernel's taps.
    """

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.vertical = nn.Conv2d(width, 2 * width, (2, 3), dilation=dilation)
        self.horizontal = nn.Conv2d(width, 2 * width, (1, 2), dilation=dilation)
        self.link = nn.Conv2d(2 * width, 2 * width, 1)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, vertical: Tensor, horizontal: Tensor) -> tuple[Tensor, Tensor]:
        """Both stacks (B, F, H, W) after this layer."""
        d = self.dilation
        above = self.vertical(functional.pad(vertical, (d, d, d, 0)))
        left = self.horizontal(functional.pad(horizontal, (d, 0))) + self.link(above)
        return vertical + gate(above), horizontal + self.mix(gate(left))


class PixelCNN(nn.Module):
    """p(image) = prod over pixels in raster order of p(pixel | all pixels before it).

    A gated PixelCNN of two stacks, which has no blind spot, with a mixture of discretised logistics
    for each pixel; the channels of a pixel, in their order, depend on those before them within the
    mixture. Fully convolutional: images of any size.

    Convention: images (B, C, H, W) in [0, 1] are rounded to the levels 0..255, and a probability is
    that of levels. Log-probabilities are in nats.

    Source: van den Oord et al. 2016 (Gated PixelCNN), section 2.2, for the stacks; Salimans et al.
    2017 (PixelCNN++) for the distribution. The sizes, for small machines, are ours; so are the
    dilations, which make few layers see far.

    Args:
        in_channels: C of the images.
        width: channels of each stack, F.
        dilations: one for each gated layer.
        head: channels between the last layer and the distribution's parameters.
        mixtures: logistics in the mixture.
        weights: file of weights that it starts from, read when it is built; None for random ones.
            What is read, and how: `models.load_weights`.

    Raises:
        InputError: a size is out of range, or the weights do not fit.

    >>> model = PixelCNN()
    >>> model.log_prob(torch.zeros(2, 1, 28, 28)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2]), 65695)
    """

    normalization_assumed = False
    """It has none, and so have files of its weights: images are in [0, 1] on either side."""

    def __init__(
        self,
        in_channels: int = 1,
        *,
        width: int = 24,
        dilations: Sequence[int] = (1, 2, 4, 1, 2),
        head: int = 64,
        mixtures: int = 5,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.channels = check_count("in_channels", in_channels)
        self.width = check_count("width", width)
        check_count("head", head)
        if isinstance(dilations, str) or not len(dilations):
            raise InputError(f"Expected `dilations` to be one integer a layer, got {dilations!r}.")
        parameters = parameter_count(self.channels, check_count("mixtures", mixtures))
        # One channel of ones beside the image tells its border from black.
        seen = self.channels + 1
        self.above = nn.Conv2d(seen, width, (REACH, 2 * REACH + 1))
        self.left = nn.Conv2d(seen, width, (1, REACH))
        self.link = nn.Conv2d(width, width, 1)
        self.layers = nn.ModuleList(
            GatedLayer(width, check_count("dilations", d)) for d in dilations
        )
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, head, 1), nn.ReLU(), nn.Conv2d(head, parameters, 1)
        )
        if weights is not None:
            load_weights(self, weights)

    @property
    def gated(self) -> list[GatedLayer]:
        """The gated layers, in their order."""
        return [layer for layer in self.layers if isinstance(layer, GatedLayer)]

    def forward(self, levels: Tensor) -> Tensor:
        """Parameters (B, P, H, W) of each pixel's mixture, of levels (B, C, H, W)."""
        if levels.ndim != 4 or levels.shape[1] != self.channels:
            raise InputError(
                f"Expected images (B, {self.channels}, H, W), but got shape {tuple(levels.shape)}: "
                "set the model's in_channels to that of the images."
            )
        image = self.seen(levels)
        # Masks of type A: rows above alone, and pixels to the left alone.
        vertical = self.above(functional.pad(image, (REACH, REACH, REACH, 0)))[:, :, :-1]
        horizontal = self.left(functional.pad(image, (REACH, 0)))[:, :, :, :-1]
        horizontal = horizontal + self.link(vertical)
        for layer in self.layers:
            vertical, horizontal = layer(vertical, horizontal)
        parameters: Tensor = self.head(horizontal)
        return parameters

    def seen(self, levels: Tensor) -> Tensor:
        """What the first layer sees (B, C + 1, H, W): scaled levels, and ones."""
        values = scaled(levels, self.link.weight.dtype)
        return torch.cat([values, torch.ones_like(values[:, :1])], dim=1)

    def log_prob(self, images: Tensor) -> Tensor:
        """Log-probabilities (B,), in nats, of images (B, C, H, W) in [0, 1].

        Raises:
            InputError: images of another number of channels.
        """
        levels = to_levels(images)
        mixture = LogisticMixture(self(levels), self.channels)
        return mixture.log_prob(levels).flatten(1).sum(dim=1)

    def bits_per_dim(self, images: Tensor) -> Tensor:
        """Bits (B,) that each value of an image costs: -log2 p(image) / (C H W)."""
        return self.log_prob(images) / (-math.log(2) * math.prod(images.shape[1:]))

    def logits(self, images: Tensor) -> Tensor:
        """Distribution of each value, given all before it: normalised, in nats.

        Args:
            images: (B, C, H, W) in [0, 1].

        Returns:
            (B, C, H, W, 256) log-probabilities of the levels 0..255.
        """
        levels = to_levels(images)
        mixture = LogisticMixture(self(levels), self.channels)
        every = torch.arange(LEVELS, device=images.device)
        found = [mixture.conditional(c, levels, every) for c in range(self.channels)]
        return torch.stack(found, dim=1)


def gate(both: Tensor) -> Tensor:
    """Multiply tanh of the first half of the channels by the sigmoid of the second."""
    value, share = both.chunk(2, dim=1)
    return value.tanh() * share.sigmoid()
