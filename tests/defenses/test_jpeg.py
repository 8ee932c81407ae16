"""JPEG beside torchvision's, and by its own arithmetic."""

import warnings

import numpy as np
import pytest
import torch
import torchvision
from scipy import fft

from lightning_smooth.defenses import JPEG
from lightning_smooth.errors import InputError

LUMINANCE = """
    16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56
    14 17 22 29 51 87 80 62  18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92
    49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99
"""  # ITU-T T.81, table K.1


def smooth(channels):
    torch.manual_seed(0)
    coarse = torch.rand(3, channels, 4, 5)
    return torch.nn.functional.interpolate(coarse, (25, 30), mode="bilinear").clamp(0, 1)


@pytest.mark.parametrize(("quality", "percent"), [(25, 200), (75, 50), (90, 20)])
def test_a_grey_block_by_its_cosines(quality, percent):
    levels = np.random.default_rng(0).integers(60, 190, (8, 8)).astype(float)
    table = np.array(LUMINANCE.split(), dtype=int).reshape(8, 8)
    table = np.clip((table * percent + 50) // 100, 1, 255)
    cosines = fft.dctn(levels - 128, norm="ortho")
    expected = fft.idctn(np.round(cosines / table) * table, norm="ortho") + 128
    images = torch.from_numpy(levels / 255)[None, None]
    got = JPEG(quality)(images)[0, 0].numpy() * 255
    # whole numbers all the way: a level off here and there
    assert np.abs(got - expected.clip(0, 255)).max() < 1.6
    assert np.abs(got - levels).max() > 5


@pytest.mark.parametrize("quality", [1, 10, 75, 95])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_what_torchvision_makes_of_it(channels, quality):
    if not hasattr(torchvision.io, "encode_jpeg"):
        pytest.skip("torchvision has given up its codecs")
    images = smooth(channels)
    levels = (images * 255).round().byte()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        read = [torchvision.io.decode_jpeg(torchvision.io.encode_jpeg(x, quality)) for x in levels]
    assert torch.equal((JPEG(quality)(images) * 255).round().byte(), torch.stack(read))


def test_a_lower_quality_is_farther_away():
    images = smooth(3)
    far = [float((JPEG(q)(images) - images).square().mean()) for q in (5, 25, 75, 100)]
    assert far == sorted(far, reverse=True)
    assert far[-1] < 4e-4


def test_values_are_rounded_and_not_cut():
    # one grey level, whatever its brightness, is exact at quality 100
    images = torch.full((1, 1, 8, 8), 100.4 / 255)
    assert torch.equal((JPEG(100)(images) * 255).round(), torch.full((1, 1, 8, 8), 100.0))
    images = torch.full((1, 1, 8, 8), 100.6 / 255)
    assert torch.equal((JPEG(100)(images) * 255).round(), torch.full((1, 1, 8, 8), 101.0))


def test_other_channels_are_refused():
    with pytest.raises(InputError, match="1 or 3 channels, but got 2"):
        JPEG()(torch.rand(1, 2, 8, 8))


def test_no_images_are_none():
    assert JPEG()(torch.rand(0, 3, 8, 8)).shape == (0, 3, 8, 8)
