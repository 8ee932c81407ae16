"""Verdicts as a table: one row an image, whatever they were read from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from lightning_smooth.records.certificate import Certificate

VERDICT_TYPES = {
    "index": "int64",
    "label": "Int64",
    "predicted": "int64",
    "correct": "bool",
    "radius": "float64",
    "abstained": "bool",
    "seconds": "float64",
    "p_lower": "float64",
    "hits": "float64",
    "n": "float64",
    "n0": "float64",
}
"""Columns of a frame of verdicts, one row an image; NaN (`pd.NA` for a label) where unknown."""


def verdict_frame(columns: dict[str, Sequence[object]]) -> pd.DataFrame:
    """A frame with the columns and types of `VERDICT_TYPES`; a column not given is unknown."""
    length = len(columns["index"])
    whole = {name: columns.get(name, [math.nan] * length) for name in VERDICT_TYPES}
    return pd.DataFrame(whole).astype(VERDICT_TYPES)


def certificate_frame(certificates: Iterable[Certificate]) -> pd.DataFrame:
    """The verdicts of `certificates`, one row each, with the columns of `VERDICT_TYPES`."""
    held = list(certificates)
    columns: dict[str, Sequence[object]] = {
        "index": [c.index for c in held],
        "label": [pd.NA if c.label is None else c.label for c in held],
        "predicted": [c.predicted for c in held],
        "correct": [c.correct for c in held],
        "radius": [math.nan if c.radius is None else c.radius for c in held],
        "abstained": [c.abstained for c in held],
    }
    columns |= {
        name: [getattr(c, name) for c in held] for name in ("seconds", "p_lower", "hits", "n", "n0")
    }
    return verdict_frame(columns)
