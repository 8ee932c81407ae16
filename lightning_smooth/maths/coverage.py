"""How much of a box of parameters is covered by smaller boxes, in each of which a class is held.

An attack theta has the norm max over parameters of (theta - identity) / (end - identity), with the
end of the box on its side: 1 is the box itself. A parameter whose identity is None is a place: it
says where something is done, which is nothing if all others are at their identity. It does not
count, and attacks of a norm are those at all places of the box.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_smooth.errors import InputError

Array = NDArray[np.float64]

_FLOAT32 = 2.0**-22

Ends = Sequence[tuple[float, float]]
"""(least, greatest) of each parameter."""

Range = tuple[tuple[float, ...], tuple[float, ...]]
"""(least, greatest) parameters of a box."""

Origin = Sequence[float | None]
"""The parameters that change nothing; None for places."""

Flags = Sequence[bool]
"""Which of the parameters are something."""


def box_norm(low: ArrayLike, high: ArrayLike, box: Ends, identity: Origin) -> Array:
    """The least norm of an attack in each of N boxes; infinite where none is in `box`.

    Args:
        low: (N, P) least parameters.
        high: (N, P) greatest parameters.
        box: of all attacks, around `identity`.
        identity: (P,) the parameters that change nothing.

    Returns:
        (N,) float64.

    Raises:
        InputError: the identity is not in the box, or shapes do not fit.

    >>> box_norm([[-10.0], [5.0]], [[10.0], [40.0]], [(-30.0, 20.0)], [0.0])
    array([0.  , 0.25])
    >>> box_norm([[2.0, 9.0]], [[2.0, 9.0]], [(0.0, 5.0), (0.0, 27.0)], [0.0, None])
    array([0.4])
    """
    lows, highs = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    check_around(box, identity)
    if lows.shape != highs.shape or lows.ndim != 2 or lows.shape[1] != len(box):
        raise InputError(
            f"Expected `low` and `high` (N, {len(box)}), but got {lows.shape} and {highs.shape}."
        )
    norm = np.zeros(len(lows))
    for place, ((least, most), origin) in enumerate(zip(box, identity, strict=True)):
        if origin is None:
            norm[(lows[:, place] > most) | (highs[:, place] < least)] = np.inf
            continue
        above, below = lows[:, place] - origin, origin - highs[:, place]
        for beyond, reach in ((above, most - origin), (below, origin - least)):
            away = beyond > 0
            share = np.full(len(lows), np.inf) if reach == 0 else beyond / reach
            norm[away] = np.maximum(norm[away], share[away])
    return np.where(norm > 1, np.inf, norm)


def covered_radius(low: ArrayLike, high: ArrayLike, box: Ends, identity: Origin) -> float:
    """The largest r, at most 1, such that every attack of a norm below r is in one of N boxes.

    Boxes are closed. At 1 the whole box is covered, its faces included.

    Args:
        low: (N, P) least parameters of the boxes.
        high: (N, P) greatest parameters.
        box: of all attacks, around `identity`.
        identity: (P,) the parameters that change nothing.

    Raises:
        InputError: as for `box_norm`.

    >>> round(covered_radius([[-9.0], [2.0]], [[3.0], [8.0]], [(-10.0, 10.0)], [0.0]), 12)
    0.8
    >>> covered_radius([[0.0], [5.0]], [[5.0], [10.0]], [(0.0, 10.0)], [0.0])
    1.0
    """
    lows, highs = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    lows, highs = lows.reshape(-1, len(box)), highs.reshape(-1, len(box))
    check_around(box, identity)
    # Between neighbouring ends a box covers all of an interval, or none of its inside.
    axes = [
        np.unique(np.clip(np.concatenate([lows[:, p], highs[:, p], ends]), *ends))
        for p, ends in enumerate(box)
    ]
    parts = [(axis[:-1], axis[1:]) if len(axis) > 1 else (axis, axis) for axis in axes]
    covered = np.zeros([len(first) for first, _ in parts], dtype=bool)
    for least, most in zip(lows, highs, strict=True):
        inside = [(least[p] <= first) & (last <= most[p]) for p, (first, last) in enumerate(parts)]
        covered[tuple(slice(*_run(along)) for along in inside)] = True
    open_cells = np.argwhere(~covered)
    if not len(open_cells):
        return 1.0
    firsts = np.stack([parts[p][0][open_cells[:, p]] for p in range(len(box))], axis=1)
    lasts = np.stack([parts[p][1][open_cells[:, p]] for p in range(len(box))], axis=1)
    radius = float(box_norm(firsts, lasts, box, identity).min())
    return float(np.nextafter(radius * (1 - 4 * 2.0**-53), 0)) if radius else 0.0


def held_radius(
    covers: Sequence[Range],
    uncovered: Sequence[Range],
    box: Ends,
    identity: Origin,
    most: float,
) -> float | None:
    """The radius of a class that is held in some boxes and not shown in others, at most `most`.

    Boxes are closed. Where two share a point, and what is done there is the same in both, one that
    is covered is enough; but a box that is a single value of a parameter (of a transformation with
    finitely many results), of one that is no place, has that value to itself.

    Args:
        covers: (least, greatest) parameters of each box where it is held.
        uncovered: likewise, where it is not shown.
        box: of all attacks, around `identity`.
        identity: (P,) the parameters that change nothing.
        most: the largest radius that is asked about.

    Returns:
        The radius: all attacks of a norm below it are held, and at 1 all of the box. Below 1 it is
        reduced by more than float32 is off by. None where the identity is not held.

    >>> held_radius([((-1.0,), (5.0,))], [], [(-10.0, 10.0)], [0.0], 1.0) is None
    False
    >>> held_radius([((0.0,), (5.0,))], [((0.0,), (0.0,))], [(0.0, 10.0)], [0.0], 1.0) is None
    True
    """
    alone = [(low, high) for low, high in uncovered if _thin(low, high, box, identity)]
    held = any(_inside(identity, low, high) for low, high in covers)
    if not held or any(_inside(identity, low, high) for low, high in alone):
        return None
    lows, highs = [low for low, _ in covers], [high for _, high in covers]
    radius = covered_radius(lows, highs, box, identity)
    if uncovered:
        lows, highs = [low for low, _ in uncovered], [high for _, high in uncovered]
        radius = min(radius, float(box_norm(lows, highs, box, identity).min()))
        if radius == 1.0:  # a single value, at the end of the box
            radius = float(np.nextafter(1.0, 0.0))
    return min(radius if radius == 1.0 else radius * (1 - _FLOAT32), most)


def rounding_to(low: Sequence[float], high: Sequence[float], box: Ends, whole: Flags) -> Range:
    """The real parameters of a box that round to those of a box of whole numbers.

    Args:
        low: (P,) least parameters, whole numbers where `whole` says so.
        high: (P,) greatest.
        box: of all attacks.
        whole: (P,) whether a parameter is rounded to the nearest whole number. Of those it is the
            closed range, with halves that round away from it.

    >>> rounding_to([3.0, 0.5], [5.0, 0.7], [(0.0, 5.0), (0.0, 1.0)], [True, False])
    ((2.5, 0.5), (5.0, 0.7))
    """
    ends = [
        (max(least, a - 0.5), min(b + 0.5, most)) if rounded else (a, b)
        for a, b, (least, most), rounded in zip(low, high, box, whole, strict=True)
    ]
    return tuple(a for a, _ in ends), tuple(b for _, b in ends)


def _thin(low: Sequence[float], high: Sequence[float], box: Ends, identity: Origin) -> bool:
    """Whether a box is a single value of a parameter that has a range, and is no place."""
    return any(
        a == b and least < most and at is not None
        for a, b, (least, most), at in zip(low, high, box, identity, strict=True)
    )


def _inside(point: Origin, low: Sequence[float], high: Sequence[float]) -> bool:
    return all(x is None or a <= x <= b for a, x, b in zip(low, point, high, strict=True))


def _run(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """First and one past the last of flags that are a run; (0, 0) where none is set."""
    places = np.flatnonzero(flags)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


def check_around(box: Ends, identity: Origin) -> None:
    """Check that a box of attacks is around the identity, and more than a point.

    Raises:
        InputError: it is not, or all that it has is places.
    """
    ends = [(low, at, high) for (low, high), at in zip(box, identity, strict=True)]
    changed = [(low, at, high) for low, at, high in ends if at is not None]
    if ends and not changed:
        raise InputError(
            f"Expected ranges of how much is changed, and not only of where, but got {list(box)}: "
            "by themselves places change nothing."
        )
    around = all(low <= at <= high for low, at, high in changed)
    if not around or all(low == high for low, _, high in changed):
        raise InputError(
            f"Expected ranges around {list(identity)}, where nothing is changed, and one that is "
            f"more than a point, but got {list(box)}."
        )
