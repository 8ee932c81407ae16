"""Patches as layers: every patch of a box against the bounds, and forms that are known."""

import pytest
import torch

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import Occlusion
from lightning_smooth.verify import LayerEnclosure, crown_bounds, crown_bounds_of_forms
from tests.verify.enclosed import check_scores, evaluated, hard_images
from tests.verify.networks import network

DOUBLE = {"dtype": torch.float64}


def box(*ends):
    """(1, 3) least and greatest of (side, x, y)."""
    return tuple(torch.tensor([[end[k] for end in ends]], **DOUBLE) for k in (0, 1))


def boxes(kind, count=40):
    """Random boxes of (side, x, y) around images of 5 x 6 pixels."""
    generator = torch.Generator().manual_seed(1)
    start = torch.rand(count, 3, generator=generator, **DOUBLE)
    low = start * torch.tensor([4.0, 9.0, 8.0]) - torch.tensor([0.0, 3.0, 3.0])
    width = torch.rand(count, 3, generator=generator, **DOUBLE) * torch.tensor([3.0, 5.0, 4.0])
    if kind == "halves":
        return (low * 2).round() / 2, ((low + width) * 2).round() / 2
    if kind == "patches":
        return low.round(), low.round()
    if kind == "sides":  # one place
        width[:, 1:] = 0
    return low, low + width


def patches(forms):
    """(N, 3): every whole number in a region's only box."""
    axes = [torch.arange(int(low), int(high) + 1) for low, high in forms.box[0].tolist()]
    return torch.cartesian_prod(*axes).double()


@pytest.mark.parametrize("kind", ["real", "halves", "patches", "sides"])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_bounds_hold_of_every_patch_and_are_attained(kind, value):
    transform = Occlusion(value)
    enclosure = LayerEnclosure(transform)
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(2, 5, 6, generator=generator, **DOUBLE) - 0.3
    for low, high in zip(*boxes(kind), strict=True):
        forms = enclosure.regions(image, low[None], high[None])
        theta, pixels = patches(forms), forms.pixels
        drawn = torch.rand(60, 3, generator=generator, **DOUBLE)
        real = torch.cat([low + (high - low) * drawn, low[None], high[None]])
        below, above = (
            b + torch.einsum("pchw,np->nchw", a[0], theta)
            for a, b in ((forms.low_a, forms.low_b), (forms.up_a, forms.up_b))
        )
        found = []
        for dtype in (torch.float32, torch.float64):
            made = transform(image[None].to(dtype), theta).double()
            assert bool(((below <= made) & (made <= above)).all())
            found += [made.amin(dim=0), made.amax(dim=0)]
            # Each real parameter gives one of these images.
            shown = transform(image[None].to(dtype), real).double()
            assert bool((shown[:, None] == made).flatten(2).all(dim=2).any(dim=1).all())
        assert torch.equal(pixels.lower[0], torch.stack(found).amin(dim=0))
        assert torch.equal(pixels.upper[0], torch.stack(found).amax(dim=0))


def test_boxes_together_are_boxes_alone():
    image = hard_images()["noise"]
    low, high = boxes("real")
    together = LayerEnclosure(Occlusion()).regions(image, low, high)
    for k in range(len(low)):
        alone = LayerEnclosure(Occlusion()).regions(image, low[k : k + 1], high[k : k + 1])
        for name in ("low_a", "low_b", "up_a", "up_b", "box"):
            assert torch.equal(getattr(together, name)[k : k + 1], getattr(alone, name))


def test_a_patch_is_its_image_in_float32():
    image = hard_images()["digit"].float()
    for theta in ([[3.0, 2.0, 5.0]], [[2.0, -1.0, 7.0]], [[0.0, 3.0, 3.0]], [[4.0, 8.0, 0.0]]):
        at = torch.tensor(theta, **DOUBLE)
        pixels = LayerEnclosure(Occlusion(0.5)).regions(image, at, at).pixels
        made = Occlusion(0.5)(image[None], at).double()
        assert torch.equal(pixels.lower, made)
        assert torch.equal(pixels.upper, made)


