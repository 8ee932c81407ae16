"""Laws of every bound of `variation`: subclass `VariationLaws`, and say what varies."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.measure import rounding
from lightning_smooth.transforms import Transform
from lightning_smooth.types import Box
from lightning_smooth.variation import Cells, has_bound, vary

from .pictures import pictures

LARGE = 1e9
"""A bound that no cell exceeds: nothing is divided."""


def distances(corners: Tensor, images: Tensor) -> Tensor:
    """(N,): how far images (N, ...) are from the hull of corners (K, ...), or a little more."""
    points, wanted = corners.flatten(1), images.flatten(1)
    if len(points) == 2:
        step = points[1] - points[0]
        part = ((wanted - points[0]) @ step / step.square().sum().clamp_min(1e-300)).clamp(0, 1)
        return (wanted - points[0] - part[:, None] * step).norm(dim=1)
    nearest = (wanted[:, None] - points).norm(dim=2).amin(dim=1)
    for count in range(2, len(points) + 1):
        for face in itertools.combinations(range(len(points)), count):
            # The nearest point of the plane through some corners, moved between them.
            start, *others = points[list(face)]
            steps = torch.stack(others) - start
            solved = torch.linalg.lstsq(steps.T, (wanted - start).T, driver="gelsd").solution
            weights = solved.T.clamp_min(0)
            weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(1)
            apart = (wanted - start - weights @ steps).norm(dim=1)
            nearest = torch.minimum(apart, nearest)
    return nearest


class VariationLaws:
    """What a test class inherits; `make` and `ranges` are required.

    Attributes:
        ranges: what varies: names, each with its least and greatest value.
        channels: of the images.
        cells: intervals of each parameter, fewest; four times as many are the finer ones.
        sharp: on some image, in some cell, an image strays by so much of the bound at least.
        shrinks: bounds of cells half as wide, of those of the smooth image, at most.
        straight: whether bounds are 0.
        finite: whether there are finitely many images.
    """

    ranges: tuple[tuple[str, float, float], ...]
    channels = 1
    cells = 12
    sharp = 0.5
    shrinks = 0.5
    straight = False
    finite = False

    def make(self) -> Transform:
        raise NotImplementedError

    @property
    def box(self) -> Box:
        return {name: (low, high) for name, low, high in self.ranges}

    def vary(self, image: Tensor, *, cells: int = 1, stray: float = LARGE, **other) -> Cells:
        settings = {"stored": "exact", "most": 4096, **other}
        return vary(self.make(), image, self.box, stray=stray, cells=cells * self.cells, **settings)

    def inside(self, cells: Cells, count: int) -> list[tuple[int, Tensor]]:
        """Rows of some cells, and parameters (T, all) within each, near its faces as well."""
        generator = torch.Generator().manual_seed(count)
        order = torch.randperm(len(cells.low), generator=generator)[:count].tolist()
        transform = self.make()
        places = [transform.names.index(name) for name in cells.names]
        chosen = []
        for row in {0, len(cells.low) - 1, *order}:
            share = torch.rand(40, len(places), generator=generator, dtype=torch.float64)
            near = torch.tensor([1e-9, 0.5, 1 / 3, 1e-3, 1 - 1e-3, 1 - 1e-9], dtype=torch.float64)
            share = torch.cat([share, near[:, None].expand(-1, len(places))])
            theta = transform.identity().repeat(len(share), 1)
            low, high = cells.low[row], cells.high[row]
            theta[:, places] = low + (high - low) * share
            chosen.append((row, theta))
        return chosen

    def observed(self, image: Tensor, cells: Cells, count: int) -> tuple[Tensor, Tensor]:
        """The greatest distances found in some cells, and the bounds of these."""
        transform = self.make()
        rows, most = [], []
        for row, theta in self.inside(cells, count):
            shown = transform(image[None], theta)
            rows.append(row)
            most.append(distances(cells.images[cells.corners[row]], shown).max())
        return torch.stack(most), cells.stray[rows]

    @pytest.mark.parametrize("name", list(pictures()))
    def test_no_image_strays_farther(self, name):
        image = pictures(self.channels)[name]
        for finer in (1, 4):
            found, bounds = self.observed(image, self.vary(image, cells=finer), 8)
            assert bool((found <= bounds + 1e-9).all())

    def test_bounds_are_near_what_is_found(self):
        sharpest = 0.0
        for image in pictures(self.channels).values():
            cells = self.vary(image, cells=2)
            if self.straight:
                assert float(cells.stray.max()) < 1e-8
            else:
                found, bounds = self.observed(image, cells, 40 if len(self.ranges) == 1 else 12)
                assert bool((found <= bounds + 1e-9).all())
                sharpest = max(sharpest, float((found / bounds.clamp_min(1e-6)).max()))
        assert self.straight or sharpest >= self.sharp

    def test_smaller_cells_have_smaller_bounds(self):
        image = pictures(self.channels)["smooth"]
        wide, narrow = (self.vary(image, cells=finer).stray for finer in (2, 4))
        assert float(narrow.max()) <= max(self.shrinks * float(wide.max()), 1e-8)

    def test_cells_are_divided_until_bounds_are_as_asked(self):
        image = pictures(self.channels)["digit"]
        first = self.vary(image)
        asked = max(0.3 * float(first.stray.max()), 1e-8)
        cells = self.vary(image, stray=asked)
        assert float(cells.stray.max()) <= asked * (1 + 1e-6) + 1e-8
        most = len(first.low) + len(first.low) // 2
        few = self.vary(image, stray=asked / 100, most=most)
        assert len(few.low) <= most
        assert self.straight or len(few.low) > len(first.low)
        found, bounds = self.observed(image, few, 10)
        assert bool((found <= bounds + 1e-9).all())

    def test_cells_cover_the_box(self):
        transform = self.make()
        cells = self.vary(pictures(self.channels)["noise"], stray=0.3, most=200)
        names = tuple(name for name in transform.names if name in self.box)
        assert cells.names == names
        ends = torch.tensor([self.box[name] for name in names], dtype=torch.float64)
        assert torch.equal(cells.low.amin(dim=0), ends[:, 0])
        assert torch.equal(cells.high.amax(dim=0), ends[:, 1])
        assert bool((cells.low <= cells.high).all())
        area = (cells.high - cells.low).prod(dim=1).sum()
        assert math.isclose(area, (ends[:, 1] - ends[:, 0]).prod(), rel_tol=1e-12)
        if len(names) == 1:
            assert torch.equal(cells.low[1:], cells.high[:-1])

    def test_corners_are_images_of_the_transformation(self):
        transform, image = self.make(), pictures(self.channels)["noise"]
        cells = self.vary(image, stray=0.3, most=200)
        assert torch.equal(cells.images, transform(image[None], cells.theta))
        assert cells.corners.shape == (len(cells.low), 2 * len(cells.names))
        assert cells.images.dtype == cells.low.dtype == cells.stray.dtype == torch.float64
        places = [transform.names.index(name) for name in cells.names]
        corners = cells.theta[cells.corners][:, :, places]
        assert bool((corners >= cells.low[:, None]).all() & (corners <= cells.high[:, None]).all())
        others = [place for place in range(len(transform.names)) if place not in places]
        assert bool((cells.theta[:, others] == transform.identity()[others]).all())
        if not self.finite:
            assert torch.equal(corners.amin(dim=1), cells.low)
            assert torch.equal(corners.amax(dim=1), cells.high)

    def test_the_identity_is_a_corner_if_the_box_holds_it(self):
        transform, image = self.make(), pictures(self.channels)["digit"]
        identity = transform.identity()
        cells = self.vary(image)
        held = all(
            low <= identity[transform.names.index(name)] <= high
            for name, (low, high) in self.box.items()
        )
        assert held == bool((cells.theta == identity).all(dim=1).any())

    def test_what_is_stored_adds_to_the_bounds(self):
        image = pictures(self.channels)["digit"]
        exact = self.vary(image)
        largest = max(1.0, float(exact.images.abs().max()))
        root = math.sqrt(image.numel())
        for stored in ("float32", "uint8"):
            more = rounding(stored, 12) + (largest - 1) * rounding("float32", 12)
            cells = self.vary(image, stored=stored)
            torch.testing.assert_close(cells.stray, exact.stray + more * root)

    def test_a_range_may_be_a_point(self):
        image = pictures(self.channels)["digit"]
        transform = self.make()
        for part in (0, 1):
            point = {name: (ends[part], ends[part]) for name, ends in self.box.items()}
            cells = vary(transform, image, point, stored="exact")
            assert len(cells.low) == len(cells.images) == 1
            assert torch.equal(cells.low, cells.high)
            assert float(cells.stray) < 1e-8

    def test_the_first_cells_may_be_too_many(self):
        image = pictures(self.channels)["digit"]
        least = len(self.vary(image).low)
        with pytest.raises(InputError, match=f"`most` to be at least {least}"):
            self.vary(image, most=least - 1)

    def test_it_has_a_bound(self):
        assert has_bound(self.make())
