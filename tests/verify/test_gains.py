"""Gains that float32 cannot hold are refused, and numbers below its normal ones are held."""

import pytest
import torch
from torch import nn

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import Brightness, BrightnessContrast, Contrast, Hue, Saturation
from lightning_smooth.verify import (
    IntervalEnclosure,
    IntervalVerifier,
    LayerEnclosure,
    SemantifyVerifier,
)
from lightning_smooth.verify.gains import gain_slack
from lightning_smooth.verify.regions import Bounds

DOUBLE = {"dtype": torch.float64}
BLACK = torch.zeros(3, 2, 2)


class Constant(nn.Module):
    """Class 0 for every image of finite values; nothing where 0 times infinity is no number."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(12, 2)
        with torch.no_grad():
            self.one.weight.zero_()
            self.one.bias.copy_(torch.tensor([1.0, 0.0]))

    def forward(self, x):
        return self.one(x.flatten(1))


@pytest.mark.parametrize(
    ("verifier", "transform", "box", "words"),
    [
        (SemantifyVerifier, Contrast(), {"contrast": (0.0, 90.0)}, "within 64"),
        (SemantifyVerifier, Saturation(), {"saturation": (0.0, 90.0)}, "within 64"),
        (SemantifyVerifier, BrightnessContrast(), {"brightness": (0.0, 1e12),
                                                   "contrast": (0.0, 64.0)}, "overflow"),
        (IntervalVerifier, BrightnessContrast(), {"brightness": (0.0, 1e12),
                                                  "contrast": (0.0, 64.0)}, "overflow"),
        (IntervalVerifier, Brightness(), {"brightness": (0.0, 3e38)}, "overflow"),
    ],
)  # fmt: skip
def test_no_network_is_held_where_images_overflow(verifier, transform, box, words):
    theta = transform.theta(**{name: ends[1] for name, ends in box.items()})
    if transform.names != ("brightness",):
        assert not Constant()(transform(BLACK[None], theta)).isfinite().all()
    with pytest.raises(InputError, match=words):
        verifier(transform, box, parts=1)(Constant(), BLACK, index=0)


@pytest.mark.parametrize(
    "transform", [Brightness(), Contrast(), BrightnessContrast(), Hue(), Saturation()], ids=repr
)
@pytest.mark.parametrize("scale", [1e-46, 1e-45, 3e-44, 1e-41, 1e-38])
def test_no_image_of_tiny_numbers_leaves_its_set(transform, scale):
    generator = torch.Generator().manual_seed(0)
    image = scale * torch.rand(3, 6, 6, generator=generator, **DOUBLE)
    enclosures = [LayerEnclosure(transform)]
    if not isinstance(transform, (Hue, Saturation)):
        enclosures.append(IntervalEnclosure(transform))
    theta = torch.tensor([[0.0], [0.7], [30.0], [60.0]], **DOUBLE)
    theta = theta.expand(-1, len(transform.parameters)) * torch.tensor(
        [0.0 if name == "brightness" else 1.0 for name in transform.names], **DOUBLE
    )
    for enclosure in enclosures:
        low, high = enclosure.regions(image, theta, theta).pixels
        made = transform(image[None].float(), theta).double()
        assert bool(((low <= made) & (made <= high)).all())


def test_what_a_gain_may_cost():
    """Of e^2 (x + b) with |x| + |b| = 1/2: 20 units of 2^-24, of e^2 / 2."""
    size = torch.full((1, 1, 1), 0.5, **DOUBLE)
    two = torch.full((1, 1, 1, 1), 2.0, **DOUBLE)
    found = gain_slack(size, Bounds(-two, two))
    assert float(found) == pytest.approx(20 * 2.0**-24 * float(two.exp()) / 2, rel=1e-12)
    assert float(gain_slack(size, Bounds(-two, two), kept=1.0) - found) == pytest.approx(
        10 * 2.0**-24, rel=1e-9
    )
