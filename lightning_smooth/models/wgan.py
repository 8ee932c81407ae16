"""The two networks of a Wasserstein GAN for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.weights import load_weights


class Generator(nn.Module):
    """Images (B, C, S, S) in [0, 1] of latents (B, latent), which are N(0, I) in training.

    A linear map to S/4 x S/4 places, then two transposed convolutions (4 x 4, stride 2), with ReLU
    between and a sigmoid behind. Each place of an image is covered by the same number of taps, and
    there is no normalisation over a batch: an image depends on its own latent alone.

    Source: after Gulrajani et al. 2017 (its MNIST script: 5 x 5 kernels, width 64, latent 128).

    Args:
        latent: numbers that an image is made of.
        in_channels: C of the images.
        image_size: S in pixels, a multiple of 4: 28 or 32, say.
        width: channels at half the resolution; twice as many below.
        weights: file of weights that it starts from, read when it is built; None for random ones.
            What is read, and how: `models.load_weights`.

    Raises:
        InputError: a size is out of range, or the weights do not fit.

    >>> model = Generator()
    >>> model(torch.zeros(2, 64)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 1, 28, 28]), 237153)
    """

    normalization_assumed = False
    """It has none, and so have files of its weights: images are in [0, 1] on either side."""

    def __init__(
        self,
        latent: int = 64,
        in_channels: int = 1,
        image_size: int = 28,
        *,
        width: int = 32,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.latent = check_count("latent", latent)
        side = _quarter(image_size)
        self.image_shape = (check_count("in_channels", in_channels), image_size, image_size)
        check_count("width", width)
        self.layers = nn.Sequential(
            nn.Linear(latent, 2 * width * side * side),
            nn.Unflatten(1, (2 * width, side, side)),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, in_channels, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )
        if weights is not None:
            load_weights(self, weights)

    def forward(self, latents: Tensor) -> Tensor:
        """Images (B, C, S, S) in [0, 1] of latents (B, latent)."""
        images: Tensor = self.layers(latents)
        return images


class Critic(nn.Module):
    """Scores (B,) of images (B, C, S, S): higher for real ones, without a limit.

    Three convolutions (4 x 4, stride 2) with leaky ReLU, then a linear map. No normalisation over a
    batch: the gradient penalty is that of each image alone (Gulrajani et al. 2017, section 4).

    Args:
        in_channels: C of the images.
        image_size: S in pixels, a multiple of 4.
        width: channels of the first convolution; twice and four times as many after it.

    Raises:
        InputError: a size is out of range.

    >>> Critic()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2])
    """

    def __init__(self, in_channels: int = 1, image_size: int = 28, *, width: int = 32) -> None:
        super().__init__()
        check_count("in_channels", in_channels)
        check_count("width", width)
        side = _quarter(image_size) // 2
        self.image_shape = (in_channels, image_size, image_size)
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(4 * width * side * side, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Scores (B,) of images (B, C, S, S)."""
        scores: Tensor = self.layers(images)
        return scores.squeeze(1)


def gradient_penalty(critic: nn.Module, real: Tensor, made: Tensor, mix: Tensor) -> Tensor:
    """Mean of (norm(grad critic) - 1)^2 between real and made images.

    The gradient, in l2 over a whole image, is taken at mix x + (1 - mix) y, one `mix` a pair. What
    it returns can be differentiated with respect to the critic's weights.

    Source: Gulrajani et al. 2017, equation 3, without its weight (10 there).

    Args:
        critic: from images to scores (B,).
        real: images x (B, C, H, W).
        made: images y (B, C, H, W).
        mix: (B,) in [0, 1].

    Returns:
        A scalar.
    """
    share = mix.view(-1, *[1] * (real.ndim - 1))
    between = (share * real + (1 - share) * made).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    apart: Tensor = slope.flatten(1).norm(dim=1) - 1
    return apart.square().mean()


def _quarter(image_size: int) -> int:
    check_count("image_size", image_size, least=8)
    if image_size % 4:
        raise InputError(f"Expected `image_size` to be a multiple of 4, but got {image_size}.")
    return image_size // 4
