"""Enumeration against brute force over every shift and every level."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from lightning_smooth.errors import InputError
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.sharing import Share
from lightning_smooth.transforms import (
    IntegerTranslation,
    LevelBrightness,
    NearestRotation,
    Occlusion,
    Pixelate,
    Rotation,
)
from lightning_smooth.verify import EnumerationCertifier, listing

MODES = {"cyclic": "grid-wrap", "reflected": "reflect", "zero": "constant"}


def network(seed, size=(5, 6), classes=3):
    """A linear model of random weights: answers change with the image, at no pattern."""
    generator = torch.Generator().manual_seed(seed)
    pixels = size[0] * size[1]
    model = nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes)).double()
    model[1].weight.data = torch.randn(classes, pixels, generator=generator, dtype=torch.float64)
    return model


def picture(seed, size=(5, 6)):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, *size, generator=generator, dtype=torch.float64)


def answer(model, image):
    return int(model(torch.as_tensor(image)[None].double())[0].argmax())


def shifted(image, dx, dy, padding):
    return ndimage.shift(image[0].numpy(), (dy, dx), order=0, mode=MODES[padding])[None]


def nearest_other(model, image, largest, padding):
    """Norm of the smallest whole shift with another answer, by trying all of them."""
    own, reach = answer(model, image), math.floor(largest)
    norms = [
        math.hypot(dx, dy)
        for dx, dy in itertools.product(range(-reach, reach + 1), repeat=2)
        if math.hypot(dx, dy) <= largest and answer(model, shifted(image, dx, dy, padding)) != own
    ]
    return min(norms, default=math.inf)


@pytest.mark.parametrize("padding", MODES)
def test_the_radius_stops_just_short_of_the_nearest_other_answer(padding):
    certifier, radii = EnumerationCertifier(IntegerTranslation(padding), 4.5), set()
    for seed in range(40):
        # of a constant part: larger ones have all their shifts agree
        image = 0.9 + 0.1 * picture(seed) if seed % 2 else picture(seed)
        model = network(seed)
        c = certifier(model, image, index=seed)
        exact = nearest_other(model, image, 4.5, padding)
        assert c.predicted == answer(model, image)
        assert c.radius == min(4.5, math.nextafter(exact, 0))
        assert c.measured.get("nearest", math.inf) == exact
        radii.add(c.radius)
    assert len(radii) > 3
    assert (4.5 in radii) or padding == "zero"


def test_cyclic_shifts_are_those_of_roll():
    certifier, differed = EnumerationCertifier(IntegerTranslation("cyclic"), 10.0), 0
    for seed in range(10):
        model, image = network(seed), picture(seed)
        norms = [
            math.hypot(dx, dy)
            for dx, dy in itertools.product(range(-3, 4), range(-2, 3))
            if answer(model, np.roll(image.numpy(), (dy, dx), (1, 2))) != answer(model, image)
        ]
        c = certifier(model, image, index=seed)
        assert c.measured.get("nearest") == min(norms, default=None)
        differed += bool(norms)
    assert 0 < differed < 10


@pytest.mark.parametrize(
    ("padding", "distinct"),
    # cyclic: one a pixel; mirrored: four times as many; zero: those that show some, and black
    [("cyclic", 5 * 6), ("reflected", 4 * 5 * 6), ("zero", 9 * 11 + 1)],
)
def test_every_image_is_listed_once(padding, distinct):
    transform, image = IntegerTranslation(padding), picture(0)
    found = listing(transform, (5, 6), 1000.0)
    made = {im.numpy().tobytes(): t for im, t in zip(transform(image[None], found.theta),
                                                     found.theta, strict=True)}  # fmt: skip
    assert len(made) == len(found.theta) == found.ends[-1] == distinct
    least = {}
    for dx, dy in itertools.product(range(-13, 14), repeat=2):
        seen = transform(image[None], transform.theta([[dx, dy]]))[0].numpy().tobytes()
        least[seen] = min(least.get(seen, math.inf), math.hypot(dx, dy))
    assert set(least) == set(made)  # nothing is left out
    for seen, theta in made.items():
        assert math.hypot(*theta.tolist()) == least[seen]
    norms = torch.linalg.vector_norm(found.theta, dim=1).tolist()
    shells = [size for size, count in zip(found.sizes, np.diff([0, *found.ends]), strict=True)
              for _ in range(count)]  # fmt: skip
    assert shells == pytest.approx(norms, rel=1e-15)
    assert list(found.sizes) == sorted(set(found.sizes))


class Lit(nn.Module):
    """Class 1 where one pixel, (row, column), is above 1/2."""

    def __init__(self, row, column):
        super().__init__()
        self.row, self.column = row, column

    def forward(self, x):
        lit = x[:, 0, self.row, self.column] - 0.5
        return torch.stack([-lit, lit], dim=1)


def test_a_shift_of_just_the_largest_size_is_tried():
    spot = torch.zeros(1, 9, 9)
    spot[0, 1, 1] = 1
    for largest, radius, nearest in (
        (5.0, math.nextafter(5, 0), 5.0),
        (math.nextafter(5, 0), math.nextafter(5, 0), None),
        (6.0, math.nextafter(5, 0), 5.0),
    ):
        certifier = EnumerationCertifier(IntegerTranslation("zero"), largest)
        c = certifier(Lit(row=5, column=4), spot, index=0)  # 3 to the right, 4 down
        assert (c.radius, c.measured.get("nearest")) == (radius, nearest)


def test_pixelate_holds_up_to_the_first_level_that_differs():
    transform, radii = Pixelate(), set()
    certifier = EnumerationCertifier(transform, 0.9)
    strengths = torch.linspace(0, 0.9, 901, dtype=torch.float64)
    for seed in range(40):
        model, image = network(seed, (8, 6)), picture(seed, (8, 6))
        c = certifier(model, image, index=seed)
        answers = model(transform(image[None], strengths[:, None])).argmax(dim=1)
        differ = strengths[answers != answers[0]]
        exact = float(differ.min()) if len(differ) else math.inf
        # the grid's first strength that differs lies within a step above the level's low end
        held = c.radius
        assert held == 0.9 if math.isinf(exact) else exact - 0.001 <= held < exact
        assert c.radius_unit == "share of pixels"
        radii.add(held)
    assert len(radii) > 4


@pytest.mark.parametrize(
    ("transform", "largest", "fine"),
    [(NearestRotation(), 60.0, np.arange(0, 60, 0.02)),
     (LevelBrightness(), 120.0, np.arange(0.0, 121))],
)  # fmt: skip
def test_turns_and_levels_hold_up_to_the_first_that_differs(transform, largest, fine):
    certifier, radii = EnumerationCertifier(transform, largest), []
    theta = torch.from_numpy(np.stack([fine, -fine], axis=1).reshape(-1, 1))
    for seed in range(40):
        model, image = network(seed, (6, 6)), picture(seed, (6, 6))
        c = certifier(model, image, index=seed)
        answers = model(transform(image[None], theta)).argmax(dim=1).view(-1, 2)
        differ = fine[(answers != answers[0, 0]).any(dim=1)]
        exact = float(differ.min()) if len(differ) else math.inf
        held = c.radius
        assert held == largest if math.isinf(exact) else exact - (fine[1] - fine[0]) <= held < exact
        radii.append(held)
    assert len(set(radii)) > 10
    assert c.radius_unit == transform.parameters[0].unit


def test_patches_hold_up_to_the_first_side_that_differs():
    certifier, radii = EnumerationCertifier(Occlusion(0.5), 4.0), []
    for seed in range(30):
        model, image = network(seed), picture(seed)
        c = certifier(model, image, index=seed)
        own, exact = answer(model, image), math.inf
        for side, x, y in itertools.product(range(1, 5), range(-4, 8), range(-4, 8)):
            covered = image.clone()
            covered[:, max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = 0.5
            if answer(model, covered) != own:
                exact = min(exact, side)
        assert c.radius == (4.0 if math.isinf(exact) else math.nextafter(exact, 0))
        radii.append(c.radius)
    assert len(set(radii)) > 2
    assert c.radius_unit == "pixels a side"


def test_every_patch_is_listed_once():
    found = listing(Occlusion(), (3, 4), 9.0)
    shown = Occlusion(1.0)(torch.zeros(1, 1, 3, 4), found.theta).flatten(1)
    assert len({tuple(row.tolist()) for row in shown}) == len(found.theta)
    # Rectangles that a square makes: those inside, and those cut by the border.
    assert found.sizes == (0.0, 1.0, 2.0, 3.0, 4.0)
    assert found.ends[:2] == (1, 13)
    assert bool((shown[-1] == 1).all() or (shown == 1).all(dim=1).any())


@pytest.mark.parametrize(
    ("transform", "most"),
    [(Pixelate(), 1), (NearestRotation(), 180), (LevelBrightness(), 255)],
)
def test_attacks_larger_than_there_are_are_refused(transform, most):
    EnumerationCertifier(transform, most)
    with pytest.raises(InputError, match=f"at most {most}"):
        EnumerationCertifier(transform, most + 0.5)


@pytest.mark.parametrize("largest", [0.0, -1.0, math.inf, math.nan])
def test_a_largest_attack_out_of_range_is_named(largest):
    with pytest.raises(InputError, match="`largest`"):
        EnumerationCertifier(IntegerTranslation(), largest)


def test_transformations_of_infinitely_many_images_are_refused():
    with pytest.raises(InputError, match="finitely many"):
        EnumerationCertifier(Rotation(), 10.0)


def test_nothing_is_drawn_and_nothing_spent():
    c = EnumerationCertifier(IntegerTranslation("zero"), 3.0)(
        network(0), picture(0), index=4, label=1
    )
    assert (c.n, c.n0, c.hits, c.p_lower, c.alpha, dict(c.ledger)) == (0, 0, 0, 0.0, 0.0, {})
    assert (c.method, c.guarantee, c.radius_unit) == ("enumeration", "certified", "whole pixels")
    assert (c.parameters["largest"], c.parameters["size"]) == (3.0, [5, 6])
    assert c.measured["listed"] == 29  # the whole points of a disc of radius 3
    assert Certificate.from_json(c.to_json()) == c


def test_agreed_images_are_those_nearer_than_the_nearest_other():
    for seed in range(20):
        model, image = network(seed), picture(seed)
        c = EnumerationCertifier(IntegerTranslation("cyclic"), 3.0)(model, image, index=seed)
        nearest = c.measured.get("nearest", math.inf)
        sizes = torch.linalg.vector_norm(
            listing(IntegerTranslation("cyclic"), (5, 6), 3.0).theta, dim=1
        )
        assert c.measured["agreed"] == int((sizes < nearest - 1e-9).sum())


class Fragile(nn.Module):
    """Scores that are not finite where the first pixel is above a threshold."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold

    def forward(self, x):
        bad = x[:, 0, 0, 0] > self.threshold
        score = torch.where(bad, torch.nan, 1.0)
        return torch.stack([score, torch.zeros_like(score)], dim=1)


