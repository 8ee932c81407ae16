"""The contact sheet of a run: an image under each parameter of its transformation, end to end."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_smooth.records.runs import Run
from lightning_smooth.report.pictures import TINY, class_of, samples_of, source, transformation

_TILES = ("parameter", "unit", "value", "identity")
_MOST_SIDE = 160
"""Pixels of a tile, beyond which it is reduced: it is shown no larger."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """The image at one value of one parameter.

    Attributes:
        value: the value, as it is shown.
        identity: whether it changes nothing.
        source: the source of an HTML image.
    """

    value: str
    identity: bool
    source: str


@dataclass(frozen=True, kw_only=True)
class Strip:
    """The image over the range of one parameter, the others at their identity.

    Attributes:
        parameter: its name.
        unit: unit of its values.
        tiles: one a value, in the order of the values.
    """

    parameter: str
    unit: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One image, and what the attacks of a run make of it.

    Attributes:
        index: the image's index in the data set.
        label: name of its class.
        width: its width in pixels.
        transform: what transforms it.
        reach: where the values end, in words.
        strips: one a parameter.
    """

    index: int
    label: str
    width: int
    transform: str
    reach: str
    strips: tuple[Strip, ...]


def load_sheet(run: Run) -> tuple[Sheet | None, list[str]]:
    """Read the contact sheet that a run kept beside its sample images.

    Returns:
        The sheet; None if the run adds noise to pixels, or kept none. And notes on what could not
        be read.
    """
    path = samples_of(run)
    if path is None or transformation(run) is None:
        return None, []
    try:
        held = _read(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        return None, [f"{path.name} holds no contact sheet that can be read: {error}"]
    if held is None:
        return None, []
    labels = [held[f"sheet_{key}"].tolist() for key in _TILES]
    strips: dict[tuple[str, str], list[Tile]] = {}
    for name, unit, value, still, image in zip(*labels, held["sheet"], strict=True):
        tile = Tile(value=number(value), identity=bool(still), source=_shown(image))
        strips.setdefault((str(name), str(unit)), []).append(tile)
    index = int(held["sheet_index"])
    sheet = Sheet(
        index=index,
        label=class_of(run, index),
        width=held["sheet"].shape[-1],
        transform=str(held["sheet_transform"]),
        reach=str(held["sheet_range"]),
        strips=tuple(
            Strip(parameter=name, unit=unit, tiles=tuple(some))
            for (name, unit), some in strips.items()
        ),
    )
    return sheet, []


def number(value: float) -> str:
    r"""A value in three digits, with a minus sign as wide as a plus.

    >>> number(0.0), number(1 / 3), number(-22.5) == "\N{MINUS SIGN}22.5"
    ('0', '0.333', True)
    """
    return f"{value:.3g}".replace("-", "\u2212")


def sheet_section(runs: Sequence[Run], sheets: Sequence[Sheet | None]) -> str:
    """HTML of the contact sheets of runs; empty where there is none."""
    found = [(run, sheet) for run, sheet in zip(runs, sheets, strict=True) if sheet is not None]
    if not found:
        return ""
    blocks = [
        (f"<h3>{escape(run.name)}</h3>" if len(runs) > 1 else "") + _figure(sheet)
        for run, sheet in found
    ]
    return f"<section><h2>The transformation, end to end</h2>{''.join(blocks)}</section>"


def _figure(sheet: Sheet) -> str:
    most = max((len(strip.tiles) for strip in sheet.strips), default=1)
    alone = " Each parameter alone, the others at their identity." if len(sheet.strips) > 1 else ""
    return (
        f'<figure class="sheet"><div class="wide" tabindex="0"><div class="strips" '
        f'style="--tiles:{most}">{"".join(_strip(sheet, strip) for strip in sheet.strips)}</div>'
        f"</div><figcaption>Image {sheet.index} ({escape(sheet.label)}) under "
        f"<code>{escape(sheet.transform)}</code>, {escape(sheet.reach)}.{alone} Clipped to [0, 1] "
        "for the eye alone.</figcaption></figure>"
    )


def _strip(sheet: Sheet, strip: Strip) -> str:
    tiny = ' class="tiny"' if sheet.width < TINY else ""
    name, unit = escape(strip.parameter), escape(strip.unit)
    tiles = "".join(
        f'<div class="tile{" still" if tile.identity else ""}"><img{tiny} src="{tile.source}" '
        f'alt="image {sheet.index}, {name} {tile.value} {unit}"><p><b>{tile.value}</b> {unit}'
        f"{'<br>identity' if tile.identity else ''}</p></div>"
        for tile in strip.tiles
    )
    return f'<p class="strip-name"><b>{name}</b>, {unit}</p><div class="strip">{tiles}</div>'


def _shown(image: NDArray[np.uint8]) -> str:
    """The source of a tile, as large as it is shown."""
    step = -(-max(image.shape[1:]) // _MOST_SIDE)
    if step == 1:
        return source(image)
    height, width = (side // step for side in image.shape[1:])
    blocks = image[:, : height * step, : width * step].reshape(-1, height, step, width, step)
    return source(blocks.mean(axis=(2, 4)).round().astype(np.uint8))


def _read(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of the sheet; None in files that have none."""
    with np.load(path, allow_pickle=False) as held:
        if "sheet" not in held.files:
            return None
        found = {name: held[name] for name in held.files if name.startswith("sheet")}
    pixels = found["sheet"]
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or pixels.dtype != np.uint8:
        raise ValueError(
            f"expected `sheet` (T, 1 or 3, H, W) of 8 bits, but got {pixels.shape} {pixels.dtype}"
        )
    for key in _TILES:
        if found[f"sheet_{key}"].shape != pixels.shape[:1]:
            raise ValueError(f"expected `sheet_{key}` to have one entry for each tile")
    for key in ("index", "transform", "range"):
        if found[f"sheet_{key}"].shape != ():
            raise ValueError(f"expected `sheet_{key}` to be one entry")
    for key, kind in (("value", np.float64), ("index", np.int64)):
        found[f"sheet_{key}"] = found[f"sheet_{key}"].astype(kind)
    return found
