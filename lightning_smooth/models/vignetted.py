"""A network that does not see the border, nor the noise on it."""

from __future__ import annotations

from torch import Tensor, nn

from lightning_smooth.transforms.vignette import Shape, Vignette


class Vignetted(nn.Module):
    """A network that sees images, noise included, with 0 outside a circle or rectangle.

    Noise is added to whole images. Where the image itself is cut by a vignette, as in `transforms.
    Preprocessing`, noise outside says nothing, and this keeps it from the network. Normalisation
    is part of the network, and comes after. Files of weights fit the network inside.

    Source: Fischer et al. 2020; THEORY section 6 (order: transformation, vignette, blur, noise,
    vignette, network).

    Args:
        model: network, from images (B, C, H, W) to scores (B, K).
        shape: circle or rectangle; see `transforms.Vignette`.
        margin: pixels, at least 0. None: 2 for a circle, 4 for a rectangle, as published.

    Raises:
        InputError: the shape is unknown, or the margin is not a number of at least 0; in the call:
            the image is so small that no pixel is kept.

    >>> import torch
    >>> Vignetted(nn.Flatten(), "rectangle", margin=1)(torch.ones(1, 1, 3, 4))
    tensor([[0., 0., 0., 0., 0., 1., 1., 0., 0., 0., 0., 0.]])
    """

    holds_network = True
    """A file of weights may be of the network inside, `model`."""

    def __init__(
        self, model: nn.Module, shape: Shape = "circle", margin: float | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.vignette = Vignette(shape, margin=margin)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (B, K) of images (B, C, H, W)."""
        scores: Tensor = self.model(self.vignette(images))
        return scores
