"""Motion blur: its length, its angle, and both at once."""

import pytest
import torch

from lightning_smooth.transforms import Brightness, Compose, MotionBlur
from lightning_smooth.variation import vary

from .laws import VariationLaws, distances
from .pictures import pictures


class TestMotionBlurLength(VariationLaws):
    ranges = (("length", 0.0, 8.3),)
    straight = True

    def make(self):
        return MotionBlur()


class TestMotionBlurAngle(TestMotionBlurLength):
    """Of no length an angle changes nothing."""

    ranges = (("angle", -200.0, 100.0),)


class TestMotionBlurOfThreeChannels(VariationLaws):
    ranges = (("length", 0.0, 4.0), ("angle", -50.0, 100.0))
    channels = 3
    cells = 6
    sharp = 0.4

    def make(self):
        return MotionBlur()


class TestMotionBlurInAChain(VariationLaws):
    ranges = (("length", 1.3, 6.0), ("angle", -20.0, 33.0))
    cells = 4
    sharp = 0.4

    def make(self):
        return Compose([Brightness(), MotionBlur(6.5)])


@pytest.mark.parametrize("name", list(pictures()))
@pytest.mark.parametrize(
    "ranges",
    [
        ((0.0, 9.0), (-90.0, 90.0)),
        ((0.0, 2.0), (170.0, 400.0)),
        ((8.0, 9.0), (-5.0, 4.0)),
        ((3.0, 3.0), (-90.0, 90.0)),
        ((0.0, 7.0), (33.0, 33.0)),
        ((0.0, 7.0), (90.0, 90.0)),
        ((14.0, 21.0), (30.0, 60.0)),
    ],
)
def test_no_motion_blur_strays_farther(name, ranges):
    transform, image = MotionBlur(21.0), pictures()[name]
    generator = torch.Generator().manual_seed(0)
    for count in (1, 3, 17):
        cells = vary(
            transform, image, dict(zip(("length", "angle"), ranges, strict=True)),
            cells=count, stray=1e9, stored="exact",
        )  # fmt: skip
        for row in torch.randperm(len(cells.low), generator=generator)[:6].tolist():
            share = torch.rand(60, 2, generator=generator, dtype=torch.float64)
            share[::5, 0] = torch.rand(12, generator=generator, dtype=torch.float64).round()
            share[::7, 1] = 1e-9
            theta = cells.low[row] + (cells.high[row] - cells.low[row]) * share
            shown = transform(image[None], theta)
            found = distances(cells.images[cells.corners[row]], shown)
            assert bool((found <= cells.stray[row] + 1e-9).all())


def test_along_one_direction_bounds_are_what_is_seen_between_whole_shifts():
    # No sample passes a whole shift: images are of the second degree, and farthest in the middle.
    transform, image = MotionBlur(), pictures()["noise"]
    cells = vary(
        transform, image, {"length": (0.0, 1.6), "angle": (30.0, 30.0)}, cells=2, stray=1e9,
        stored="exact",
    )  # fmt: skip
    middle = transform(image[None], (cells.low + cells.high) / 2)
    ends = cells.images[cells.corners].mean(dim=1)
    torch.testing.assert_close(cells.stray, (middle - ends).flatten(1).norm(dim=1))


def test_bounds_fall_with_the_square_of_a_cell():
    image = pictures()["digit"]
    box = {"length": (0.0, 5.0), "angle": (-90.0, 90.0)}
    wide, narrow = (
        float(vary(MotionBlur(), image, box, cells=count, stray=1e9).stray.max())
        for count in (16, 32)
    )
    assert narrow < 0.35 * wide


def test_large_images_are_bounded_some_rows_at_a_time(monkeypatch):
    image, box = pictures()["noise"], {"length": (0.0, 3.0), "angle": (0.0, 90.0)}
    whole = vary(MotionBlur(), image, box, cells=4, stray=1e9)
    monkeypatch.setattr("lightning_smooth.variation.lattice._CHUNK", 1)
    rows = vary(MotionBlur(), image, box, cells=4, stray=1e9)
    torch.testing.assert_close(rows.stray, whole.stray)
