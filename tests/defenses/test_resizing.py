"""Random size and padding: the content is all there, where it says."""

import pytest
import torch
from torch.nn import functional

from lightning_smooth.defenses import RandomResizePad


@pytest.mark.parametrize("fill", [0.0, 0.5])
def test_an_image_lies_on_the_canvas_in_one_of_the_sizes(fill):
    torch.manual_seed(0)
    images = torch.rand(40, 3, 9, 7, dtype=torch.float64) * 0.4 + 0.55
    out = RandomResizePad(8, 11, 12, fill=fill)(images)
    assert out.shape == (40, 3, 12, 12)
    found = set()
    for image, canvas in zip(images, out, strict=True):
        inside = (canvas != fill).all(dim=0)
        rows, columns = inside.any(dim=1).nonzero()[:, 0], inside.any(dim=0).nonzero()[:, 0]
        side, top, left = len(rows), int(rows[0]), int(columns[0])
        assert len(columns) == side
        assert int(inside.sum()) == side * side
        content = canvas[:, top : top + side, left : left + side]
        expected = functional.interpolate(image[None], (side, side), mode="bilinear")[0]
        torch.testing.assert_close(content, expected)
        found.add((side, top, left))
    assert {side for side, _, _ in found} == {8, 9, 10, 11}
    assert len({top for _, top, _ in found}) == 5
    assert any(top != left for _, top, left in found)


def test_its_own_size_without_room_is_the_image():
    images = torch.rand(4, 1, 10, 10)
    assert torch.equal(RandomResizePad(10, 10, 10)(images), images)


def test_the_size_of_the_image_is_moved_as_it_is():
    images = torch.rand(20, 1, 6, 6)
    out = RandomResizePad(6, 6, 8)(images)
    for image, canvas in zip(images, out, strict=True):
        parts = functional.unfold(canvas[None], 6)[0].mT.view(9, 1, 6, 6)
        assert any(torch.equal(part, image) for part in parts)
        assert float(canvas.sum()) == pytest.approx(float(image.sum()))


def test_places_are_uniform():
    torch.manual_seed(0)
    out = RandomResizePad(1, 1, 3)(torch.ones(9000, 1, 4, 4))
    counts = out.sum(dim=(0, 1))
    assert torch.equal(out.sum(dim=(1, 2, 3)), torch.ones(9000))
    assert (counts - 1000).abs().max() < 5 * (1000 * 8 / 9) ** 0.5
