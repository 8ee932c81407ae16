"""What is refused, and what comes out of a small case by hand."""

import math

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import Compose, GaussianBlur, Occlusion, Rotation, Translation
from lightning_smooth.variation import has_bound, vary

IMAGE = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))


class Turned(Rotation):
    """A subclass may do anything."""


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ({}, "ranges of angle, dx, dy"),
        ({"nonsense": (0.0, 1.0)}, "ranges of angle, dx, dy"),
        ({"angle": (0.0, 1.0), "dx": (0.0, 1.0), "dy": (0.0, 1.0)}, "one or two parameters"),
        ({"angle": (1.0, 0.0)}, r"least, greatest.*\(1, 0\)"),
        ({"angle": (0.0, float("inf"))}, "finite"),
    ],
)
def test_boxes_are_checked(box, words):
    with pytest.raises(InputError, match=words):
        vary(Compose([Rotation(), Translation()]), IMAGE, box)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (IMAGE[0], "C, H, W"),
        (IMAGE.mul(255).byte(), "floating point"),
        (IMAGE[:, :0], "C, H, W"),
        (IMAGE + 0.5, r"in \[0, 1\], but got values from"),
        (IMAGE / 0, r"in \[0, 1\]"),
    ],
)
def test_images_are_checked(image, words):
    with pytest.raises(InputError, match=words):
        vary(Rotation(), image, {"angle": (0.0, 1.0)})


def test_numbers_are_checked():
    box = {"angle": (0.0, 1.0)}
    with pytest.raises(InputError, match="`stray`"):
        vary(Rotation(), IMAGE, box, stray=0.0)
    with pytest.raises(InputError, match="`cells`"):
        vary(Rotation(), IMAGE, box, cells=0)
    with pytest.raises(InputError, match="`most`"):
        vary(Rotation(), IMAGE, box, most=0)
    with pytest.raises(InputError, match="`stored`"):
        vary(Rotation(), IMAGE, box, stored="bytes")
    with pytest.raises(InputError, match="a million"):
        vary(Rotation(), IMAGE, {"angle": (-1e9, 1e9)})


def test_transformations_without_a_bound_are_named():
    for transform in (Occlusion(), Turned()):
        assert not has_bound(transform)
        with pytest.raises(InputError, match=r"has none: those that have are Brightness, .*Zoom"):
            vary(transform, IMAGE, {transform.names[0]: (0.0, 1.0)})


def test_gaussian_blur_of_a_wave_by_hand():
    # Of two pixels, y = 1/2 +- exp(-a) / 2, whose second derivative has norm exp(-a) / sqrt(2).
    image = torch.tensor([[[1.0, 0.0]]])
    cells = vary(
        GaussianBlur(), image, {"variance": (0.0, 1.0)}, cells=2, stray=9.0, stored="exact"
    )
    root = 2.0**0.5 / 2
    second = torch.tensor([root, root * math.exp(-0.5)], dtype=torch.float64)
    torch.testing.assert_close(cells.stray, second * 0.25 / 8, rtol=1e-6, atol=0)


def test_gradients_are_not_kept():
    image = IMAGE.clone().requires_grad_()
    assert not vary(GaussianBlur(), image, {"variance": (0.0, 1.0)}).images.requires_grad
    with torch.inference_mode():
        chain = Compose([Rotation(), Translation()])
        cells = vary(chain, IMAGE, {"angle": (0.0, 1.0), "dx": (0.0, 1.0)})
    assert len(cells.low) >= 256