def test_a_pixel_that_the_patch_leaves_has_a_line():
    """Side 1, x in 0..3: 0 is covered up to 1 - x / 3, 3 up to x / 3."""
    low, high = box((1, 1), (0, 3), (0, 0))
    forms = LayerEnclosure(Occlusion()).regions(torch.ones(1, 1, 5, **DOUBLE), low, high)
    for x, first, fourth in ((0.0, 0.0, 1.0), (3.0, 1.0, 0.0)):
        least = evaluated(forms, torch.tensor([[1.0, x, 0.0]], **DOUBLE))[0].flatten().tolist()
        assert [least[0], *least[3:]] == pytest.approx([first, fourth, 1.0], abs=1e-9)
    middle = evaluated(forms, torch.tensor([[1.0, 1.5, 0.0]], **DOUBLE))[0].flatten().tolist()
    assert middle == pytest.approx([0.5, 0.25, 0.25, 0.5, 1.0], abs=1e-9)


def test_a_pixel_that_the_patch_reaches_has_a_line_below():
    """x = y = 0, side in 2..4: the pixel of column 2 is covered from (side - 2) / 2 on."""
    low, high = box((2, 4), (0, 0), (0, 0))
    forms = LayerEnclosure(Occlusion(1.0)).regions(torch.zeros(1, 1, 5, **DOUBLE), low, high)
    for side in (2.0, 3.0, 4.0):
        at = torch.tensor([[side, 0.0, 0.0]], **DOUBLE)
        least, most = (value.flatten().tolist() for value in evaluated(forms, at))
        assert least == pytest.approx([1, 1, (side - 2) / 2, 0, 0], abs=1e-9)
        assert most == pytest.approx([1, 1, 1, (side - 2) / 2, 0], abs=1e-9)


def test_forms_tell_a_network_more_than_their_pixels():
    low, high = box((1, 3), (1, 4), (1, 4))
    model, image = network("small"), hard_images()["digit"]
    found = check_scores(model, LayerEnclosure(Occlusion()), image, low, high)
    pixels = LayerEnclosure(Occlusion()).regions(image, low, high).pixels
    alone = crown_bounds(model, *pixels)
    assert bool((found.lower >= alone.lower - 1e-9).all())
    assert float((found.lower - alone.lower).max()) > 1e-4


def test_networks_stay_within_the_bounds_of_forms():
    model, image = network("small"), hard_images()["digit"]
    for low, high in (box((0, 2), (0, 3), (2, 6)), box((0.5, 2.5), (-1.5, 1.2), (3.5, 3.5))):
        found = check_scores(model, LayerEnclosure(Occlusion(0.7)), image, low, high)
        assert bool((found.lower < found.upper).all())
    one = box((2, 2), (3, 3), (3, 3))
    found = crown_bounds_of_forms(model, LayerEnclosure(Occlusion()).regions(image, *one))
    assert float((found.upper - found.lower).max()) < 2e-3


def test_mistakes_are_told():
    class Grey(Occlusion):
        def _apply(self, images, theta):
            return super()._apply(images, theta) / 2

    with pytest.raises(InputError, match=r"one of Brightness.*Occlusion"):
        LayerEnclosure(Grey())
    enclosure, image = LayerEnclosure(Occlusion()), torch.rand(1, 4, 4)
    with pytest.raises(InputError, match="`side`"):
        enclosure.regions(image, *box((-1, 1), (0, 0), (0, 0)))
    with pytest.raises(InputError, match="upside down"):
        enclosure.regions(image, *reversed(box((1, 2), (0, 0), (0, 0))))
    with pytest.raises(InputError, match="within 16777216 pixels"):
        enclosure.regions(image, *box((1, 1), (0, 2.0**25), (0, 0)))
