"""Distances from anchors: both bounds hold, and ours is the smaller one."""

from itertools import pairwise

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import Rotation, Scaling, Shear
from lightning_smooth.variation.tss import _lipschitz, _slices, anchor_bound, tss_bound

from .pictures import pictures

CASES = [(Rotation(), [-10.0, -4.0, 0.0, 5.0]), (Scaling(), [0.8, 0.95, 1.0, 1.2])]


def nearest(transform, image, anchors):
    """(A - 1,): the largest distance from the nearer anchor, of 400 parameters in each gap."""
    found = []
    for low, high in pairwise(anchors):
        values = torch.linspace(float(low), float(high), 401, dtype=torch.float64)
        shown = transform(image[None], values[:, None]).flatten(1)
        apart = torch.minimum((shown - shown[0]).norm(dim=1), (shown - shown[-1]).norm(dim=1))
        found.append(apart.max())
    return torch.stack(found)


@pytest.mark.parametrize(("transform", "anchors"), CASES, ids=["rotation", "scaling"])
@pytest.mark.parametrize("name", list(pictures()))
def test_no_image_is_farther_from_its_anchor(transform, anchors, name):
    image, anchors = pictures(channels=2)[name], torch.tensor(anchors, dtype=torch.float64)
    truth = nearest(transform, image, anchors)
    published = tss_bound(transform, image, anchors, 20)
    ours = anchor_bound(transform, image, anchors, 20)
    assert bool((truth <= ours).all() & (ours < published).all())
    assert float((ours / truth).max()) < 1.35
    assert float((anchor_bound(transform, image, anchors, 200) / truth).max()) < 1.02


@pytest.mark.parametrize(("transform", "anchors"), CASES, ids=["rotation", "scaling"])
def test_the_constant_bounds_slopes_of_the_squared_distance(transform, anchors):
    image, (low, high) = pictures()["board"], anchors[:2]
    path, _ = _slices(transform, torch.tensor([low, high]), 1)
    values = torch.linspace(low, high, 2001, dtype=torch.float64)
    shown = transform(image[None], values[:, None]).flatten(1)
    squares = (shown - shown[0]).square().sum(dim=1)
    slope = float((squares.diff() / values.diff()).abs().max())
    most = float(_lipschitz(path, image, low, high, (11, 12)))
    assert slope <= most <= 30 * slope


def test_what_is_refused():
    image, anchors = pictures()["noise"], torch.tensor([0.0, 1.0])
    with pytest.raises(InputError, match="Rotation or Scaling, but got Shear"):
        tss_bound(Shear(), image, anchors, 3)
    with pytest.raises(InputError, match="ascending"):
        anchor_bound(Rotation(), image, anchors.flip(0), 3)
    with pytest.raises(InputError, match="split them"):
        anchor_bound(Rotation(), image, 20 * anchors, 1)
