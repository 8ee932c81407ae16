"""Interval images: dense sampling, a plain loop over all corners, and what transforms show."""

import itertools
import math

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.boxes import Boxes, swept_boxes
from lightning_smooth.interpolation.intervals import apply_exact, interval_images
from lightning_smooth.transforms import PreBlur, Rotation, Translation, Vignette

from .cases import TRANSFORMS, bilinear, boxes_of, digits, pictures, within

SLACK = 33 * 2**-24


def free_boxes(count, height, width, largest, generator):
    """Boxes anywhere in and around an image; some are points, some begin or end on samples."""
    ends = []
    for size in (width, height):
        low = torch.rand(count, height, width, dtype=torch.float64, generator=generator)
        low = low * (size + 4) - 3
        span = torch.rand(low.shape, dtype=torch.float64, generator=generator) * largest
        low = torch.where(span < largest / 4, low.round(), low)
        high = low + span
        ends += [low, torch.where(span > 3 * largest / 4, high.round().clamp(min=low), high)]
    return Boxes(*ends)


def knots(low, high):
    return sorted({low, high, *range(math.ceil(low), math.floor(high) + 1)})


@pytest.mark.parametrize("largest", [0.3, 1.0, 2.5, 9.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ranges_are_those_of_a_plain_loop(largest, dtype):
    generator = torch.Generator().manual_seed(5)
    image = pictures(6, 7)["noise"].to(dtype) - 0.3  # of both signs
    boxes = free_boxes(5, 6, 7, largest, generator)
    low, high = interval_images(image, image.clone(), boxes)
    assert low.shape == high.shape == (5, 2, 6, 7)
    assert low.dtype == dtype
    for index in itertools.product(range(5), range(6), range(7)):
        b, i, j = index
        x = knots(float(boxes.x_low[index]), float(boxes.x_high[index]))
        y = knots(float(boxes.y_low[index]), float(boxes.y_high[index]))
        for c in range(2):
            values = [bilinear(image[c], u, v) for u in x for v in y]
            assert min(values) - SLACK <= low[b, c, i, j] <= min(values)
            assert max(values) <= high[b, c, i, j] <= max(values) + SLACK


def test_no_point_of_a_box_leaves_its_range_and_some_come_near():
    generator = torch.Generator().manual_seed(2)
    image = pictures(5, 5)["binary"]
    boxes = free_boxes(3, 5, 5, 3.0, generator)
    low, high = interval_images(image, image, boxes)
    grid = torch.linspace(0, 1, 30, dtype=torch.float64).tolist()
    for index in itertools.product(range(3), range(5), range(5)):
        b, i, j = index
        box = [float(e[index]) for e in (boxes.x_low, boxes.x_high, boxes.y_low, boxes.y_high)]
        values = [
            bilinear(image[0], box[0] * (1 - p) + box[1] * p, box[2] * (1 - q) + box[3] * q)
            for p, q in itertools.product(grid, grid)
        ]
        assert low[b, 0, i, j] <= min(values) <= low[b, 0, i, j] + 0.15
        assert high[b, 0, i, j] - 0.15 <= max(values) <= high[b, 0, i, j]


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("width", [0.0, 0.02, 0.5, 4.0, 60.0])
@pytest.mark.parametrize("size", [(8, 8), (9, 12)])
def test_transformed_images_lie_within(name, width, size):
    generator = torch.Generator().manual_seed(11)
    images = {**pictures(*size), "empty": torch.zeros(1, *size)}
    if size == (8, 8):
        images |= {f"digit {k}": digit for k, digit in enumerate(digits(3))}
    low, high = boxes_of(name, width, 12, generator)
    low[0] = high[0] - (high[0] - low[0]) / 2  # ends in, or is, what changes nothing
    if name != "scaling":
        low[0], high[0] = low[0] - high[0], 0.0
    boxes = swept_boxes(TRANSFORMS[name], low, high, height=size[0], width=size[1])
    for image in images.values():
        least, greatest = interval_images(image, image, boxes)
        for theta in within(low, high, 16, generator):
            shown = TRANSFORMS[name](image[None], theta)
            assert bool(((least <= shown) & (shown <= greatest)).all())
            exact = TRANSFORMS[name](image[None].double(), theta)
            assert bool(((least <= exact) & (exact <= greatest)).all())


def test_a_translation_attains_every_bound():
    # Its boxes are all its points: each extreme is at some (dx, dy) of the corners of cells.
    image = pictures(6, 6)["noise"].double()
    low, high = torch.tensor([[0.3, -0.8]]), torch.tensor([[1.6, 0.4]])
    boxes = swept_boxes(Translation(), low, high, height=6, width=6)
    least, greatest = interval_images(image, image, boxes)
    theta = torch.tensor(list(itertools.product([0.3, 1.0, 1.6], [-0.8, 0.0, 0.4])))
    shown = Translation()(image[None], theta)
    assert torch.allclose(shown.amin(0), least[0], rtol=0, atol=1e-4)
    assert torch.allclose(shown.amax(0), greatest[0], rtol=0, atol=1e-4)


def test_a_rotation_comes_near_its_bounds():
    """The box of an arc has two corners that no angle reaches: nearly tight, for a short arc."""
    image = digits(1)[0].double()
    low = torch.tensor([[12.0]], dtype=torch.float64)
    boxes = swept_boxes(Rotation(), low, low + 0.1, height=8, width=8)
    least, greatest = interval_images(image, image, boxes)
    theta = torch.linspace(12, 12.1, 50, dtype=torch.float64)[:, None]
    shown = Rotation()(image[None], theta)
    moved = (shown.amax(0) - shown.amin(0)).sum()
    assert float((greatest - least).sum()) < 2 * float(moved)


def test_bounds_of_interval_images_come_from_their_own_bounds():
    generator = torch.Generator().manual_seed(4)
    low = pictures()["noise"]
    high = (low + torch.rand(low.shape, generator=generator) / 3).clamp(max=1)
    boxes = free_boxes(6, 8, 8, 2.0, generator)
    least, greatest = interval_images(low, high, boxes)
    assert torch.allclose(least, interval_images(low, low, boxes)[0], rtol=0, atol=1e-6)
    assert torch.allclose(greatest, interval_images(high, high, boxes)[1], rtol=0, atol=1e-6)
    for part in (0.0, 0.3, 1.0):
        between = low + part * (high - low)
        inner = interval_images(between, between, boxes)
        assert bool(((least <= inner[0] + SLACK) & (inner[1] <= greatest + SLACK)).all())


def test_each_box_may_have_its_own_image():
    generator = torch.Generator().manual_seed(6)
    low = torch.rand(4, 3, 5, 7, generator=generator)
    high = low + torch.rand(4, 3, 5, 7, generator=generator)
    boxes = free_boxes(4, 5, 7, 3.0, generator)
    together = interval_images(low, high, boxes)
    for k in range(4):
        alone = interval_images(low[k], high[k], boxes[k : k + 1])
        assert torch.equal(alone[0][0], together[0][k])
        assert torch.equal(alone[1][0], together[1][k])
    same = [image.expand(4, -1, -1, -1) for image in (low[0], high[0])]
    assert torch.equal(interval_images(*same, boxes)[0], interval_images(low[0], high[0], boxes)[0])


@pytest.mark.parametrize("chunk", [1, 50, 1000])
def test_results_do_not_depend_on_the_chunk(chunk):
    generator = torch.Generator().manual_seed(8)
    low = torch.rand(3, 2, 5, 5, generator=generator)
    boxes = free_boxes(3, 5, 5, 4.0, generator)
    expected = interval_images(low, low + 0.1, boxes)
    found = interval_images(low, low + 0.1, boxes, chunk=chunk)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_a_box_around_everything_has_the_range_of_everything():
    image = pictures(8, 8)["noise"] + 1
    boxes = swept_boxes(
        Translation(), torch.tensor([[-1e9, -30.0]]), torch.tensor([[20.0, 1e30]]),
        height=8, width=8,
    )  # fmt: skip
    low, high = interval_images(image, image, boxes)
    assert torch.allclose(low, torch.zeros(()), atol=1e-5)
    assert torch.allclose(high, image.amax(dim=(1, 2))[None, :, None, None].expand_as(high))
    nothing = interval_images(image, image, boxes[:0])
    assert nothing[0].shape == nothing[1].shape == (0, 2, 8, 8)


@pytest.mark.parametrize(
    "operator",
    [
        lambda images: Rotation()(images, torch.tensor([[33.0]])),
        Vignette("circle", margin=1),
        PreBlur(),
        lambda images: PreBlur()(Vignette()(Rotation()(images, torch.tensor([[-71.3]])))),
    ],
)
def test_fixed_maps_take_bounds_to_bounds(operator):
    generator = torch.Generator().manual_seed(9)
    low = torch.rand(2, 3, 9, 9, generator=generator) - 0.4
    high = low + torch.rand(low.shape, generator=generator)
    least, greatest = apply_exact(operator, low, high)
    for _ in range(60):
        part = torch.rand(low.shape, generator=generator)
        part = torch.where(part > 0.9, 1.0, torch.where(part < 0.1, 0.0, part))
        images = low + part * (high - low)
        for shown in (operator(images), operator(images.double())):
            # In float64, the rotation's points are others, by 1e-6 of a pixel.
            tolerance = 0 if shown.dtype == torch.float32 else 1e-5
            assert bool(((least - tolerance <= shown) & (shown <= greatest + tolerance)).all())
    assert torch.allclose(least, operator(low), rtol=0, atol=1e-5)
    assert torch.allclose(greatest, operator(high), rtol=0, atol=1e-5)
    single = apply_exact(operator, low[0], high[0])
    assert torch.allclose(single[0], least[0], rtol=0, atol=1e-5)


def test_bounds_that_are_none_are_refused():
    boxes = swept_boxes(Rotation(), *2 * [torch.zeros(2, 1)], height=4, width=4)
    image = torch.rand(1, 4, 4)
    for low, high, words in (
        (image + 1, image, "above the upper"),
        (image, image * math.nan, "NaN"),
        (image, image.double(), "one shape and dtype"),
        (image.half(), image.half(), "float32 or float64"),
        (image[0], image[0], "C, H, W"),
        (torch.rand(1, 5, 4), None, "for boxes"),
        (torch.rand(3, 1, 4, 4), None, "for boxes"),
    ):
        with pytest.raises(InputError, match=words):
            interval_images(low, low if high is None else high, boxes)
    with pytest.raises(InputError, match="chunk"):
        interval_images(image, image, boxes, chunk=0)
    with pytest.raises(InputError, match="above the upper"):
        apply_exact(PreBlur(3), image + 1, image)
