"""Figures of a whole data set, from the verdicts on its images.

An image counts at radius r when its prediction is right and its certified radius is at least r,
as in the published tables (Cohen, Rosenfeld, Kolter 2019, section 4). These figures describe the
images that were certified; `certified_accuracy_band` says what they imply about others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_smooth.errors import InputError
from lightning_smooth.maths.confidence import clopper_pearson_interval


def certified_hits(correct: ArrayLike, radius: ArrayLike, radii: ArrayLike) -> NDArray[np.int64]:
    """Number of images that are right and certified at each of `radii`.

    Args:
        correct: (N,) whether the certified class is the label; False for an abstention.
        radius: (N,) certified radius of each image.
        radii: (R,) radii to ask for.

    Returns:
        (R,) counts.

    Raises:
        InputError: the shapes differ.

    >>> certified_hits([True, True, False], [0.5, 1.0, 2.0], [0.0, 0.75]).tolist()
    [2, 1]
    """
    right, radius, radii = _columns(correct, radius, radii)
    kept = np.sort(radius[right])
    return (kept.size - np.searchsorted(kept, radii, side="left")).astype(np.int64)


def certified_accuracy(
    correct: ArrayLike, radius: ArrayLike, radii: ArrayLike
) -> NDArray[np.float64]:
    """Fraction of the images that are right and certified at each of `radii`.

    Arguments and errors as for `certified_hits`; NaN when there are no images.

    >>> certified_accuracy([True, True], [0.5, 1.0], [0.0, 0.75]).tolist()
    [1.0, 0.5]
    """
    total = np.size(np.asarray(correct))
    hits = certified_hits(correct, radius, radii)
    return hits / total if total else np.full(hits.shape, np.nan)


def certified_accuracy_band(
    correct: ArrayLike, radius: ArrayLike, radii: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Clopper-Pearson interval of the certified accuracy at each of `radii`, pointwise.

    It covers the certified accuracy over the distribution that the images were drawn from; it
    needs at least one image. Arguments and errors as for `certified_hits`.

    >>> low, high = certified_accuracy_band([True] * 10, [1.0] * 10, [0.0])
    >>> round(float(low[0]), 4), float(high[0])
    (0.6915, 1.0)
    """
    hits = certified_hits(correct, radius, radii)
    return clopper_pearson_interval(hits, int(np.size(np.asarray(correct))), confidence)


def average_certified_radius(correct: ArrayLike, radius: ArrayLike) -> float:
    """Mean radius over all images, 0 for those that are wrong or abstained (ACR).

    Zhai et al. 2020 (MACER), section 3. NaN when there are no images.

    >>> average_certified_radius([True, False], [1.0, 2.0])
    0.5
    """
    right, radius, _ = _columns(correct, radius, [])
    return float(np.where(right, radius, 0.0).mean()) if right.size else float("nan")


def _columns(
    correct: ArrayLike, radius: ArrayLike, radii: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[Any]]:
    right = np.asarray(correct, dtype=bool)
    size = np.asarray(radius, dtype=np.float64)
    if right.ndim != 1 or right.shape != size.shape:
        raise InputError(
            f"Expected `correct` and `radius` of one shape (N,), got {right.shape}, {size.shape}."
        )
    return right, size, np.atleast_1d(np.asarray(radii, dtype=np.float64))
