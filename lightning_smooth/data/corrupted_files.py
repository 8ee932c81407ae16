"""How corrupted sets lie on disk: arrays mapped into memory, published checksums, who made them."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.datasets.utils import calculate_md5

from lightning_smooth.data.files import FETCH_ERRORS, check_md5, damaged
from lightning_smooth.data.sources import ImageSource
from lightning_smooth.errors import DataError

MADE_BY: Final = "made_by.json"
PROGRAM: Final = "lightning-smooth"

PUBLISHED_MD5: Final[dict[str, dict[str, str]]] = {
    "CIFAR-10-C": {
        "brightness": "0a81ef75e0b523c3383219c330a85d48",
        "contrast": "3c8262171c51307f916c30a3308235a8",
        "defocus_blur": "7d1322666342a0702b1957e92f6254bc",
        "elastic_transform": "9421657c6cd452429cf6ce96cc412b5f",
        "fog": "7b397314b5670f825465fbcd1f6e9ccd",
        "frost": "31f6ab3bce1d9934abfb0cc13656f141",
        "gaussian_blur": "c33370155bc9b055fb4a89113d3c559d",
        "gaussian_noise": "ecaf8b9a2399ffeda7680934c33405fd",
        "glass_blur": "7361fb4019269e02dbf6925f083e8629",
        "impulse_noise": "2090e01c83519ec51427e65116af6b1a",
        "jpeg_compression": "2b9cc4c864e0193bb64db8d7728f8187",
        "motion_blur": "fffa5f852ff7ad299cfe8a7643f090f4",
        "pixelate": "0f14f7e2db14288304e1de10df16832f",
        "saturate": "1cfae0964219c5102abbb883e538cc56",
        "shot_noise": "3a7239bb118894f013d9bf1984be7f11",
        "snow": "bb238de8555123da9c282dea23bd6e55",
        "spatter": "8a5a3903a7f8f65b59501a6093b4311e",
        "speckle_noise": "ef00b87611792b00df09c0b0237a1e30",
        "zoom_blur": "6ea8e63f1c5cdee1517533840641641b",
    },
    "CIFAR-100-C": {
        "brightness": "f22d7195aecd6abb541e27fca230c171",
        "contrast": "322bb385f1d05154ee197ca16535f71e",
        "defocus_blur": "d923e3d9c585a27f0956e2f2ad832564",
        "elastic_transform": "a0792bd6581f6810878be71acedfc65a",
        "fog": "4efc7ebd5e82b028bdbe13048e3ea564",
        "frost": "3a39c6823bdfaa0bf8b12fe7004b8117",
        "gaussian_blur": "5204ba0d557839772ef5a4196a052c3e",
        "gaussian_noise": "ecc4d366eac432bdf25c024086f5e97d",
        "glass_blur": "0bf384f38e5ccbf8dd479d9059b913e1",
        "impulse_noise": "3b3c210ddfa0b5cb918ff4537a429fef",
        "jpeg_compression": "c851b7f1324e1d2ffddeb76920576d11",
        "motion_blur": "732a7e2e54152ff97c742d4c388c5516",
        "pixelate": "96c00c60f144539e14cffb02ddbd0640",
        "saturate": "c0697e9fdd646916a61e9c312c77bf6b",
        "shot_noise": "b0a1fa6e1e465a747c1b204b1914048a",
        "snow": "0237be164583af146b7b144e73b43465",
        "spatter": "12ccf41d62564d36e1f6a6ada5022728",
        "speckle_noise": "e3f215b1a0f9fd9fd6f0d1cf94a7ce99",
        "zoom_blur": "0204613400c034a81c4830d5df81cb82",
    },
}
"""MD5 of each published file `<corruption>.npy`, by the folder it lies in."""


@dataclass(frozen=True)
class MadeBy:
    """Says that a corrupted set was made here and is not the published one.

    Attributes:
        program: name of this package.
        version: its version.
        source: name of the clean data set.
        source_digest: sha256 of its test split.
        images: corrupted images of each severity: the first ones of the test split.
        seed: of all draws.
        severities: those that were made; rows of others are zeros.
        parameters: of each corruption, by severity 1..5.
        corruptions: those that are complete, in the order in which they were made.
        left_out: why each corruption that is not to be made is not.
        photographs: sha256 of the photographs of frost, or nothing.
    """

    program: str
    version: str
    source: str
    source_digest: str
    images: int
    seed: int
    severities: list[int]
    parameters: dict[str, list[list[float]]]
    corruptions: list[str]
    left_out: dict[str, str]
    photographs: str

    def __str__(self) -> str:
        return f"made by {self.program} {self.version}, seed {self.seed}"

    def settings(self) -> dict[str, Any]:
        """What all corruptions of one set have in common."""
        names = ("program", "version", "source", "source_digest", "images", "seed", "severities")
        return {name: getattr(self, name) for name in names}

    def write(self, folder: Path) -> None:
        """Write it into a corrupted set's folder, whole or not at all."""
        part = folder / f"{MADE_BY}.part"
        part.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        part.replace(folder / MADE_BY)