def test_scores_that_are_not_finite_are_another_answer():
    image = torch.zeros(1, 5, 5)
    image[0, 2, 2] = 1  # two right and two down of the first pixel
    c = EnumerationCertifier(IntegerTranslation("zero"), 4.0)(Fragile(0.5), image, index=0)
    assert c.predicted == 0
    assert c.measured["nearest"] == math.sqrt(8)
    with pytest.raises(InputError, match="no finite scores for image 7"):
        EnumerationCertifier(IntegerTranslation("zero"), 4.0)(Fragile(-1), image, index=7)


@pytest.mark.parametrize("batch_size", [1, 7, 128])
def test_batches_and_order_change_nothing(batch_size):
    model, images = network(1), [picture(seed) for seed in range(9)]
    certifier = EnumerationCertifier(IntegerTranslation("reflected"), 6.0)
    alone = {i: plain(certifier(model, x, index=i)) for i, x in enumerate(images)}
    other = EnumerationCertifier(IntegerTranslation("reflected"), 6.0, batch_size=batch_size)
    order = [4, 8, 0, 3, 1, 2, 7, 6, 5]
    found = list(other.certify_batch(model, [images[i] for i in order], indices=order))
    assert {c.index: plain(c) for c in found} == alone
    assert len({c.radius for c in found}) > 2


