"""Blurs by a kernel: Gaussian, sampled Gaussian and defocus."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from lightning_smooth.interpolation.error import length
from lightning_smooth.transforms.blur import GaussianBlur, SampledGaussianBlur
from lightning_smooth.transforms.kernels import DefocusBlur
from lightning_smooth.variation.path import Kernel, Path, Size, column_norm


class GaussianPath(Path):
    """Gaussian blur y(a) = exp(a L) x, with L symmetric and without positive eigenvalues.

    y'' = L^2 y, and its norm decreases in a. Between a and a + d the chord misses y by the integral
    of Green's function times y'', which is d^2/8 |L^2 y(a)| at most. The norm of exp(a L) is 1.
    """

    transform: GaussianBlur

    def _stray(self, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
        bent = [
            length(self._spread(self._spread(self.images(image[None], low)))) for image in images
        ]
        return torch.stack(bent) * (high - low).square() / 8

    def _spread(self, images: Tensor) -> Tensor:
        """L y: half the second difference, along rows and columns."""
        mode = "circular" if self.transform.ends == "cyclic" else "replicate"
        wide = functional.pad(images, (1, 1, 1, 1), mode=mode)
        rows, columns = wide[..., 1:-1], wide[..., 1:-1, :]
        beside = columns[..., :-2] + columns[..., 2:] + rows[..., :-2, :] + rows[..., 2:, :]
        return beside / 2 - 2 * images


class SampledGaussianPath(Path):
    """Sampled Gaussian blur, y = N/D of sums over taps at squared distances n.

    With q = exp(-1/(2 variance)), N = sum q^n X_n and D = sum q^n K_n: X_n is the sum of the image
    shifted by each tap at n, K_n the number of them. Between q0 and q1, q^n is its chord less
    e_n, 0 <= e_n <= d^2/8 n (n - 1) q1^(n - 2) with d = q1 - q0. The quotient z of the chords of N
    and D is on the chord of y, and

        y - z = -sum e_n (X_n - K_n z) / D,   |X_n - K_n z| <= the larger one of both ends of y

    in each pixel, as z is between them; D is least at q0.
    """

    transform: SampledGaussianBlur

    def _stray(self, images: Tensor, low: Tensor, high: Tensor) -> Tensor:
        start, end = ((-0.5 / value.clamp_min(1e-9)).exp() for value in (low, high))
        half = self.transform.size // 2
        along = torch.arange(-half, half + 1)
        distance = along[:, None] ** 2 + along**2
        groups = [n for n in torch.unique(distance).tolist() if n > 1]
        size = (end - start).square() / 8
        least = sum(start**n for n in distance.flatten().tolist())
        norms = []
        for image in images:
            ends = self.images(image[None], low), self.images(image[None], high)
            wide = functional.pad(image[:, None], (half,) * 4, mode="reflect")
            total = torch.zeros_like(ends[0])
            for n in groups:
                kernel = (distance == n).double()
                shifted = functional.conv2d(wide, kernel[None, None])[:, 0]
                apart = [(shifted - kernel.sum() * y).abs_() for y in ends]
                bent = size * n * (n - 1) * end ** (n - 2) / least
                total.addcmul_(torch.maximum(*apart), bent[:, None, None, None])
            norms.append(length(total))
        return torch.stack(norms)

    def _gain(self, low: Tensor, high: Tensor, size: Size) -> Tensor:
        # A sample's column sum is 1 and what comes back from mirrors, which grows with the mass
        # beyond a distance, as that does with the variance; or, at an edge, it is 1 at most.
        return column_norm(self.transform, self.theta(high), size).clamp_min(1.0)


class DefocusPath(Kernel):
    """Defocus: weights clamp(radius + 1/2 - distance, 0, 1), divided by their sum.

    Between radii of `edges` no weight enters or leaves a clamp: weights N and their sum D are both
    affine in the radius, so that N/D moves on a straight line, between its ends as D is above 0.
    """

    transform: DefocusBlur

    def edges(self, low: float, high: float, size: Size) -> Tensor:
        """See `Path.edges`: where weights begin, and where they are full."""
        half = math.ceil(self.transform.max_radius - 0.5)
        along = torch.arange(half + 1, dtype=torch.float64)
        distance = torch.unique(torch.hypot(along[:, None], along))
        return torch.cat([distance - 0.5, distance + 0.5])
