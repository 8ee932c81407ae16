"""Headline figures of an attack."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from lightning_smooth.records.attack import AttackOutcome


def summarise_attack(outcomes: Sequence[AttackOutcome]) -> dict[str, Any]:
    """Compute the headline figures of an attack.

    Args:
        outcomes: one an image.

    Returns:
        Plain values: images; clean_accuracy and attacked_accuracy (the label is answered); broken
        (another class is, whatever was answered before) and abstention, all of them rates over all
        images; evaluations that an answer rests on; median_distance of those that it broke (None
        without one); queries and seconds in all.
    """
    count = max(len(outcomes), 1)
    moved = [o.distance for o in outcomes if o.broken and o.distance is not None]
    return {
        "images": len(outcomes),
        "clean_accuracy": sum(o.clean == o.label for o in outcomes) / count,
        "attacked_accuracy": sum(o.clean == o.label and o.withstood for o in outcomes) / count,
        "broken": sum(o.broken for o in outcomes) / count,
        "abstention": sum(o.abstained for o in outcomes) / count,
        "evaluations": max((o.evaluations for o in outcomes), default=0),
        "median_distance": median(moved) if moved else None,
        "queries": sum(o.queries for o in outcomes),
        "seconds": round(sum(o.seconds for o in outcomes), 3),
    }
