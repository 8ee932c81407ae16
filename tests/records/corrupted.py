"""Tables of corruptions, made up."""

from pathlib import Path

from lightning_smooth.records.corruption_tables import write_table
from lightning_smooth.records.corruptions import Cell, CorruptionTable

CORRECT = {"gaussian_noise": (90, 80), "fog": (70, 40)}
RADII = [0.0, 0.25, 0.5]


def cell(corruption, severity, correct, *, certified=(), origin="published", digest=""):
    counts = {"certified_images": 10, "smoothed": certified[0]} if certified else {}
    return Cell(
        corruption=corruption,
        severity=severity,
        images=100,
        correct=correct,
        data={"name": "cifar10c", "origin": origin, "digest": digest or f"{corruption}{severity}"},
        certified=list(certified),
        guarantee="certified" if certified else "",
        records=f"corruptions/{corruption}-{severity}.jsonl" if certified else "",
        **counts,
    )


def table(correct=CORRECT, *, certified=(), name="a", left=0, **settings):
    """A table of two corruptions at two severities; `left` cells are missing."""
    cells = [
        cell(c, s, counts[s - 1], certified=certified, origin=settings.get("origin", "published"))
        for c, counts in correct.items()
        for s in (1, 2)
    ]
    settings.pop("origin", None)
    given = {
        "title": "CIFAR-10-C",
        "model": {"architecture": "Net-1", "weights": name},
        "certifier": {"method": "gaussian", "sigma": 0.5} if certified else None,
        "radii": RADII,
        "selection": {"skip": 1, "limit": None, "images": 100},
        "corruptions": list(correct),
        "severities": [1, 2],
        "left_out": {},
        "clean_images": 100,
        "clean_correct": 95,
        **settings,
    }
    return CorruptionTable(name=name, cells=cells[: len(cells) - left], **given)


def written(folder: Path, *args, **settings) -> Path:
    """The folder of a run, with such a table in it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(table(*args, **settings), folder / "corruptions.json")
    return folder
