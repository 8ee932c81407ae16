"""From latents back to images: a linear map whose parts are switched by the parameters it reads."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_smooth.errors import InputError, check_count

DecoderKind = Literal["dense", "conv"]


class GatedDecoder(nn.Module):
    """H(z) = image part of z + S(g(R z) * (A z)): A, S and R linear, g a small network.

    What almost every transformation of this package does to an image is affine in the image, for
    each parameter another map; so H reads off the latents which parameter it is (R z, numbers), and
    weighs by it the parts A z of the image, of which S makes the change. S starts at 0: H starts by
    showing the image part.

    `dense` parts are inner products with whole latents, for maps that move pixels far (rotation);
    their price grows with the square of the image's size. `conv` parts are channels at 1 / `stride`
    of the resolution, weighed at each place by a factor of its own, for what is done within a few
    pixels: with kernels of size k in A and in S, up to stride k - 1 pixels away.

    Args:
        latent_shape: (D, h, W).
        image_shape: (C, H, W), C <= D and H <= h. The first H rows of the first C channels of
            latents are the image part; A sees those rows of all channels.
        share: what the image part is divided by.
        kind: of A and S.
        parts: how many parts; channels of them, for `conv`.
        kernel: k, odd, of `conv`.
        stride: of `conv`; more parts at a larger one cost a draw less.
        controls: numbers that R reads.
        hidden: units of tanh in g.

    Raises:
        InputError: a number is out of range, the kind is unknown, or images of `conv` have
            sizes that the stride does not divide.
    """

    def __init__(
        self,
        latent_shape: tuple[int, int, int],
        image_shape: tuple[int, int, int],
        *,
        share: float,
        kind: DecoderKind,
        parts: int,
        kernel: int,
        stride: int,
        controls: int,
        hidden: int,
    ) -> None:
        super().__init__()
        reads, rows, _ = latent_shape
        channels, height, width = image_shape
        check_count("parts", parts)
        check_count("gate_hidden", hidden)
        self.channels, self.share, self.kind = channels, share, kind
        self.size = (height, width)
        self.stride = check_count("decoder_stride", stride)
        self.read = nn.Linear(reads * rows * width, controls)
        self.gates = nn.Sequential(nn.Linear(controls, hidden), nn.Tanh(), nn.Linear(hidden, parts))
        self.analysis: nn.Module
        self.synthesis: nn.Linear | nn.Conv2d
        if kind == "dense":
            pixels = height * width
            self.analysis = nn.Linear(reads * pixels, parts)
            self.synthesis = nn.Linear(parts, channels * pixels)
        elif kind == "conv":
            if height % stride or width % stride:
                raise InputError(
                    f"Expected images of a size that decoder_stride={stride} divides with "
                    f"decoder='conv', but got {height} x {width}: take another stride, or "
                    "decoder='dense'."
                )
            if check_count("decoder_kernel", kernel) % 2 == 0:
                raise InputError(f"Expected `decoder_kernel` to be odd, but got {kernel}.")
            self.maps = nn.Parameter(torch.ones(parts, height // stride, width // stride))
            area = stride * stride
            self.analysis = nn.Conv2d(area * reads, parts, kernel, padding=kernel // 2)
            self.synthesis = nn.Conv2d(parts, area * channels, kernel, padding=kernel // 2)
        else:
            raise InputError(f"Expected `decoder` to be dense or conv, but got {kind!r}.")
        nn.init.zeros_(self.synthesis.weight)
        nn.init.zeros_(self.synthesis.bias)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """What decides the function beside the weights."""
        return f"{self.kind}, share={self.share:.9g}"

    def seen(self, latents: Tensor) -> Tensor:
        """What A sees of latents (B, D, h, W): (B, D, H, W)."""
        return latents[:, :, : self.size[0]]

    def shown(self, latents: Tensor) -> Tensor:
        """The image part (B, C, H, W) of latents (B, D, h, W)."""
        return latents[:, : self.channels, : self.size[0]]

    def forward(self, latents: Tensor) -> Tensor:
        """Images (B, C, H, W) of latents (B, D, h, W)."""
        gates = self.gates(self.read(latents.flatten(1)))
        seen = self.seen(latents)
        if self.kind == "dense":
            change = self.synthesis(self.analysis(seen.flatten(1)) * gates)
            change = change.view(-1, self.channels, *self.size)
        else:
            coarse = functional.pixel_unshuffle(seen, self.stride)
            # Convolutions of few channels are up to twice as fast with the channels last.
            parts = self.analysis(coarse.contiguous(memory_format=torch.channels_last))
            parts = parts * self.maps * gates[:, :, None, None]
            change = functional.pixel_shuffle(self.synthesis(parts), self.stride)
        image = self.shown(latents)
        made: Tensor = change + (image if self.share == 1 else image / self.share)
        return made
