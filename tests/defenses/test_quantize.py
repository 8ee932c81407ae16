"""Bit depth, level by level."""

import pytest
import torch

from lightning_smooth.defenses import BitDepth


def test_each_of_256_levels_goes_to_the_nearest():
    images = (torch.arange(256.0) / 255).view(1, 1, 16, 16)
    out = BitDepth(3)(images).flatten()
    expected = [min(range(8), key=lambda m: abs(7 * k - 255 * m)) / 7 for k in range(256)]
    torch.testing.assert_close(out, torch.tensor(expected))
    assert out[0] == 0
    assert out[-1] == 1


@pytest.mark.parametrize("bits", range(1, 9))
def test_there_are_as_many_levels_as_bits_give(bits):
    images = (torch.arange(256.0) / 255).view(1, 1, 16, 16)
    out = BitDepth(bits)(images)
    assert len(out.unique()) == 2**bits
    assert torch.equal(BitDepth(bits)(out), out)
    assert (out - images).abs().max() <= 0.5 / (2**bits - 1) + 1e-6
    if bits == 8:
        assert torch.equal(out, images)
