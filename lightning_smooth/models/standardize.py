"""Images brought to one brightness and contrast, before a network sees them."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_smooth.errors import check_positive


class Standardized(nn.Module):
    """A network that sees each image with mean 0 and standard deviation 1, over all its values.

    So it answers the same for x and e^k (x + b), up to rounding and `eps`, and sees what is left of
    a strongly blurred image. Over pixel noise, which it scales too, it is no better.

    Args:
        model: network, from images (B, C, H, W) to scores (B, K).
        eps: what an image without any contrast is divided by; its square is added to variances.

    Raises:
        InputError: `eps` is not above 0.

    >>> import torch
    >>> image = torch.arange(4.0).reshape(1, 1, 2, 2)
    >>> Standardized(nn.Flatten())(image), Standardized(nn.Flatten())(2 * (image + 1))
    (tensor([[-1.3416, -0.4472,  0.4472,  1.3416]]), tensor([[-1.3416, -0.4472,  0.4472,  1.3416]]))
    """

    def __init__(self, model: nn.Module, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.model = model
        self.eps = check_positive("eps", eps)

    def extra_repr(self) -> str:
        """What decides the function beside the weights."""
        return f"eps={self.eps:g}"

    def forward(self, images: Tensor) -> Tensor:
        """Scores (B, K) of images (B, C, H, W)."""
        centered = images - images.mean(dim=(1, 2, 3), keepdim=True)
        variance = centered.square().mean(dim=(1, 2, 3), keepdim=True)
        scores: Tensor = self.model(centered / (variance + self.eps**2).sqrt())
        return scores
