"""The contact sheet of a run: an image under each parameter of its transformation, end to end."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_smooth.records.runs import Run
from lightning_smooth.report.pictures import TINY, class_of, samples_of, source, transformation


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
    pixels = held["sheet"]
    tiles = [
        (
            str(name),
            str(unit),
            Tile(value=number(value), identity=bool(still), source=source(image)),
        )
        for name, unit, value, still, image in zip(
            *(held[f"sheet_{key}"] for key in ("parameter", "unit", "value", "identity")),
            pixels,
            strict=True,
        )
    ]
    strips = tuple(
        Strip(parameter=name, unit=unit, tiles=tuple(tile for *_, tile in group))
        for (name, unit), group in groupby(tiles, key=lambda tile: tile[:2])
    )
    index = int(held["sheet_index"])
    sheet = Sheet(
        index=index,
        label=class_of(run, index),
        width=pixels.shape[-1],
        transform=str(held["sheet_transform"]),
        reach=str(held["sheet_range"]),
        strips=strips,
    )
    return sheet, []


def number(value: float) -> str:
    """A value in three digits, with a minus sign as wide as a plus.

    >>> number(-22.5), number(0.0), number(1 / 3)
    ('−22.5', '0', '0.333')
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
    return (
        f"<section><h2>The transformation, end to end</h2>{''.join(blocks)}"
        '<p class="note">Of several parameters each is shown alone, the others at their identity. '
        "Clipped to [0, 1] for the eye alone: what is certified is not clipped.</p></section>"
    )


def _figure(sheet: Sheet) -> str:
    return (
        f'<figure class="sheet"><div class="wide" tabindex="0">'
        f"{''.join(_strip(sheet, strip) for strip in sheet.strips)}</div>"
        f"<figcaption>Image {sheet.index} ({escape(sheet.label)}) under "
        f"<code>{escape(sheet.transform)}</code>, {escape(sheet.reach)}.</figcaption></figure>"
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
    for key in ("parameter", "unit", "value", "identity"):
        if found[f"sheet_{key}"].shape != pixels.shape[:1]:
            raise ValueError(f"expected `sheet_{key}` to have one entry for each tile")
    for key in ("index", "transform", "range"):
        if found[f"sheet_{key}"].shape != ():
            raise ValueError(f"expected `sheet_{key}` to be one entry")
    return found
