"""What the numbers of a page rest on: settings, digests, versions, as the records tell them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lightning_smooth.records.corruption_runs import Corrupted
from lightning_smooth.records.runs import UNKNOWN, Run
from lightning_smooth.report.attack_tables import AttackFigures
from lightning_smooth.report.tables import Figures, count, whole

_MEANING = {
    "certified": "certified: each radius holds with probability at least 1 - alpha over the "
    "sampling alone; every bound in it is sound. Where nothing is drawn (alpha 0), it just holds.",
    "surrogate": "surrogate: each radius holds, with probability at least 1 - alpha, for the "
    "surrogate transformation, not for the real one.",
    "estimated": "estimated: some bound behind each radius was itself estimated by sampling; a "
    "measurement, not a proof.",
    "of the distribution": "for a fraction of the distribution: of at least that fraction of the "
    "images there are, as measured once on other images; which ones is not known, so it is not a "
    "statement about any one image.",
    UNKNOWN: "unknown: a published log states neither its guarantee nor n and alpha, so the "
    "largest radius that its draws allow is not drawn. Its radii are used as printed, usually "
    "rounded to three digits: each may lie above the certified one by half a unit of the last.",
}


def fact_section(
    runs: Sequence[Run],
    figures: Sequence[Figures],
    attacks: Sequence[AttackFigures],
    corruptions: Sequence[Corrupted],
) -> str:
    """HTML of what runs, attacks and corruptions rest on, and what their guarantees mean."""
    listed = [(run.name, facts(run, f)) for run, f in zip(runs, figures, strict=True)]
    listed += [(f"{f.name}, {f.attack.path.name}", _attack_facts(f)) for f in attacks]
    listed += [(f"{one.name}, {one.path.name}", _corruption_facts(one)) for one in corruptions]
    blocks = []
    for place, (name, pairs) in enumerate(listed):
        opened = " open" if not place and len(runs or listed) == 1 else ""
        inner = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in pairs)
        blocks.append(
            f"<details{opened}><summary>{escape(name)}</summary><dl>{inner}</dl></details>"
        )
    present = {part for run in runs for part in run.guarantee.split(", ")}
    cells = [cell for one in corruptions for cell in one.table.cells]
    present |= {part for cell in cells if cell.guarantee for part in cell.guarantee.split(", ")}
    meanings = "".join(
        f"<li>{text}</li>" for key, text in _MEANING.items() if any(key in part for part in present)
    )
    told = f"<p>Guarantees on this page:</p><ul>{meanings}</ul>" if present else ""
    return f"<section><h2>What it rests on</h2>{told}{''.join(blocks)}</section>"


def facts(run: Run, f: Figures) -> list[tuple[str, str]]:
    """List what the numbers of `run` rest on, so that they can be checked: (name, value) pairs."""
    found = [("guarantee", run.guarantee), ("images", count(f))]
    if len(run.frame):
        index = run.frame["index"]
        found.append(("dataset indices", f"{index.min()} to {index.max()}"))
    if run.sigma is not None:
        latents = "surrogate" in ((run.header or {}).get("certifier") or {})
        shown = "in latents" if latents else f"{run.sigma * 255:g}/255"
        found.append(("sigma", f"{run.sigma:g} ({shown})"))
    for column in ("n0", "n"):
        drawn = run.frame[column].dropna().unique()
        if drawn.size:
            several = f"{whole(drawn.min())} to {whole(drawn.max())}"
            found.append((f"{column} (drawn)", several if drawn.size > 1 else whole(drawn[0])))
    if run.largest_radius is not None:
        found.append(("largest radius that n allows", f"{run.largest_radius:.6g}"))
    found += [pair for pair in _headed(run.header or {}) if pair[0] != "certifier.sigma"]
    return [*found, *_read_from(run.path, run.files)]


def _attack_facts(f: AttackFigures) -> list[tuple[str, str]]:
    found = [("images", count(f)), ("seconds", f"{f.seconds:g}")]
    return [*found, *_headed(f.attack.header), *_read_from(f.attack.path, f.attack.files)]


def _corruption_facts(one: Corrupted) -> list[tuple[str, str]]:
    table = one.table
    header = {
        "set": {"name": table.title, "origin": table.origins},
        "selection": table.selection,
        "model": table.model,
        "certifier": table.certifier or "none",
        "baseline": table.baseline or "none",
        "environment": table.environment,
    }
    return [*_headed(header), *_read_from(one.path, [one.path])]


def _headed(header: Mapping[str, Any]) -> list[tuple[str, str]]:
    hidden = ("records", "version", "kind", "name", "class_names")
    return [
        pair for key, value in header.items() if key not in hidden for pair in _flat(key, value)
    ]


def _read_from(path: Path, files: Sequence[Path]) -> list[tuple[str, str]]:
    found = [("read from", str(path))]
    for file in files:
        found.append((f"SHA-256 of {file.name}", hashlib.sha256(file.read_bytes()).hexdigest()))
    return found


def _flat(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [pair for key, inner in value.items() for pair in _flat(f"{name}.{key}", inner)]
    if isinstance(value, list | tuple):
        return [(name, ", ".join(str(item) for item in value))]
    return [(name, "not set" if value is None else str(value))]
