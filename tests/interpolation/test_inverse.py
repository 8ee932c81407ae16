"""The inverse holds the true original, whatever it is, and finds what cannot be."""

import itertools
import math

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.inverse import inverse_images, inverse_over_range
from lightning_smooth.transforms import Rotation, Translation, Vignette

from .cases import TRANSFORMS, boxes_of, digits, pictures, within


def attacks(name, width, images, generator):
    """Images attacked by parameters of pieces: at a corner, and somewhere within."""
    low, high = boxes_of(name, width, 4, generator)
    thetas = within(low, high, 4 if low.shape[1] == 1 else 5, generator)
    for image, (k, theta) in itertools.product(images, enumerate(thetas)):
        piece = k % len(low)
        yield image, low[piece, None], high[piece, None], theta[piece, None]


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("width", [0.0, 0.05, 0.5, 3.0])
@pytest.mark.parametrize(
    ("dtype", "quantised"),
    [(torch.float32, False), (torch.float32, True), (torch.float64, False)],
)
def test_the_original_lies_within(name, width, dtype, quantised):
    generator = torch.Generator().manual_seed(21)
    images = [*list(pictures(6, 9).values())[:4], *digits(1)]
    for image, low, high, theta in attacks(name, width, images, generator):
        attacked = TRANSFORMS[name](image[None].to(dtype), theta)[0]
        if quantised:
            attacked = (255 * attacked).round() / 255
        found = inverse_images(attacked, TRANSFORMS[name], low, high, quantised=quantised)
        assert found.possible.tolist() == [True]
        assert found.low.dtype == dtype
        assert bool(((found.low[0] <= image) & (image <= found.high[0])).all())


@pytest.mark.parametrize("name", TRANSFORMS)
def test_rounding_excludes_no_original_that_is_known_exactly(name):
    generator = torch.Generator().manual_seed(31)
    images = [torch.full((1, 9, 9), value) for value in (0.1, 0.7)]
    for image in (*images, pictures(9, 9)["noise"]):
        low, high = boxes_of(name, 0.0, 8, generator)
        attacked = TRANSFORMS[name](image[None], low)
        for k in range(8):
            part = (low[k, None], high[k, None])
            known = (image[None], image[None])
            found = inverse_images(attacked[k], TRANSFORMS[name], *part, passes=1, known=known)
            assert found.possible.tolist() == [True]


@pytest.mark.parametrize(
    ("name", "width", "exact", "rounded"),
    [
        ("rotation", 0.0, 1e-3, 0.06),
        ("rotation", 0.1, 0.02, 0.06),
        ("rotation", 1.0, 0.12, 0.18),
        ("translation", 0.02, 0.1, 0.15),
    ],
)
def test_bounds_are_narrow(name, width, exact, rounded):
    """Mean width, inside the shape that a classifier would keep."""
    kept = Vignette("circle", margin=1).mask(8, 8)
    transform = TRANSFORMS[name]
    theta = torch.full((1, len(transform.parameters)), 10.3 if name == "rotation" else 0.3)
    low, high = theta.double() - width / 3, theta.double() + 2 * width / 3
    for quantised, most in ((False, exact), (True, rounded)):
        for digit in digits(4):
            attacked = transform(digit[None], theta)[0]
            if quantised:
                attacked = (255 * attacked).round() / 255
            found = inverse_images(attacked, transform, low, high, quantised=quantised)
            assert float((found.high - found.low)[0, 0][kept].mean()) < most


def test_what_left_the_image_is_unknown_and_the_rest_known():
    image = pictures(6, 6)["noise"]
    theta = torch.tensor([[2.0, 0.0]])
    found = inverse_images(Translation()(image[None], theta)[0], Translation(), theta, theta)
    assert torch.allclose(found.low[0, :, :, :4], image[..., :4], atol=1e-3)
    assert torch.allclose(found.high[0, :, :, :4], image[..., :4], atol=1e-3)
    assert found.low[0, :, :, 4:].eq(0).all()
    assert found.high[0, :, :, 4:].eq(1).all()


@pytest.mark.parametrize("name", ["noise", "board", "binary"])
def test_what_is_no_rotation_of_anything_has_no_piece(name):
    # Angles in between multiples of 90, at which everything is a rotation of something.
    image = pictures(12, 12)[name]
    found = inverse_over_range(image, Rotation(), torch.tensor([5.0]), torch.tensor([85.0]), 200)
    assert len(found) == 0
    assert found.low.shape == (0, *image.shape)
    low, high = torch.tensor([0.3, -0.7]), torch.tensor([0.7, -0.2])
    assert len(inverse_over_range(image, Translation(), low, high, 8)) == 0
    around = inverse_over_range(image, Rotation(), torch.tensor([-5.0]), torch.tensor([85.0]), 128)
    assert bool(((around.start <= 0) & (around.end >= 0)).any())


