"""Images brought to one brightness and contrast, before a network sees them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_smooth.errors import check_count, check_positive


class Standardized(nn.Module):
    """A network that sees each image with mean 0 and standard deviation 1, over all its values.

    So it answers the same for x and e^k (x + b), up to rounding and `eps`. With `laplacians` = m it
    also sees L x, L^2 x, ..., L^m x as further channels, each standardised by itself: L is half the
    second difference along rows and columns, edges repeated, which brings out what a strong blur
    has left of fine structure (and commutes with `transforms.GaussianBlur`). Rounding is brought
    out as well, about fourfold by each. Over pixel noise, which it scales too, it is no better.

    Args:
        model: network, from images (B, (m + 1) C, H, W) to scores (B, K).
        laplacians: m.
        eps: what an image without any contrast is divided by; its square is added to variances.

    Raises:
        InputError: `eps` is not above 0, or `laplacians` below 0.

    >>> image = torch.arange(4.0).reshape(1, 1, 2, 2)
    >>> Standardized(nn.Flatten())(image), Standardized(nn.Flatten())(2 * (image + 1))
    (tensor([[-1.3416, -0.4472,  0.4472,  1.3416]]), tensor([[-1.3416, -0.4472,  0.4472,  1.3416]]))
    """

    holds_network = True
    """A file of weights may be of the network inside, `model`."""

    def __init__(self, model: nn.Module, *, laplacians: int = 0, eps: float = 1e-6) -> None:
        super().__init__()
        self.model = model
        self.laplacians = check_count("laplacians", laplacians, least=0)
        self.eps = check_positive("eps", eps)

    def extra_repr(self) -> str:
        """What decides the function beside the weights."""
        return f"laplacians={self.laplacians}, eps={self.eps:g}"

    def forward(self, images: Tensor) -> Tensor:
        """Scores (B, K) of images (B, C, H, W)."""
        seen = [self._standard(images)]
        for _ in range(self.laplacians):
            seen.append(self._standard(_laplacian(seen[-1])))
        scores: Tensor = self.model(torch.cat(seen, dim=1) if self.laplacians else seen[0])
        return scores

    def _standard(self, images: Tensor) -> Tensor:
        centered = images - images.mean(dim=(1, 2, 3), keepdim=True)
        variance = centered.square().mean(dim=(1, 2, 3), keepdim=True)
        return centered / (variance + self.eps**2).sqrt()


def _laplacian(images: Tensor) -> Tensor:
    around = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = around[..., :-2, 1:-1] + around[..., 2:, 1:-1]
    columns = around[..., 1:-1, :-2] + around[..., 1:-1, 2:]
    return (rows + columns) / 2 - 2 * images