def read_made_by(title: str, folder: Path) -> MadeBy | None:
    """Read who made a corrupted set; None where no `made_by.json` lies in its folder.

    Raises:
        DataError: the file is not what this package writes.
    """
    path = folder / MADE_BY
    if not path.is_file():
        return None
    try:
        made = MadeBy(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise damaged(title, path, reason=f"it is not what {PROGRAM} writes: {error}") from error
    whole = all(type(value) is int for value in (made.images, made.seed, *made.severities))
    if not whole or made.program != PROGRAM:
        raise damaged(title, path, reason=f"it is not what {PROGRAM} writes")
    return made


def origin(title: str, folder: Path, file: Path, *, md5: str | None) -> str:
    """Say where a corrupted set comes from.

    Returns:
        "made by ..."; or "published", if the file's MD5 is the published one; or "not published
        (md5 ...)", if it is not; or "unchecked", where no MD5 of single files is published.

    Raises:
        DataError: `made_by.json` is damaged.
    """
    if made := read_made_by(title, folder):
        return str(made)
    if md5 is None:
        return "unchecked"
    found = calculate_md5(file)
    return "published" if found == md5 else f"not published (md5 {found})"


def open_array(title: str, path: Path, *, item: tuple[int, ...], of: str) -> NDArray[Any]:
    """Map a .npy file into memory; its pages are read when they are used.

    Args:
        title: the data set, for people.
        path: the file.
        item: shape of one item of it.
        of: kind of its numbers: "uint8", or "integers" for any.

    Raises:
        DataError: it is a pickle, truncated, or of another shape or kind.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        reason = f"it cannot be read as a .npy array without objects: {error}"
        raise damaged(title, path, reason=reason) from error
    if not isinstance(array, np.ndarray):
        raise damaged(title, path, reason="it is an archive of arrays, not one array")
    right = array.dtype == np.uint8 if of == "uint8" else array.dtype.kind in "iu"
    if not right or array.shape[1:] != item or array.ndim != 1 + len(item):
        expected = f"{of} (N{''.join(f', {n}' for n in item)})"
        found = f"{array.dtype} {array.shape}"
        raise damaged(title, path, reason=f"it holds {found}, expected {expected}")
    return array


class MappedSource(ImageSource):
    """A split in a .npy file that is mapped into memory, the channels last.

    Args:
        path: file of uint8 (M, H, W, C).
        first: row of the image 0.
        labels: int64 (N,).
        title: the data set, for people.
    """

    def __init__(self, path: Path, first: int, labels: torch.Tensor, *, title: str) -> None:
        super().__init__(labels)
        self.path = path
        self.first = first
        self.title = title
        self._rows: NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A mapped array would be pickled with all its content: a process maps it anew.
        return {**self.__dict__, "_rows": None}

    def pixels(self, indices: Sequence[int]) -> torch.Tensor:
        """Return the bytes of some images, uint8 (B, C, H, W)."""
        places = np.asarray(indices, dtype=np.int64)
        size = len(self)
        if len(places) and not (-size <= places.min() and places.max() < size):
            raise IndexError(f"Expected indices below {size}, but got {indices}.")
        rows = np.asarray(self._images()[places % size])
        return torch.from_numpy(rows).permute(0, 3, 1, 2).contiguous()

    def update_digest(self, update: Callable[[bytes], None]) -> None:
        """Feed shape, pixel bytes and labels to a hash, a few images at a time."""
        images = self._images()
        update(f"{images.shape}".encode())
        for start in range(0, len(images), 1000):
            update(np.ascontiguousarray(images[start : start + 1000]).tobytes())
        update(self.labels.numpy().astype("<i8").tobytes())

    def _images(self) -> NDArray[np.uint8]:
        if self._rows is None:
            rows = np.load(self.path, mmap_mode="r", allow_pickle=False)
            self._rows = rows[self.first : self.first + len(self)]
        return self._rows


def unpack(title: str, archive: Path, *, md5: str, folder: Path) -> bool:
    """Unpack a published archive beside itself, if it is there and its folder is not.

    Returns:
        Whether it was unpacked.

    Raises:
        DataError: its MD5 is not the published one, or it cannot be unpacked.
    """
    if folder.exists() or not check_md5(title, archive, md5=md5):
        return False
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(archive.parent)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(archive.parent, filter="data")
    except (*FETCH_ERRORS, zipfile.BadZipFile) as error:
        raise DataError(
            f"{title}: {archive} cannot be unpacked ({error}): delete what was unpacked, look for "
            f"space and permissions under {archive.parent}, and run again."
        ) from error
    return True
