"""What to say when a data set's files are missing or damaged, and how torchvision's are fetched."""

from __future__ import annotations

import http.client
import math
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from torchvision.datasets.utils import calculate_md5

from lightning_smooth.errors import DataError

FETCH_ERRORS = (
    RuntimeError,
    OSError,
    EOFError,
    zlib.error,
    tarfile.TarError,
    http.client.HTTPException,
)


def missing(title: str, path: Path, *, root: Path, command: str, reason: str = "") -> DataError:
    """Make the error for a file that is not there.

    Args:
        title: the data set, for people.
        path: the file or folder that is missing.
        root: the folder of all data sets.
        command: the data set, for the command line.
        reason: why it could not be fetched, if that was tried.
    """
    tried = f" Downloading it failed: {reason}." if reason else ""
    return DataError(
        f"{title}: {path} is missing (root is {root}).{tried} Get it with "
        f"`lightning-smooth data {command} --root {root}` where there is a network, or put the "
        f"data set's own files there."
    )


def damaged(title: str, path: Path, *, reason: str) -> DataError:
    """Make the error for a file that is there but not what it should be."""
    return DataError(
        f"{title}: {path} is damaged ({reason}): delete it and run again, with download on or with "
        f"a good copy in its place."
    )


def check_md5(title: str, path: Path, *, md5: str) -> bool:
    """Say whether `path` exists, having checked its content.

    Raises:
        DataError: it exists, and its MD5 is not `md5`.
    """
    if not path.is_file():
        return False
    found = calculate_md5(path)
    if found != md5:
        raise damaged(title, path, reason=f"its MD5 is {found}, expected {md5}")
    return True


def fetch(download: Callable[[], object], *, root: Path) -> str:
    """Run a download of torchvision's.

    Returns:
        Why it failed in one line, or nothing if it did not.

    Raises:
        DataError: `root` cannot be written.
    """
    try:
        download()
    except PermissionError as error:
        raise DataError(
            f"The data folder {root} cannot be written ({error}): choose another `root`, or make "
            f"it writable."
        ) from error
    except FETCH_ERRORS as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return " ".join(line.strip() for line in lines).rstrip(".")
    return ""


def check_idx(title: str, path: Path, *, shape: tuple[int, ...]) -> int:
    """Check that a file of MNIST's format (bytes behind a big-endian header) is whole.

    Args:
        title: the data set, for people.
        path: the unpacked file.
        shape: the shape of one item.

    Returns:
        The number of items.

    Raises:
        DataError: the header or the size is not what it should be.
    """
    with path.open("rb") as file:
        header = file.read(4 * (2 + len(shape)))
    words = [int.from_bytes(header[i : i + 4], "big") for i in range(0, len(header), 4)]
    if len(header) < 4 * (2 + len(shape)) or words[0] != 0x0800 + 1 + len(shape):
        raise damaged(title, path, reason="it does not begin with the header of its format")
    if tuple(words[2:]) != shape:
        raise damaged(title, path, reason=f"its items are {tuple(words[2:])}, expected {shape}")
    size, expected = path.stat().st_size, len(header) + words[1] * math.prod(shape)
    if size != expected:
        raise damaged(title, path, reason=f"it has {size} bytes, its header says {expected}")
    return words[1]
