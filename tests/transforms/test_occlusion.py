"""Occlusion: laws, and which pixels a patch covers."""

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import Occlusion

from .laws import TransformLaws


class TestOcclusion(TransformLaws):
    def make(self):
        return Occlusion(0.5)


def test_a_patch_covers_its_square_as_far_as_it_is_in_the_image():
    image = torch.zeros(1, 2, 4, 5)
    for side, x, y in ((0, 1, 1), (2, 1, 0), (3, -1, 2), (9, -2, -2), (1, 7, 0)):
        expected = torch.zeros(4, 5)
        expected[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = 0.25
        theta = torch.tensor([[float(side), float(x), float(y)]])
        shown = Occlusion(0.25)(image, theta)[0]
        assert torch.equal(shown[0], expected)
        assert torch.equal(shown[1], expected)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), True])
def test_a_value_beyond_those_of_images_is_refused(value):
    with pytest.raises(InputError, match="`value`"):
        Occlusion(value)
