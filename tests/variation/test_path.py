"""Axes and operator norms."""

import pytest
import torch

from lightning_smooth.transforms import (
    Brightness,
    Contrast,
    DefocusBlur,
    GaussianBlur,
    IntegerTranslation,
    MotionBlur,
    Pixelate,
    Rotation,
    RotationalBlur,
    SampledGaussianBlur,
    Saturation,
    Scaling,
    Shear,
    Translation,
    ZoomBlur,
)
from lightning_smooth.variation.path import Axis, divided
from lightning_smooth.variation.table import PATHS, way_of

CASES = [
    (Brightness(), (-0.3, 0.4), 1.01),
    (Contrast(), (-0.3, 0.9), 1.2),
    (DefocusBlur(), (0.0, 4.0), 1.5),
    (GaussianBlur(), (0.0, 3.0), 1.01),
    (GaussianBlur(ends="cyclic"), (0.0, 3.0), 1.01),
    (IntegerTranslation("zero"), (-2.0, 3.0), 1.01),
    (IntegerTranslation("reflected"), (-2.0, 3.0), 1.01),
    (MotionBlur(), (0.0, 8.0), 1.8),
    (Pixelate(), (0.0, 0.7), 1.3),
    (Rotation(), (-70.0, 30.0), 1.5),
    (RotationalBlur(samples=4), (0.0, 30.0), 1.5),
    (SampledGaussianBlur(5), (0.0, 3.0), 1.4),
    (Saturation(), (-0.5, 0.9), 1.3),
    (Scaling(), (0.5, 1.6), 1.7),
    (Shear(), (-0.6, 0.4), 1.6),
    (Translation(), (-1.4, 1.0), 1.1),
    (ZoomBlur(samples=3), (0.0, 0.9), 1.6),
]


def operator(transform, theta, channels, size):
    """The matrix of the linear part."""
    units = torch.eye(channels * size[0] * size[1], dtype=torch.float64)
    units = units.view(-1, channels, *size)
    return (transform(units, theta[None]) - transform(0 * units, theta[None])).flatten(1).T


@pytest.mark.parametrize(("transform", "ends", "loose"), CASES, ids=lambda v: str(v))
def test_no_image_is_enlarged_more_than_the_gain(transform, ends, loose):
    channels, size = (3, (3, 4)) if isinstance(transform, Saturation) else (1, (6, 7))
    (path,) = way_of(transform, transform.names[:1]).paths
    axis = path.axis(*ends, size, 20)
    gains = path.gain(axis.low, axis.high, size)
    for low, high, gain in list(zip(axis.low, axis.high, gains, strict=True))[::3]:
        values = low + (high - low) * torch.linspace(0.01, 0.99, 4, dtype=torch.float64)
        largest = max(
            float(torch.linalg.matrix_norm(operator(transform, theta, channels, size), ord=2))
            for theta in path.theta(values)
        )
        assert largest <= float(gain) * (1 + 1e-9) + 1e-9
        assert float(gain) <= loose * max(largest, 0.9)


def test_every_parameter_has_a_path():
    for kind, paths in PATHS.items():
        assert len(kind().parameters) == len(paths)


def test_axes():
    axis = Axis.between(torch.tensor([0.0, 1.0, 3.0]))
    assert (axis.low.tolist(), axis.high.tolist()) == ([0, 1], [1, 3])
    assert axis.ends.tolist() == [[0, 1], [1, 2]]
    finer = axis.divided(torch.tensor([1, 2]))
    assert finer.values.tolist() == [0, 1, 2, 3]
    point = Axis.between(torch.tensor([2.0]))
    assert (point.low.tolist(), point.high.tolist(), point.ends.tolist()) == ([2], [2], [[0, 0]])


def test_divided_edges_keep_those_that_were_there():
    edges = torch.tensor([0.1, 0.2, 0.7, 0.9], dtype=torch.float64)
    finer = divided(edges, torch.tensor([3, 7, 1]))
    assert len(finer) == 12
    assert set(edges.tolist()) <= set(finer.tolist())
    assert bool((finer.diff() > 0).all())
