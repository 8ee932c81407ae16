"""What roughness is, and that interpolation's error follows it."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_smooth.interpolation import RotationError
from lightning_smooth.interpolation.roughness import LEAST, roughness, unit_of
from lightning_smooth.transforms import PreBlur, Preprocessing


def test_of_a_wave_it_is_its_frequency_squared_but_for_the_border() -> None:
    x = torch.arange(64, dtype=torch.float64)
    wave = torch.cos(0.3 * x)[None, None] * torch.ones(1, 64, 64).double()
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[2:-2, 2:-2] = True

    class Inside(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images * inside

    found = roughness(wave, Inside())
    factor = 2 - 2 * math.cos(0.3)  # of the difference -x + 2 x - x
    assert found == pytest.approx(factor * float((wave * inside).norm()), rel=1e-9)


def test_channels_count_together_and_an_even_image_has_a_unit_still() -> None:
    image = torch.rand(3, 9, 9, generator=torch.Generator().manual_seed(0))
    each = torch.tensor([roughness(channel[None]) for channel in image])
    assert roughness(image) == pytest.approx(float(each.norm()))
    assert roughness(torch.zeros(1, 5, 5)) == 0.0
    assert unit_of(torch.zeros(1, 5, 5)) == LEAST
    assert unit_of(image) == roughness(image)


def test_errors_follow_it() -> None:
    seen = Preprocessing("circle", margin=2)
    generator = torch.Generator().manual_seed(0)
    b = 30 * torch.randn(6, generator=generator, dtype=torch.float64)
    ratios, plain = [], []
    for k in range(8):  # pictures of blots of very different sizes and lights
        rough = torch.rand(1, 1, 28, 28, generator=generator, dtype=torch.float64)
        soft = PreBlur(9, s=1.5 + 1.5 * k)(rough)[0]
        image = (soft - soft.min()) / (soft.max() - soft.min()) * (0.3 + 0.1 * (k % 5))
        angles, errors = RotationError(image, -10, 10, seen).samples(b)
        far = errors[angles.abs() > 5].max()
        ratios.append(float(far) / roughness(image, seen))
        plain.append(float(far))
    assert max(ratios) / min(ratios) < 1.5
    assert max(plain) / min(plain) > 2 * max(ratios) / min(ratios)
