"""NearestRotation: laws, torchvision beside it, and the angles at which it changes."""

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as vision

from lightning_smooth.transforms import NearestRotation, Rotation
from lightning_smooth.transforms.nearest import critical_angles, middle_angles

from .laws import TransformLaws


class TestNearestRotation(TransformLaws):
    flat = ("angle",)

    def make(self):
        return NearestRotation()


def rotated(image, angles):
    theta = torch.as_tensor(angles, dtype=torch.float64).reshape(-1, 1)
    return NearestRotation()(image[None], theta)


@pytest.mark.parametrize("size", [(28, 28), (9, 12)])
def test_it_is_torchvisions_nearest_rotation(size):
    image = torch.rand(2, *size, generator=torch.Generator().manual_seed(0))
    angles = np.random.default_rng(0).uniform(-400, 400, 60)
    ours = rotated(image, angles)
    for angle, shown in zip(angles, ours, strict=True):
        assert torch.equal(shown, vision.rotate(image, float(angle)))


def test_quarter_turns_are_those_of_rotation():
    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(1))
    angles = torch.tensor([[90.0], [-90.0], [180.0], [-180.0], [270.0], [360.0]])
    assert torch.equal(NearestRotation()(image[None], angles), Rotation()(image[None], angles))


@pytest.mark.parametrize("size", [(5, 7), (6, 6)])
def test_it_changes_at_its_critical_angles_and_nowhere_else(size):
    # Every sample is another number, so that images tell which sample a pixel shows.
    image = torch.arange(1.0, 1 + size[0] * size[1], dtype=torch.float64).view(1, *size)
    fine = np.arange(0.05, 180, 0.1)
    shown = rotated(image, fine)
    changes = (shown[1:] != shown[:-1]).flatten(1).any(dim=1).numpy()
    ends = critical_angles(size)
    between = np.searchsorted(ends, fine[1:]) > np.searchsorted(ends, fine[:-1])
    assert np.array_equal(changes, between)
    assert changes.sum() > 40
    # One that is listed changes something, and itself counts to the smaller turn, on both sides.
    for sign in (1, -1):
        below, at, above = (rotated(image, sign * (ends + d)) for d in (-1e-6, 0, 1e-6))
        assert torch.equal(below, at)
        assert bool((at != above).flatten(1).any(dim=1).all())


def test_every_cell_has_a_middle():
    ends, middles = critical_angles((28, 28)), middle_angles((28, 28))
    assert len(middles) == len(ends) + 1
    assert middles[0] == 0
    assert np.array_equal(np.searchsorted(ends, middles), np.arange(len(middles)))
    assert int((ends < 30).sum()) == 1173