@pytest.mark.parametrize("quantised", [False, True])
def test_the_true_piece_is_found_in_a_range(quantised):
    for k, digit in enumerate(digits(4)):
        angle = torch.tensor([[-23.7 + 11 * k]])
        attacked = Rotation()(digit[None], angle)[0]
        if quantised:
            attacked = (255 * attacked).round() / 255
        found = inverse_over_range(
            attacked, Rotation(), torch.tensor([-30.0]), torch.tensor([30.0]), 100,
            quantised=quantised,
        )  # fmt: skip
        assert bool(found.possible.all())
        assert torch.allclose(found.end - found.start, torch.tensor(60 / 128).double())
        assert bool((found.start.diff(dim=0) > 0).all())
        true = ((found.start <= angle.double()) & (angle.double() <= found.end))[:, 0]
        assert int(true.sum()) in (1, 2)
        assert len(found) < 20
        assert bool(((found.low[true] <= digit) & (digit <= found.high[true])).all())


def test_pieces_of_two_parameters_cover_their_range():
    image = torch.full((1, 4, 4), 0.5)
    image[0, 2, 1] = 0.9
    low, high = torch.tensor([-0.1, 0.7]), torch.tensor([0.4, 0.7])
    theta = torch.tensor([[0.13, 0.7]])
    attacked = Translation()(image[None], theta)[0]
    found = inverse_over_range(attacked, Translation(), low, high, 5)
    edges = -0.1 + 0.5 * torch.arange(9, dtype=torch.float64) / 8
    place = int((edges < 0.13).sum()) - 1
    starts = found.start[:, 0].tolist()
    assert pytest.approx(float(edges[place]), abs=1e-6) in starts
    assert found.start[:, 1].unique().tolist() == found.end[:, 1].unique().tolist()
    assert len(set(starts)) == len(starts)
    everything = inverse_over_range(attacked * 0, Translation(), low, high, 8)
    assert torch.equal(everything.start[1:], everything.end[:-1])
    assert everything.start[0].tolist() == low.double().tolist()
    assert everything.end[-1].tolist() == high.double().tolist()


def test_more_passes_and_more_knowledge_are_never_worse():
    digit = digits(5)[4]
    low, high = torch.tensor([[14.8]]), torch.tensor([[15.4]])
    attacked = Rotation()(digit[None], torch.tensor([[15.0]]))[0]
    widths, last = [], None
    for passes in (1, 2, 5, 10):
        found = inverse_images(attacked, Rotation(), low, high, passes=passes)
        if last is not None:
            assert bool(((found.low >= last.low) & (found.high <= last.high)).all())
        last = found
        widths.append(float((found.high - found.low).mean()))
    assert widths[0] > widths[1] > widths[3]
    around = ((digit - 0.05).clamp(min=0)[None], (digit + 0.05).clamp(max=1)[None])
    known = inverse_images(attacked, Rotation(), low, high, known=around)
    assert bool(((known.low >= found.low) & (known.high <= found.high)).all())
    assert bool(((known.low[0] <= digit) & (digit <= known.high[0])).all())
    nothing = (torch.full((1, 1, 8, 8), -1.0), torch.full((1, 1, 8, 8), 2.0))
    same = inverse_images(attacked, Rotation(), low, high, known=nothing)
    assert torch.equal(same.low, found.low)
    assert torch.equal(same.high, found.high)
    wrong = inverse_images(
        attacked, Rotation(), low, high, known=(torch.zeros(1, 1, 8, 8), 0.3 * around[1])
    )
    assert not bool(wrong.possible)


@pytest.mark.parametrize("value", [1.01, -0.01])
def test_pixels_that_no_original_gives_are_impossible(value):
    attacked = torch.full((1, 5, 5), 0.5)
    attacked[0, 4, 0] = value
    low = torch.tensor([[0.0], [10.0], [300.0]])
    assert not inverse_images(attacked, Rotation(), low, low + 40).possible.any()


def test_results_do_not_depend_on_the_chunk_nor_on_other_pieces():
    image = pictures(6, 6)["noise"]
    attacked = Rotation()(image[None], torch.tensor([[12.0]]))[0]
    low = torch.linspace(8, 15, 15)[:, None]
    found = inverse_images(attacked, Rotation(), low, low + 0.5)
    assert 0 < int(found.possible.sum()) < 15
    for chunk in (1, 100):
        part = inverse_images(attacked, Rotation(), low, low + 0.5, chunk=chunk)
        assert torch.equal(part.possible, found.possible)
        assert torch.equal(part.low[found.possible], found.low[found.possible])
        assert torch.equal(part.high[found.possible], found.high[found.possible])
    assert len(inverse_images(attacked, Rotation(), low[:0], low[:0])) == 0


def test_what_cannot_be_inverted_is_refused():
    image, zero = torch.rand(1, 4, 4), torch.zeros(1, 1)
    for attacked, known, words in (
        (image[None], None, "C, H, W"),
        (image.half(), None, "float32 or float64"),
        (image * math.nan, None, "finite"),
        (image, (image, image), "known"),
        (image, (image[None].double(), image[None].double()), "known"),
    ):
        with pytest.raises(InputError, match=words):
            inverse_images(attacked, Rotation(), zero, zero, known=known)
    for options in ({"passes": 0}, {"chunk": 0}):
        with pytest.raises(InputError, match=next(iter(options))):
            inverse_images(image, Rotation(), zero, zero, **options)
    with pytest.raises(InputError, match="pieces"):
        inverse_over_range(image, Rotation(), zero[0], zero[0], 0)
    with pytest.raises(InputError, match="upside down"):
        inverse_over_range(image, Rotation(), zero[0] + 1, zero[0], 4)
