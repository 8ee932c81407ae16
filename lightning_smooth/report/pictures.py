"""The sample images of a run, clean beside noisy (or transformed), with what was found of them."""

from __future__ import annotations

import base64
import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from lightning_smooth.records.measure import Measure, attacked_range
from lightning_smooth.records.reading import samples_path
from lightning_smooth.records.runs import RECORDS, Run, run_folder
from lightning_smooth.report.curves import guarantee_words
from lightning_smooth.types import ABSTAIN

_MOST = 12
_MOST_BYTES = 2_000_000

TINY = 100
"""Images less wide than this, in pixels, are shown with their pixels as squares."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image and its verdict.

    Attributes:
        index: its index in the data set.
        clean: the image, as the source of an HTML image.
        noisy: the same under one draw of the noise, of pixels or of a transformation's parameters.
        width: its width in pixels.
        verdict: `right`, `wrong` or `abstained`.
        label: name of the true class.
        predicted: name of the certified class.
        radius: certified radius.
    """

    index: int
    clean: str
    noisy: str
    width: int
    verdict: str
    label: str
    predicted: str
    radius: float


def load_pictures(run: Run) -> tuple[list[Picture], list[str]]:
    """Choose sample images of `run`, verdicts mixed.

    Returns:
        Up to 12 pictures, wrong and abstained ones first, right ones by radius; and notes on what
        could not be read. Both are empty where the run kept no samples.
    """
    path = samples_of(run)
    if path is None:
        return [], []
    name = path.name
    try:
        index, clean, noisy = _read(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        return [], [f"{name} cannot be read, so no images are shown: {error}"]
    rows = run.frame.set_index("index")
    places = {int(i): k for k, i in enumerate(index) if int(i) in rows.index}
    notes = []
    if len(places) < len(index):
        lost = len(index) - len(places)
        notes.append(f"{name} has {lost} images without a record; they are not shown.")
    most = min(_MOST, max(4, _MOST_BYTES // max(1, 2 * clean[0].size))) if len(clean) else 0
    chosen = _mix(rows.loc[sorted(places)], most)
    verdicts: dict[int, dict[str, Any]] = rows.loc[chosen].to_dict("index")  # type: ignore[assignment]
    names = _class_names(run)
    pictures = [
        Picture(
            index=i,
            clean=source(clean[places[i]]),
            noisy=source(noisy[places[i]]),
            width=clean.shape[-1],
            verdict=_verdict(verdicts[i]),
            label=_class_name(verdicts[i]["label"], names),
            predicted=_class_name(verdicts[i]["predicted"], names),
            radius=float(verdicts[i]["radius"]),
        )
        for i in chosen
    ]
    return pictures, notes


def samples_of(run: Run) -> Path | None:
    """The file of the sample images that `run` kept, if there is one."""
    folder = run_folder(run)
    if folder is None:
        return None
    path = samples_path(run.path if run.path.is_file() else folder / RECORDS)
    return path if path.is_file() else None


def transformation(run: Run) -> str | None:
    """The transformation whose parameters `run` draws; None where it draws noise on images."""
    certifier = (run.header or {}).get("certifier")
    if not isinstance(certifier, Mapping) or attacked_range(certifier):
        return None
    named = certifier.get("transform")
    return None if named is None else str(named)


def class_of(run: Run, index: int) -> str:
    """Name of the true class of an image; `unknown` where there is no record of it."""
    labels = run.frame.loc[run.frame["index"] == index, "label"]
    return _class_name(labels.iloc[0], _class_names(run)) if len(labels) else "unknown"


def png(image: NDArray[np.uint8]) -> bytes:
    r"""Encode an image as PNG.

    Args:
        image: (1, H, W) grey or (3, H, W) colour, 8 bits.

    >>> png(np.zeros((1, 2, 2), dtype=np.uint8))[:4]
    b'\x89PNG'
    """
    pixels = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(content, "PNG")
    return content.getvalue()


def _read(path: Path) -> tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.uint8]]:
    with np.load(path, allow_pickle=False) as held:
        index, clean, noisy = held["index"], held["clean"], held["noisy"]
    fitting = clean.ndim == 4 and clean.shape[1] in (1, 3) and clean.shape == noisy.shape
    if (
        not fitting
        or index.shape != clean.shape[:1]
        or {clean.dtype, noisy.dtype} != {np.dtype("uint8")}
    ):
        raise ValueError(
            "expected `index` (K,), `clean` and `noisy` (K, 1 or 3, H, W) of 8 bits, but got "
            f"{index.shape}, {clean.shape} {clean.dtype}, {noisy.shape} {noisy.dtype}"
        )
    return index, clean, noisy


def _mix(rows: pd.DataFrame, most: int) -> list[int]:
    """Indices of up to a third wrong, a third abstained, and right ones spread over the radii."""
    gone = rows["abstained"]
    groups = [rows[~rows["correct"] & ~gone], rows[gone], rows[rows["correct"]]]
    sizes = [min(len(groups[0]), most // 3), min(len(groups[1]), most // 3)]
    sizes.append(min(len(groups[2]), most - sum(sizes)))
    for k in (0, 1):
        sizes[k] = min(len(groups[k]), most - sum(sizes) + sizes[k])
    return [i for group, size in zip(groups, sizes, strict=True) for i in _spread(group, size)]


def _spread(group: pd.DataFrame, size: int) -> list[int]:
    ordered = group.sort_values("radius", kind="stable").index
    places = np.linspace(0, len(ordered) - 1, size).round().astype(int)
    return [int(ordered[k]) for k in places]


def _verdict(row: Mapping[str, Any]) -> str:
    if row["abstained"]:
        return "abstained"
    return "right" if row["correct"] else "wrong"


def _class_names(run: Run) -> Sequence[str]:
    names = (run.header or {}).get("class_names")
    return [str(name) for name in names] if isinstance(names, list) else []


def _class_name(number: Any, names: Sequence[str]) -> str:
    if pd.isna(number):
        return "unknown"
    if number == ABSTAIN:
        return "abstained"
    return names[int(number)] if 0 <= number < len(names) else str(number)


def source(image: NDArray[np.uint8]) -> str:
    """An image (1 or 3, H, W) of 8 bits as the source of an HTML image."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")


def with_unit(radius: str, measure: Measure) -> str:
    """A radius and its unit; norms of pixels have none.

    >>> from lightning_smooth.records.measure import measure
    >>> with_unit("9.5", measure("degrees", {})), with_unit("0.5", measure("l2", {}))
    ('9.5 degrees', '0.5')
    """
    return f"{radius} {measure.words}" if measure.words else radius


def radius_words(picture: Picture, measure: Measure) -> str:
    """Say what is certified of `picture`; the radius rounded down, as it must stay true.

    >>> from lightning_smooth.records.measure import measure
    >>> seven = Picture(index=0, clean="", noisy="", width=1, verdict="right", label="7",
    ...     predicted="7", radius=0.9999)
    >>> radius_words(seven, measure("l2", {})), radius_words(seven, measure("pixels", {}))
    ('certified within 0.999', 'certified within 0.999 pixels')
    """
    return claim_words(picture.verdict, picture.radius, measure)


def claim_words(verdict: str, radius: float, measure: Measure) -> str:
    """Say what is certified of an image: see `radius_words`."""
    if verdict == "abstained":
        return "nothing certified"
    if math.isnan(radius):
        return "radius unknown"
    rounded = f"{math.floor(radius * 1000) / 1000:.3f}"
    return f"certified within {with_unit(rounded, measure)}"


def sample_section(runs: Sequence[Run], pictures: Sequence[Sequence[Picture]]) -> str:
    """HTML of the sample images of runs; empty where there are none."""
    blocks = []
    for run, some in zip(runs, pictures, strict=True):
        if some:
            name = f"<h3>{escape(run.name)}</h3>" if len(runs) > 1 else ""
            cards = "".join(_sample(p, run) for p in some)
            blocks.append(f'{name}<div class="samples">{cards}</div>')
    if not blocks:
        return ""
    shown = "A mix of verdicts chosen to be looked at, not a sample to judge accuracy by."
    wrong = (
        "The radius of a wrong answer says that the answer, wrong as it is, does not change.</p>"
    )
    if all(run.deterministic for run in runs):
        return f'<section><h2>Images</h2>{"".join(blocks)}<p class="note">{shown} {wrong}</section>'
    moved = any(map(transformation, runs))
    beside = "transformed by one draw of the parameters" if moved else "one draw of the noise"
    return (
        f"<section><h2>Images, clean and {'transformed' if moved else 'under noise'}</h2>"
        f'{"".join(blocks)}<p class="note">{shown} Beside each: {beside}, clipped to [0, 1] for '
        f"the eye alone. {wrong}</section>"
    )


def _sample(p: Picture, run: Run) -> str:
    tiny = ' class="tiny"' if p.width < TINY else ""
    noisy = "under noise" if transformation(run) is None else "transformed"
    words = {"right": "Right", "wrong": "Wrong", "abstained": "Abstained"}[p.verdict]
    answer = f", answered {escape(p.predicted)}" if p.verdict == "wrong" else ""
    claim = escape(radius_words(p, run.measure))
    if run.guarantee != "certified":
        claim += f" ({escape(guarantee_words(run))})" if p.verdict != "abstained" else ""
    second = (
        "" if run.deterministic else f'<img{tiny} src="{p.noisy}" alt="image {p.index} {noisy}">'
    )
    return (
        f'<figure class="sample"><div class="pair"><img{tiny} src="{p.clean}" '
        f'alt="image {p.index}, {escape(p.label)}">{second}</div><p>'
        f'<span class="pill {p.verdict}">{words}</span>'
        f": {escape(p.label)}{answer}<br>{claim}<br>"
        f'<span class="small">image {p.index}</span></p></figure>'
    )
