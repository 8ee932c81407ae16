"""Purification towards the training distribution, pixel by pixel.

Source: Song, Kim, Nowozin, Ermon, Kushman 2018 (PixelDefend), algorithm 1.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from lightning_smooth.defenses.base import check_batch
from lightning_smooth.errors import InputError, check_count, check_positive
from lightning_smooth.models.logistics import LEVELS, LogisticMixture, to_levels
from lightning_smooth.models.pixelcnn import PixelCNN
from lightning_smooth.models.raster import walk
from lightning_smooth.models.weights import load_weights

_STEPS: Final = LEVELS - 1
_SLACK: Final = 1e-6
"""In levels: 16 / 255 counts as 16 of them in floating point too."""


class PixelDefend(nn.Module):
    """Replace each value, in raster order, by the most likely one within a bound of it.

    An image is rounded to its levels 0..255. Then pixel by pixel, row by row, and channel by
    channel within a pixel, a value becomes that level, among those at most `bound` away from its
    own, which is the most likely of them given all values before it, as they are after
    purification; of several equally likely ones, one. That is greedy: it is not the most likely
    image within the bound. Nothing is drawn.

    Keeps shape and dtype, and [0, 1]. It has no gradient. A result is at most `bound` away from
    the rounded image in each value, so half a level more from the image. It costs about one forward
    pass of the network an image, not one a pixel (`models.raster.walk`).

    Args:
        model: the density.
        bound: largest change of a value of an image in [0, 1]; 16 / 255 as published.
        weights: file of the density's weights, read when this is built; None to leave them. What
            is read, and how: `models.load_weights`.
        batch_size: images that are purified together.

    Raises:
        InputError: `model` is no PixelCNN, a number is out of range, or the weights do not fit; in
            the call: images of another number of channels than the model's.

    >>> PixelDefend(PixelCNN(width=4, dilations=(1,)), bound=0)(torch.full((1, 1, 1, 2), 0.2))
    tensor([[[[0.2000, 0.2000]]]])
    """

    def __init__(
        self,
        model: PixelCNN,
        bound: float = 16 / 255,
        weights: str | None = None,
        *,
        batch_size: int = 128,
    ) -> None:
        super().__init__()
        if not isinstance(model, PixelCNN):
            raise InputError(f"Expected `model` to be a PixelCNN, but got {type(model).__name__}.")
        if isinstance(bound, bool) or not 0 <= bound <= 1:
            raise InputError(f"Expected `bound` to be in [0, 1], but got {bound!r}: 16 / 255, say.")
        self.model = model
        self.bound = float(bound)
        self.batch_size = check_count("batch_size", batch_size)
        if weights is not None:
            load_weights(model, weights)

    def extra_repr(self) -> str:
        """Show the bound in the model's repr."""
        return f"bound={self.bound:.9g}"

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Purify images (B, C, H, W) in [0, 1]."""
        channels = check_batch(images).shape[1]
        if channels != self.model.channels:
            raise InputError(
                f"Expected `images` of {self.model.channels} channels, those of the PixelCNN, but "
                f"got {channels}."
            )
        with torch.autocast(images.device.type, enabled=False):
            parts = [
                self._purified(to_levels(part)) for part in torch.split(images, self.batch_size)
            ]
        return torch.cat(parts).to(images.dtype) / _STEPS

    def _purified(self, levels: Tensor) -> Tensor:
        reach = int(self.bound * _STEPS + _SLACK)
        offsets = torch.arange(-reach, reach + 1, device=levels.device)

        def likeliest(row: int, column: int, mixture: LogisticMixture) -> Tensor:
            # Levels beyond 0 and 255 stand for those once more, which changes no maximum.
            windows = (levels[:, :, row, column, None] + offsets).clamp(0, _STEPS)
            chosen = torch.zeros_like(levels[:, :, row, column])
            for channel, window in enumerate(windows.unbind(dim=1)):
                found = mixture.conditional(channel, chosen, window)
                best = found.argmax(dim=1, keepdim=True)
                chosen[:, channel] = window.gather(1, best)[:, 0]
            return chosen

        height, width = levels.shape[2:]
        return walk(self.model, len(levels), (height, width), likeliest)


class SoftPixelDefend(nn.Module):
    """What BPDA differentiates in the place of `PixelDefend`: the way through earlier pixels, too.

    A purified value y_i is the likeliest of its window, given those before it. The identity leaves
    out the last part: change one value, and the density expects others of what follows. Here
    dy_i = dx_i + dm_i(y), where m_i is the mean, in the window, of the value's distribution, raised
    to 1 / `temperature`, given the purified values before it. As m_i depends on earlier values
    alone, the matrix A of dm / dy is strictly triangular, and the gradient is a finite sum: g, then
    A' g, then A' A' g, ..., of which `terms` follow the first. With none it is the identity.

    It takes what the defence made of the images, beside them, and returns it.

    Args:
        model: the density, as the defence has it.
        bound: the defence's.
        weights: see `PixelDefend`.
        terms: terms of the sum after the first, each a backward pass through the density.
        temperature: of the mean; the smaller, the more it is the likeliest value.
        samples: values of a window that the mean is taken over.

    Raises:
        InputError: `model` is no PixelCNN, a number is out of range, or the weights do not fit.
    """

    takes_result = True

    def __init__(
        self,
        model: PixelCNN,
        bound: float = 16 / 255,
        weights: str | None = None,
        *,
        terms: int = 4,
        temperature: float = 1.0,
        samples: int = 17,
    ) -> None:
        super().__init__()
        self.density = PixelDefend(model, bound, weights)
        self.terms = check_count("terms", terms, least=0)
        self.temperature = check_positive("temperature", temperature)
        self.samples = check_count("samples", samples, least=2)

    def extra_repr(self) -> str:
        """Show the numbers in the model's repr."""
        return f"terms={self.terms}, temperature={self.temperature:g}, samples={self.samples}"

    def forward(self, images: Tensor, result: Tensor) -> Tensor:
        """Give the result (B, C, H, W) back, with a gradient to the images (B, C, H, W)."""
        made: Tensor = _Through.apply(images, result, self)
        return made

    def means(self, images: Tensor, result: Tensor) -> Tensor:
        """Means m (B, C, H, W), differentiable in the result (B, C, H, W), not in the images."""
        reach = int(self.density.bound * _STEPS + _SLACK)
        offsets = torch.linspace(-reach, reach, self.samples, device=images.device)
        model, channels = self.density.model, self.density.model.channels
        dtype = model.link.weight.dtype
        levels = result.to(dtype) * _STEPS
        own = to_levels(images.detach()).to(dtype)
        windows = (own[..., None] + offsets.to(dtype)).clamp(0, _STEPS)
        mixture = LogisticMixture(model(levels), channels)
        made = []
        for channel in range(channels):
            window = windows[:, channel]
            likely = mixture.conditional(channel, levels, window) / self.temperature
            made.append((likely.softmax(dim=-1) * window).sum(dim=-1))
        return torch.stack(made, dim=1) / _STEPS


class _Through(torch.autograd.Function):
    """The result of a purification, with the way back of `SoftPixelDefend`."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, result: Tensor, soft: SoftPixelDefend) -> Tensor:
        ctx.save_for_backward(images, result)
        ctx.soft = soft
        return result.clone()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None, None]:
        images, result = ctx.saved_tensors
        whole, terms = slopes[0], ctx.soft.terms
        if not terms:
            return whole, None, None
        with torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
            leaf = result.detach().requires_grad_()
            means = ctx.soft.means(images, leaf).to(whole.dtype)
            for term in range(terms):
                more = term + 1 < terms
                (slope,) = torch.autograd.grad(means, leaf, whole, retain_graph=more)
                whole = slopes[0] + slope
        return whole, None, None
