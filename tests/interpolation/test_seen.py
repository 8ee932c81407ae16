"""Norms after K: what K itself gives, and float32's error below its bound."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.seen import Seen, length
from lightning_smooth.transforms import PreBlur, Preprocessing
from tests.interpolation.pictures import pictures


class Half(nn.Module):
    """A linear K that nothing is known of."""

    def forward(self, images: Tensor) -> Tensor:
        return images / 2


class Uneven(PreBlur):
    """A blur to one side."""

    def forward(self, images: Tensor) -> Tensor:
        return (images + images.roll(1, 3)) / 2


def with_uneven() -> Preprocessing:
    step = Preprocessing()
    step.blur = Uneven()
    return step


STEPS = {
    "whole": None,
    "circle": Preprocessing(blur=None),
    "blur": Preprocessing(vignette=None, s=1.0),
    "both": Preprocessing(),
    "narrow margin": Preprocessing("circle", margin=0.0, blur=7),
    "rectangle": Preprocessing("rectangle", margin=1.0, blur=3),
    "unknown": Half(),
    "unknown blur": with_uneven(),
}


@pytest.mark.parametrize("step", list(STEPS))
@pytest.mark.parametrize("name", list(pictures()))
def test_norms_are_those_of_the_step(name: str, step: str) -> None:
    picture, k = pictures()[name], STEPS[step]
    images = torch.stack([picture, picture.flip(1), picture - 0.5])
    seen = Seen(k, *picture.shape[1:])
    exact = length(images if k is None else k(images))
    torch.testing.assert_close(seen.norm(images), exact, rtol=1e-13, atol=1e-15)
    if not step.startswith("unknown"):
        off = (seen.norm(images.float()) - exact).abs()
        bound = seen.wrong[0] * seen.norm(images.abs()) + seen.wrong[1] * exact
        assert bool((off <= bound + 1e-15).all())
    part = images[:, :, seen.rows, seen.columns]
    torch.testing.assert_close(seen.cropped(part, torch.float64), seen.norm(images))


def test_pixels_are_those_that_the_norm_depends_on() -> None:
    seen = Seen(Preprocessing(), 9, 12)
    one = torch.eye(9 * 12, dtype=torch.float64).view(-1, 1, 9, 12)
    assert (seen.norm(one) > 0).nonzero()[:, 0].tolist() == seen.pixels.tolist()


def test_only_what_is_square_and_known_does_not_mind_quarters() -> None:
    image = pictures()["pixel"][None]
    seen = Seen(Preprocessing(), 12, 12)
    assert seen.quarters
    torch.testing.assert_close(seen.norm(image), seen.norm(image.rot90(1, (2, 3))))
    assert not Seen(with_uneven(), 12, 12).quarters
    assert not Seen(Preprocessing(), 12, 13).quarters
    assert not Seen(Half(), 12, 12).quarters


def test_a_blur_that_is_larger_than_the_image_is_refused() -> None:
    with pytest.raises(InputError, match="at least as large as the kernel"):
        Seen(Preprocessing(vignette=None, blur=9), 8, 20)
