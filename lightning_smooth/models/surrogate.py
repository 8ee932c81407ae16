"""A network that does what a transformation does, with the parameter added in latent space."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.decoder import DecoderKind, GatedDecoder
from lightning_smooth.models.lipschitz import SLACK, LipschitzFeatures
from lightning_smooth.models.motion import Motion
from lightning_smooth.models.weights import load_weights
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box

Encoder = Literal["identity", "conv"]

_ENCODING: Final = 5e-7
"""Relative slack of the encoder's Lipschitz bound, for its factors' rounding to float32."""


class SurrogateNetwork(nn.Module):
    """tau(theta, x) ~ H(F1(theta) + F2(x)), so that parameters of the surrogate compose.

    F2, `encode`: the image and further latents. With encoder `identity` those are rows of 0 below
    it, which cost next to nothing, and F2 is an isometry. With `conv` they are channels, sin(angle)
    phi(x) beside cos(angle) x, with phi of `LipschitzFeatures`: norm(F2(x) - F2(y))^2 is at most
    (cos^2 + sin^2 Lip(phi)^2) norm(x - y)^2. F1, `move`: `Motion`, defined for every theta in R^P.
    H, `decode`: `GatedDecoder`.

    Guarantee: `lipschitz` and `slopes` are bounds that are proven for the weights as they are
    stored, in real arithmetic (models/lipschitz.py, models/motion.py). How well the surrogate fits
    the transformation is not bounded; it is measured when it is trained.

    Assumption: that float32 computes `encode` and `move` closely enough, as of all networks here.

    Source: Hao et al. 2022 (GSmooth), section 4; THEORY section 7. The forms of F1, F2, H are ours.

    Args:
        transform: what it stands for.
        box: (least, greatest) of each parameter that it is trained for, absolute values, in the
            parameter's unit; parameters that are left out stay at their identity. Columns of theta
            are those of the box, in the order of the transformation's parameters.
        image_shape: (C, H, W) of the images.
        encoder: what F2 is.
        features: with `conv`, channels of latents beside the image's; with `identity`, rows of
            latents below it, 0 for none.
        angle: of the `conv` encoder, in degrees, above 0 and below 90.
        widths: channels between the convolutions of the `conv` encoder, even.
        kernel: their size in pixels, odd.
        directions: latents that F1 is a sum of.
        motion_hidden: units of tanh of F1, for each parameter.
        decoder: kind of H; see `GatedDecoder`.
        parts: of H.
        decoder_kernel: of H, with decoder `conv`.
        decoder_stride: of H, with decoder `conv`.
        gate_hidden: units of tanh of H.
        weights: file of weights that it starts from, read when it is built; None for random ones.
            What is read, and how: `models.load_weights`.

    Raises:
        InputError: an argument is out of range, the box is none of the transformation, or the
            weights do not fit or are those of another transformation, box or image shape.

    >>> from lightning_smooth.transforms import RotationalBlur
    >>> network = SurrogateNetwork(RotationalBlur(), {"angle": (0.0, 10.0)}, (1, 8, 8))
    >>> network(torch.zeros(2, 1, 8, 8), torch.tensor([[0.0], [5.0]])).shape, network.lipschitz()
    (torch.Size([2, 1, 8, 8]), 1.0)
    """

    normalization_assumed = False
    """It has none, and so have files of its weights: images are in [0, 1] on either side."""

    def __init__(
        self,
        transform: Transform,
        box: Box,
        image_shape: Sequence[int],
        *,
        encoder: Encoder = "identity",
        features: int = 1,
        angle: float = 45.0,
        widths: Sequence[int] = (8, 8),
        kernel: int = 5,
        directions: int = 6,
        motion_hidden: int = 16,
        decoder: DecoderKind = "conv",
        parts: int = 16,
        decoder_kernel: int = 3,
        decoder_stride: int = 2,
        gate_hidden: int = 32,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(transform, Transform):
            raise InputError(f"Expected `transform` to be a Transform, but got {transform!r}.")
        if encoder not in ("identity", "conv"):
            raise InputError(f"Expected `encoder` to be identity or conv, but got {encoder!r}.")
        self.transform = transform
        self.box = transform.check_box(box)
        self.names = tuple(self.box)
        self.image_shape = _shape(image_shape)
        channels, height, width = self.image_shape
        extra = check_count("features", features, least=int(encoder == "conv"))
        self.encoder = encoder
        self.share, self.phi_share = 1.0, 0.0
        self.latent_shape = (channels, height + extra, width)
        if encoder == "conv":
            self.latent_shape = (channels + extra, height, width)
            if not 0 < angle < 90:
                raise InputError(f"Expected `angle` to be between 0 and 90 degrees, got {angle!r}.")
            turn = math.radians(angle)
            self.share, self.phi_share = math.cos(turn), math.sin(turn)
            self.phi = LipschitzFeatures(channels, extra, (height, width), widths, kernel)
        self.motion = Motion(
            self.box,
            self.latent_shape,
            directions=check_count("directions", directions),
            hidden=check_count("motion_hidden", motion_hidden),
            quiet=height if encoder == "identity" and extra else 0,
        )
        self.decoder = GatedDecoder(
            self.latent_shape,
            self.image_shape,
            share=self.share,
            kind=decoder,
            parts=parts,
            kernel=decoder_kernel,
            stride=decoder_stride,
            controls=directions,
            hidden=gate_hidden,
        )
        with torch.no_grad():  # what F1 writes, H reads
            self.decoder.read.weight.copy_(self.motion.vectors.flatten(1))
        self.register_buffer("purpose", self._purpose())
        self.register_load_state_dict_pre_hook(_check_purpose)  # type: ignore[no-untyped-call]
        if weights is not None:
            load_weights(self, weights)

    def extra_repr(self) -> str:
        """What decides the function beside the weights."""
        return (
            f"{self.transform!r}, box={self.box}, image_shape={self.image_shape}, "
            f"encoder={self.encoder}, share={self.share:.9g}"
        )

    @property
    def meant(self) -> str:
        """What it is meant for, in words."""
        ends = (f"{name} {low:g} to {high:g}" for name, (low, high) in self.box.items())
        return f"{self.transform!r} with {', '.join(ends)}, on images {self.image_shape} (C, H, W)"

    def encode(self, images: Tensor) -> Tensor:
        """F2: latents (B, D, h, W) of images (B, C, H, W).

        Raises:
            InputError: images of another shape.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image_shape:
            raise InputError(
                f"Expected `images` (B, C, H, W) of a surrogate that is meant for {self.meant}, "
                f"but got shape {tuple(images.shape)}."
            )
        if self.encoder == "conv":
            parts = [images * self.share, self.phi(images) * self.phi_share]
            return torch.cat([part.to(images.dtype) for part in parts], dim=1)
        extra = self.latent_shape[1] - self.image_shape[1]
        return functional.pad(images, (0, 0, 0, extra)) if extra else images

    def move(self, theta: Tensor) -> Tensor:
        """F1: latents (B, D, h, W) of parameters (B, P), columns as in `box`, in it or not.

        Raises:
            InputError: another number of columns.
        """
        latents: Tensor = self.motion(theta)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """H: images (B, C, H, W) of latents (B, D, h, W)."""
        images: Tensor = self.decoder(latents)
        return images

    def forward(self, images: Tensor, theta: Tensor) -> Tensor:
        """The surrogate of tau(theta, x).

        Args:
            images: (B, C, H, W), or one image (1, C, H, W) for all parameters.
            theta: (B, P) in the box, columns as in `box`; or (1, P) for all images.

        Returns:
            (B, C, H, W).

        Raises:
            InputError: shapes do not fit, or a parameter is not in the box (seen on a CPU alone:
                elsewhere a check would wait for the device).
        """
        latents, moved = self.encode(images), self.move(theta)
        if 1 not in (len(images), len(theta)) and len(images) != len(theta):
            raise InputError(
                f"Expected as many rows of `theta` as images, or one of either, but got "
                f"{len(theta)} rows and {len(images)} images."
            )
        if theta.device.type == "cpu" and len(theta):
            for name, column in zip(self.names, theta.detach().unbind(dim=1), strict=True):
                self._check_within(name, *(end.item() for end in column.aminmax()))
        return self.decode(latents + moved.to(latents))

    def check_box(self, box: Box) -> Box:
        """Return a box of this surrogate's parameters, in their order, if it lies in its own.

        Raises:
            InputError: names are missing or unknown, or a range leaves the one that it is meant
                for.
        """
        if set(box) != set(self.names):
            raise InputError(
                f"Expected ranges of {', '.join(self.names)} for a surrogate that is meant for "
                f"{self.meant}, but got {', '.join(box) or 'none'}."
            )
        for name, (low, high) in box.items():
            self._check_within(name, low, high)
        return {name: box[name] for name in self.names}

    def full_theta(self, theta: Tensor) -> Tensor:
        """The transformation's parameters (B, all of them), float64, of this network's (B, P)."""
        full = self.transform.identity().repeat(len(theta), 1)
        full[:, [self.transform.names.index(name) for name in self.names]] = theta.double().cpu()
        return full

    def lipschitz(self) -> float:
        """Bound the Lipschitz constant of F2 in l2, for the weights as they are stored.

        Computed anew, in float64, rounded up; with a relative slack of 5e-7 for the rounding of two
        factors to float32, where there are any. In float32 it is 1 at most, up to 1e-6, whatever
        the weights: they are scaled by their bound (models/lipschitz.py).
        """
        if self.encoder == "identity":
            return 1.0
        bound = math.hypot(self.share, self.phi_share * self.phi.lipschitz())
        return math.nextafter(bound * (1 + SLACK + _ENCODING), math.inf)

    def slopes(self) -> tuple[Tensor, float]:
        """Slopes of F1: see `Motion.slopes`. (G, L, P) float64, L = D h W; and their radius."""
        return self.motion.slopes()

    def _check_within(self, name: str, least: float, greatest: float) -> None:
        low, high = self.box[name]
        slack = 1e-6 * max(abs(low), abs(high))  # of float32
        if not (low - slack <= least and greatest <= high + slack):
            got = f"{least:g}" if least == greatest else f"{least:g} to {greatest:g}"
            raise InputError(
                f"Expected `{name}` of a surrogate that is meant for {self.meant} to be in that "
                f"range, but got {got}: train it for a wider one."
            )

    def _purpose(self) -> Tensor:
        """(4,) int64: a digest of what it is meant for, which files of weights carry."""
        digest = hashlib.sha256(f"{self.transform!r} {self.box} {self.image_shape}".encode())
        words = digest.digest()
        return torch.tensor(
            [int.from_bytes(words[k : k + 8], "little", signed=True) for k in range(0, 32, 8)]
        )


def _check_purpose(module: nn.Module, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
    stored = state.get(f"{prefix}purpose")
    if not isinstance(module, SurrogateNetwork) or stored is None:
        return
    if not torch.equal(torch.as_tensor(stored).cpu(), module._purpose()):
        raise InputError(
            f"The weights are not those of a surrogate that is meant for {module.meant}: give it "
            "the transformation, box and image_shape that it was trained with (config.yaml in its "
            "run's folder)."
        )


def _shape(given: Sequence[int]) -> tuple[int, int, int]:
    if isinstance(given, str) or len(given) != 3:
        raise InputError(f"Expected `image_shape` to be (C, H, W), but got {given!r}.")
    channels, height, width = (check_count("image_shape", number) for number in given)
    return channels, height, width
