"""What can go wrong, in words a user can act on.

Every error raised on purpose is a `SmoothError`; the command line prints its message without a
traceback. The caller's faults (`InputError` and its children) are `ValueError`s as well.
"""

from __future__ import annotations

import math
from numbers import Real


class SmoothError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(SmoothError, ValueError):
    """An argument, an image, a label or a file is not what was expected."""


class DataError(SmoothError):
    """A data set is missing or not what its files should be."""


class RecordError(SmoothError):
    """A records file is damaged, incomplete, or belongs to something else."""


class SoundnessError(SmoothError):
    """A certificate would not have held: a bug, never the user's fault."""


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def check_positive(name: str, value: float) -> float:
    """Return `value` as a float.

    Raises:
        InputError: `value` is not a finite number above zero.

    >>> check_positive("sigma", 0.5)
    0.5
    """
    if not _is_number(value) or not math.isfinite(value) or value <= 0:
        raise InputError(f"Expected `{name}` to be a finite number above 0, but got {value!r}.")
    return float(value)


def check_probability(name: str, value: float) -> float:
    """Return `value` as a float.

    Raises:
        InputError: `value` is not strictly between 0 and 1.

    >>> check_probability("alpha", 0.001)
    0.001
    """
    if not _is_number(value) or not 0 < value < 1:
        raise InputError(f"Expected `{name}` to be strictly between 0 and 1, but got {value!r}.")
    return float(value)


def check_count(name: str, value: int, *, least: int = 1) -> int:
    """Return `value` as an int.

    Raises:
        InputError: `value` is not an integer of at least `least`.

    >>> check_count("n", 1000)
    1000
    """
    whole = _is_number(value) and math.isfinite(value) and int(value) == value
    if not whole or value < least:
        raise InputError(f"Expected `{name}` to be an integer of at least {least}, got {value!r}.")
    return int(value)