def plain(certificate):
    return dataclasses.replace(certificate, seconds=0.0)


def test_processes_share_the_images_of_a_piece():
    model, image = network(5), picture(5)
    certifier = EnumerationCertifier(IntegerTranslation("cyclic"), 3.0)
    whole, totals = certifier(model, image, index=0), record_totals(certifier, model, image)
    assert len(totals) > 1
    parts, found = {}, {}
    for rank in (0, 1):
        sent, parts[rank] = iter(totals), []
        share = Share(rank, 2, lambda counts: parts[rank].append(counts.clone()) or next(sent))  # noqa: B023
        (found[rank],) = certifier.certify_batch(model, [image], indices=[0], share=share)
    assert plain(found[0]) == plain(found[1]) == plain(whole)
    for zero, one, total in zip(parts[0], parts[1], totals, strict=True):
        assert torch.equal(zero + one, total)


def record_totals(certifier, model, image):
    """What one process sends to the plan, piece after piece."""
    totals = []
    alone = Share(0, 1, lambda counts: totals.append(counts.clone()) or counts)
    list(certifier.certify_batch(model, [image], indices=[0], share=alone))
    return totals


def test_validation_is_the_same():
    certifier = EnumerationCertifier(IntegerTranslation("zero"), 2.0)
    assert certifier.for_validation(n0=5, n=10).describe() == certifier.describe()
    assert certifier.describe()["alpha"] == 0
    images = torch.rand(2, 1, 5, 5)
    assert torch.equal(certifier.law.perturbed(images, torch.Generator()), images)


def test_few_images_are_tried_where_a_near_one_differs():
    seen = []

    class Counting(Lit):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    image = torch.zeros(1, 32, 32)
    image[0, 0, 1] = 1  # a shift by one to the left lights the first pixel
    c = EnumerationCertifier(IntegerTranslation("zero"), 20.0)(Counting(0, 0), image, index=0)
    assert c.measured["nearest"] == 1.0
    assert c.measured["listed"] == 1257
    assert sum(seen) < 100
