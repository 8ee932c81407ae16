"""Quilting: seams by brute force, tiles by a loop, and what a bank gives back."""

import itertools

import pytest
import torch
from torch.nn import functional

from lightning_smooth.defenses import Quilting
from lightning_smooth.defenses.quilting import least_seam
from lightning_smooth.errors import InputError


def patches(images, size):
    """(N, C, size, size): all there are."""
    columns = functional.unfold(images, size).mT
    return columns.reshape(-1, images.shape[1], size, size)


@pytest.mark.parametrize(("length", "columns"), [(1, 3), (4, 1), (4, 2), (5, 3), (4, 4)])
def test_the_seam_is_the_least_of_all(length, columns):
    costs = torch.rand(30, length, columns, dtype=torch.float64)
    found = least_seam(costs)
    paths = [
        path
        for path in itertools.product(range(columns), repeat=length)
        if all(abs(a - b) <= 1 for a, b in itertools.pairwise(path))
    ]
    for cost, path in zip(costs, found, strict=True):
        sums = {p: sum(float(cost[i, c]) for i, c in enumerate(p)) for p in paths}
        assert tuple(path.tolist()) == min(sums, key=sums.get)


@pytest.mark.parametrize("overlap", [0, 2, 4])
@pytest.mark.parametrize("size", [(12, 15), (5, 5), (5, 9)])
def test_an_image_of_the_banks_own_patches_comes_back(size, overlap):
    images = torch.rand(3, 2, *size)
    quilting = Quilting(patches(images, 5), neighbours=1, overlap=overlap)
    assert torch.equal(quilting(images), images)


def test_tiles_are_laid_as_a_loop_lays_them():
    torch.manual_seed(0)
    images, bank = torch.rand(2, 1, 10, 11), torch.rand(50, 1, 4, 4)
    out = Quilting(bank, tile=4, neighbours=1, overlap=2)(images)
    for image, got in zip(images[:, 0], out[:, 0], strict=True):
        laid = torch.full((10, 11), torch.nan)
        for top in (0, 2, 4, 6):
            for left in (0, 2, 4, 6, 7):
                wanted = image[top : top + 4, left : left + 4]
                patch = bank[(bank[:, 0] - wanted).square().sum(dim=(1, 2)).argmin(), 0]
                part = laid[top : top + 4, left : left + 4]
                apart = (part - patch).square()
                before = 3 if left == 7 else 2 if left else 0
                vertical = least_seam(apart[None, :, :before])[0] if before else torch.zeros(4)
                horizontal = least_seam(apart.mT[None, :, :2])[0] if top else torch.zeros(4)
                for y, x in itertools.product(range(4), range(4)):
                    if x >= vertical[y] and y >= horizontal[x]:
                        part[y, x] = patch[y, x]
        assert torch.equal(laid, got)


def test_one_of_the_nearest_is_drawn_uniformly():
    torch.manual_seed(0)
    shades = torch.linspace(0, 1, 11)
    bank = shades.view(-1, 1, 1, 1).expand(-1, 1, 3, 3)
    out = Quilting(bank, tile=3, neighbours=4)(torch.full((4000, 1, 3, 3), 0.24))[:, 0, 1, 1]
    near = shades[[1, 2, 3, 4]]  # .1 .2 .3 .4 are nearer to .24 than 0 and .5
    counts = torch.stack([(out == shade).sum() for shade in near])
    assert int(counts.sum()) == 4000
    assert (counts - 1000).abs().max() < 5 * 750**0.5


def test_distances_in_parts_change_nothing(monkeypatch):
    torch.manual_seed(0)
    images, bank = torch.rand(4, 3, 9, 9), torch.rand(60, 3, 5, 5)
    quilting = Quilting(bank)
    torch.manual_seed(1)
    whole = quilting(images)
    monkeypatch.setattr("lightning_smooth.defenses.quilting._AT_ONCE", 130)
    torch.manual_seed(1)
    assert torch.equal(quilting(images), whole)


def test_a_bank_of_images_holds_their_patches():
    images = torch.rand(3, 2, 7, 8)
    all_of_them = patches(images, 4).flatten(1)
    quilting = Quilting.from_images(images, tile=4, neighbours=2, count=600, seed=3)
    assert quilting.bank.shape == (600, 2, 4, 4)
    met = (quilting.bank.flatten(1)[:, None] == all_of_them).all(dim=2)
    assert met.any(dim=1).all(), "each is one of theirs"
    assert met.any(dim=0).all(), "and each of theirs is there: 600 draws of 60"
    again = Quilting.from_images(images, tile=4, neighbours=2, count=600, seed=3)
    other = Quilting.from_images(images, tile=4, neighbours=2, count=600, seed=4)
    assert torch.equal(again.bank, quilting.bank)
    assert not torch.equal(other.bank, quilting.bank)


def test_a_state_with_another_bank_is_taken():
    large, small = (Quilting(torch.rand(n, 1, 5, 5)) for n in (40, 20))
    small.load_state_dict(large.state_dict())
    assert torch.equal(small.bank, large.bank)
    with pytest.raises(InputError, match=r"\(N, C, 5, 5\)"):
        small.load_state_dict({"bank": torch.rand(40, 1, 4, 4)})


def test_images_must_fit():
    quilting = Quilting(torch.rand(40, 1, 5, 5))
    with pytest.raises(InputError, match="at least 5 x 5 pixels"):
        quilting(torch.rand(1, 1, 4, 9))
    with pytest.raises(InputError, match=r"1 channel\(s\), the bank's, but got 3"):
        quilting(torch.rand(1, 3, 9, 9))
    with pytest.raises(InputError, match="at least 5 x 5 pixels"):
        Quilting.from_images(torch.rand(1, 1, 4, 9))


def test_a_file_without_a_bank_is_refused(tmp_path):
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="to hold a tensor `bank`"):
        Quilting(weights=str(tmp_path / "other.pt"))
