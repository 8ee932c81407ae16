"""A walk of a PixelCNN through an image, pixel by pixel, at about the price of one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.logistics import LEVELS, LogisticMixture, scaled
from lightning_smooth.models.pixelcnn import REACH, GatedLayer, PixelCNN, gate

Choose = Callable[[int, int, LogisticMixture], Tensor]
"""From row, column and the pixel's distribution, (B, ...) with nothing behind, to levels (B, C)."""


@torch.no_grad()
def walk(model: PixelCNN, batch: int, size: tuple[int, int], choose: Choose) -> Tensor:
    """Make images in raster order, each pixel chosen from its distribution given those before it.

    What the model computes for one pixel depends on what it computed for pixels before; all that is
    kept. The vertical stack goes on by whole rows, the horizontal one by pixels, so every value is
    computed once, as in one forward pass, and not once for each of the pixels. Up to the order of
    sums, the distributions are those of `PixelCNN.forward` on the finished image.

    Args:
        model: the PixelCNN; its dtype and device count.
        batch: number of images B, walked together.
        size: (H, W).
        choose: called once a pixel, in raster order.

    Returns:
        Levels (B, C, H, W), int64.
    """
    height, width = size
    channels, dtype, device = model.channels, model.link.weight.dtype, model.link.weight.device
    levels = torch.zeros(batch, channels, height, width, dtype=torch.int64, device=device)
    shape = (batch, channels + 1, height + REACH, width + 2 * REACH)
    image = torch.zeros(shape, dtype=dtype, device=device)
    image[:, channels, REACH:, REACH:-REACH] = 1
    layers = [_Row.of(layer, batch, size) for layer in model.gated]
    head = [layer for layer in model.head if isinstance(layer, nn.Conv2d)]
    for row in range(height):
        vertical = model.above(image[:, :, row : row + REACH])
        links = _by_pixel(model.link(vertical))
        for layer in layers:
            vertical = layer.enter(row, vertical)
        for column in range(width):
            # The pixel's own place in the padded row is column + REACH: what is seen ends before.
            seen = image[:, :, row + REACH, column : column + REACH].flatten(1)
            state = _at_a_place(model.left, seen) + links[column]
            for layer in layers:
                state = layer.step(column, state)
            for last in head:
                state = _at_a_place(last, state.relu())
            chosen = choose(row, column, LogisticMixture(state, channels))
            levels[:, :, row, column] = chosen
            image[:, :channels, row + REACH, column + REACH] = scaled(chosen, dtype)
    return levels


def sample(
    model: PixelCNN,
    count: int,
    size: tuple[int, int] = (28, 28),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw images (count, C, H, W) in [0, 1] from a PixelCNN.

    Args:
        model: the PixelCNN.
        count: number of images.
        size: (H, W).
        generator: of the CPU; None for torch's global one.

    Raises:
        InputError: a size is not positive.
    """
    if len(size) != 2:
        raise InputError(f"Expected `size` to be (H, W), but got {size!r}.")
    height, width = (check_count("size", number) for number in size)
    levels = walk(
        model,
        check_count("count", count),
        (height, width),
        lambda row, column, mixture: mixture.draw(generator),
    )
    return levels.to(model.link.weight.dtype) / (LEVELS - 1)


def _at_a_place(layer: nn.Conv2d, seen: Tensor) -> Tensor:
    """A convolution (B, out) at the one place whose neighbourhood (B, in) is."""
    return functional.linear(seen, layer.weight.flatten(1), layer.bias)


def _by_pixel(values: Tensor) -> Tensor:
    """(W, B, F) of one row (B, F, 1, W)."""
    return values[:, :, 0].permute(2, 0, 1).contiguous()


@dataclass
class _Row:
    """What one layer keeps: rows of the vertical stack, this row of the horizontal one."""

    layer: GatedLayer
    rows: Tensor
    left: Tensor
    links: Tensor
    earlier: Tensor
    own: Tensor

    @classmethod
    def of(cls, layer: GatedLayer, batch: int, size: tuple[int, int]) -> _Row:
        (height, width), d = size, layer.dilation
        weight = layer.horizontal.weight
        channels = weight.shape[1]
        return cls(
            layer,
            rows=weight.new_zeros(batch, channels, height + d, width + 2 * d),
            left=weight.new_zeros(width + d, batch, channels),
            links=weight.new_empty(0),
            earlier=weight[:, :, 0, 0].t().contiguous(),
            own=weight[:, :, 0, 1].t().contiguous(),
        )

    def enter(self, row: int, vertical: Tensor) -> Tensor:
        """Take a row (B, F, 1, W) of the vertical stack below this layer; return that above."""
        d, layer = self.layer.dilation, self.layer
        self.rows[:, :, row + d, d:-d] = vertical[:, :, 0]
        above = layer.vertical(self.rows[:, :, row : row + d + 1])
        links = layer.link(above) + layer.horizontal.bias.view(1, -1, 1, 1)  # type: ignore[union-attr]
        self.links = _by_pixel(links)
        return vertical + gate(above)

    def step(self, column: int, state: Tensor) -> Tensor:
        """Take a pixel (B, F) of the horizontal stack below this layer; return that above."""
        self.left[column + self.layer.dilation] = state
        both = torch.addmm(self.links[column], self.left[column], self.earlier)
        both = torch.addmm(both, state, self.own)
        return state + _at_a_place(self.layer.mix, gate(both))
