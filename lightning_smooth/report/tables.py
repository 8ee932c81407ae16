"""The figures of each run, and the tables that hold them.

Certified accuracy, its band and ACR are those of `lightning_smooth.maths.certified`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from lightning_smooth.errors import InputError
from lightning_smooth.maths.certified import (
    average_certified_radius,
    certified_accuracy,
    certified_accuracy_band,
)
from lightning_smooth.records.measure import Measure
from lightning_smooth.records.runs import Run

CONFIDENCE = 0.95
"""Coverage of each interval of certified accuracy, one radius at a time."""

MOST_RADII = 11
MISSING = "\u2013"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the tables say about one run; NaN where it is not known.

    Attributes:
        name: the run's name.
        guarantee: what its radii rest on.
        measure: what its radii are radii of.
        images: number of images with a verdict.
        requested: number of images asked for; None where not known.
        complete: whether all of them are there; None where not known.
        sigma: standard deviation of the noise, pixels in [0, 1]; None where not known.
        largest_radius: the largest radius that n draws can certify; None where not known.
        radii: radii of the next three.
        accuracy: fraction of images that are right and certified at each radius.
        low: lower end of its pointwise Clopper-Pearson interval.
        high: upper end.
        clean: fraction of images that the smoothed classifier gets right (radius 0).
        abstention: fraction of images that it abstains on.
        acr: average certified radius: over all images, 0 for those that are not right.
        mean_radius: mean radius of the images that are right (secondary: it rewards giving up
            on hard images).
        seconds: wall time of all images together.
        seconds_per_image: mean wall time of an image.
        draws: noisy images that the model classified, n0 and n of every image together.
    """

    name: str
    guarantee: str
    measure: Measure
    images: int
    requested: int | None
    complete: bool | None
    sigma: float | None
    largest_radius: float | None
    radii: tuple[float, ...]
    accuracy: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    clean: float
    abstention: float
    acr: float
    mean_radius: float
    seconds: float
    seconds_per_image: float
    draws: float

    @property
    def classifier(self) -> str:
        """What is certified: the smoothed classifier, or the model itself where none is drawn."""
        return "classifier" if self.draws == 0 else "smoothed classifier"


