"""Image quilting: an image put together again from patches of other images.

Source: Guo, Rana, Cisse, van der Maaten 2018, with patches of 5 x 5 (a million of them, from the
training images) and one of the 10 nearest at random; the seams are Efros and Freeman 2001.
Tiles that overlap by 2 pixels are Athalye, Carlini, Wagner 2018.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_smooth.defenses.base import check_batch
from lightning_smooth.errors import InputError, check_count
from lightning_smooth.models.weights import read_state_dict

_AT_ONCE: Final = 1 << 24
"""Distances between tiles and patches that are held at once."""


class Quilting(nn.Module):
    """Replace overlapping tiles of each image by patches of a bank, cut together along seams.

    Tiles begin `tile` - `overlap` pixels apart, the last of a row or column at its end. For each,
    one of the `neighbours` patches of the bank that are nearest to the image's own (l2) is drawn,
    anew in each call. They are laid row by row; a new one goes over what lies there from the seam
    on: the path through the overlap, one pixel a row (or column) that moves by at most one, on
    which the sum of squared differences is least. A pixel is the new tile's where it is on or
    beyond the seams with its left and with its upper neighbour.

    Keeps shape and dtype. It has no gradient. The bank is a buffer: `safetensors.torch.save_file(
    quilting.state_dict(), path)` writes the file that `weights` reads.

    Args:
        bank: (N, C, tile, tile) in [0, 1]; see also `from_images`. None to read it from `weights`.
        tile: height and width of a tile in pixels; 5 as published.
        neighbours: how many of the nearest patches are drawn from; 10 as published. With 1 nothing
            is random.
        overlap: of tiles that follow each other, in pixels, 0 to `tile` - 1; 2 by Athalye et al.
        weights: file with a bank; None where `bank` is given.

    Raises:
        InputError: neither or both of `bank` and `weights` are given, the bank does not fit `tile`,
            has fewer than `neighbours` patches or values outside [0, 1], or a number is out of
            range; in the call: images are smaller than a tile or have other channels.
    """

    stochastic = True
    bank: Tensor

    def __init__(
        self,
        bank: Tensor | None = None,
        tile: int = 5,
        neighbours: int = 10,
        *,
        overlap: int = 2,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.tile = check_count("tile", tile)
        self.neighbours = check_count("neighbours", neighbours)
        self.overlap = check_count("overlap", overlap, least=0)
        if self.overlap >= self.tile:
            raise InputError(
                f"Expected `overlap` to be below `tile`, but got {overlap} and {tile}."
            )
        if (bank is None) == (weights is None):
            raise InputError(
                "Expected either `bank` or `weights`, but got "
                f"{'neither' if bank is None else 'both'}: make a bank with Quilting.from_images."
            )
        if bank is None:
            bank = read_state_dict(str(weights)).get("bank")
            if bank is None:
                raise InputError(
                    f"Expected {weights} to hold a tensor `bank`, but it has none: save the state "
                    "dict of a Quilting."
                )
        self.register_buffer("bank", self._checked(bank))

    @classmethod
    def from_images(
        cls,
        images: Tensor,
        tile: int = 5,
        neighbours: int = 10,
        *,
        overlap: int = 2,
        count: int = 10_000,
        seed: int = 0,
    ) -> Quilting:
        """Make a bank of patches at random places of images.

        Args:
            images: (M, C, H, W) in [0, 1], of the training set.
            tile: see the class.
            neighbours: see the class.
            overlap: see the class.
            count: patches in the bank; a million as published.
            seed: decides the places, uniform over all, with replacement.

        Raises:
            InputError: images are smaller than a tile, or see the class.
        """
        _check_size(images, check_count("tile", tile))
        generator = torch.Generator().manual_seed(seed)
        number, _, height, width = images.shape

        def places(count_of: int) -> Tensor:
            size = (check_count("count", count), 1, 1)
            return torch.randint(count_of, size, generator=generator).to(images.device)

        across = torch.arange(tile, device=images.device)
        which = places(number)
        rows = places(height - tile + 1) + across[:, None]
        columns = places(width - tile + 1) + across
        bank = images[which, :, rows, columns].movedim(-1, 1).contiguous()
        return cls(bank, tile, neighbours, overlap=overlap)

    def extra_repr(self) -> str:
        """Show the numbers in the model's repr."""
        return (
            f"patches={len(self.bank)}, tile={self.tile}, neighbours={self.neighbours}, "
            f"overlap={self.overlap}"
        )

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Quilt images (B, C, H, W) in [0, 1]."""
        _check_size(images, self.tile)
        if images.shape[1] != self.bank.shape[1]:
            raise InputError(
                f"Expected `images` of {self.bank.shape[1]} channel(s), the bank's, but got "
                f"{images.shape[1]}."
            )
        tops, lefts = (self._starts(size) for size in images.shape[2:])
        corners = [(top, left) for top in tops for left in lefts]
        chosen = self._choose(images, corners)
        result = torch.zeros_like(images)
        for (top, left), patch in zip(corners, chosen, strict=True):
            above = self._shared(tops, top)
            before = self._shared(lefts, left)
            part = result[:, :, top : top + self.tile, left : left + self.tile]
            new = _beyond_seams((part - patch).square().sum(dim=1), above, before)
            part.copy_(torch.where(new[:, None], patch, part))
        return result

    def _starts(self, size: int) -> list[int]:
        last = size - self.tile
        return [*range(0, last, self.tile - self.overlap), last]

    def _shared(self, starts: list[int], start: int) -> int:
        """How many pixels of a tile the ones before it cover."""
        place = starts.index(start)
        return starts[place - 1] + self.tile - start if place else 0

    def _choose(self, images: Tensor, corners: list[tuple[int, int]]) -> Tensor:
        """(T, B, C, tile, tile): for each tile of each image, one of the nearest patches."""
        tile = self.tile
        wanted = torch.stack([images[:, :, y : y + tile, x : x + tile] for y, x in corners])
        bank = self.bank.to(images).flatten(1)
        # |p - t|^2 less |t|^2, which is the same for all patches
        size = bank.square().sum(dim=1)
        rows = wanted.flatten(0, 1).flatten(1)
        nearest = torch.cat(
            [
                torch.addmm(size, some, bank.mT, alpha=-2)
                .topk(self.neighbours, dim=1, largest=False)
                .indices
                for some in torch.split(rows, max(1, _AT_ONCE // len(bank)))
            ]
        )
        drawn = torch.randint(self.neighbours, (len(rows), 1), device=images.device)
        return bank[nearest.gather(1, drawn)[:, 0]].view_as(wanted)

    def _checked(self, bank: Tensor) -> Tensor:
        shape = (self.tile, self.tile)
        if bank.ndim != 4 or tuple(bank.shape[2:]) != shape or not bank.is_floating_point():
            raise InputError(
                f"Expected `bank` to be (N, C, {self.tile}, {self.tile}) in floating point, but "
                f"got {tuple(bank.shape)} of {bank.dtype}: `tile` is its patches' size."
            )
        if len(bank) < self.neighbours:
            raise InputError(
                f"Expected `bank` to have at least `neighbours`={self.neighbours} patches, but got "
                f"{len(bank)}."
            )
        if not bool(((bank >= 0) & (bank <= 1)).all()):
            raise InputError("Expected `bank` in [0, 1], but it has values outside.")
        return bank.detach().clone()

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: object
    ) -> None:
        stored = state_dict.get(f"{prefix}bank")
        if stored is not None:  # a bank of another size takes this one's place
            self.bank = self._checked(stored).to(self.bank)
        super()._load_from_state_dict(state_dict, prefix, *args)


def least_seam(costs: Tensor) -> Tensor:
    """Find the path from the first row to the last whose sum of costs is least.

    Args:
        costs: (B, L, n): n columns to choose from in each of L rows.

    Returns:
        (B, L) columns; those of rows that follow each other differ by at most 1.

    >>> least_seam(torch.tensor([[[0.0, 1, 9], [9, 9, 0], [0, 9, 1]]])).tolist()
    [[1, 2, 2]]
    """
    length, columns = costs.shape[1:]
    ahead = costs.clone()
    for row in range(length - 2, -1, -1):
        around = functional.pad(ahead[:, row + 1], (1, 1), value=torch.inf)
        ahead[:, row] += around.unfold(1, 3, 1).amin(dim=2)
    path = [ahead[:, 0].argmin(dim=1)]
    places = torch.arange(columns, device=costs.device)
    for row in range(1, length):
        far = (places - path[-1][:, None]).abs() > 1
        path.append(ahead[:, row].masked_fill(far, torch.inf).argmin(dim=1))
    return torch.stack(path, dim=1)


def _beyond_seams(differences: Tensor, above: int, before: int) -> Tensor:
    """(B, t, t) bool: what a tile covers, of (B, t, t) squared differences to what lies there."""
    size = differences.shape[1]
    places = torch.arange(size, device=differences.device)
    new = torch.ones_like(differences, dtype=torch.bool)
    if before:
        new &= places >= least_seam(differences[..., :before])[..., None]
    if above:
        new &= places[:, None] >= least_seam(differences[:, :above].mT)[:, None]
    return new


def _check_size(images: Tensor, tile: int) -> None:
    if min(check_batch(images).shape[2:]) < tile:
        raise InputError(
            f"Expected `images` of at least {tile} x {tile} pixels, a tile's, but got "
            f"{tuple(images.shape[2:])}."
        )