def figures_of(run: Run, radii: Sequence[float]) -> Figures:
    """Compute the figures of `run` at `radii`."""
    frame = run.frame
    correct, radius = frame["correct"].to_numpy(), frame["radius"].to_numpy()
    wanted = np.asarray(radii, dtype=np.float64)
    low, high = band(correct, radius, wanted)
    right = radius[correct]
    return Figures(
        name=run.name,
        guarantee=run.guarantee,
        measure=run.measure,
        images=len(frame),
        requested=run.requested,
        complete=run.complete,
        sigma=run.sigma,
        largest_radius=run.largest_radius,
        radii=tuple(wanted.tolist()),
        accuracy=tuple(certified_accuracy(correct, radius, wanted).tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        clean=float(certified_accuracy(correct, radius, [0.0])[0]),
        abstention=float(frame["abstained"].mean()) if len(frame) else math.nan,
        acr=average_certified_radius(correct, radius),
        mean_radius=float(right.mean()) if right.size else math.nan,
        seconds=float(frame["seconds"].sum(min_count=1)),
        seconds_per_image=float(frame["seconds"].mean()),
        draws=float((frame["n"] + frame["n0"]).sum(min_count=1)),
    )


def band(
    correct: np.ndarray, radius: np.ndarray, radii: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the certified accuracy at each of `radii`; NaN when there are no images."""
    if not correct.size:
        unknown = np.full(radii.shape, math.nan)
        return unknown, unknown
    return certified_accuracy_band(correct, radius, radii, CONFIDENCE)


def check_radii(radii: Iterable[float]) -> tuple[float, ...]:
    """Return the radii asked for, sorted, each once.

    Raises:
        InputError: there is none, or one is negative or not finite.

    >>> check_radii([0.5, 0, 0.5])
    (0.0, 0.5)
    """
    wanted = sorted({float(r) for r in radii})
    if not wanted or not all(math.isfinite(r) and r >= 0 for r in wanted):
        raise InputError(
            f"Expected `radii` to be one or more finite numbers of at least 0, but got {wanted}. "
            "For example: --radii 0 0.25 0.5"
        )
    return tuple(wanted)


def default_radii(largest: float) -> tuple[float, ...]:
    """Return the radii of the tables: 0, 0.25, 0.5, ... up to `largest`, 11 at most.

    Steps grow where 11 columns would not reach, and shrink where fewer than four would be left.

    >>> default_radii(1.0)
    (0.0, 0.25, 0.5, 0.75, 1.0)
    >>> default_radii(3.6)
    (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5)
    """
    if not math.isfinite(largest) or largest <= 0:
        return (0.0,)
    scale = 1.0
    while largest / scale > 50:
        scale *= 10
    while largest / scale < 0.5:
        scale /= 10
    steps = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
    grids = [np.arange(0, 51, step) for step in (steps[1:] if largest / scale >= 0.75 else steps)]
    if scale == 1:
        fine = [0.0, 0.25, 0.5, 0.75, 1.0]
        mixed = [np.concatenate([fine, np.arange(1 + step, 51, step)]) for step in (0.5, 1.0)]
        grids = [*grids[:-4], *mixed, *grids[-4:]]
    for grid in grids:
        kept = [round(float(r) * scale, 12) for r in grid if r * scale <= largest * (1 + 1e-12)]
        if len(kept) <= MOST_RADII:
            return tuple(kept)
    return (0.0, largest)


def markdown(figures: Sequence[Figures]) -> str:
    """Write the table as GitHub-flavoured Markdown."""
    radii = figures[0].radii
    head = ["run", "guarantee", "images", *(f"r = {short(r)}" for r in radii), "abstained", "ACR"]
    head += ["mean radius of right", "time", "s / image", "draws"]
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for f in figures:
        cells = [f.name, f.guarantee, count(f), *(decimal(a) for a in f.accuracy)]
        cells += [decimal(f.abstention), decimal(f.acr), decimal(f.mean_radius)]
        cells += [duration(f.seconds), decimal(f.seconds_per_image, 3), whole(f.draws)]
        lines.append([cell(text) for text in cells])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return (
        f"{table}\n\nCertified accuracy at each radius r ({figures[0].measure.axis}); r = "
        "0: the images that the classifier gets right. ACR: average certified radius over "
        "all images, 0 for those that are not right. Intervals and full precision are in "
        "table.csv.\n"
    )


def table(figures: Sequence[Figures]) -> pd.DataFrame:
    """One row a run, every figure in full precision; intervals beside each accuracy."""
    rows = []
    for f in figures:
        row: dict[str, object] = {
            "run": f.name,
            "guarantee": f.guarantee,
            "radius_unit": f.measure.unit,
            "images": f.images,
            "requested": f.requested,
            "complete": f.complete,
            "sigma": f.sigma,
            "largest_radius": f.largest_radius,
        }
        for r, accuracy, low, high in zip(f.radii, f.accuracy, f.low, f.high, strict=True):
            row[f"certified_accuracy@{short(r)}"] = accuracy
            row[f"low@{short(r)}"] = low
            row[f"high@{short(r)}"] = high
        row |= {
            "accuracy": f.clean,
            "abstention": f.abstention,
            "average_certified_radius": f.acr,
            "mean_radius_of_right": f.mean_radius,
            "seconds": f.seconds,
            "seconds_per_image": f.seconds_per_image,
            "draws": f.draws,
        }
        rows.append(row)
    frame = pd.DataFrame(rows)
    whole_numbers = {"images": "Int64", "requested": "Int64", "draws": "Int64"}
    return frame.astype({**whole_numbers, "complete": "boolean"})


def short(radius: float) -> str:
    """Write a radius asked for without zeros to spare, yet so that it is read back as it was.

    >>> short(0.5), short(1.0), short(0.1234567)
    ('0.5', '1', '0.1234567')
    """
    return f"{radius:g}" if float(f"{radius:g}") == radius else repr(radius)


def decimal(value: float | None, digits: int = 4) -> str:
    """Write `value` with `digits` decimals, or a dash where it is not known.

    >>> decimal(0.98765)
    '0.9877'
    """
    return MISSING if value is None or math.isnan(value) else f"{value:.{digits}f}"


def whole(value: float | None) -> str:
    """Write a whole number with thousands separators, or a dash.

    >>> whole(50050000.0)
    '50,050,000'
    """
    return MISSING if value is None or math.isnan(value) else f"{round(value):,}"


class Counted(Protocol):
    """What has images, of those asked for."""

    @property
    def images(self) -> int:
        """Images that there are."""

    @property
    def requested(self) -> int | None:
        """Images asked for; None where not known."""


def count(f: Counted) -> str:
    """Write the number of images, beside the number asked for where some are missing."""
    missing = f.requested is not None and f.images < f.requested
    return f"{f.images:,} of {f.requested:,}" if missing else f"{f.images:,}"


def duration(seconds: float) -> str:
    """Write a time for the eye.

    >>> duration(0.25), duration(75.4), duration(141723.0)
    ('0.25 s', '1 min 15 s', '39 h 22 min')
    """
    if math.isnan(seconds):
        return MISSING
    if seconds < 60:
        return f"{seconds:.3g} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{int(seconds) // 3600} h {int(seconds) % 3600 // 60} min"


def interval(low: float, high: float) -> str:
    r"""Write an interval short enough for eleven columns, or nothing where it is not known.

    >>> interval(0.9899, 0.9932) == ".990\N{EN DASH}.993"
    True
    """
    ends = [f"{end:.3f}".removeprefix("0") for end in (low, high)]
    return "" if math.isnan(low) else "\u2013".join(ends)


def cell(text: str) -> str:
    """Write text so that a cell of a Markdown table shows it as it is."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(escaped.replace("|", "\\|").split())
